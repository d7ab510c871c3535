// What a console has shown before, at any moment and at any speed.

import { get, history, path, screenAt } from "./api.js";
import { number } from "./dom.js";

/**
 * @typedef {{offset: number, time: number}} Point
 * @typedef {import("./landmarks.js").Happened & {points: Point[], oldest?: number, end?: number}} Times
 */

/** How much is fetched at a time. */
const PIECE = 64 << 10;
/** A pause of the console's is no longer than this, in s. */
const PAUSE = 2;
/** Bytes a second where nobody knows when something was printed. */
const RATE = 4000;
/** How often something is shown, in ms. */
const TICK = 40;

/**
 * When the byte at `offset` was printed, or nothing.
 * @param {Point[]} points
 * @param {number} offset
 */
export function timeAt(points, offset) {
  const after = points.findIndex((point) => point.offset > offset);
  if (points.length === 0) return undefined;
  if (after === -1) return points[points.length - 1].time;
  if (after === 0) return points[0].time;
  const [a, b] = [points[after - 1], points[after]];
  return a.time + ((b.time - a.time) * (offset - a.offset)) / (b.offset - a.offset);
}

/**
 * How far the console had come at `time`.
 * @param {Point[]} points
 * @param {number} time
 */
export function offsetAt(points, time) {
  const after = points.findIndex((point) => point.time > time);
  if (after === -1) return points.at(-1)?.offset ?? 0;
  if (after === 0) return points[0].offset;
  const [a, b] = [points[after - 1], points[after]];
  return Math.floor(a.offset + ((b.offset - a.offset) * (time - a.time)) / (b.time - a.time));
}

export class Player {
  /**
   * @param {string} id
   * @param {import("./emulator.js").Emulator} emulator
   * @param {import("./api.js").Size} size of the screen that it is played on
   * @param {(player: Player) => void} moved
   */
  constructor(id, emulator, size, moved) {
    this.id = id;
    this.size = size;
    this.emulator = emulator;
    this.moved = moved;
    this.offset = 0;
    this.speed = 1;
    this.isPlaying = false;
    this.isAtEnd = false;
    /** Those around what is played, which are closer than those of the whole. @type {Point[]} */
    this.points = [];
    /** What was fetched and not shown. @type {Uint8Array} */
    this.ahead = new Uint8Array();
    /** Where the clock of the console stands: seconds, or bytes where there are no times. */
    this.clock = 0;
    this.seeking = new AbortController();
    /** @type {number | undefined} */
    this.timer = undefined;
  }

  /**
   * Shows what the screen was when `offset` bytes had been printed.
   * @param {number} offset
   */
  async seek(offset) {
    this.seeking.abort();
    this.seeking = new AbortController();
    const { signal } = this.seeking;
    const wasPlaying = this.isPlaying;
    this.pause();
    this.offset = offset;
    this.isAtEnd = false;
    this.moved(this);
    try {
      const screen = await screenAt(this.id, { ...this.size, at: offset }, signal);
      if (signal.aborted) return;
      const shown = screen.redraw || await this.before(offset, signal);
      if (signal.aborted) return;
      this.emulator.resize(screen);
      // What was written before and is not parsed yet is wiped out in its turn.
      this.emulator.write("\x1bc", false);
      this.emulator.write(shown, false);
      this.offset = screen.offset;
      this.ahead = new Uint8Array();
      this.points = [];
      this.moved(this);
      if (wasPlaying) await this.play();
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /**
   * What was printed before, which makes up a screen where the daemon knows none.
   * @param {number} offset
   * @param {AbortSignal} signal
   */
  async before(offset, signal) {
    const piece = await history(this.id, Math.max(0, offset - PIECE), PIECE, signal);
    return piece.bytes.subarray(0, Math.max(0, offset - piece.start));
  }

  async play() {
    if (this.isPlaying) return;
    this.isPlaying = true;
    this.moved(this);
    try {
      await this.fetch();
    } catch (error) {
      this.pause();
      throw error;
    }
    this.setClock();
    let last = performance.now();
    const tick = async () => {
      if (!this.isPlaying) return;
      const now = performance.now();
      this.advance(((now - last) / 1000) * this.speed);
      last = now;
      if (this.ahead.length === 0) await this.fetch().catch(() => this.pause());
      if (this.isPlaying) this.timer = setTimeout(tick, TICK);
    };
    this.timer = setTimeout(tick, TICK);
  }

  setClock() {
    this.clock = timeAt(this.points, this.offset) ?? this.offset;
  }

  pause() {
    if (!this.isPlaying) return;
    clearTimeout(this.timer);
    this.isPlaying = false;
    this.moved(this);
  }

  /**
   * @param {number} seconds of the console's time
   */
  advance(seconds) {
    let wanted;
    if (this.points.length > 1) {
      this.clock += seconds;
      // Where nothing was printed for long, nobody wants to wait as long again.
      const next = timeAt(this.points, this.offset + 1) ?? this.clock;
      if (next - this.clock > PAUSE * this.speed) this.clock = next - PAUSE * this.speed;
      wanted = offsetAt(this.points, this.clock);
      const last = this.points[this.points.length - 1];
      if (this.clock >= last.time) wanted = last.offset;
    } else {
      this.clock += seconds * RATE;
      wanted = Math.floor(this.clock);
    }
    const count = Math.min(Math.max(0, wanted - this.offset), this.ahead.length);
    if (count === 0) return;
    const bytes = this.ahead.subarray(0, count);
    this.ahead = this.ahead.subarray(count);
    this.offset += count;
    this.emulator.host.dispatchEvent(new CustomEvent("played", { detail: { bytes, offset: this.offset - count } }));
    this.emulator.write(bytes, false);
    this.moved(this);
  }

  /** What comes next, and when that was. */
  async fetch() {
    const { signal } = this.seeking;
    const piece = await history(this.id, this.offset, PIECE, signal);
    if (signal.aborted) return;
    if (piece.start > this.offset) {
      this.emulator.notice(`${number(piece.start - this.offset)} bytes are not kept`);
      this.offset = piece.start;
    }
    this.ahead = piece.bytes;
    if (piece.bytes.length === 0) {
      this.isAtEnd = true;
      this.pause();
      return;
    }
    const query = { from: this.offset, to: piece.next, points: 500 };
    const times = await get(path(this.id, "timeline", query), signal).catch(() => ({ points: [] }));
    if (signal.aborted) return;
    const had = this.points.length > 1;
    this.points = times.points ?? [];
    if (had !== this.points.length > 1) this.setClock();
  }

  close() {
    this.seeking.abort();
    this.pause();
  }
}
