// One device: how much of it is used for what, and whether models may use it at all.

import { h, KeyedList, setAttr, setText, show } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { attempt } from "../lib/notice.js";
import { whyNot } from "../lib/session.js";
import { S } from "../lib/strings.js";
import { StackedBar } from "./memory_bar.js";
import { partsOf } from "./memory_words.js";

/** @typedef {import("../lib/types.js").DeviceStatus} DeviceStatus */
/** @typedef {import("../lib/types.js").Page} Page */
/** @typedef {import("./memory_words.js").Part} Part */

/** How long a device may be held, in seconds; 0: until it is released. */
const HOLDS = [600, 3600, 0];

export class DeviceCard {
  /**
   * @param {string} device
   * @param {Page} page
   */
  constructor(device, page) {
    this.device = device;
    this.page = page;
    this.isHeld = false;
    this.name = h("span", { class: "dim ellipsis" });
    this.held = h("span", { class: "chip", "data-kind": "accent", hidden: true });
    this.sum = h("span", { class: "sum" });
    this.line = h("p", { class: "line note" });
    this.bar = new StackedBar(S.memory.bar(format.device(device)), this.line);
    this.legend = h("ul", { class: "legend" });
    /** @type {KeyedList<Part>} */
    this.list = new KeyedList(this.legend, {
      key: (part) => part.key,
      create: (part) => this.entry(part),
      update: (element, part) => setText(element.lastElementChild, format.bytes(part.size)),
    });
    this.element = h(
      "section",
      { class: "card device", "aria-label": format.device(device), "data-device": device },
      h("div", { class: "head" }, h("h2", {}, format.device(device)), this.name, this.held, this.sum, this.actions()),
      this.bar.element,
      this.legend,
      this.line,
    );
  }

  actions() {
    const refused = whyNot(this.page.me, "admin");
    const limits = { title: refused || null, "aria-disabled": refused ? "true" : null };
    this.release = h("button", { ...limits, hidden: true, onclick: () => refused || this.order("release", 0) }, S.memory.release);
    this.hold = h(
      "details",
      { class: "menu" },
      h("summary", { title: refused || S.memory.holdHint }, S.memory.hold),
      h(
        "div",
        {},
        ...HOLDS.map((seconds) =>
          h(
            "button",
            {
              ...limits,
              onclick: () => {
                if (refused) return;
                this.hold?.removeAttribute("open");
                this.order("hold", seconds);
              },
            },
            seconds ? S.memory.holdFor(format.duration(seconds)) : S.memory.holdOn,
          ),
        ),
      ),
    );
    return h("div", { class: "actions" }, this.release, this.hold);
  }

  /**
   * @param {"hold" | "release"} what
   * @param {number} seconds
   */
  order(what, seconds) {
    const body = { device: this.device, for_s: seconds || null };
    void attempt(() => this.page.api.post(`/api/devices/${what}`, body));
  }

  /** @param {Part} part */
  entry(part) {
    const isModel = part.kind === "model";
    return h(
      "li",
      { onmouseenter: () => this.bar.explain(part.key), onmouseleave: () => this.bar.explain("") },
      h("span", { class: "swatch", "data-kind": part.kind, "data-series": part.series ?? null }),
      isModel ? h("a", { class: "ellipsis", href: `/ui/train?q=${encodeURIComponent(part.label)}` }, part.label) : h("span", {}, part.label),
      h("span", { class: "dim" }),
    );
  }

  /** @param {DeviceStatus} status */
  update(status) {
    setText(this.name, status.name);
    const used = status.total - Math.max(0, status.free);
    setText(this.sum, S.memory.sum(format.bytes(used), format.bytes(status.total)));
    show(this.held, status.held);
    setText(this.held, status.held_s === null ? S.memory.held : S.memory.heldFor(format.wholeDuration(status.held_s)));
    if (this.release) show(this.release, status.held);
    if (this.hold) show(this.hold, !status.held);
    setAttr(this.element, "data-held", status.held);
    const parts = partsOf(status, this.page.store);
    this.bar.set(parts, status.total);
    this.list.set(parts);
  }
}
