// What happens to the consoles, as the daemon tells it.

import { BASE } from "./api.js";
import { dialog, el, moment } from "./dom.js";

/** @typedef {{name: string, time: number, data: Record<string, any>}} News */

const MOST = 200;
/** @type {News[]} */
const kept = [];
/** Every piece of news is an event `news` here. */
export const news = new EventTarget();

const WORDS = /** @type {Record<string, string>} */ ({
  X_CHARDEV_CHANGED: "has another back end",
  X_CHARDEV_CONNECTED: "has a peer",
  X_CHARDEV_DISCONNECTED: "has lost its peer",
  X_CHARDEV_DETACHED: "somebody was detached",
  X_CHARDEV_DRAINED: "the old back end has taken all",
  X_CHARDEV_DROPPED: "output was dropped",
  X_CHARDEV_MARKED: "was marked",
  X_CHARDEV_RESIZED: "has another size",
  X_CHARDEV_LOG_HOLE: "the log has a hole",
  X_CHARDEV_EVENTS_LOST: "events were lost",
  VSERPORT_CHANGE: "the guest has opened or closed the port",
});

/** @param {News} one */
function row(one) {
  const { id = one.data?.chardev ?? "", ...rest } = one.data ?? {};
  const more = Object.entries(rest).map(([name, value]) =>
    `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`);
  return el("tr", {},
    el("td", {}, moment(one.time)), el("td", {}, id),
    el("td", {}, WORDS[one.name] ?? one.name, el("small", {}, ` ${more.join(", ")}`)));
}

/** Listens, and goes on listening: the browser connects again by itself. */
export function startNews() {
  const source = new EventSource(`${BASE}/events`);
  for (const name of Object.keys(WORDS)) {
    source.addEventListener(name, ({ data }) => {
      const one = { name, time: Date.now() / 1000, data: JSON.parse(data) };
      kept.unshift(one);
      kept.length = Math.min(kept.length, MOST);
      news.dispatchEvent(new CustomEvent("news", { detail: one }));
    });
  }
}

export function showNews() {
  const body = el("tbody", {}, ...kept.map(row));
  const none = el("p", { class: "hint" }, "Nothing has happened since this page was opened.");
  none.hidden = kept.length > 0;
  const add = (/** @type {any} */ { detail }) => {
    none.hidden = true;
    body.prepend(row(detail));
  };
  news.addEventListener("news", add);
  const head = el("tr", {}, ...["Time", "Console", "What"].map((word) => el("th", { scope: "col" }, word)));
  const table = el("table", { class: "events" }, el("thead", {}, head), body);
  dialog("Events", [none, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Events" }, table)],
    { wide: true, onclose: () => news.removeEventListener("news", add) });
}
