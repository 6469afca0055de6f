// Colours of terminals: a line with escape sequences -> pieces with names of styles. All other
// sequences, and characters that only a terminal understands, are left out.

/** @typedef {{text: string, style: string}} Piece */

/** Control sequences (CSI), those that go to the next BEL or ESC \ (OSC and the like), and short ones. */
// eslint-disable-next-line no-control-regex
const SEQUENCE = /\x1b\[([0-9;:?<=>]*)[ -/]*([@-~])|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?/g;
// eslint-disable-next-line no-control-regex
const UNSEEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;

/** Names by the last digit of a colour's number; styles in logs.css. */
const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

/** What the eight colours are about, to find the nearest one. @type {[number, number, number][]} */
const RGB = [
  [0, 0, 0],
  [205, 60, 60],
  [60, 180, 90],
  [200, 160, 50],
  [70, 120, 220],
  [180, 80, 180],
  [60, 170, 180],
  [220, 220, 220],
];

/** Steps of the 6x6x6 cube among the 256 colours of xterm. */
const CUBE = [0, 95, 135, 175, 215, 255];

/** The style in force, from one piece to the next. */
export class AnsiReader {
  constructor() {
    this.colour = "";
    this.isBold = false;
    this.isFaint = false;
  }

  /**
   * @param {string} line
   * @returns {Piece[]}
   */
  read(line) {
    /** @type {Piece[]} */
    const pieces = [];
    let at = 0;
    for (const found of line.matchAll(SEQUENCE)) {
      this.add(pieces, line.slice(at, found.index));
      at = found.index + found[0].length;
      if (found[2] === "m") this.take(found[1] ?? "");
    }
    this.add(pieces, line.slice(at));
    return pieces;
  }

  /**
   * @param {Piece[]} pieces
   * @param {string} raw
   */
  add(pieces, raw) {
    const text = raw.replace(UNSEEN, "");
    if (!text) return;
    const style = [this.colour, this.isBold && "bold", this.isFaint && "faint"].filter(Boolean).join(" ");
    const last = pieces.at(-1);
    if (last?.style === style) last.text += text;
    else pieces.push({ text, style });
  }

  /** @param {string} parameters of "select graphic rendition", ECMA-48 8.3.117 */
  take(parameters) {
    const numbers = parameters.split(/[;:]/).map((it) => Number(it || 0));
    for (let at = 0; at < numbers.length; at += 1) {
      const number = numbers[at] ?? 0;
      if (number === 0) [this.colour, this.isBold, this.isFaint] = ["", false, false];
      else if (number === 1) this.isBold = true;
      else if (number === 2) this.isFaint = true;
      else if (number === 22) this.isBold = this.isFaint = false;
      else if (number === 39) this.colour = "";
      else if (number >= 30 && number <= 37) this.colour = COLOURS[number - 30] ?? "";
      else if (number >= 90 && number <= 97) this.colour = COLOURS[number - 90] ?? "";
      else if (number === 38 || number === 48) {
        const [colour, used] = longColour(numbers.slice(at + 1));
        if (number === 38) this.colour = colour;
        at += used;
      }
    }
  }
}

/**
 * A colour of 256 or of 16 million as the nearest of eight: these are readable in both themes.
 * @param {number[]} rest what follows a 38
 * @returns {[string, number]} its name, and how many numbers it took
 */
function longColour(rest) {
  const [form, a = 0, b = 0, c = 0] = rest;
  if (form === 2) return [nearest(a, b, c), 4];
  if (form !== 5) return ["", 1];
  if (a < 16) return [COLOURS[a % 8] ?? "", 2];
  if (a >= 232) return [nearest(8 + (a - 232) * 10, 8 + (a - 232) * 10, 8 + (a - 232) * 10), 2];
  const n = a - 16;
  return [nearest(CUBE[Math.floor(n / 36) % 6] ?? 0, CUBE[Math.floor(n / 6) % 6] ?? 0, CUBE[n % 6] ?? 0), 2];
}

/**
 * @param {number} red
 * @param {number} green
 * @param {number} blue
 */
function nearest(red, green, blue) {
  const far = RGB.map(([r, g, b]) => (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2);
  return COLOURS[far.indexOf(Math.min(...far))] ?? "";
}
