// Requests that run: what they do, how fast they come, and how they are ended.

import { h, KeyedList, setAttr, setText, setVar, show } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { attempt } from "../lib/notice.js";
import { whyNot } from "../lib/session.js";
import { S } from "../lib/strings.js";
import { doing, live } from "./requests_words.js";

/** @typedef {import("../lib/types.js").Page} Page */
/** @typedef {import("../lib/types.js").RunningRequest} RunningRequest */

/** More than these are counted only. */
const MAX_SHOWN = 200;

export class Running {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.count = h("span", { class: "dim" });
    this.none = h("p", { class: "note" }, S.activity.nothingRuns);
    this.more = h("p", { class: "note", hidden: true });
    const list = h("ul", { class: "running-list" });
    this.element = h(
      "section",
      { "aria-labelledby": "running-title" },
      h("div", { class: "row" }, h("h2", { id: "running-title" }, S.activity.running), this.count),
      this.none,
      list,
      this.more,
    );
    /** @type {Map<string, RunningRow>} */
    this.rows = new Map();
    /** @type {KeyedList<RunningRequest>} */
    this.list = new KeyedList(list, {
      key: (request) => request.id,
      create: (request) => this.row(request.id).element,
      remove: (element) => this.rows.delete(element.dataset.request ?? ""),
    });
  }

  update() {
    const { running } = this.page.store;
    const shown = [...running.values()].sort((a, b) => a.t - b.t).slice(0, MAX_SHOWN);
    this.list.set(shown);
    for (const request of shown) this.row(request.id).update(request);
    setText(this.count, running.size || "");
    show(this.none, running.size === 0);
    show(this.more, running.size > MAX_SHOWN);
    setText(this.more, S.activity.andMore(running.size - MAX_SHOWN));
  }

  /** @param {string} id */
  row(id) {
    let row = this.rows.get(id);
    if (!row) this.rows.set(id, (row = new RunningRow(id, this.page)));
    return row;
  }
}

class RunningRow {
  /**
   * @param {string} id
   * @param {Page} page
   */
  constructor(id, page) {
    this.page = page;
    this.model = h("span", { class: "title" });
    this.what = h("span", { class: "dim ellipsis" });
    this.doing = h("span", { class: "doing" });
    this.fill = h("span");
    this.bar = h("div", { class: "bar", role: "progressbar", "aria-label": S.activity.loading(id) }, this.fill);
    this.speed = h("span", { class: "speed" });
    this.elapsed = h("span", { class: "elapsed" });
    const refused = whyNot(page.me, "infer");
    const cancel = h(
      "button",
      {
        "aria-label": S.activity.cancelOne(id),
        title: refused || S.activity.cancelHint,
        "aria-disabled": refused ? "true" : null,
        onclick: () => refused || void attempt(() => page.api.post(`/api/requests/${encodeURIComponent(id)}/cancel`)),
      },
      S.activity.cancel,
    );
    this.element = h(
      "li",
      { class: "running-one", "data-request": id },
      h("div", { class: "who" }, this.model, this.what),
      h("div", { class: "how" }, this.doing, this.bar),
      this.speed,
      this.elapsed,
      cancel,
    );
  }

  /** @param {RunningRequest} request */
  update(request) {
    const { store } = this.page;
    const now = store.now();
    const progress = request.phase === "load" || request.phase === "queue" ? store.models.get(request.model)?.progress : null;
    setAttr(this.element, "data-phase", request.phase);
    setText(this.model, request.model || S.activity.noModel);
    setText(this.what, [request.path, request.peer, request.id].filter(Boolean).join(" · "));
    setText(this.doing, doing(request, store).join(" · "));
    setText(this.speed, live(request, now));
    setText(this.elapsed, format.wholeDuration(now - request.t));
    show(this.bar, Boolean(progress));
    if (progress) {
      setAttr(this.bar, "data-unknown", progress.fraction === null);
      setAttr(this.bar, "aria-valuenow", progress.fraction === null ? null : Math.floor(progress.fraction * 100));
      setVar(this.fill, "--share", (progress.fraction ?? 0).toFixed(3));
    }
  }
}
