// The console as it is now: a terminal at the end of the stream.

import { history, may, path, post, screenAt } from "./api.js";
import { announce, number } from "./dom.js";
import { Emulator } from "./emulator.js";
import { guard } from "./paste.js";
import { set, setting } from "./settings.js";
import { Stream } from "./stream.js";

/**
 * @typedef {import("./api.js").Console} Console
 * @typedef {import("./api.js").Size} Size
 */

/** How much of what was printed before is put above the screen. */
const BEFORE = 128 << 10;
/** How long a size has to stay before the console is told, in ms. */
const SETTLED = 150;
/** How late an answer may be that has the size of before. */
const LATE = 3000;

export class Live {
  /**
   * @param {HTMLElement} host
   * @param {Console} console
   * @param {Awaited<ReturnType<typeof import("./emulator.js").load>>} parts
   * @param {{leave: () => void, find: () => void, filter: (bytes: Uint8Array) => Uint8Array,
   *   state: (state: string, words: string) => void, size: () => void,
   *   attached: (attached: import("./api.js").Attached[]) => void,
   *   event: (event: {name: string, data: any}) => void}} view
   */
  constructor(host, console, parts, view) {
    this.host = host;
    this.id = console.id;
    this.role = console.role;
    this.view = view;
    /** @type {Stream | undefined} */
    this.stream = undefined;
    /** The size that the console has, if it has one. @type {Size | undefined} */
    this.size = console.size;
    /** When that was learned. */
    this.sized = -LATE;
    /** Whether somebody has taken over, and what is said of that. */
    this.isSilent = false;
    this.words = "";
    this.isOver = false;
    this.emulator = new Emulator(host, parts, {
      input: (bytes) => this.type(view.filter(bytes)),
      leave: view.leave,
      find: view.find,
    });
    guard(host, this.emulator.term);
    /** @type {number | undefined} */
    this.timer = undefined;
    this.sight = new ResizeObserver(() => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.fit(), SETTLED);
    });
  }

  /** Whether somebody may type here, and wants to. */
  mayType() {
    return may(this.role, "attach") && !this.isSilent && setting("readOnly", "off") === "off";
  }

  /** Whether the console is to have the size of the window. */
  isFitted() {
    return this.mayType() && setting("fit", "on") === "on";
  }

  async start() {
    this.emulator.setTyping(this.mayType());
    await this.fit();
    await this.draw();
    this.sight.observe(this.host);
  }

  /** Draws the screen as the daemon knows it, and goes on from there. */
  async draw() {
    const { term } = this.emulator;
    const wanted = this.size ?? { cols: term.cols, rows: term.rows };
    const screen = await screenAt(this.id, wanted);
    const from = Math.max(0, screen.offset - BEFORE);
    const before = await history(this.id, from, BEFORE);
    if (this.isOver) return;
    this.emulator.resize(screen);
    this.fitLetters();
    const count = Math.max(0, Math.min(before.bytes.length, screen.offset - before.start));
    this.emulator.write("\x1bc", false);
    this.emulator.write(before.bytes.subarray(0, count), false);
    this.emulator.write(screen.redraw ?? "", false);
    if (this.stream) return this.stream.moveTo(screen.offset);
    this.stream = new Stream(this.id, { from: screen.offset, share: this.mayType(), sink: this.sink() });
  }

  /** @returns {import("./stream.js").Sink} */
  sink() {
    return {
      data: (bytes, offset, isLive, shown) => {
        // The tests hear here what the terminal is given.
        this.host.dispatchEvent(new CustomEvent("output", { detail: { bytes, offset } }));
        this.emulator.write(bytes, isLive, shown);
      },
      gap: (from, to) => {
        const words = `${number(to - from)} bytes are missing here: from ${number(from)} to ${number(to)}`;
        this.host.dispatchEvent(new CustomEvent("gap", { detail: { from, to } }));
        this.emulator.notice(words);
        announce(words);
      },
      hello: (hello) => { this.role = hello.role; },
      event: (event) => {
        if (event.name === "X_CHARDEV_RESIZED") this.adopt(event.data);
        this.view.event(event);
      },
      attached: (attached) => this.view.attached(attached),
      silenced: (words) => {
        this.isSilent = true;
        this.words = words;
        this.emulator.setTyping(false);
        this.view.size();
        announce(words);
      },
      state: (state, words) => this.view.state(state, state === "open" ? this.words : words),
    };
  }

  /** @param {Uint8Array} bytes */
  type(bytes) {
    if (!this.mayType()) return;
    if (this.stream?.type(bytes) === false) announce("Too much is waiting to be typed already.");
  }

  /** @param {boolean} isReadOnly */
  setReadOnly(isReadOnly) {
    set("readOnly", isReadOnly ? "on" : "off");
    this.isSilent = false;
    this.words = "";
    this.emulator.setTyping(this.mayType());
    this.stream?.setShare(this.mayType());
    this.fit();
  }

  /**
   * The console has this size, as asked for; the event of it may have come before the stream, and
   * output for it with that.
   * @param {Size | undefined} size
   */
  async learn(size) {
    const isKnown = !size || (size.cols === this.size?.cols && size.rows === this.size.rows);
    if (isKnown || !this.stream || performance.now() - this.sized < LATE) return;
    this.adopt(size);
    await this.draw();
  }

  /**
   * Somebody has given the console another size.
   * @param {Partial<Size>} size
   */
  adopt({ cols, rows }) {
    if (!cols || !rows) return;
    this.sized = performance.now();
    this.size = { cols, rows };
    this.emulator.resize(this.size);
    this.fitLetters();
    this.view.size();
  }

  /** Gives the console the size of the window, or the letters the size for the console's. */
  async fit() {
    if (this.isOver || this.host.clientWidth === 0) return;
    if (!this.isFitted()) {
      if (this.size) this.adopt(this.size);
      return;
    }
    this.setLetters(Number(setting("fontSize", "14")));
    const size = this.emulator.room();
    if (!size || (size.cols === this.size?.cols && size.rows === this.size.rows)) return;
    try {
      await post(path(this.id, "size"), size);
      this.adopt(size);
    } catch {
      // It keeps the size that it has.
      if (this.size) this.adopt(this.size);
    }
  }

  /** @param {number} size */
  setLetters(size) {
    const { options } = this.emulator.term;
    if (options.fontSize !== size) options.fontSize = size;
  }

  /** Where the size is not ours, letters shrink until all columns are there. */
  fitLetters() {
    const usual = Number(setting("fontSize", "14"));
    if (this.isFitted()) return this.setLetters(usual);
    for (let size = usual; size >= 6; size -= 1) {
      this.setLetters(size);
      const room = this.emulator.room();
      if (!room || room.cols >= this.emulator.term.cols) break;
    }
  }

  close() {
    this.isOver = true;
    clearTimeout(this.timer);
    this.sight.disconnect();
    this.stream?.close();
    this.emulator.dispose();
  }
}
