// Winding a console back: to any moment, played on, by a link, and back to now.

import { Daemon, check, openConsole, run, same, screen, shoot, shows, until, visitor } from "./rig.mjs";

const LINES = 3000;
/** Prints something whenever a line comes. */
const PARTS = 'stty raw -echo; for part in 1 2 3; do seq -f "part $part line %03g\r" 200; read line; done; exec cat';
const daemon = new Daemon(`
[console.past]
exec = ["sh", "-c", "stty -onlcr; seq -f 'line %06g\\r' ${LINES}; exec cat"]
history = "1M"
[console.logged]
exec = ["sh", "-c", "stty -onlcr; seq -f 'logged line %06g\\r' 6000; exec cat"]
log = { file = "DIR/logged.log", index = "DIR/logged.idx", size = "40K", count = 4 }
[console.marked]
exec = ["sh", "-c", ${JSON.stringify(PARTS)}]
history = "1M"
[console.marked-in-log]
exec = ["sh", "-c", ${JSON.stringify(PARTS)}]
log = { file = "DIR/marked.log", index = "DIR/marked.idx", size = "5K", count = 9 }
history = "4K"
`);
/** A line's length. */
const LINE = "line 000001\r\n".length;
/** @type {import("playwright-core").Page} */
let page;

const enter = async (/** @type {string} */ id, /** @type {string} */ last) => {
  page ??= await visitor();
  await page.goto(await daemon.link());
  await page.locator(".console").first().waitFor();
  await openConsole(page, id);
  await shows(page, last);
};
/**
 * What is shown of the past ends with this line.
 * @param {number} line
 * @param {string} [before]
 */
const past = (line, before = "") => until(`line ${line} is the last of the past`, async () => {
  const rows = (await screen(page, ".past")).filter((row) => row !== "");
  return rows.at(-1) === `${before}line ${String(line).padStart(6, "0")}`;
});
const slide = (/** @type {number} */ offset) => page.locator("input[type=range]").evaluate((input, to) => {
  /** @type {HTMLInputElement} */ (input).value = String(to);
  input.dispatchEvent(new Event("input", { bubbles: true }));
}, offset);

await run({
  async "the time line winds back to any moment, and on to now"() {
    await enter("past", `line 00${LINES}`);
    await slide(1000 * LINE);
    await past(1000);
    await page.getByText("This is the past.").waitFor();
    await slide(20 * LINE);
    await past(20);
    await shoot(page, "past");
    const slider = page.locator("input[type=range]");
    await slider.focus();
    await page.keyboard.press("PageUp");
    await until("it is later", async () => (await screen(page, ".past")).some((row) => /^line 000[23]/.test(row)));
    check(/ of /.test(await slider.getAttribute("aria-valuetext") ?? ""), "the place is said");
    await page.keyboard.press("End");
    await page.locator(".past").waitFor({ state: "hidden" });
    await shows(page, `line 00${LINES}`);
  },

  async "it is played, faster, and paused"() {
    await slide(10 * LINE);
    await past(10);
    /** @type {number} */
    const before = await page.evaluate(() => {
      const played = /** @type {number[]} */ ([]);
      Object.assign(window, { played });
      document.querySelector(".past")?.addEventListener("played", (event) => {
        const { bytes, offset } = /** @type {CustomEvent} */ (event).detail;
        played.push(offset, offset + bytes.length);
      });
      return 0;
    });
    same(before, 0, "nothing was played before");
    await page.getByLabel("Speed").selectOption("16");
    await page.locator("#play").click();
    const at = () => page.evaluate(() => /** @type {any} */ (window).played.at(-1) ?? 0);
    await until("a good deal is played", async () => await at() > 40 * LINE);
    await page.locator("#play").click();
    await page.getByRole("button", { name: "Play" }).waitFor();
    const stopped = await at();
    const seams = await page.evaluate(() => /** @type {any} */ (window).played.filter((/** @type {number} */ offset, /** @type {number} */ place, /** @type {number[]} */ all) => place % 2 === 0 && place > 0 && all[place - 1] !== offset));
    same(seams, [], "places where something is missing or doubled");
    const last = (await screen(page, ".past")).filter((row) => /^line \d{6}$/.test(row)).at(-1) ?? "";
    const line = Number(last.slice(5));
    check(Math.abs(line - stopped / LINE) <= 1, `${last} is shown at ${stopped}`);
  },

  async "a link leads to the moment"() {
    await slide(777 * LINE);
    await past(777);
    await page.getByRole("button", { name: "Copy link" }).click();
    const link = await until("the link is copied", async () => {
      const text = await page.evaluate(() => navigator.clipboard.readText());
      return text.includes("at=") ? text : "";
    });
    check(link.endsWith(`#/console/past?at=${777 * LINE}`), link);
    await page.goto("about:blank");
    await page.goto(link);
    await past(777);
    await page.locator("#live").click();
    await page.locator(".past").waitFor({ state: "hidden" });
    check(page.url().endsWith("#/console/past"), page.url());
  },

  async "marks and changes of before the page was opened are on the time line, and lead to their moment"() {
    const printed = (/** @type {string} */ id, /** @type {string} */ words) =>
      until(`${id} prints ${words}`, () => daemon.ctl(["screen", id]).includes(words));
    for (const id of ["marked", "marked-in-log"]) {
      await printed(id, "part 1 line 200");
      daemon.ctl(["mark", id, "one <is> done"]);
      daemon.ctl(["send", id, "go\\n"]);
      await printed(id, "part 2 line 200");
      daemon.ctl(["change", id, "null"]);
      daemon.ctl(["send", id, "go\\n"]);
      await printed(id, "part 3 line 200");
    }
    for (const id of ["marked", "marked-in-log"]) {
      await enter(id, "part 3 line 200");
      const landmarks = page.getByRole("group", { name: "What happened" }).getByRole("button");
      await until("both are there", async () => await landmarks.count() === 2);
      const said = await landmarks.evaluateAll((all) => all.map((one) => one.getAttribute("aria-label") ?? ""));
      check(/^Mark “one <is> done” by .*pid \d+, u.*, \d{4}-/.test(said[0]), said[0]);
      check(/^Another back end, null, \d{4}-/.test(said[1]), said[1]);
      const at = (/** @type {number} */ part) => until(`part ${part} is the last of the past`, async () => {
        const rows = (await screen(page, ".past")).filter((row) => row !== "");
        return rows.at(-1) === `part ${part} line 200`;
      });
      await page.locator("input[type=range]").focus();
      await page.keyboard.press("p");
      await at(2);
      await page.locator("#announcer").getByText(said[1]).waitFor();
      await page.locator(".when").getByText("Another back end, null").waitFor();
      await page.keyboard.press("p");
      await at(1);
      await page.locator("#announcer").getByText(said[0]).waitFor();
      await page.keyboard.press("p");
      await page.locator("#announcer").getByText("Nothing is marked before this.").waitFor();
      await page.getByRole("button", { name: "Next mark" }).click();
      await at(2);
      await landmarks.first().click({ position: { x: 1, y: 1 } });
      await at(1);
      await shoot(page, id);
      await page.setViewportSize({ width: 390, height: 780 });
      await until("the time line fits a phone", () => page.evaluate(() =>
        [...document.querySelectorAll(".timeline *")].every((one) => one.getBoundingClientRect().right <= innerWidth)));
      await page.setViewportSize({ width: 1100, height: 760 });
      await page.locator("#live").click();
      await shows(page, "part 3 line 200");
    }
    // What happens now is there as soon.
    daemon.ctl(["mark", "marked-in-log", "later"]);
    await page.getByRole("button", { name: /^Mark “later”/ }).waitFor();
    await page.getByRole("button", { name: "Previous mark" }).click();
    await page.locator(".when").getByText("Mark “later”").waitFor();
    await page.locator("#live").click();
  },

  async "what is only in rotated logs is there too, with its time"() {
    await enter("logged", "logged line 006000");
    const line = "logged line 000001\r\n".length;
    await slide(100 * line);
    await past(100, "logged ");
    const year = String(new Date().getFullYear());
    await page.locator(".when").getByText(new RegExp(`^${year}-.*byte ${(100 * line).toLocaleString("en")} of`)).waitFor();
    await page.getByLabel("Speed").selectOption("16");
    await page.locator("#play").click();
    await until("it goes on from there", async () => (await screen(page, ".past")).some((row) => /^logged line 0001[0-9]{2}$/.test(row)));
    await page.locator("#live").click();
    await shows(page, "logged line 006000");
  },
});
