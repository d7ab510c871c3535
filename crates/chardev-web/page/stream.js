// A console's output and input, which go on where they were after a lost connection.
//
// Output is counted: each frame says at which offset it begins, and a new connection asks for the
// byte after the last one that came. What was shown is acknowledged, and the daemon sends only a
// window beyond that. Input is counted as well, under a key that the page has chosen, so that what
// is sent again is typed once.

import { BASE, ApiError, get, path } from "./api.js";
import { Typing } from "./typing.js";

/**
 * @typedef {{oldest: number, end: number, from: number, role: string, typed: number | null}} Hello
 * @typedef {object} Sink
 * @property {(bytes: Uint8Array, offset: number, isLive: boolean, shown: () => void) => void} data
 * @property {(from: number, to: number) => void} gap
 * @property {(hello: Hello) => void} hello
 * @property {(event: {name: string, time: number, data: any}) => void} event
 * @property {(attached: import("./api.js").Attached[]) => void} attached
 * @property {(words: string) => void} silenced it goes on, without the right to type
 * @property {(state: "open" | "lost" | "ended", words: string) => void} state
 */

/** The first and the longest pause before it is tried again, in ms. */
const PAUSE = [100, 15_000];
/** So much is shown before it is said, unless there is nothing more to show. */
const ACK = 64 << 10;
const ENDS = {
  removed: "This console does not exist any more.",
  forbidden: "You may not see this console any more.",
  "logged-out": "You have been logged out.",
};

export class Stream {
  /**
   * @param {string} id
   * @param {{from: number | "now", share: boolean, sink: Sink}} options
   */
  constructor(id, { from, share, sink }) {
    this.id = id;
    this.share = share;
    this.sink = sink;
    /** The offset of the byte that comes next. @type {number | "now"} */
    this.next = from;
    this.shown = 0;
    this.acked = 0;
    /** Where the output ended when this connection began: what comes before that is old. */
    this.liveFrom = 0;
    this.typing = new Typing((frame) => {
      const isOpen = this.isOpen();
      if (isOpen) this.socket?.send(frame);
      return isOpen;
    });
    this.failures = 0;
    this.isOver = false;
    /** @type {WebSocket | undefined} */
    this.socket = undefined;
    /** @type {number | undefined} */
    this.timer = undefined;
    this.hurry = () => {
      if (this.timer !== undefined && !document.hidden) this.connect();
    };
    addEventListener("online", this.hurry);
    document.addEventListener("visibilitychange", this.hurry);
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = undefined;
    const mode = this.share ? "share" : "watch";
    const input = this.share ? this.typing.key : undefined;
    const url = new URL(BASE + path(this.id, "stream", { from: this.next, mode, input }), location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return;
      if (data instanceof ArrayBuffer) this.take(data);
      else this.hear(JSON.parse(data));
    };
    socket.onclose = () => {
      if (socket === this.socket) this.lost();
    };
    this.socket = socket;
  }

  /** @param {ArrayBuffer} frame */
  take(frame) {
    const offset = Number(new DataView(frame).getBigUint64(0));
    let bytes = new Uint8Array(frame, 8);
    let from = offset;
    const next = this.next === "now" ? offset : this.next;
    if (from > next) this.sink.gap(next, from);
    if (from < next) {
      bytes = bytes.subarray(next - from);
      from = next;
    }
    const end = from + bytes.length;
    this.next = Math.max(end, next);
    if (bytes.length === 0) return;
    this.sink.data(bytes, from, end > this.liveFrom, () => {
      this.shown = Math.max(this.shown, end);
      const isAll = this.shown === this.next;
      if (!isAll && this.shown - this.acked < ACK) return;
      this.acked = this.shown;
      if (this.isOpen()) this.socket?.send(JSON.stringify({ ack: this.shown }));
    });
  }

  /** @param {any} told */
  hear(told) {
    if (told.hello) this.greet(told.hello);
    if (told.gap && told.gap.to > (this.next === "now" ? 0 : this.next)) {
      this.sink.gap(told.gap.from, told.gap.to);
      this.next = told.gap.to;
    }
    if (told.event) this.sink.event(told.event);
    if (typeof told.typed === "number") this.typing.confirm(told.typed);
    if (told.attached) this.sink.attached(told.attached);
    if (told.end) this.end(told.end, told.by);
  }

  /** @param {Hello} hello */
  greet(hello) {
    this.failures = 0;
    if (this.next === "now") this.next = hello.from;
    this.liveFrom = hello.end;
    // What was on its way over the old connection counts as shown for the new one.
    this.acked = this.next;
    this.sink.hello(hello);
    this.sink.state("open", "");
    if (this.share) this.typing.resume(hello.typed);
  }

  /**
   * @param {string} reason
   * @param {string} [by]
   */
  end(reason, by = "somebody") {
    if (this.share && (reason === "taken" || reason === "forbidden")) {
      this.share = false;
      const taken = `Taken over by ${by}: you only watch now. "Type" shares it again.`;
      this.sink.silenced(reason === "taken" ? taken : "You may not type here any more.");
      return;
    }
    const words = ENDS[/** @type {keyof typeof ENDS} */ (reason)];
    if (!words) return;
    this.close();
    this.sink.state("ended", words);
  }

  lost() {
    this.socket = undefined;
    if (this.isOver) return;
    const longest = Math.min(PAUSE[1], PAUSE[0] * 2 ** this.failures);
    const pause = longest * (0.5 + Math.random() / 2);
    this.failures += 1;
    const words = pause < 1000 ? "Connecting again …" : `Connecting again in ${Math.round(pause / 1000)} s …`;
    this.sink.state("lost", words);
    this.timer = setTimeout(() => this.retry(), pause);
  }

  /** A browser does not tell why a WebSocket was refused, so that is asked for beforehand. */
  async retry() {
    this.timer = undefined;
    if (this.failures > 1) {
      try {
        const { end, oldest } = await get(path(this.id));
        if (this.next !== "now" && end < this.next) {
          // The daemon has begun anew, and so do we.
          this.sink.gap(this.next, oldest);
          this.next = oldest;
          this.typing.forget();
        }
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return this.end("removed");
        if (error instanceof ApiError && error.status === 401) return this.end("logged-out");
        if (!this.isOver) this.lost();
        return;
      }
    }
    if (!this.isOver && this.socket === undefined) this.connect();
  }

  /**
   * Types; false if too much waits already.
   * @param {Uint8Array} bytes
   */
  type(bytes) {
    return this.share && !this.isOver && this.typing.add(bytes);
  }

  /**
   * Goes on with, or without, the right to type.
   * @param {boolean} share
   */
  setShare(share) {
    if (share === this.share || this.isOver) return;
    this.share = share;
    this.again();
  }

  /**
   * Goes on elsewhere in the output; what is typed is not touched by that.
   * @param {number} offset
   */
  moveTo(offset) {
    this.next = this.shown = this.acked = offset;
    this.again();
  }

  /** A new connection at once, in place of the one there is. */
  again() {
    const old = this.socket;
    this.connect();
    old?.close();
  }

  isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  close() {
    this.isOver = true;
    clearTimeout(this.timer);
    removeEventListener("online", this.hurry);
    document.removeEventListener("visibilitychange", this.hurry);
    this.socket?.close();
    this.socket = undefined;
  }
}
