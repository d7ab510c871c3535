// A row of keys that a phone's keyboard lacks.

import { button, el } from "./dom.js";

/** @type {[string, string, string][]} words, a name, and what is sent */
const KEYS = [
  ["Esc", "Escape", "\x1b"],
  ["Tab", "Tab", "\t"],
  ["←", "Left", "\x1b[D"],
  ["↑", "Up", "\x1b[A"],
  ["↓", "Down", "\x1b[B"],
  ["→", "Right", "\x1b[C"],
  ["Home", "Home", "\x1b[H"],
  ["End", "End", "\x1b[F"],
  ["PgUp", "Page up", "\x1b[5~"],
  ["PgDn", "Page down", "\x1b[6~"],
];

/**
 * The byte that Ctrl makes of a character.
 * @param {string} text
 */
export function control(text) {
  const code = text.toUpperCase().charCodeAt(0);
  return code >= 0x3f && code <= 0x5f ? String.fromCharCode(code === 0x3f ? 0x7f : code & 0x1f) : text;
}

/**
 * @param {import("@xterm/xterm").Terminal} term
 * @param {(text: string) => void} type
 */
export function keyRow(term, type) {
  let isHeld = false;
  const hold = (/** @type {boolean} */ held) => {
    isHeld = held;
    ctrl.setAttribute("aria-pressed", String(held));
  };
  const ctrl = button("Ctrl", () => {
    hold(!isHeld);
    term.focus();
  }, { "aria-pressed": "false" });
  const press = (/** @type {string} */ keys) => () => {
    const isCursor = /^\x1b\[[A-DHF]$/.test(keys);
    type(isCursor && term.modes.applicationCursorKeysMode ? keys.replace("[", "O") : keys);
    term.focus();
  };
  const keys = KEYS.map(([words, name, sent]) => button(words, press(sent), { "aria-label": name }));
  keys.splice(2, 0, ctrl);
  // A touch must not take the focus, with which the phone's keyboard would go.
  for (const key of keys) key.addEventListener("pointerdown", (event) => event.preventDefault());
  const element = el("div", { class: "keys", role: "toolbar", "aria-label": "Keys" }, ...keys);
  return {
    element,
    /** @param {Uint8Array} bytes */
    filter(bytes) {
      if (!isHeld || bytes.length !== 1) return bytes;
      hold(false);
      return new TextEncoder().encode(control(String.fromCharCode(bytes[0])));
    },
  };
}
