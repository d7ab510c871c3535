// Searching in a terminal.

import { button, el, say } from "./dom.js";
import { palette } from "./colors.js";

/** @param {() => import("./emulator.js").Emulator | undefined} current */
export function findBar(current) {
  const field = el("input", { type: "search", id: "find", "aria-label": "Search in the terminal", placeholder: "Search" });
  const count = el("span", { class: "hint", role: "status" });
  /** @type {WeakSet<import("./emulator.js").Emulator>} */
  const heard = new WeakSet();
  const find = (/** @type {boolean} */ back, incremental = false) => {
    const emulator = current();
    if (!emulator) return;
    if (!heard.has(emulator)) {
      heard.add(emulator);
      emulator.search.onDidChangeResults(({ resultIndex, resultCount }) => {
        const place = resultIndex >= 0 ? `${resultIndex + 1} of ${resultCount}` : `${resultCount} found`;
        say(count, field.value === "" ? "" : place);
      });
    }
    if (field.value === "") {
      emulator.search.clearDecorations();
      return say(count, "");
    }
    const colors = palette();
    const decorations = {
      matchBackground: colors.selectionBackground,
      activeMatchBackground: "#b8860b",
      matchOverviewRuler: colors.selectionBackground,
      activeMatchColorOverviewRuler: "#b8860b",
    };
    emulator.search[back ? "findPrevious" : "findNext"](field.value, { decorations, incremental });
  };
  const close = () => {
    element.hidden = true;
    current()?.search.clearDecorations();
    current()?.term.focus();
  };
  field.addEventListener("input", () => find(true));
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") find(!event.shiftKey);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  const element = el("div", { class: "find", role: "search" }, field,
    button("Up", () => find(true), { "aria-label": "Search upwards" }),
    button("Down", () => find(false), { "aria-label": "Search downwards" }),
    count, button("Close", close, { "aria-label": "Close the search" }));
  element.hidden = true;
  return {
    element,
    open() {
      element.hidden = false;
      field.focus();
      field.select();
    },
  };
}
