// The colours of terminals and of their small pictures.

import { theme } from "./settings.js";

const DARK = {
  background: "#10171a", foreground: "#d7e0e0", cursor: "#7ee0c3", cursorAccent: "#10171a",
  selectionBackground: "#2f5b66",
  black: "#1c272b", red: "#f07178", green: "#8fd18f", yellow: "#e6c07b", blue: "#7aa8f0",
  magenta: "#c792ea", cyan: "#66c7d4", white: "#cfd8d8", brightBlack: "#75878c",
  brightRed: "#ff9097", brightGreen: "#b2e8b2", brightYellow: "#ffdf9e", brightBlue: "#a5c6ff",
  brightMagenta: "#e2b8ff", brightCyan: "#99e6f0", brightWhite: "#ffffff",
};

const LIGHT = {
  background: "#fbfcfb", foreground: "#1d2a2e", cursor: "#0b6b5b", cursorAccent: "#fbfcfb",
  selectionBackground: "#b9dcd4",
  black: "#1d2a2e", red: "#b3261e", green: "#2b6e2b", yellow: "#7a5600", blue: "#1f4fa8",
  magenta: "#7b2d9c", cyan: "#0b6474", white: "#5c6b70", brightBlack: "#4c5b60",
  brightRed: "#c5362d", brightGreen: "#2f7a2f", brightYellow: "#856000", brightBlue: "#2a5fc4",
  brightMagenta: "#8d3cb0", brightCyan: "#107386", brightWhite: "#333f43",
};

const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

export function palette() {
  return theme() === "light" ? LIGHT : DARK;
}

/**
 * A colour as the daemon names it: a number of the palette, or `#rrggbb`.
 * @param {string | undefined} name
 * @param {string} usual
 */
export function color(name, usual) {
  if (name === undefined) return usual;
  if (name.startsWith("#")) return name;
  const index = Number(name);
  const all = /** @type {Record<string, string>} */ (palette());
  if (index < 8) return all[NAMES[index]];
  if (index < 16) {
    const word = NAMES[index - 8];
    return all[`bright${word[0].toUpperCase()}${word.slice(1)}`];
  }
  if (index > 231) {
    const grey = 8 + (index - 232) * 10;
    return `rgb(${grey} ${grey} ${grey})`;
  }
  const level = (/** @type {number} */ part) => (part === 0 ? 0 : 55 + part * 40);
  const cube = index - 16;
  return `rgb(${level(Math.floor(cube / 36))} ${level(Math.floor(cube / 6) % 6)} ${level(cube % 6)})`;
}
