// Coming in, the list, typing, resizing, pasting, and changing the back end while watching.

import { Daemon, check, openConsole, run, same, screen, shoot, shows, until, visitor } from "./rig.mjs";

const SHELL = `exec = ["sh", "-c", "PS1='ready: ' TERM=xterm-256color exec sh"]`;
const daemon = new Daemon(`
[console.shell]
${SHELL}
description = "A shell"
groups = ["lab"]
[console.boot]
exec = ["sh", "-c", "printf 'booted\\\\n'; exec cat"]
groups = ["rack"]
description = '<img src=x onerror="document.title=1">&amp;'
`);
/** @type {import("playwright-core").Page} */
let page;

/** @param {string} text */
async function paste(text) {
  await page.evaluate((words) => navigator.clipboard.writeText(words), text);
  await page.keyboard.press("Control+Shift+V");
}

/** Learns two sizes whose events it misses, which takes a few seconds. */
async function learnSizes() {
  const other = await visitor();
  await other.addInitScript(() => {
    localStorage.setItem("chardev.fit", "off");
    const plain = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage")?.set;
    const isMissed = (/** @type {MessageEvent} */ { data }) => typeof data === "string" && data.includes("X_CHARDEV_RESIZED");
    Object.defineProperty(WebSocket.prototype, "onmessage", {
      set(hear) {
        plain?.call(this, (/** @type {MessageEvent} */ event) => isMissed(event) || hear(event));
      },
    });
  });
  await other.goto(await daemon.link());
  await other.locator(".console").first().waitFor();
  await openConsole(other, "boot");
  for (const cols of [91, 92]) {
    daemon.ctl(["qmp", "x-chardev-set-winsize", JSON.stringify({ id: "boot", cols, rows: 20 })]);
    await other.locator(".size").getByText(`${cols}×20`).waitFor();
  }
  await other.context().close();
}

/** That, beside the tests before its own. @type {Promise<void> | undefined} */
let learned;

await run({
  async "a link lets one browser in, once"() {
    const link = await daemon.link();
    page = await visitor();
    await page.goto(link);
    await page.locator(".console").first().waitFor();
    same(new URL(page.url()).hash, "", "the code has left the address");
    const other = await visitor();
    await other.goto(link);
    await other.getByRole("alert").filter({ hasText: "not good" }).waitFor();
    await other.getByLabel("Token").waitFor();
    await other.context().close();
  },

  async "the list shows each console, its state and a picture, and can be filtered"() {
    same(await page.locator(".console h2").allInnerTexts(), ["shell", "boot"], "the names");
    const isDrawn = () => page.locator(".console canvas").nth(1).evaluate((/** @type {any} */ canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size > 1;
    });
    await until("the picture of what was booted has more than one colour", isDrawn);
    await page.getByText(`<img src=x onerror="document.title=1">&amp;`).waitFor();
    same(await page.locator("main img").count(), 0, "pictures that words have become");
    await page.keyboard.press("/");
    await page.keyboard.type("rack");
    await until("one is left", async () => await page.locator(".console:visible").count() === 1);
    same(await page.locator(".console:visible h2").innerText(), "boot", "the one of that group");
    await page.getByText("1 of 2").waitFor();
    await page.keyboard.press("Control+A");
    await page.keyboard.press("Delete");
    await until("both are back", async () => await page.locator(".console:visible").count() === 2);
  },

  async "what is typed is answered"() {
    await openConsole(page, "shell");
    await shows(page, "ready:");
    await page.keyboard.type("echo $((6 * 7))\n");
    await shows(page, "\n42\n");
    await shoot(page, "typed");
  },

  async "the console has the size of the window, and of the next one"() {
    for (const width of [1100, 700]) {
      await page.setViewportSize({ width, height: 760 });
      await until("the size fits", async () => {
        const [cols, rows] = (await page.locator(".size").innerText()).split("×").map(Number);
        const { size } = JSON.parse(daemon.ctl(["qmp", "x-query-chardev-stats", JSON.stringify({ id: "shell" })]))[0];
        return size?.cols === cols && size?.rows === rows && (width === 700) === (cols < 90);
      });
      await until("all of it is in its place", () => page.evaluate(() => {
        const [place, shown] = [".now", ".now .xterm-screen"].map((one) => document.querySelector(one)?.getBoundingClientRect());
        return place && shown && shown.bottom <= place.bottom && shown.right <= place.right;
      }));
    }
    await page.locator(".now .xterm-screen").click();
    await page.keyboard.type("stty size\n");
    const size = (await page.locator(".size").innerText()).split("×").reverse().join(" ");
    await shows(page, `\n${size}\n`);
    await page.setViewportSize({ width: 1100, height: 760 });
  },

  async "a paste that would do more than type is shown first"() {
    await page.locator(".now .xterm-screen").click();
    await paste("echo one");
    await shows(page, "ready: echo one");
    await page.keyboard.press("Control+U");
    await paste("echo first\necho \x1b]second\n");
    const dialog = page.getByRole("dialog");
    await dialog.getByText("echo first⏎").waitFor();
    await dialog.getByText("␛]second⏎").waitFor();
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    check(!(await screen(page)).join("\n").includes("first"), "nothing of it was typed");
    await page.locator(".now .xterm-screen").click();
    await paste("echo a\necho b\n");
    await dialog.getByRole("button", { name: "Paste as one line" }).click();
    await shows(page, "ready: echo a echo b");
    await page.keyboard.press("Enter");
    await shows(page, "\na echo b\n");
  },

  async "who only watches types nothing"() {
    await page.locator("#type").click();
    await until("the stream is open again", async () => (await page.locator("#type").getAttribute("aria-pressed")) === "false");
    await page.locator(".now .xterm-screen").click();
    const before = await screen(page);
    await page.keyboard.type("echo nobody\n");
    // Whatever would have been typed came before the mark of somebody else.
    daemon.ctl(["send", "shell", "echo some''body\\n"]);
    await shows(page, "\nsomebody\n");
    check(!(await screen(page)).join("\n").includes("echo nobody"), `typed after all: ${before}`);
    await page.locator("#type").click();
    await page.keyboard.type("echo a''gain\n");
    await shows(page, "\nagain\n");
  },

  async "the back end is changed by a form, while the console is watched"() {
    await page.getByRole("button", { name: "Change …" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Kind").selectOption("socket");
    await dialog.getByLabel("kind of address").selectOption("unix");
    await dialog.getByLabel("path", { exact: false }).fill("/nonexistent/dir/socket");
    await dialog.getByText("More options").click();
    await dialog.getByLabel("server", { exact: true }).selectOption("on");
    await dialog.getByText(`"path": "/nonexistent/dir/socket"`).waitFor();
    await shoot(page, "change");
    await dialog.locator("button.main").click();
    const refused = dialog.getByRole("alert").filter({ hasText: "/nonexistent/dir/socket" });
    await refused.waitFor();
    await dialog.getByLabel("path", { exact: false }).fill("new.sock");
    const wait = dialog.getByLabel("wait", { exact: true });
    await wait.selectOption("off");
    await dialog.locator("button.main").click();
    await dialog.waitFor({ state: "detached" });
    const { kind } = JSON.parse(daemon.ctl(["qmp", "x-query-chardev-stats", JSON.stringify({ id: "shell" })]))[0];
    same(kind, "socket", "its kind");
    await page.locator(".consolehead").getByText("new.sock").waitFor();
    await page.locator(".now .xterm-screen").click();
    await page.keyboard.type("echo still ''here\n");
    await shows(page, "\nstill here\n");
  },

  async "words are found in what was printed"() {
    learned = learnSizes();
    learned.catch(() => {});
    await page.keyboard.press("Control+Shift+F");
    await page.keyboard.type("still here");
    await page.locator(".find").getByText(/\d+ of \d+/).waitFor();
    await page.keyboard.press("Escape");
    await page.locator(".find").waitFor({ state: "hidden" });
  },

  async "links are opened apart, and only those to pages"() {
    await page.locator(".now .xterm-screen").click();
    await page.keyboard.type("clear; printf '\\033]8;;javascript:alert(1)\\033\\\\bad\\033]8;;\\033\\\\ %s\\n' " + new URL("/healthz", page.url()).href + "\n");
    await until("it is printed", async () => (await screen(page))[0].startsWith("bad http"));
    const box = await page.locator(".now .xterm-rows > div").first().boundingBox();
    const cell = await page.evaluate(() => Number(document.querySelector(".size")?.textContent?.split("×")[0]));
    const click = async (/** @type {number} */ column) => {
      const { x = 0, y = 0, width = 0, height = 0 } = box ?? {};
      await page.mouse.move(x + (width / cell) * (column - 0.5), y + height / 2);
      await page.mouse.move(x + (width / cell) * (column + 0.5), y + height / 2);
      await page.mouse.down();
      await page.mouse.up();
    };
    /** @type {string[]} */
    const opened = [];
    page.context().on("page", (other) => opened.push(other.url()));
    await click(1);
    const [other] = await Promise.all([page.context().waitForEvent("page"), click(12)]);
    await other.waitForURL(/\/healthz$/);
    same(await other.evaluate(() => window.opener), null, "its way back");
    await other.close();
    same(opened.length, 1, "pages that were opened");
  },

  async "what happens is listed, and a mark is on the time line"() {
    await page.getByRole("button", { name: "Mark", exact: true }).click();
    await page.getByLabel("Text of the mark").fill("here it was");
    await page.getByRole("dialog").getByRole("button", { name: "Mark" }).click();
    await page.locator(".marks .mark[title^='Mark “here it was” by ']").waitFor();
    await page.getByRole("button", { name: "Events" }).click();
    const row = page.getByRole("row").filter({ hasText: "here it was" });
    await row.getByText("shell").waitFor();
    await page.keyboard.press("Escape");
  },

  async "without xterm.js there is text"() {
    const other = await visitor();
    await other.route("**/xterm/*", (route) => route.fulfill({ status: 404 }));
    await other.goto(await daemon.link());
    await other.locator(".console").first().waitFor();
    await other.evaluate(() => { location.hash = "#/console/boot"; });
    await other.getByText("built without xterm.js").waitFor();
    await other.locator("pre.text").getByText("booted").waitFor();
    await other.context().close();
  },

  async "a size is learned, even if its event was missed"() {
    await (learned ?? learnSizes());
  },

  async "who logs out sees nothing any more, in no window"() {
    const other = await page.context().newPage();
    await other.goto(page.url());
    await other.locator(".now .xterm-screen").waitFor();
    await page.getByRole("button", { name: "Log out" }).click();
    for (const window of [page, other]) await window.getByLabel("Token").waitFor();
    same(await other.locator(".xterm").count(), 0, "terminals");
  },
});
