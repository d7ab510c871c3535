// A terminal: xterm.js, with what this page adds to it.

import { palette } from "./colors.js";
import { announce, el } from "./dom.js";
import { changed, setting } from "./settings.js";
import { allowTerminalStyles } from "./styles.js";

/**
 * @typedef {object} Hooks
 * @property {(bytes: Uint8Array) => void} [input] what is typed
 * @property {() => void} [leave] the keys are to go elsewhere
 * @property {() => void} [find] somebody wants to search
 */

const FONT = "'DejaVu Sans Mono', 'Liberation Mono', Menlo, Consolas, monospace";
const encoder = new TextEncoder();

/** The parts of xterm.js, which is loaded when the first terminal is wanted. */
export async function load() {
  const at = (/** @type {string} */ name) => import(`/xterm/${name}.js`);
  const style = el("link", { rel: "stylesheet", href: "/xterm/xterm.css" });
  const styled = new Promise((resolve) => { style.onload = style.onerror = resolve; });
  if (!document.querySelector("link[href^='/xterm/']")) {
    document.head.append(style);
    await styled;
  }
  const [xterm, fit, search, links] = await Promise.all(
    ["xterm", "addon-fit", "addon-search", "addon-web-links"].map(at));
  return {
    Terminal: /** @type {typeof import("@xterm/xterm").Terminal} */ (xterm.Terminal),
    FitAddon: /** @type {typeof import("@xterm/addon-fit").FitAddon} */ (fit.FitAddon),
    SearchAddon: /** @type {typeof import("@xterm/addon-search").SearchAddon} */ (search.SearchAddon),
    WebLinksAddon: /** @type {typeof import("@xterm/addon-web-links").WebLinksAddon} */ (links.WebLinksAddon),
  };
}

/** @param {string} uri */
function follow(uri) {
  const url = URL.parse(uri);
  if (url?.protocol === "http:" || url?.protocol === "https:") window.open(url, "_blank", "noopener,noreferrer");
}

export class Emulator {
  /**
   * @param {HTMLElement} host
   * @param {Awaited<ReturnType<typeof load>>} parts
   * @param {Hooks} [hooks]
   */
  constructor(host, parts, hooks = {}) {
    allowTerminalStyles();
    this.host = host;
    this.hooks = hooks;
    /** Whether what is written is new: questions in old output are not answered. */
    this.isLive = false;
    const open = { activate: (/** @type {MouseEvent} */ _, /** @type {string} */ uri) => follow(uri) };
    this.term = new parts.Terminal({
      allowProposedApi: true,
      cols: 80,
      rows: 24,
      cursorBlink: false,
      disableStdin: true,
      fontFamily: FONT,
      fontSize: Number(setting("fontSize", "14")),
      linkHandler: open,
      macOptionIsMeta: true,
      minimumContrastRatio: 4.5,
      screenReaderMode: setting("screenReader", "off") === "on",
      scrollback: 10_000,
      theme: palette(),
    });
    this.fitAddon = new parts.FitAddon();
    this.search = new parts.SearchAddon();
    this.term.loadAddon(this.fitAddon);
    this.term.loadAddon(this.search);
    this.term.loadAddon(new parts.WebLinksAddon((_, uri) => follow(uri)));
    this.term.open(host);
    this.beOneStop();
    this.term.onData((text) => hooks.input?.(encoder.encode(text)));
    this.term.onBinary((text) => hooks.input?.(Uint8Array.from(text, (ch) => ch.charCodeAt(0))));
    this.term.attachCustomKeyEventHandler((event) => this.key(event));
    this.beSilent();
    this.listeners = {
      theme: () => { this.term.options.theme = palette(); },
      screenReader: () => { this.term.options.screenReaderMode = setting("screenReader", "off") === "on"; },
      fontSize: () => { this.term.options.fontSize = Number(setting("fontSize", "14")); },
    };
    for (const [name, listen] of Object.entries(this.listeners)) changed.addEventListener(name, listen);
  }

  /** Tab goes past the terminal, which would keep it; Enter goes in. */
  beOneStop() {
    const { host, term } = this;
    if (term.textarea) term.textarea.tabIndex = -1;
    host.tabIndex = 0;
    host.setAttribute("role", "group");
    host.setAttribute("aria-label", "Terminal: Enter goes in, Ctrl+] comes out");
    host.addEventListener("keydown", (event) => {
      if (event.target !== host || event.key !== "Enter") return;
      event.preventDefault();
      term.focus();
    });
  }

  /** Keeps the terminal from answering what was asked long ago. */
  beSilent() {
    const { parser } = this.term;
    const isOld = () => !this.isLive;
    for (const final of ["n", "c", "t"]) parser.registerCsiHandler({ final }, isOld);
    for (const id of [
      { prefix: "?", final: "n" }, { prefix: ">", final: "c" }, { prefix: ">", final: "q" },
      { prefix: "=", final: "c" }, { intermediates: "$", final: "p" },
      { prefix: "?", intermediates: "$", final: "p" },
    ]) parser.registerCsiHandler(id, isOld);
    parser.registerDcsHandler({ intermediates: "$", final: "q" }, isOld);
    for (const id of [4, 10, 11, 12]) {
      parser.registerOscHandler(id, (data) => !this.isLive && data.includes("?"));
    }
  }

  /**
   * What is a key of this page, and not of the terminal.
   * @param {KeyboardEvent} event
   */
  key(event) {
    const isControl = event.ctrlKey && !event.altKey && !event.metaKey;
    if (!isControl) return true;
    const isDown = event.type === "keydown";
    if (!event.shiftKey && (event.key === "]" || event.code === "BracketRight")) {
      event.preventDefault();
      if (isDown) this.hooks.leave?.();
      return false;
    }
    if (!event.shiftKey) return true;
    switch (event.code) {
      case "KeyF":
        event.preventDefault();
        if (isDown) this.hooks.find?.();
        return false;
      case "KeyC":
        event.preventDefault();
        if (isDown) this.copy();
        return false;
      case "KeyV":
        // The browser pastes.
        return false;
      default:
        return true;
    }
  }

  async copy() {
    const text = this.term.getSelection();
    if (text === "") return announce("Nothing is selected in the terminal.");
    await navigator.clipboard.writeText(text);
    announce("Copied.");
  }

  /**
   * @param {Uint8Array | string} what
   * @param {boolean} isLive
   * @param {() => void} [done]
   */
  write(what, isLive, done) {
    // What is written is parsed later, so the word comes along in its order.
    this.term.write("", () => { this.isLive = isLive; });
    this.term.write(what, done);
  }

  /**
   * A line of this page's, among the output.
   * @param {string} words
   */
  notice(words) {
    this.write(`\x1b[m\r\n\x1b[7m ${words} \x1b[m\r\n`, false);
  }

  /** @param {boolean} mayType */
  setTyping(mayType) {
    this.term.options.disableStdin = !mayType;
    this.term.options.cursorBlink = false;
    this.host.classList.toggle("typing", mayType);
  }

  /** The size that fills its place. */
  room() {
    const size = this.fitAddon.proposeDimensions();
    if (!size || !(size.cols > 1) || !(size.rows > 1)) return undefined;
    return { cols: Math.min(size.cols, 1000), rows: Math.min(size.rows, 500) };
  }

  /** @param {{cols: number, rows: number}} size */
  resize({ cols, rows }) {
    if (cols !== this.term.cols || rows !== this.term.rows) this.term.resize(cols, rows);
  }

  /** The text of the screen, as the tests compare it. */
  text() {
    const { active } = this.term.buffer;
    const rows = Array.from({ length: this.term.rows }, (_, row) => active.getLine(active.baseY + row));
    return rows.map((line) => line?.translateToString(true) ?? "");
  }

  dispose() {
    for (const [name, listen] of Object.entries(this.listeners)) changed.removeEventListener(name, listen);
    this.term.dispose();
  }
}
