// The consoles of all hosts of a fleet, and the way to each.

import { get, post } from "./api.js";
import { announce, attempt, button, el, moment, number, say } from "./dom.js";
import { chipList } from "./list.js";

/**
 * @typedef {{host: string, console: string, "back-end": string, "front-end"?: string,
 *   connected: boolean, since: number}} Entry
 * @typedef {{host: string, hosts: number, consoles: number, found: number, list: Entry[]}} Fleet
 */

/** How often it is asked for, and how soon after something was typed, in ms. */
const PAUSE = 3000;
const SOON = 250;

/**
 * Goes to a console: to its place on this page, or to its own host's page, which lets in whoever is
 * logged in here.
 * @param {Entry} entry
 * @param {string} own this host
 */
async function open({ host, console: id }, own) {
  const place = `/console/${encodeURIComponent(id)}`;
  if (host === own) {
    location.hash = place;
    return;
  }
  const { url } = await post(`/fleet/${encodeURIComponent(host)}/page`);
  // What another host says is not to be trusted with more than a place to go to.
  if (!/^https?:$/.test(new URL(url).protocol)) throw new Error(`${host} has sent no link`);
  location.assign(url + place);
}

/**
 * @param {Entry} entry
 * @param {string} own
 */
function card(entry, own) {
  const { connected, since } = entry;
  const name = `${entry.host}/${entry.console}`;
  const link = button(name, () => attempt(() => open(entry, own)), { class: "plain" });
  const target = [entry["front-end"], entry["back-end"]].filter(Boolean).join(" → ");
  const state = connected ? "connected" : "not connected";
  const chips = chipList([[state, connected ? "good" : "quiet"]]);
  return el("li", { class: "card" }, el("h2", {}, link), el("p", { class: "target" }, target),
    el("ul", { class: "chips", "aria-label": "State" }, ...chips),
    el("p", { class: "hint" }, `since ${moment(since)}`));
}

/**
 * Shows them in `main`; returns what ends it.
 * @param {HTMLElement} main
 */
export function showFleet(main) {
  document.title = "Fleet";
  const filter = el("input", { type: "search", id: "filter", placeholder: "Host, console, back end …", "aria-keyshortcuts": "/" });
  const count = el("p", { class: "hint", role: "status" });
  const list = el("ul", { class: "consoles", "aria-label": "Consoles of the fleet" });
  main.replaceChildren(
    el("div", { class: "listhead" }, el("h1", {}, "Fleet"),
      el("label", { for: "filter" }, "Filter "), filter, count), list);
  const stop = new AbortController();
  const { signal } = stop;
  /** @type {number | undefined} */
  let timer;
  let shown = "";
  let asked = 0;
  let told = "";
  const look = async () => {
    const mine = ++asked;
    clearTimeout(timer);
    try {
      const words = new URLSearchParams({ filter: filter.value });
      /** @type {Fleet} */
      const fleet = await get(`/fleet?${words}`, signal);
      if (mine !== asked) return;
      told = "";
      const text = JSON.stringify(fleet.list);
      // Who has the focus on one keeps it while nothing changes.
      if (text !== shown) list.replaceChildren(...fleet.list.map((entry) => card(entry, fleet.host)));
      shown = text;
      const those = fleet.found === fleet.list.length ? "" : `the first ${number(fleet.list.length)} of `;
      say(count, `${those}${number(fleet.found)} of ${number(fleet.consoles)} consoles, on ${number(fleet.hosts)} hosts that are up`);
    } catch (error) {
      if (signal.aborted || mine !== asked) return;
      const words = error instanceof Error ? error.message : String(error);
      if (words !== told) announce(words);
      told = words;
      say(count, words);
    }
    document.body.classList.toggle("lost", told !== "");
    timer = setTimeout(look, PAUSE);
  };
  filter.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, SOON);
  }, { signal });
  look();
  return () => {
    stop.abort();
    asked += 1;
    clearTimeout(timer);
    document.body.classList.remove("lost");
  };
}
