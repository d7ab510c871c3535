// Asks before something is pasted that would do more than type a line.

import { el, question } from "./dom.js";

const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const ALL_CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** @param {string} text */
export function isRisky(text) {
  return CONTROL.test(text);
}

/**
 * Control characters as their pictures; a line's end is one, and a line's end.
 * @param {string} text
 */
export function visible(text) {
  const picture = (/** @type {string} */ ch) => {
    const code = ch.charCodeAt(0);
    if (code === 0x7f) return "␡";
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : `<${code.toString(16)}>`;
  };
  const lines = text.replace(/\r\n?/g, "\n");
  return lines.replace(ALL_CONTROL, picture).replace(/\t/g, "␉\t").replace(/\n/g, "⏎\n");
}

/**
 * What of `text` somebody wants to paste; nothing if they do not.
 * @param {string} text
 */
export async function ask(text) {
  const lines = text.replace(/\r\n?/g, "\n").split("\n").length;
  const what = `${text.length} characters in ${lines} ${lines === 1 ? "line" : "lines"} would be typed:`;
  const shown = el("pre", { class: "paste", tabindex: "0", "aria-label": "What would be typed" }, visible(text));
  const answer = await question("Paste this?", [el("p", {}, what), shown], ["Paste", "Paste as one line"]);
  if (answer === undefined) return undefined;
  // What says that a paste ends would let the rest of it be typed.
  const whole = text.replaceAll("\x1b[201~", "");
  if (answer === "Paste") return whole;
  return whole.replace(/[\r\n]+/g, " ").replace(/\t/g, " ").replace(ALL_CONTROL, "").trimEnd();
}

/**
 * Guards the terminal in `host`.
 * @param {HTMLElement} host
 * @param {import("@xterm/xterm").Terminal} term
 */
export function guard(host, term) {
  host.addEventListener("paste", async (event) => {
    if (term.options.disableStdin) return;
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!isRisky(text)) return;
    event.preventDefault();
    event.stopPropagation();
    const wanted = await ask(text);
    if (wanted) term.paste(wanted);
    term.focus();
  }, { capture: true });
}
