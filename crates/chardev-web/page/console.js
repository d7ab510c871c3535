// One console: its state, its terminal, what can be done to it, and its time line.

import { ApiError, get, path } from "./api.js";
import { announce, attempt, button, complain, el, say } from "./dom.js";
import { load } from "./emulator.js";
import { findBar } from "./find.js";
import { keyRow } from "./keyrow.js";
import { chipList, chips } from "./list.js";
import { Live } from "./live.js";
import { Past } from "./past.js";
import { Timeline } from "./timeline.js";
import { toolbar } from "./toolbar.js";

/** @typedef {import("./api.js").Console} Console */

/** How often the state is asked for, in ms; the time line every so many times. */
const PAUSE = 2000;
const TIMES = 5;
const SOON = 200;
/** What the time line shows. */
const ON_TIMELINE = ["X_CHARDEV_MARKED", "X_CHARDEV_CHANGED", "X_CHARDEV_LOG_HOLE"];

class View {
  /**
   * @param {HTMLElement} main
   * @param {string} id
   * @param {() => void} again shows it anew, after it was removed
   */
  constructor(main, id, again) {
    this.id = id;
    this.again = again;
    /** Whether the console is gone, and whether nobody looks at this any more. */
    this.isOver = false;
    this.isLeft = false;
    /** @type {Console | undefined} */
    this.console = undefined;
    /** @type {Live | undefined} */
    this.live = undefined;
    /** @type {number | undefined} */
    this.timer = undefined;
    /** @type {number | undefined} */
    this.waiting = undefined;
    this.isSoon = false;
    this.chips = el("ul", { class: "chips", "aria-label": "State" });
    this.description = el("span", { class: "description" });
    this.strip = el("p", { class: "strip", role: "status" });
    this.now = el("div", { class: "place now" });
    this.past = new Past(this);
    this.find = findBar(() => this.emulator());
    this.tools = toolbar(this);
    this.timeline = new Timeline(id, {
      seek: (offset) => this.past.windBack(offset),
      live: () => this.past.leave(),
      play: () => this.past.play(),
      speed: (speed) => this.past.setSpeed(speed),
      link: () => this.copyLink(),
    });
    this.head = el("div", { class: "consolehead" }, el("h1", {}, id), this.description, this.chips);
    this.screens = el("section", { class: "screens", "aria-label": "Terminal" }, this.now, this.past.host);
    main.replaceChildren(el("div", { class: "view" },
      this.head, this.tools.element, this.find.element, this.strip, this.screens, this.timeline.element));
    document.title = `${id} – Consoles`;
  }

  /** @param {number | undefined} at */
  async start(at) {
    const [console, parts] = await Promise.all([get(path(this.id)), load().catch(() => undefined)]);
    if (this.isOver) return;
    if (console.kind === undefined) throw new Error(`It could not be started: ${console.reason ?? console.state}`);
    this.parts = parts;
    this.tell(console);
    await this.timeline.look();
    this.timeline.reach(console.oldest, console.end);
    if (!parts) return this.showText();
    const keys = (/** @type {Uint8Array} */ bytes) => row.filter(bytes);
    const live = new Live(this.now, console, parts, {
      leave: () => this.tools.focus(),
      find: () => this.find.open(),
      filter: keys,
      state: (state, words) => this.past.player || this.setState(state, words),
      size: () => this.tools.update(),
      attached: (attached) => this.console && this.tell({ ...this.console, attached }),
      event: (event) => this.hear(event),
    });
    this.live = live;
    const row = keyRow(live.emulator.term, (text) => live.type(new TextEncoder().encode(text)));
    this.screens.after(row.element);
    this.tools.update();
    await live.start();
    // On a phone its keyboard would cover half of it.
    const isTouched = matchMedia("(pointer: coarse)").matches;
    if (at !== undefined) this.past.windBack(at);
    else if (!isTouched) live.emulator.term.focus();
  }

  /** Without xterm.js there is text. */
  showText() {
    this.setState("lost", "This chardevd was built without xterm.js: what a console shows is here as text.");
    const text = el("pre", { class: "text", tabindex: "0" });
    this.now.replaceChildren(text);
    this.drawText = async () => say(text, (await get(path(this.id, "screen"))).text.join("\n"));
  }

  /** @param {Console} console */
  tell(console) {
    this.console = console;
    say(this.description, [console.description, console.target].filter(Boolean).join(" · "));
    this.chips.replaceChildren(...chipList(chips(console)));
    if (this.live) this.live.role = console.role;
    this.live?.learn(console.size).catch(complain);
    this.tools.update();
  }

  async look() {
    clearTimeout(this.timer);
    this.isSoon = false;
    if (this.isOver) return;
    try {
      if (!document.hidden) {
        const console = await get(path(this.id));
        if (this.isOver) return;
        this.tell(console);
        this.turn = ((this.turn ?? 0) + 1) % TIMES;
        if (this.turn === 0) await this.timeline.look();
        this.timeline.reach(console.oldest, console.end);
        await this.drawText?.();
      }
    } catch {
      // The stream says what is the matter.
    }
    clearTimeout(this.timer);
    if (!this.isOver) this.timer = setTimeout(() => this.look(), PAUSE);
  }

  /** @param {{name: string}} event */
  hear({ name }) {
    // The time line has it from the daemon, as those have who come later.
    if (ON_TIMELINE.includes(name)) this.turn = TIMES - 1;
    this.lookSoon();
  }

  /** Much may happen at a time. */
  lookSoon() {
    if (this.isSoon || this.isOver) return;
    this.isSoon = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), SOON);
  }

  /**
   * @param {string} state
   * @param {string} words
   */
  setState(state, words) {
    const before = this.strip.dataset.state ?? "open";
    this.strip.dataset.state = state;
    say(this.strip, words);
    if (state === "open" && before === "lost") announce("Connected again.");
    // Who is logged out learns it by that.
    if (state !== before) this.look();
    if (state === "ended") this.part();
  }

  /** Nothing can be done to it any more, and what was known of it is not so any more. */
  part() {
    this.isOver = true;
    this.chips.replaceChildren();
    for (const element of [this.tools.element, this.timeline.element]) element.inert = true;
    this.strip.append(" ", el("a", { href: "#/" }, "All consoles"));
    this.waiting = setTimeout(() => this.wait(), PAUSE);
  }

  /** Waits until there is a console of that name again. */
  async wait() {
    try {
      if (!document.hidden) {
        await get(path(this.id));
        if (!this.isLeft) this.again();
        return;
      }
    } catch (error) {
      // It may come back, or the daemon; who was logged out may not see it.
      if (error instanceof ApiError && ![0, 404].includes(error.status)) return;
    }
    if (!this.isLeft) this.waiting = setTimeout(() => this.wait(), PAUSE);
  }

  /** The terminal that is to be seen. */
  emulator() {
    return this.past.player?.emulator ?? this.live?.emulator;
  }

  /** @param {number} [offset] */
  link(offset) {
    const at = offset === undefined ? "" : `?at=${offset}`;
    return `#/console/${encodeURIComponent(this.id)}${at}`;
  }

  copyLink() {
    const { next } = this.live?.stream ?? { next: 0 };
    const offset = this.past.player?.offset ?? (next === "now" ? this.timeline.end : next);
    const link = new URL(this.link(offset), location.href).href;
    attempt(async () => {
      await navigator.clipboard.writeText(link);
      announce("The link was copied.");
      this.strip.textContent = link;
    });
  }

  end() {
    this.isOver = this.isLeft = true;
    clearTimeout(this.timer);
    clearTimeout(this.waiting);
    this.past.end();
    this.live?.close();
  }
}

/**
 * Shows a console in `main`; returns what ends it.
 * @param {HTMLElement} main
 * @param {string} id
 * @param {number | undefined} at a moment of its past
 */
export function showConsole(main, id, at) {
  /** @type {View} */
  let view;
  const show = (/** @type {number | undefined} */ from) => {
    const shown = new View(main, id, () => {
      shown.end();
      announce("The console is there again.");
      show(undefined);
    });
    view = shown;
    shown.start(from).then(() => shown.look()).catch((error) => {
      if (shown.isOver) return;
      main.replaceChildren(el("h1", {}, id), el("p", { class: "error" }, error.message),
        el("p", {}, el("a", { href: "#/" }, "All consoles")), button("Try again", () => location.reload()));
      announce(error.message);
    });
  };
  show(at);
  return () => view.end();
}

/** @typedef {View} ConsoleView */
