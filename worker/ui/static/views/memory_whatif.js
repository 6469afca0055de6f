// "What if X is loaded": what arriero would do, and how each device would look after that.

import { inPath, Refused } from "../lib/api.js";
import { h, KeyedList, replace, setText, show } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { attempt } from "../lib/notice.js";
import { whyNot } from "../lib/session.js";
import { S } from "../lib/strings.js";
import { StackedBar } from "./memory_bar.js";
import { partsAfter } from "./memory_words.js";

/** @typedef {import("../lib/types.js").Page} Page */
/** @typedef {import("../lib/types.js").DeviceStatus} DeviceStatus */
/** @typedef {{model: string, state: string, memory: Record<string, number>, source: string, verdict: string, why: string, start_s: number | null}} Fit */
/** @typedef {{model: string, state: string, action: string, stops: string[], ahead: string[], why: string, devices: DeviceStatus[], models: Fit[], start_s: number | null}} Explanation */

/** What is to happen comes first. */
const ORDER = ["starts", "ends", "goes", "sleeps", "stays"];

/** What changes meanwhile is asked for again, but not more often. */
const AGAIN_MS = 1000;

export class WhatIf {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.model = page.query.get("load") ?? "";
    /** @type {AbortController | null} */
    this.asking = null;
    this.timer = 0;
    this.select = h("select", { id: "what-if", onchange: () => this.choose(this.select.value) });
    const refused = whyNot(page.me, "admin");
    this.load = h(
      "button",
      {
        class: "primary",
        hidden: true,
        title: refused || null,
        "aria-disabled": refused ? "true" : null,
        onclick: () => refused || void attempt(() => page.api.post(`/api/models/load/${inPath(this.model)}`)),
      },
      S.train.load,
    );
    this.answer = h("div", { class: "answer", role: "status" });
    this.fits = h("ul", { class: "fits" });
    this.line = h("p", { class: "line note" });
    this.after = h("div", { class: "after" });
    /** @type {Map<string, StackedBar>} */
    this.bars = new Map();
    /** @type {KeyedList<DeviceStatus>} */
    this.devices = new KeyedList(this.after, {
      key: (device) => device.device,
      create: (device) => this.makeDevice(device),
    });
    this.element = h(
      "section",
      { class: "card whatif", "aria-labelledby": "what-if-title" },
      h("div", { class: "head" }, h("h2", { id: "what-if-title" }, S.memory.whatIf), h("label", { class: "visually-hidden", for: "what-if" }, S.memory.choose), this.select, this.load),
      this.answer,
      this.fits,
      this.after,
      this.line,
    );
  }

  /** The models that there are to choose from may be others now. */
  updateChoices() {
    const names = [...this.page.store.models.keys()];
    if (this.model && !names.includes(this.model)) this.model = "";
    replace(this.select, h("option", { value: "" }, S.memory.choose), ...names.map((it) => h("option", { value: it }, it)));
    this.select.value = this.model;
  }

  /** @param {string} model */
  choose(model) {
    this.model = model;
    this.page.remember({ load: model });
    void this.ask();
  }

  /** Something has changed: ask again in a moment. */
  refresh() {
    if (!this.model || this.timer) return;
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      if (!document.hidden) void this.ask();
    }, AGAIN_MS);
  }

  stop() {
    clearTimeout(this.timer);
    this.asking?.abort();
  }

  async ask() {
    this.asking?.abort();
    show(this.load, this.model !== "");
    if (!this.model) {
      for (const it of [this.answer, this.fits]) replace(it);
      this.devices.set([]);
      return;
    }
    const asking = (this.asking = new AbortController());
    try {
      const told = await this.page.api.get(`/api/models/explain/${inPath(this.model)}`, { signal: asking.signal });
      if (!asking.signal.aborted) this.tell(told);
    } catch (error) {
      if (error instanceof Refused) replace(this.answer, h("p", { class: "problem" }, error.message));
    }
  }

  /** @param {Explanation} told */
  tell(told) {
    const how = S.memory.actions[told.action] ?? told.action;
    const text = told.start_s === null ? how : `${how} ${S.memory.takes(format.duration(told.start_s))}`;
    const shown = this.answer.firstElementChild;
    if (shown?.textContent !== text || this.answer.lastElementChild?.textContent !== told.why) {
      replace(this.answer, h("p", { class: "how" }, text), h("p", { class: "dim" }, told.why));
    }
    const sorted = [...told.models].sort((a, b) => ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict));
    replace(
      this.fits,
      ...sorted.map((it) =>
        h(
          "li",
          { "data-verdict": it.verdict },
          h("span", { class: "chip", "data-kind": it.verdict === "goes" || it.verdict === "sleeps" ? "accent" : null }, S.memory.verdicts[it.verdict] ?? it.verdict),
          h("strong", {}, it.model),
          h("span", { class: "dim" }, it.why),
        ),
      ),
    );
    const isChange = told.action !== "serve" && told.action !== "join";
    const touched = told.devices.filter((it) => told.models.some((fit) => fit.memory[it.device]));
    this.devices.set(isChange ? touched : []);
    for (const device of touched) {
      this.bars.get(device.device)?.set(partsAfter(device, told, this.page.store), device.total);
    }
  }

  /** @param {DeviceStatus} device */
  makeDevice(device) {
    const name = format.device(device.device);
    const bar = new StackedBar(S.memory.barAfter(name), this.line);
    this.bars.set(device.device, bar);
    const title = h("h3", {});
    setText(title, S.memory.after(name));
    return h("div", { class: "then" }, title, bar.element);
  }
}
