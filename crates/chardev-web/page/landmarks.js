// What happened to a console, on its time line: marks, changes of the back end, and what is missing.

import { announce, button, el, moment, number } from "./dom.js";

/**
 * @typedef {{offset: number, time: number, text: string, by: string}} Mark
 * @typedef {{offset: number, time: number, to: string}} Change
 * @typedef {{from: number, to: number}} Hole
 * @typedef {{marks?: Mark[], changes?: Change[], holes?: Hole[]}} Happened
 * @typedef {{kind: string, from: number, to: number, words: string}} Landmark
 */

/**
 * Everything that happened, in its order.
 * @param {Happened} happened
 * @returns {Landmark[]}
 */
function landmarks({ marks = [], changes = [], holes = [] }) {
  const all = [
    ...holes.map(({ from, to }) => ({ kind: "hole", from, to, words: `${number(to - from)} bytes are missing` })),
    ...changes.map(({ offset, time, to }) => (
      { kind: "change", from: offset, to: offset, words: `Another back end, ${to}, ${moment(time)}` })),
    ...marks.map(({ offset, time, text, by }) => (
      { kind: "mark", from: offset, to: offset, words: `Mark “${text}”${by && ` by ${by}`}, ${moment(time)}` })),
  ];
  return all.sort((a, b) => a.from - b.from);
}

export class Landmarks {
  /** @param {(offset: number) => void} seek */
  constructor(seek) {
    this.seek = seek;
    /** @type {Landmark[]} */
    this.all = [];
    this.shown = "";
    this.element = el("div", { class: "marks", role: "group", "aria-label": "What happened" });
    const back = { title: "The mark, change or gap before this moment", "aria-keyshortcuts": "p" };
    const on = { title: "The mark, change or gap after this moment", "aria-keyshortcuts": "n" };
    this.previous = button("Previous mark", () => this.step(-1), { ...back, id: "previous-mark" });
    this.next = button("Next mark", () => this.step(1), { ...on, id: "next-mark" });
    /** Where the time line is; now is after everything. */
    this.now = Infinity;
  }

  /** @param {Happened} happened */
  learn(happened) {
    this.all = landmarks(happened);
  }

  /**
   * Draws what can still be seen, between these offsets.
   * @param {number} oldest
   * @param {number} end
   */
  draw(oldest, end) {
    const whole = Math.max(1, end - oldest);
    this.all = this.all.filter(({ to }) => to >= oldest);
    const percent = (/** @type {number} */ offset) => Math.min(100, Math.max(0, ((offset - oldest) / whole) * 100));
    const places = this.all.map(({ kind, from, to, words }) => ({ kind, from, to, words, left: percent(from), width: percent(to) - percent(from) }));
    const shown = JSON.stringify(places);
    if (shown === this.shown) return;
    this.shown = shown;
    this.element.replaceChildren(...places.map(({ kind, from, words, left, width }) => {
      // Tab goes past them: there are keys that go from one to the next.
      const one = button("", () => this.visit(from), { class: kind, title: words, "aria-label": words, tabindex: -1 });
      one.style.left = `${left}%`;
      one.style.width = `max(4px, ${width}%)`;
      return one;
    }));
    for (const one of [this.previous, this.next]) one.disabled = places.length === 0;
  }

  /**
   * What is at this offset, in words.
   * @param {number} offset
   */
  at(offset) {
    return this.all.filter(({ from }) => from === offset).map(({ words }) => words).join("; ");
  }

  /** @param {1 | -1} way */
  step(way) {
    const places = this.all.map(({ from }) => from);
    const offset = way > 0 ? places.find((it) => it > this.now) : places.findLast((it) => it < this.now);
    if (offset === undefined) announce(way > 0 ? "Nothing is marked after this." : "Nothing is marked before this.");
    else this.visit(offset);
  }

  /** @param {number} offset */
  visit(offset) {
    this.seek(offset);
    announce(this.at(offset));
  }
}
