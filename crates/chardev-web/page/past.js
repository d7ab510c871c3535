// The past of a console, in a terminal of its own over that of now.

import { announce, attempt, el } from "./dom.js";
import { Emulator } from "./emulator.js";
import { Player } from "./player.js";

/** @typedef {import("./console.js").ConsoleView} View */

/** How long the time line rests before a moment is shown, and before it is in the address, in ms. */
const REST = 60;
const NAMED = 200;

export class Past {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.host = el("div", { class: "place past", hidden: true });
    /** While something of the past is shown. @type {Player | undefined} */
    this.player = undefined;
    /** @type {number | undefined} */
    this.rest = undefined;
    /** @type {number | undefined} */
    this.naming = undefined;
  }

  /** @param {number} offset */
  windBack(offset) {
    const { view } = this;
    if (!view.parts || !view.live) return;
    this.player ??= this.enter(view.parts);
    const { player } = this;
    player.offset = offset;
    this.moved(player);
    clearTimeout(this.rest);
    this.rest = setTimeout(() => attempt(() => player.seek(offset)), REST);
  }

  /** @param {Awaited<ReturnType<typeof import("./emulator.js").load>>} parts */
  enter(parts) {
    const { view } = this;
    this.host.hidden = false;
    view.now.classList.add("behind");
    const emulator = new Emulator(this.host, parts, { leave: () => view.tools.focus(), find: () => view.find.open() });
    emulator.setTyping(false);
    const { cols, rows } = view.live?.emulator.term ?? emulator.term;
    const player = new Player(view.id, emulator, { cols, rows }, (moved) => this.moved(moved));
    player.speed = Number(view.timeline.speed.value);
    return player;
  }

  /** @param {Player} player */
  moved(player) {
    const { view } = this;
    view.timeline.show(player.offset, false, player.isPlaying);
    clearTimeout(this.naming);
    this.naming = setTimeout(() => history.replaceState(null, "", view.link(player.offset)), NAMED);
    const isEnd = "This is the end of what was printed; Live goes on from there.";
    view.setState("past", player.isAtEnd ? isEnd : "This is the past.");
  }

  /** Plays, or pauses. */
  play() {
    const { player } = this;
    if (player?.isPlaying) return player.pause();
    if (player) return attempt(() => player.play());
    // What is kept is played from its beginning.
    const { oldest } = this.view.timeline;
    this.windBack(oldest);
    clearTimeout(this.rest);
    return attempt(async () => {
      await this.player?.seek(oldest);
      await this.player?.play();
    });
  }

  /** @param {number} speed */
  setSpeed(speed) {
    if (this.player) this.player.speed = speed;
  }

  /** Back to now. */
  leave() {
    const { view } = this;
    if (this.player) {
      this.end();
      this.player = undefined;
      this.host.hidden = true;
      this.host.replaceChildren();
      view.now.classList.remove("behind");
      announce("Live.");
    }
    history.replaceState(null, "", view.link());
    view.setState("open", "");
    view.timeline.show(view.timeline.end, true);
  }

  end() {
    clearTimeout(this.rest);
    clearTimeout(this.naming);
    this.player?.close();
    this.player?.emulator.dispose();
  }
}
