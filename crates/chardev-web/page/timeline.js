// The time line of a console: where in its output one is, and what happened there.

import { get, path } from "./api.js";
import { button, el, moment, number, say } from "./dom.js";
import { Landmarks } from "./landmarks.js";
import { timeAt } from "./player.js";

/** @typedef {import("./player.js").Times} Times */

const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16];
const POINTS = 400;
/** A key moves by so many parts of the whole. */
const STEPS = 200;

/**
 * @typedef {object} Moves
 * @property {(offset: number) => void} seek
 * @property {() => void} live
 * @property {() => void} play play, or pause
 * @property {(speed: number) => void} speed
 * @property {() => void} link
 */

export class Timeline {
  /**
   * @param {string} id
   * @param {Moves} moves
   */
  constructor(id, moves) {
    this.id = id;
    this.moves = moves;
    /** @type {Times} */
    this.times = { points: [] };
    this.landmarks = new Landmarks((offset) => moves.seek(offset));
    this.oldest = 0;
    this.end = 0;
    this.isLive = true;
    this.slider = el("input", { type: "range", min: 0, max: 1, step: "any", value: 1, "aria-label": "Moment of the console" });
    this.when = el("output", { class: "when" });
    this.playing = button("Play", () => moves.play(), { id: "play" });
    this.live = button("Live", () => moves.live(), { id: "live", "aria-pressed": "true" });
    this.link = button("Copy link", () => moves.link(), { title: "Copy a link to this moment" });
    this.speed = el("select", { "aria-label": "Speed" },
      ...SPEEDS.map((speed) => el("option", { value: speed, selected: speed === 1 }, `${speed}×`)));
    this.speed.addEventListener("change", () => moves.speed(Number(this.speed.value)));
    this.slider.addEventListener("input", () => moves.seek(Math.round(Number(this.slider.value))));
    this.slider.addEventListener("keydown", (event) => this.key(event));
    this.element = el("section", { class: "timeline", "aria-label": "Time line" },
      el("div", { class: "track" }, this.landmarks.element, this.slider),
      el("div", { class: "controls" }, this.playing, this.speed, this.live,
        this.landmarks.previous, this.landmarks.next, this.link, this.when));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const whole = this.end - this.oldest;
    const step = Math.max(1, whole / STEPS);
    const now = Number(this.slider.value);
    const moves = /** @type {Record<string, number>} */ ({
      ArrowLeft: now - step, ArrowDown: now - step, ArrowRight: now + step, ArrowUp: now + step,
      PageDown: now - step * 20, PageUp: now + step * 20, Home: this.oldest,
    });
    const wanted = moves[event.key];
    if (event.key === "End" || (wanted !== undefined && wanted >= this.end)) this.moves.live();
    else if (event.key === " ") this.moves.play();
    else if (event.key === "p" || event.key === "n") this.landmarks.step(event.key === "n" ? 1 : -1);
    else if (wanted !== undefined) this.moves.seek(Math.round(Math.max(this.oldest, wanted)));
    else return;
    event.preventDefault();
  }

  /** Asks where things are; what was known is kept if that fails. */
  async look() {
    const times = await get(path(this.id, "timeline", { points: POINTS })).catch(() => undefined);
    if (times) {
      this.times = { ...times, points: times.points ?? [] };
      this.landmarks.learn(times);
    }
    this.draw();
  }

  /**
   * @param {number} oldest
   * @param {number} end
   */
  reach(oldest, end) {
    const first = this.times.points[0]?.offset ?? oldest;
    this.oldest = Math.min(oldest, this.times.oldest ?? oldest, first);
    this.end = end;
    this.slider.min = String(this.oldest);
    this.slider.max = String(Math.max(end, this.oldest + 1));
    if (this.isLive) this.show(end, true);
    this.draw();
  }

  draw() {
    this.landmarks.draw(this.oldest, this.end);
  }

  /**
   * @param {number} offset
   * @param {boolean} isLive
   * @param {boolean} [isPlaying]
   */
  show(offset, isLive, isPlaying = false) {
    this.isLive = isLive;
    this.slider.value = String(offset);
    const time = timeAt(this.times.points, offset);
    const when = time === undefined ? "" : `${moment(time)}, `;
    this.landmarks.now = isLive ? Infinity : offset;
    const happened = this.landmarks.at(offset);
    const place = `byte ${number(offset)} of ${number(this.end)}`;
    const words = isLive ? `live, byte ${number(offset)}` : `${happened ? `${happened}, ` : when}${place}`;
    say(this.when, words);
    this.when.title = words;
    this.slider.setAttribute("aria-valuetext", words);
    this.live.setAttribute("aria-pressed", String(isLive));
    say(this.playing, isPlaying ? "Pause" : "Play");
  }
}
