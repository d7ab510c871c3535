// What is typed into a stream: counted, so that what is sent again is typed once.

/** The longest frame, how much is on its way, and how much waits, in bytes. */
const FRAME = 16 << 10;
const AHEAD = 48 << 10;
const MOST = 4 << 20;

export class Typing {
  /** @param {(frame: Uint8Array<ArrayBuffer>) => boolean} send whether it could be sent */
  constructor(send) {
    this.send = send;
    /** What the daemon knows this input by. */
    this.key = crypto.randomUUID();
    /** What is not known to be typed, and the offset of its first byte. */
    this.held = new Uint8Array();
    this.typed = 0;
    this.sent = 0;
  }

  /**
   * Types; false if too much waits already.
   * @param {Uint8Array} bytes
   */
  add(bytes) {
    if (this.held.length + bytes.length > MOST) return false;
    const held = new Uint8Array(this.held.length + bytes.length);
    held.set(this.held);
    held.set(bytes, this.held.length);
    this.held = held;
    this.pump();
    return true;
  }

  /** Sends what may be on its way. */
  pump() {
    const end = this.typed + this.held.length;
    while (this.sent < end && this.sent - this.typed < AHEAD) {
      const from = this.sent - this.typed;
      const bytes = this.held.subarray(from, from + FRAME);
      const frame = new Uint8Array(8 + bytes.length);
      new DataView(frame.buffer).setBigUint64(0, BigInt(this.sent));
      frame.set(bytes, 8);
      if (!this.send(frame)) return;
      this.sent += bytes.length;
    }
  }

  /**
   * The console has taken all before this offset.
   * @param {number} typed
   */
  confirm(typed) {
    if (typed > this.typed) {
      this.held = this.held.slice(typed - this.typed);
      this.typed = typed;
      this.sent = Math.max(this.sent, typed);
    }
    this.pump();
  }

  /**
   * Over a new connection: what is not typed is sent again.
   * @param {number | null} typed what the daemon knows, if it knows the key
   */
  resume(typed) {
    this.sent = this.typed;
    this.confirm(typed ?? 0);
  }

  /** Another daemon: what was on its way to the old one may have been typed, and is not again. */
  forget() {
    this.held = this.held.slice(this.sent - this.typed);
    this.key = crypto.randomUUID();
    this.typed = 0;
    this.sent = 0;
  }
}
