// A stacked bar: its parts can be pointed at, and gone through by keys; what is said of one goes to
// a line below.

import { h, KeyedList, setAttr, setText, setVar } from "../lib/dom.js";
import * as format from "../lib/format.js";

/** @typedef {import("./memory_words.js").Part} Part */

export class StackedBar {
  /**
   * @param {string} label
   * @param {HTMLElement} line where a part is explained
   * @param {string} [hint] what stands there otherwise
   */
  constructor(label, line, hint = "") {
    this.line = line;
    this.hint = hint;
    setText(line, hint);
    /** @type {Map<string, Part>} */
    this.parts = new Map();
    this.shown = "";
    this.element = h("div", {
      class: "stack",
      role: "group",
      "aria-label": label,
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.walk(event),
      onmouseleave: () => this.explain(""),
      onfocusout: () => this.explain(""),
    });
    /** @type {KeyedList<Part>} */
    this.list = new KeyedList(this.element, {
      key: (part) => part.key,
      create: (part) => this.make(part),
      update: (element, part) => this.update(element, part),
    });
  }

  /**
   * @param {Part[]} parts
   * @param {number} total bytes
   */
  set(parts, total) {
    this.total = total;
    this.parts = new Map(parts.map((it) => [it.key, it]));
    this.list.set(parts);
    const stops = [...this.element.children];
    const isReached = stops.some((it) => it.getAttribute("tabindex") === "0");
    if (!isReached && stops[0]) setAttr(stops[0], "tabindex", 0);
    if (this.shown) this.explain(this.shown);
  }

  /** @param {Part} part */
  make(part) {
    return h(
      "span",
      {
        class: "part",
        role: "img",
        tabindex: "-1",
        "data-kind": part.kind,
        "data-series": part.series ?? null,
        onmouseenter: () => this.explain(part.key),
        onfocus: () => this.explain(part.key),
      },
      h("span", { class: "ellipsis", "aria-hidden": "true" }),
    );
  }

  /**
   * @param {HTMLElement} element
   * @param {Part} part
   */
  update(element, part) {
    setVar(element, "--share", (part.size / (this.total || 1)).toFixed(4));
    const size = format.bytes(part.size);
    setAttr(element, "aria-label", `${part.label}: ${size}. ${part.about}`);
    const text = element.firstElementChild;
    if (text) setText(text, part.kind === "free" ? `${size} ${part.label}` : part.label);
  }

  /** @param {string} key empty: nothing */
  explain(key) {
    this.shown = key;
    const part = this.parts.get(key);
    const size = part && part.kind !== "model" ? `${part.label}: ${format.bytes(part.size)}. ` : "";
    setText(this.line, part ? size + part.about : this.hint);
  }

  /** @param {KeyboardEvent} event */
  walk(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const stops = [...this.element.querySelectorAll(".part")];
    const at = stops.indexOf(/** @type {Element} */ (document.activeElement));
    const next = stops[Math.min(stops.length - 1, Math.max(0, at + step))];
    if (!(next instanceof HTMLElement)) return;
    event.preventDefault();
    for (const it of stops) setAttr(it, "tabindex", it === next ? 0 : -1);
    next.focus();
  }
}
