// All consoles: their state, and what they show.

import { get } from "./api.js";
import { announce, el, number, say } from "./dom.js";
import { news } from "./news.js";
import { changed } from "./settings.js";
import { Thumbnail } from "./thumbnail.js";

/** @typedef {import("./api.js").Console} Console */

/** How often the list is asked for, in ms. */
const PAUSE = 2000;
/** How soon after something has happened. */
const SOON = 200;

/** @param {Console} console */
export function dropped({ drops = {} }) {
  return Object.values(drops).reduce((sum, count) => sum + count, 0);
}

/** @param {Console} console */
function whoIsOn({ attached = [] }) {
  return [...new Set(attached.map(({ by, own }) => (own ? "you" : by)))].join(", ");
}

/**
 * Whom one would take a console over from.
 * @param {Console} console
 */
export function others({ attached = [] }) {
  return attached.filter(({ own, mode }) => !own && mode !== "read-only").map(({ by }) => by);
}

/**
 * What is worth saying of a console, in a few words each.
 * @param {Console} console
 * @returns {[string, string][]} words and a class
 */
export function chips(console) {
  // One that could not be started has no chardev.
  if (console.kind === undefined) return [[console.state ?? "failed", "bad"]];
  /** @type {[string, string][]} */
  const all = [[console.connected ? "connected" : "not connected", console.connected ? "good" : "quiet"]];
  if (console.state && console.state !== "running") all.push([console.state, console.state === "failed" ? "bad" : "quiet"]);
  if (!console.open) all.push(["guest closed", "quiet"]);
  const on = whoIsOn(console);
  if (on) all.push([`on: ${on}`, "busy"]);
  if (console.viewers > 0) all.push([`${number(console.viewers)} watching`, "quiet"]);
  const drops = dropped(console);
  if (drops > 0) all.push([`${number(drops)} bytes dropped`, "bad"]);
  return all;
}

/** @param {[string, string][]} words */
export function chipList(words) {
  return words.map(([word, kind]) => el("li", { class: `chip ${kind}` }, word));
}

class Entry {
  /** @param {Console} console */
  constructor(console) {
    this.thumbnail = new Thumbnail(console.id);
    this.chips = el("ul", { class: "chips", "aria-label": "State" });
    this.description = el("p", { class: "description" });
    this.target = el("p", { class: "target" });
    this.shown = "";
    const link = el("a", { href: `#/console/${encodeURIComponent(console.id)}` }, console.id);
    this.element = el("li", { class: "card console" },
      el("h2", {}, link), this.description, this.thumbnail.canvas, this.target, this.chips);
    this.words = "";
  }

  /** @param {Console} console */
  update(console) {
    if (console.kind !== undefined) this.thumbnail.told(console.end);
    const words = chips(console);
    const target = [console.program?.command, console.target].filter(Boolean).join(" → ") || (console.reason ?? "");
    const shown = JSON.stringify([words, target, console.description]);
    if (shown === this.shown) return;
    this.shown = shown;
    this.words = [console.id, console.description, target, ...console.groups ?? [], ...words.flat()].join(" ").toLowerCase();
    say(this.description, console.description ?? "");
    say(this.target, target);
    this.chips.replaceChildren(...chipList(words));
  }
}

/**
 * Shows the list in `main`; returns what ends it.
 * @param {HTMLElement} main
 */
export function showList(main) {
  document.title = "Consoles";
  /** @type {Map<string, Entry>} */
  const entries = new Map();
  const filter = el("input", { type: "search", id: "filter", placeholder: "Name, group, state …", "aria-keyshortcuts": "/" });
  const count = el("p", { class: "hint", role: "status" });
  const list = el("ul", { class: "consoles", "aria-label": "Consoles" });
  main.replaceChildren(
    el("div", { class: "listhead" }, el("h1", {}, "Consoles"),
      el("label", { for: "filter" }, "Filter "), filter, count), list);
  const sight = new IntersectionObserver((all) => {
    for (const { target, isIntersecting } of all) {
      const entry = entries.get(/** @type {HTMLElement} */ (target).dataset.id ?? "");
      entry?.thumbnail.seen(isIntersecting);
    }
  }, { rootMargin: "100px" });
  const sift = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const entry of entries.values()) {
      const fits = words.every((word) => entry.words.includes(word));
      entry.element.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    const all = entries.size;
    say(count, shown === all ? `${number(all)} in all` : `${number(shown)} of ${number(all)}`);
  };
  const update = (/** @type {Console[]} */ consoles) => {
    const there = new Set(consoles.map(({ id }) => id));
    for (const [id, entry] of entries) {
      if (there.has(id)) continue;
      entry.element.remove();
      entries.delete(id);
    }
    for (const console of consoles) {
      let entry = entries.get(console.id);
      if (!entry) {
        entry = new Entry(console);
        entry.element.dataset.id = console.id;
        entries.set(console.id, entry);
        list.append(entry.element);
        sight.observe(entry.element);
      }
      entry.update(console);
    }
    sift();
  };
  return follow(update, filter, sift, () => {
    sight.disconnect();
  }, entries);
}

/**
 * Keeps the list as it is in the daemon.
 * @param {(consoles: Console[]) => void} update
 * @param {HTMLInputElement} filter
 * @param {() => void} sift
 * @param {() => void} end
 * @param {Map<string, Entry>} entries
 */
function follow(update, filter, sift, end, entries) {
  const stop = new AbortController();
  /** @type {number | undefined} */
  let timer;
  let isBusy = false;
  let isSoon = false;
  let wasLost = false;
  const look = async () => {
    clearTimeout(timer);
    isSoon = false;
    if (isBusy || stop.signal.aborted) return;
    isBusy = true;
    try {
      if (!document.hidden) update(await get("/consoles", stop.signal));
      wasLost = false;
    } catch (error) {
      if (!stop.signal.aborted && !wasLost) announce(error instanceof Error ? error.message : String(error));
      wasLost = true;
    }
    document.body.classList.toggle("lost", wasLost && !stop.signal.aborted);
    isBusy = false;
    clearTimeout(timer);
    if (!stop.signal.aborted) timer = setTimeout(look, PAUSE);
  };
  const { signal } = stop;
  filter.addEventListener("input", sift, { signal });
  news.addEventListener("news", () => {
    // Much may happen at a time.
    if (isBusy || isSoon) return;
    isSoon = true;
    clearTimeout(timer);
    timer = setTimeout(look, SOON);
  }, { signal });
  document.addEventListener("visibilitychange", look, { signal });
  changed.addEventListener("theme", () => {
    for (const entry of entries.values()) entry.thumbnail.redraw();
  }, { signal });
  look();
  return () => {
    stop.abort();
    clearTimeout(timer);
    document.body.classList.remove("lost");
    end();
  };
}
