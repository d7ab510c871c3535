// How it looks, for whom: dark, light, on a phone, by keys alone, and to a screen reader.

import { AxeBuilder } from "@axe-core/playwright";
import { Daemon, check, openConsole, run, same, shoot, shows, until, visitor } from "./rig.mjs";

const daemon = new Daemon(`
[console.shell]
exec = ["sh", "-c", "PS1='ready: ' TERM=xterm-256color exec sh"]
description = "A shell to try things in"
groups = ["lab"]
[console.boot]
exec = ["sh", "-c", "seq -f '[%5g.000000] device is ready' 90; exec cat"]
description = "A board that has booted"
[console.top]
exec = ["sh", "-c", "TERM=xterm-256color exec top -d 100000"]
`);

/**
 * @param {import("playwright-core").Page} page
 * @param {string} what
 */
async function inspect(page, what) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const bad = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  same(bad.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`), [], `findings of axe in ${what}`);
  const others = violations.map(({ id, impact }) => `${id} (${impact})`);
  if (others.length > 0) console.log(`note   ${what}: ${others.join(", ")}`);
}

/** @param {import("playwright-core").BrowserContextOptions} options */
async function visit(options) {
  const page = await visitor(options);
  await page.goto(await daemon.link());
  await until("the list is there", async () => await page.locator(".console").count() === 3);
  return page;
}

/**
 * @param {import("playwright-core").Page} page
 * @param {string} name
 */
async function tour(page, name) {
  await until("the first picture is drawn", () => page.evaluate(() => document.querySelector("canvas")?.width !== 300));
  await inspect(page, `${name}: the list`);
  await shoot(page, `${name}-list`);
  await openConsole(page, "shell");
  await page.locator(".now .xterm-screen").click();
  await page.keyboard.type("ls --color=always -d /??? ; printf '\\033[1;31mred \\033[38;2;255;140;0mtrue\\033[m\\n'\n");
  await shows(page, "\nred true");
  await inspect(page, `${name}: a console`);
  await shoot(page, `${name}-console`);
  check(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} fits its width`);
}

await run({
  async "dark"() {
    const page = await visit({ colorScheme: "dark" });
    await tour(page, "dark");
    await page.getByRole("button", { name: "Change …" }).click();
    await page.getByRole("dialog").getByLabel("Kind").selectOption("socket");
    await inspect(page, "the dialog for a change");
    await shoot(page, "dark-change");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Light colours" }).click();
    await until("it is light", () => page.locator(":root[data-theme=light]").count());
    await page.reload();
    same(await page.locator("html").getAttribute("data-theme"), "light", "what was chosen is kept");
  },

  async "light"() {
    await tour(await visit({ colorScheme: "light" }), "light");
  },

  async "a phone, with keys that its keyboard lacks"() {
    const phone = { viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
    const page = await visit({ ...phone, colorScheme: "dark" });
    await tour(page, "phone");
    await page.locator(".now .xterm-screen").tap();
    await page.keyboard.type("cat\n");
    await page.keyboard.type("half");
    await shows(page, "\nhalf");
    await page.getByRole("button", { name: "Ctrl" }).tap();
    await page.keyboard.type("c");
    await page.keyboard.type("echo e''nded\n");
    await shows(page, "\nended\n");
    await page.getByRole("button", { name: "Up", exact: true }).tap();
    await inspect(page, "a phone's keys");
    // The shell knows no such key, and the line is for whoever comes next.
    await page.keyboard.press("Control+C");
  },

  async "everything by keys alone"() {
    const page = await visit({});
    const { keyboard } = page;
    const focused = () => page.evaluate(() => {
      const { activeElement: it } = document;
      return it?.getAttribute("aria-label") ?? it?.textContent?.trim() ?? "";
    });
    const tabTo = async (/** @type {string} */ words) => {
      for (let presses = 0; presses < 40; presses += 1) {
        if ((await focused()) === words) return;
        await keyboard.press("Tab");
      }
      check(false, `${words} is not reached by Tab`);
    };
    await keyboard.press("Tab");
    same(await focused(), "Skip to the content", "the first stop");
    await tabTo("shell");
    await keyboard.press("Enter");
    await until("the terminal has the keys", async () => (await focused()) === "Terminal input");
    await keyboard.type("echo typed ''here\n");
    await shows(page, "\ntyped here\n");
    await keyboard.press("Control+]");
    same(await focused(), "Type", "where one is after the terminal");
    await keyboard.press("ArrowRight");
    same(await focused(), "Fit", "the next button");
    await tabTo("Terminal: Enter goes in, Ctrl+] comes out");
    await keyboard.press("Enter");
    await keyboard.type("echo and ''again\n");
    await shows(page, "\nand again\n");
    await keyboard.press("Control+]");
    await tabTo("Moment of the console");
    await keyboard.press("?");
    await page.getByRole("dialog", { name: "Help" }).waitFor();
    await inspect(page, "the help");
    await shoot(page, "help");
    await keyboard.press("Escape");
    same(await focused(), "Moment of the console", "where one is after the help");
    await keyboard.press("t");
    await until("typing is off", async () => (await page.locator("#type").getAttribute("aria-pressed")) === "false");
  },

  async "a screen reader is told what the terminal says, if somebody wants that"() {
    const page = await visit({});
    await page.getByRole("button", { name: "Help" }).click();
    await page.getByLabel("Read the terminal to a screen reader").check();
    await page.keyboard.press("Escape");
    await openConsole(page, "shell");
    await page.locator(".now .xterm-screen").click();
    await page.keyboard.type("echo to be ''read\n");
    await page.locator(".xterm-accessibility").getByText("to be read", { exact: true }).first().waitFor();
    await inspect(page, "a terminal that is read");
  },

  async "the first paint is soon, and the whole is small"() {
    const page = await visit({});
    // A machine with other work may be late, but not each time.
    const paint = await until("the first paint comes within 250 ms", async () => {
      await page.reload();
      await page.locator(".console").first().waitFor();
      const after = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
      return after <= 250 ? after : undefined;
    });
    console.log(`note   first paint after ${Math.round(paint)} ms`);
    await openConsole(page, "shell");
    const whole = await page.evaluate(() => {
      const all = /** @type {PerformanceResourceTiming[]} */ (performance.getEntriesByType("resource"));
      const files = all.filter(({ name }) => !name.includes("/api/"));
      return files.reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0);
    });
    console.log(`note   ${whole} bytes in all`);
    check(whole > 0 && whole <= 400 << 10, `${whole} bytes are more than 400 KiB`);
  },
}, { areApart: true });
