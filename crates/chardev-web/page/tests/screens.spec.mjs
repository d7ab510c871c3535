// The page's terminal shows what `chardevctl attach` shows, for programs that use all of a screen.

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Daemon, ending, openConsole, run, same, screen, shoot, until, visitor } from "./rig.mjs";

const [COLS, ROWS] = [100, 30];
const program = (/** @type {string} */ name, /** @type {string} */ command) => `
[console.${name}]
exec = ["sh", "-c", "cd DIR; stty rows ${ROWS} cols ${COLS}; export TERM=xterm-256color LC_ALL=C.UTF-8; ${command}"]
`;
const daemon = new Daemon([
  program("vim", "exec vim -u NONE -N -n --cmd 'set number hlsearch' text"),
  program("less", "exec less -R colors"),
  program("top", "exec top -d 100000"),
  program("htop", "HOME=DIR exec htop -d 15"),
  program("boot", "read line; cat boot; exec cat"),
].join(""));
const lines = (/** @type {number} */ count, /** @type {(at: number) => string} */ line) =>
  Array.from({ length: count }, (_, at) => line(at)).join("\n");
writeFileSync(join(daemon.dir, "text"), lines(90, (at) => `line ${at} – Überall ein 漢字 and\ta tab ${"x".repeat(at)}`));
writeFileSync(join(daemon.dir, "colors"), lines(90, (at) => `\x1b[3${at % 8};1mline ${at}\x1b[0m \x1b[48;5;${at}m ${at} \x1b[0m \x1b[38;2;${at * 2};99;200mtrue\x1b[m`));
writeFileSync(join(daemon.dir, "boot"), lines(200, (at) => `[${(at / 7).toFixed(6).padStart(12)}] ${at % 9 ? `usb 1-${at}: new device` : "\x1b[32mOK\x1b[0m  Started unit"}`) + "\n");

const socket = join(daemon.dir, "tmux");
const tmux = (/** @type {string[]} */ ...words) =>
  execFileSync("tmux", ["-S", socket, ...words], { env: { ...process.env, TMUX: undefined, LC_ALL: "C.UTF-8" } }).toString();
ending(() => tmux("kill-server"));
const attached = (/** @type {string} */ id) => {
  const command = `CHARDEVD_SOCKET=${join(daemon.dir, "qmp")} exec ${process.env.CHARDEVCTL ?? "chardevctl"} attach --share ${id}`;
  tmux("-f", "/dev/null", "new-session", "-d", "-s", id, "-x", String(COLS), "-y", String(ROWS), command);
  tmux("set-option", "-g", "status", "off");
  return () => tmux("capture-pane", "-p", "-t", id).split("\n").slice(0, ROWS).map((row) => row.trimEnd());
};

/** @type {import("playwright-core").Page} */
let page;

/**
 * Both show the same, and `words`.
 * @param {() => string[]} other
 * @param {string} words
 */
async function compare(other, words) {
  let [here, there] = [[""], [""]];
  const isSame = async () => {
    [here, there] = [await screen(page), other()];
    return here.join("\n").includes(words) && JSON.stringify(here) === JSON.stringify(there);
  };
  try {
    await until(`both show ${words}`, isSame);
  } catch (error) {
    same(here, there, `${error}; the page's terminal`);
  }
}

/** @param {string} id */
async function open(id) {
  await until("the daemon answers", () => daemon.link());
  if (!page) {
    page = await visitor({ viewport: { width: 1300, height: 900 } });
    // The size is the other terminal's.
    await page.addInitScript(() => localStorage.setItem("chardev.fit", "off"));
    await page.goto(await daemon.link());
    await page.locator(".console").first().waitFor();
  }
  const other = attached(id);
  // What is drawn for another size is drawn so for good.
  await until("the console has the size of the other terminal", () => {
    const { size } = JSON.parse(daemon.ctl(["qmp", "x-query-chardev-stats", JSON.stringify({ id })]))[0];
    return size?.cols === COLS && size.rows === ROWS;
  });
  await openConsole(page, id);
  return other;
}

await run({
  async "vim: text, wide characters, a search, a split, and insertion"() {
    const other = await open("vim");
    await compare(other, "line 3 – Überall ein 漢字");
    await page.keyboard.type("/line 4\n:split\n\x17jGOinserted here");
    await page.keyboard.press("Escape");
    await compare(other, "inserted here");
    await shoot(page, "vim");
  },

  async "less: colours, pages, and going back"() {
    const other = await open("less");
    await compare(other, "line 5");
    await page.keyboard.type("fff");
    await page.keyboard.type("b/line 88\n");
    await compare(other, "line 88");
    await shoot(page, "less");
  },

  async "top: a table that is drawn over itself"() {
    const other = await open("top");
    await compare(other, "PID USER");
    await page.keyboard.type("M");
    await compare(other, "PID USER");
  },

  async "htop: bars, a tree, and a page of settings"() {
    const other = await open("htop");
    await compare(other, "PID");
    await page.keyboard.press("F5");
    await compare(other, "─ ");
    await shoot(page, "htop");
    await page.keyboard.press("F2");
    await compare(other, "Meters");
    await page.keyboard.press("Escape");
    await compare(other, "PID");
  },

  async "a boot log that scrolls by, and what was above it"() {
    const other = await open("boot");
    await page.keyboard.type("\n");
    await compare(other, "usb 1-199: new device");
    const above = await page.evaluate(() => document.querySelector(".now .xterm-screen") !== null);
    same(above, true, "it is there");
    // Who comes later sees the same, and what has scrolled out of it.
    await page.reload();
    await openConsole(page, "boot");
    await compare(other, "usb 1-199: new device");
    await page.keyboard.press("Control+Shift+F");
    await page.keyboard.type("usb 1-1: new");
    await page.locator(".find").getByText("1 of 1").waitFor();
    same(readFileSync(join(daemon.dir, "boot"), "utf8").split("\n").length, 201, "lines of the log");
  },
});
