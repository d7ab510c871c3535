// A small picture of a console's screen.

import { screenAt } from "./api.js";
import { color, palette } from "./colors.js";

/** @typedef {import("./api.js").Screen} Screen */

const WIDTH = 264;
const HEIGHT = 150;
/** How often one is drawn at most, in ms. */
const PAUSE = 1000;

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Screen} screen
 */
function draw(canvas, screen) {
  const scale = devicePixelRatio || 1;
  canvas.width = WIDTH * scale;
  canvas.height = HEIGHT * scale;
  const context = canvas.getContext("2d");
  if (!context) return;
  const { background, foreground } = palette();
  context.scale(scale, scale);
  context.fillStyle = background;
  context.fillRect(0, 0, WIDTH, HEIGHT);
  const cell = { width: WIDTH / screen.cols, height: HEIGHT / screen.rows };
  context.font = "10px monospace";
  context.font = `${(10 * cell.width) / context.measureText("M").width}px monospace`;
  context.textBaseline = "middle";
  const run = (/** @type {string} */ text, /** @type {number} */ row, /** @type {number} */ col) => {
    if (text.trim() !== "") context.fillText(text, col * cell.width, (row + 0.5) * cell.height);
  };
  context.fillStyle = foreground;
  screen.text.forEach((text, row) => run(text, row, 0));
  for (const { row, col, width, fg, bg, reverse } of screen.attributes ?? []) {
    let [ink, paper] = [color(fg, foreground), color(bg, background)];
    if (reverse) [ink, paper] = [paper, ink];
    context.fillStyle = paper;
    context.fillRect(col * cell.width, row * cell.height, width * cell.width, cell.height);
    context.fillStyle = ink;
    run([...screen.text[row] ?? ""].slice(col, col + width).join(""), row, col);
  }
}

/** Draws one console while it is visible and has printed something since. */
export class Thumbnail {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("aria-hidden", "true");
    this.isVisible = false;
    this.end = -1;
    this.drawn = -1;
    this.isBusy = false;
    this.next = 0;
  }

  /** @param {number} end where the output ends now */
  told(end) {
    this.end = end;
    this.look();
  }

  /** @param {boolean} isVisible */
  seen(isVisible) {
    this.isVisible = isVisible;
    this.look();
  }

  /** The colours are others. */
  redraw() {
    this.drawn = -1;
    this.look();
  }

  async look() {
    const isNeeded = this.isVisible && this.end !== this.drawn && !this.isBusy && !document.hidden;
    if (!isNeeded || performance.now() < this.next) return;
    this.isBusy = true;
    this.next = performance.now() + PAUSE;
    try {
      const screen = await screenAt(this.id);
      draw(this.canvas, screen);
      this.drawn = Math.max(this.end, screen.offset);
    } catch {
      // It may have been removed; the list will say so.
    } finally {
      this.isBusy = false;
    }
  }
}
