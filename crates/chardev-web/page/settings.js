// What somebody has chosen, kept by the browser; and the help.

import { button, byId, dialog, el } from "./dom.js";

/** @typedef {"theme" | "readOnly" | "fit" | "screenReader" | "singleKeys" | "fontSize"} Name */

export const changed = new EventTarget();

/**
 * @param {Name} name
 * @param {string} usual
 */
export function setting(name, usual) {
  try {
    return localStorage.getItem(`chardev.${name}`) ?? usual;
  } catch {
    return usual;
  }
}

/**
 * @param {Name} name
 * @param {string} value
 */
export function set(name, value) {
  try {
    localStorage.setItem(`chardev.${name}`, value);
  } catch {
    // A browser that keeps nothing forgets it with the page.
  }
  changed.dispatchEvent(new Event(name));
}

const wantsLight = matchMedia("(prefers-color-scheme: light)");

/** The colours in use. */
export function theme() {
  const chosen = setting("theme", "");
  if (chosen === "dark" || chosen === "light") return chosen;
  return wantsLight.matches ? "light" : "dark";
}

function dress() {
  const now = theme();
  document.documentElement.dataset.theme = now;
  byId("theme").textContent = now === "dark" ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", now === "dark" ? "Light colours" : "Dark colours");
}

export function startTheme() {
  dress();
  wantsLight.addEventListener("change", () => changed.dispatchEvent(new Event("theme")));
  changed.addEventListener("theme", dress);
  byId("theme").addEventListener("click", () => {
    set("theme", theme() === "dark" ? "light" : "dark");
  });
}

/** What can be done by keys alone; the tests walk through it. */
const KEYS = [
  ["Tab, Shift+Tab", "from one thing to the next"],
  ["Enter", "go into the terminal, from the frame around it"],
  ["Ctrl+]", "leave the terminal for the buttons above it; there, send Ctrl+] to the console"],
  ["Ctrl+Shift+F", "search in the terminal"],
  ["Ctrl+Shift+C, Ctrl+Shift+V", "copy and paste in the terminal"],
  ["Shift+PageUp, Shift+PageDown", "scroll the terminal"],
  ["← → PageUp PageDown Home End", "on the time line: wind back and on; End is live"],
  ["p, n", "on the time line: the previous and the next mark, change or gap"],
  ["Space", "on the time line: play, or pause"],
  ["/", "filter the list, or search in the terminal"],
  ["t", "type in the terminal"],
  ["?", "this help"],
  ["Esc", "close a dialog"],
];

/**
 * @param {Name} name
 * @param {string} words
 * @param {string} usual
 */
function toggle(name, words, usual) {
  const box = el("input", { type: "checkbox", id: `set-${name}` });
  box.checked = setting(name, usual) === "on";
  box.addEventListener("change", () => set(name, box.checked ? "on" : "off"));
  return el("p", { class: "toggle" }, box, el("label", { for: box.id }, words));
}

/** @param {string} version */
export function showHelp(version) {
  if (document.querySelector("dialog")) return;
  const rows = KEYS.map(([keys, what]) => el("tr", {}, el("th", { scope: "row" }, el("kbd", {}, keys)), el("td", {}, what)));
  const size = Number(setting("fontSize", "14"));
  const grow = (/** @type {number} */ by) => () => {
    const next = Math.min(32, Math.max(8, Number(setting("fontSize", "14")) + by));
    set("fontSize", String(next));
    shown.textContent = `${next} px`;
  };
  const shown = el("output", {}, `${size} px`);
  dialog("Help", [
    el("table", { class: "shortcuts" }, el("tbody", {}, ...rows)),
    el("h3", {}, "Settings"),
    toggle("screenReader", "Read the terminal to a screen reader", "off"),
    toggle("singleKeys", "Single keys (/, t, ?) are shortcuts outside of fields", "on"),
    el("p", { class: "toggle" }, "Size of the terminal's letters: ", button("Smaller", grow(-1)), shown, button("Larger", grow(1))),
    el("p", { class: "hint" }, version),
  ]);
}
