// What the tests of the page share: a daemon, a browser, and waiting for things.

import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

/** @type {(() => unknown)[]} */
const endings = [];

/**
 * What is to be done at the end, the last thing first.
 * @param {() => unknown} end
 */
export function ending(end) {
  endings.push(end);
}

/** How long anything may take, in ms; only a hang reaches it. */
export const LIMIT = 60_000;

const { CHARDEVD = "chardevd", CHARDEVCTL = "chardevctl", CHROMIUM = "/usr/bin/chromium", SHOTS } = process.env;

/**
 * @param {boolean} condition
 * @param {string} words
 */
export function check(condition, words) {
  if (!condition) throw new Error(words);
}

/**
 * @param {unknown} is
 * @param {unknown} wanted
 * @param {string} words
 */
export function same(is, wanted, words) {
  const [a, b] = [is, wanted].map((it) => JSON.stringify(it, null, 1));
  check(a === b, `${words}: ${a} instead of ${b}`);
}

/**
 * Waits until `condition` gives something, and returns that.
 * @template T
 * @param {string} what
 * @param {() => T | Promise<T>} condition
 * @param {number} [limit]
 * @returns {Promise<NonNullable<T>>}
 */
export async function until(what, condition, limit = LIMIT) {
  const end = Date.now() + limit;
  for (;;) {
    const is = await condition();
    if (is) return is;
    if (Date.now() > end) throw new Error(`not within ${limit} ms: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

/** A chardevd with this configuration, which has `[web]` already. */
export class Daemon {
  /**
   * @param {string} consoles
   * @param {{hosts?: string[], roles?: string[]}} [options]
   */
  constructor(consoles, { hosts = [], roles = [] } = {}) {
    this.dir = mkdtempSync(join(tmpdir(), "chardev-page-"));
    const monitors = ["", ...roles].map((role) => {
      const path = join(this.dir, `qmp${role && `-${role}`}`);
      const line = role && `role = "${role}"\n`;
      return `[[monitor]]\nlisten = "unix:${path},x-clients=0,server=on,wait=off"\n${line}`;
    });
    const web = `[web]\nlisten = "127.0.0.1:0"\nhosts = ${JSON.stringify(["127.0.0.1", ...hosts])}\n`;
    writeFileSync(join(this.dir, "consoles.toml"), web + monitors.join("") + consoles.replaceAll("DIR", this.dir));
    this.child = spawn(CHARDEVD, ["--config", "consoles.toml"], { cwd: this.dir, stdio: ["ignore", "ignore", "pipe"] });
    this.said = "";
    this.child.stderr.on("data", (text) => { this.said += text; });
    endings.push(() => {
      this.child.kill("SIGKILL");
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  /**
   * @param {string[]} words
   * @param {string} [role]
   */
  ctl(words, role = "") {
    const socket = join(this.dir, `qmp${role && `-${role}`}`);
    return execFileSync(CHARDEVCTL, words, { env: { ...process.env, CHARDEVD_SOCKET: socket }, stdio: ["ignore", "pipe", "pipe"] }).toString();
  }

  /** @param {string} [role] */
  link(role) {
    return until(`chardevctl web (${this.said})`, () => {
      try {
        return this.ctl(["web", "--print"], role).trim();
      } catch {
        return "";
      }
    });
  }

  /**
   * Where the output of a console ends.
   * @param {string} id
   * @returns {number}
   */
  end(id) {
    return JSON.parse(this.ctl(["qmp", "x-query-chardev-stats", JSON.stringify({ id })]))[0]["output-offset"];
  }

  /**
   * The digest of a file of the daemon's.
   * @param {string} name
   * @param {number} [from]
   */
  digest(name, from = 0) {
    const bytes = readFileSync(join(this.dir, name)).subarray(from);
    return { length: bytes.length, digest: createHash("sha256").update(bytes).digest("hex") };
  }
}

/** @type {Promise<import("playwright-core").Browser> | undefined} */
let browser;

/**
 * Somebody at a browser of their own. What the browser complains about fails the test.
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
export async function visitor(options = {}) {
  browser ??= chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] }).then((started) => {
    endings.push(() => started.close());
    return started;
  });
  const context = await (await browser).newContext({
    viewport: { width: 1100, height: 760 }, permissions: ["clipboard-read", "clipboard-write"], ...options,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  page.on("pageerror", (error) => fail(error));
  page.on("console", (message) => {
    // That a request is refused, or a connection lost, is what some tests are about.
    const isExpected = /Failed to load resource|WebSocket connection|net::ERR_/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !isExpected) fail(new Error(`the browser says: ${message.text()}`));
  });
  return page;
}

/**
 * @param {import("playwright-core").Page} page
 * @param {string} id
 */
export async function openConsole(page, id) {
  await page.evaluate((to) => { location.hash = to; }, `#/console/${id}`);
  await page.locator(".now .xterm-screen").waitFor();
  await until(`the stream of ${id} is open`, () => page.locator(".strip[data-state=open]").count());
}

/**
 * What the terminal shows, as text.
 * @param {import("playwright-core").Page} page
 * @param {string} [which]
 */
export function screen(page, which = ".now") {
  return page.locator(`${which} .xterm-rows > div`).allInnerTexts().then((rows) => rows.map((row) => row.replaceAll(" ", " ").trimEnd()));
}

/**
 * @param {import("playwright-core").Page} page
 * @param {string} words
 * @param {string} [which]
 */
export function shows(page, words, which = ".now") {
  return until(`the terminal shows ${JSON.stringify(words)}`, async () => (await screen(page, which)).join("\n").includes(words));
}

/**
 * Keeps a picture, where somebody wants to look at them.
 * @param {import("playwright-core").Page} page
 * @param {string} name
 */
export async function shoot(page, name) {
  if (SHOTS) await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}

/** @type {(error: Error) => void} */
let fail = () => {};

/**
 * Runs what are to hold, one after the other, and ends the process.
 * @param {Record<string, () => Promise<void>>} tests
 * @param {{areApart?: boolean}} [options] whether each has its own visitors, who leave with it
 */
export async function run(tests, { areApart = false } = {}) {
  let failures = 0;
  const wanted = process.argv[2] ?? "";
  for (const [name, test] of Object.entries(tests)) {
    if (!name.includes(wanted)) continue;
    const began = Date.now();
    const failed = new Promise((_, reject) => { fail = reject; });
    failed.catch(() => {});
    try {
      await Promise.race([test(), failed]);
      console.log(`ok     ${name} (${Date.now() - began} ms)`);
    } catch (error) {
      failures += 1;
      console.log(`FAILED ${name}: ${error instanceof Error ? error.stack : error}`);
    }
    fail = () => {};
    if (areApart) for (const context of (await browser)?.contexts() ?? []) await context.close();
  }
  for (const end of endings.reverse()) await end();
  process.exit(failures > 0 ? 1 : 0);
}
