// Measures the page in a browser for `cargo xtask bench`: it is told what to do by a line of JSON
// each, and answers each with one.

import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

/**
 * @typedef {import("playwright-core").Page} Page
 * @typedef {{fcp: number, ready: number, bytes: number, requests: number}} Load
 */

const VIEWPORT = { width: 1100, height: 760 };
/** How long anything may take, in ms; only a hang reaches it. */
const LIMIT = 60_000;
/** How often the page tells what it has seen, in bytes. */
const STEP = 128 << 10;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"],
});
/** The page on which a console is open. @type {Page | undefined} */
let opened;
/** One with nothing but a WebSocket. @type {Page | undefined} */
let bare;

/**
 * Somebody who has followed a link, in a browser that knows nothing else.
 * @param {string} link
 */
async function logIn(link) {
  const context = await browser.newContext({ viewport: VIEWPORT });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  await page.goto(link);
  await page.locator(".console").first().waitFor();
  return page;
}

/**
 * Loads `url` in a browser that has nothing of it but the cookie.
 * @param {import("playwright-core").BrowserContextOptions["storageState"]} storageState
 * @param {string} url
 * @param {string} wanted what is there when it is complete
 * @returns {Promise<Load>}
 */
async function load(storageState, url, wanted) {
  const context = await browser.newContext({ viewport: VIEWPORT, storageState });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  const wire = await context.newCDPSession(page);
  let [bytes, requests] = [0, 0];
  wire.on("Network.loadingFinished", ({ encodedDataLength }) => {
    bytes += encodedDataLength;
    requests += 1;
  });
  await wire.send("Network.enable");
  await page.addInitScript((selector) => {
    const look = () => {
      if (!document.querySelector(selector)) return;
      sight.disconnect();
      requestAnimationFrame(() => { performance.mark("complete"); });
    };
    const sight = new MutationObserver(look);
    sight.observe(document, { subtree: true, childList: true, attributes: true });
  }, wanted);
  await page.goto(url);
  const at = await page.waitForFunction(() => {
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    const [complete] = performance.getEntriesByName("complete");
    return paint && complete && { fcp: paint.startTime, ready: complete.startTime };
  });
  // What was asked for by then is on its way still, the pictures of the list among it.
  await page.waitForLoadState("networkidle");
  const times = /** @type {{fcp: number, ready: number}} */ (await at.jsonValue());
  await context.close();
  return { ...times, bytes, requests };
}

/** Lets the page tell when keys were pressed, arrived as an echo, and were drawn. */
function watchKeys() {
  const rows = /** @type {HTMLElement} */ (document.querySelector(".now .xterm-rows"));
  const place = /** @type {HTMLElement} */ (document.querySelector(".now"));
  let [pressed, arrived] = [0, 0];
  document.addEventListener("keydown", (event) => { [pressed, arrived] = [event.timeStamp, 0]; }, { capture: true });
  place.addEventListener("output", () => { arrived ||= performance.now(); });
  // A message comes after the frame in which the terminal has drawn it.
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    const key = { arrived: arrived - pressed, drawn: performance.now() - pressed };
    /** @type {any} */ (window).shown?.(key);
  };
  new MutationObserver(() => { if (arrived) port2.postMessage(""); })
    .observe(rows, { subtree: true, childList: true, characterData: true, attributes: true });
}

/**
 * A page that sends each key over a WebSocket and counts what comes back, in the next frame, as a
 * terminal shows it: so keys follow each other as in the page, with the same rests between.
 * @param {number} port
 */
function watchFloor(port) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
  socket.binaryType = "arraybuffer";
  let [pressed, arrived, count] = [0, 0, 0];
  document.addEventListener("keydown", (event) => {
    pressed = event.timeStamp;
    socket.send(new Uint8Array(9));
  });
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    const key = { arrived: arrived - pressed, drawn: performance.now() - pressed };
    /** @type {any} */ (window).shown?.(key);
  };
  socket.onmessage = () => {
    arrived = performance.now();
    requestAnimationFrame(() => {
      count += 1;
      document.body.textContent = String(count);
      port2.postMessage("");
    });
  };
  return new Promise((resolve) => { socket.onopen = () => resolve(true); });
}

/**
 * Presses a key so many times, each after the one before was shown.
 * @param {Page | undefined} page
 * @param {number} keys
 */
async function press(page, keys) {
  if (!page) throw new Error("nothing is open");
  const all = [];
  for (let at = 0; at < keys; at += 1) {
    const shown = page.evaluate(() => new Promise((resolve) => { Object.assign(window, { shown: resolve }); }));
    // The page does one after the other, so it has begun to wait when it hears of the key.
    await page.keyboard.press("x");
    all.push(await shown);
  }
  return all;
}

/** @param {number} step */
function countOutput(step) {
  const place = /** @type {HTMLElement} */ (document.querySelector(".now"));
  let [first, told] = [-1, 0];
  place.addEventListener("output", (event) => {
    const { bytes, offset } = /** @type {CustomEvent} */ (event).detail;
    if (first < 0) first = offset;
    const seen = offset + bytes.length - first;
    if (seen - told < step) return;
    told = seen;
    /** @type {any} */ (window).tellSeen(seen);
  });
}

const tasks = {
  /**
   * Loads each of `pages` so many times, in turn.
   * @param {{link: string, loads: number, pages: {name: string, path: string, wanted: string}[]}} of
   */
  async paint({ link, loads, pages }) {
    const page = await logIn(link);
    const state = await page.context().storageState();
    await page.context().close();
    const { origin } = new URL(link);
    /** @type {Record<string, Load[]>} */
    const all = Object.fromEntries(pages.map(({ name }) => [name, []]));
    for (let at = 0; at < loads; at += 1) {
      // What ends takes time from what begins, so they come in one order and then in the other.
      const turned = at % 2 === 0 ? pages : [...pages].reverse();
      for (const { name, path, wanted } of turned) all[name].push(await load(state, origin + path, wanted));
    }
    return all;
  },

  /**
   * Opens a console; what its terminal is given is told as it comes.
   * @param {{link: string, id: string}} of
   */
  async open({ link, id }) {
    opened = await logIn(link);
    await opened.evaluate((to) => { location.hash = to; }, `#/console/${id}`);
    await opened.locator(".now .xterm-screen").waitFor();
    await opened.locator(".strip[data-state=open]").waitFor({ state: "attached" });
    // Keys go there from now on.
    await opened.locator(".now textarea:focus").waitFor({ state: "attached" });
    await opened.exposeFunction("tellSeen", (/** @type {number} */ seen) => say({ seen }));
    await opened.evaluate(countOutput, STEP);
    await opened.evaluate(watchKeys);
    return true;
  },

  /** @param {{keys: number}} of */
  press: ({ keys }) => press(opened, keys),

  /** @param {{port: number}} of */
  async floor({ port }) {
    bare = await (await browser.newContext()).newPage();
    return bare.evaluate(watchFloor, port);
  },

  /** @param {{keys: number}} of */
  pressFloor: ({ keys }) => press(bare, keys),

  async close() {
    await opened?.context().close();
    opened = undefined;
    return true;
  },
};

/** @param {any} value */
function say(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  if (asked === null) break;
  try {
    const task = tasks[/** @type {keyof typeof tasks} */ (asked.do)];
    say({ answer: await task(asked) });
  } catch (error) {
    say({ error: error instanceof Error ? error.message : String(error) });
  }
}
await browser.close();
process.exit(0);
