// The lines of a log on the screen: the newest few thousand, drawn at most once per frame.

import { h } from "../lib/dom.js";
import { oncePerFrame } from "../lib/frame.js";
import { AnsiReader } from "./logs_ansi.js";

/** Lines that are kept; what is older is in the file or the journal. */
export const MAX_LINES = 5000;
const MAX_CHARS = 8000;

/** Pixels from the end that still count as being there. */
const NEAR = 24;

export class LogLines {
  /**
   * @param {HTMLElement} pane scrolls; has nothing else in it
   * @param {() => void} onChange called when lines were drawn, or the reader has scrolled
   */
  constructor(pane, onChange) {
    this.pane = pane;
    this.onChange = onChange;
    this.text = "";
    /** Whether the end stays in sight. */
    this.follows = true;
    this.shown = 0;
    this.ansi = new AnsiReader();
    this.rest = "";
    /** @type {string[]} lines that are not drawn yet */
    this.coming = [];
    this.draw = oncePerFrame(() => this.drawNow());
    pane.addEventListener("scroll", () => this.scrolled());
  }

  get count() {
    return this.pane.childElementCount;
  }

  /** @param {string} data whatever has come, in pieces of any length */
  take(data) {
    const lines = (this.rest + data).split("\n");
    this.rest = (lines.pop() ?? "").slice(0, MAX_CHARS);
    for (const line of lines) this.coming.push(line);
    if (this.coming.length > MAX_LINES) this.coming = this.coming.slice(-MAX_LINES);
    this.draw();
  }

  clear() {
    this.coming = [];
    this.rest = "";
    this.shown = 0;
    this.ansi = new AnsiReader();
    this.pane.replaceChildren();
    this.onChange();
  }

  drawNow() {
    const fragment = document.createDocumentFragment();
    for (const line of this.coming) fragment.append(this.element(line));
    this.coming = [];
    this.pane.append(fragment);
    while (this.pane.childElementCount > MAX_LINES) {
      const first = /** @type {HTMLElement} */ (this.pane.firstElementChild);
      if (!first.hidden) this.shown -= 1;
      first.remove();
    }
    if (this.follows) this.toEnd();
    this.onChange();
  }

  /** @param {string} raw */
  element(raw) {
    const said = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
    const line = said.slice(said.lastIndexOf("\r") + 1); // what a terminal would show of it
    const isCut = line.length > MAX_CHARS;
    const pieces = this.ansi.read(line.slice(0, MAX_CHARS));
    const element = h(
      "div",
      { class: "line" },
      ...pieces.map(({ text, style }) => (style ? h("span", { class: style }, text) : text)),
      isCut && "…",
    );
    const level = /^[-\d :,.TZ+]*\b(WARNING|ERROR|CRITICAL)\b/.exec(element.textContent ?? "");
    if (level) element.dataset.level = level[1] === "WARNING" ? "warning" : "error";
    this.sift(element);
    return element;
  }

  /** @param {string} text only lines that have it are shown */
  filter(text) {
    this.text = text.toLowerCase();
    this.shown = 0;
    for (const element of this.pane.children) this.sift(/** @type {HTMLElement} */ (element));
    if (this.follows) this.toEnd();
    this.onChange();
  }

  /** @param {HTMLElement} element */
  sift(element) {
    element.hidden = this.text !== "" && !(element.textContent ?? "").toLowerCase().includes(this.text);
    if (!element.hidden) this.shown += 1;
  }

  /** @param {boolean} follows */
  follow(follows) {
    this.follows = follows;
    if (follows) this.toEnd();
    this.onChange();
  }

  toEnd() {
    this.pane.scrollTop = this.pane.scrollHeight;
  }

  /** Who scrolls back does not want to be carried away; who comes to the end again does. */
  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.pane;
    const isAtEnd = scrollTop + clientHeight >= scrollHeight - NEAR;
    if (isAtEnd === this.follows) return;
    this.follows = isAtEnd;
    this.onChange();
  }

  /** All lines that are kept, as a text. */
  asText() {
    return [...this.pane.children].map((it) => `${it.textContent}\n`).join("");
  }
}
