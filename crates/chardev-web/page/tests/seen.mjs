// What a page has shown, counted byte by byte, and a page that sleeps.

import { check, ending } from "./rig.mjs";

/** @typedef {import("playwright-core").Page} Page */

/**
 * Counts in the page what its terminal is given, from now on.
 * @param {Page} page
 */
export function count(page) {
  return page.evaluate(() => {
    const seen = { first: -1, next: -1, wrong: /** @type {string[]} */ ([]), bytes: /** @type {Uint8Array[]} */ ([]), places: /** @type {number[]} */ ([]), gaps: /** @type {number[][]} */ ([]) };
    Object.assign(window, { seen });
    const place = /** @type {HTMLElement} */ (document.querySelector(".now"));
    place.addEventListener("output", (event) => {
      const { bytes, offset } = /** @type {CustomEvent} */ (event).detail;
      if (seen.next === -1) seen.first = offset;
      else if (offset !== seen.next) seen.wrong.push(`${offset} after ${seen.next}`);
      seen.next = offset + bytes.length;
      seen.bytes.push(bytes.slice());
      seen.places.push(offset);
    });
    place.addEventListener("gap", (event) => {
      const { from, to } = /** @type {CustomEvent} */ (event).detail;
      if (seen.next !== from) seen.wrong.push(`a gap from ${from} after ${seen.next}`);
      seen.next = to;
      seen.gaps.push([from, to]);
    });
  });
}

/**
 * Where that begins, how far it has come, and what was not in order.
 * @param {Page} page
 * @returns {Promise<{first: number, next: number, wrong: string[], gaps: number[][]}>}
 */
export function seen(page) {
  return page.evaluate(() => {
    const { first, next, wrong, gaps } = /** @type {any} */ (window).seen;
    return { first, next, wrong, gaps };
  });
}

/**
 * The length and the digest of what the terminal was given.
 * @param {Page} page
 */
export function digest(page) {
  return page.evaluate(async () => {
    const all = await new Blob(/** @type {any} */ (window).seen.bytes).arrayBuffer();
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", all));
    return { length: all.byteLength, digest: [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("") };
  });
}

/**
 * Has the page sleep, as one does that a phone has put away; returns what wakes it. A page that is
 * to be seen ignores Chromium's own way, Page.setWebLifecycleState, and no page here is hidden.
 * @param {Page} page
 */
export async function sleep(page) {
  const session = await page.context().browser()?.newBrowserCDPSession();
  const { processInfo = [] } = await session?.send("SystemInfo.getProcessInfo") ?? {};
  const pages = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
  check(pages.length > 0, "there is a process of the page");
  for (const id of pages) process.kill(id, "SIGSTOP");
  let isAsleep = true;
  const wake = () => {
    if (isAsleep) for (const id of pages) process.kill(id, "SIGCONT");
    isAsleep = false;
  };
  // A browser with a page that is asleep does not end.
  ending(wake);
  return wake;
}
