// One model: its element, kept up to date by `update`.

import { inPath } from "../lib/api.js";
import { h, replace, setAttr, setText, setVar, show } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { lastLines } from "../lib/last_lines.js";
import { attempt, confirmed } from "../lib/notice.js";
import { whyNot } from "../lib/session.js";
import { S } from "../lib/strings.js";
import { doingThere } from "./train_machines.js";
import { doing, isComing, memoryOf, requestsOf, shownState } from "./train_words.js";

/** @typedef {import("../lib/types.js").Page} Page */

const LINES = 12;

export class ModelRow {
  /**
   * @param {string} id
   * @param {Page} page
   */
  constructor(id, page) {
    this.id = id;
    this.page = page;
    /** @type {AbortController | null} */
    this.reading = null;
    /** @type {HTMLButtonElement | null} only while its details are open */
    this.pinButton = null;
    this.dot = h("span", { class: "dot" });
    this.title = h("span", { class: "title" });
    this.about = h("span", { class: "about dim ellipsis" });
    this.chips = h("span", { class: "chips" });
    this.fill = h("span");
    this.bar = h("div", { class: "bar", role: "progressbar", "aria-label": S.train.bar(id) }, this.fill);
    this.doing = h("span", { class: "doing" });
    this.running = h("span", { class: "running" });
    this.waiting = h("span", { class: "waiting" });
    this.why = h("span", { class: "why dim" });
    this.memory = h("div", { class: "memory" });
    this.primary = h("button", { onclick: () => this.act() });
    this.error = h("p", { class: "error problem" });
    this.detail = h("div", { class: "detail", id: `detail-${id}`, hidden: true });
    this.toggle = h(
      "button",
      {
        class: "quiet toggle",
        "aria-expanded": "false",
        "aria-controls": `detail-${id}`,
        "aria-label": S.train.details(id),
        onclick: () => this.open(this.detail.hidden !== false),
      },
      "›",
    );
    this.element = h(
      "li",
      { class: "model", "data-model": id },
      this.toggle,
      h("div", { class: "who" }, this.dot, this.title, this.chips, this.about),
      h("div", { class: "how" }, this.doing, this.bar),
      h("div", { class: "load" }, this.running, this.waiting, this.why),
      this.memory,
      h("div", { class: "actions" }, this.primary),
      this.error,
      this.detail,
    );
    /** @type {() => void} */
    this.act = () => {};
  }

  update() {
    const { store } = this.page;
    const model = store.models.get(this.id);
    const entry = store.catalog.get(this.id);
    const state = shownState(model, entry);
    setAttr(this.element, "data-state", state);
    setAttr(this.dot, "data-state", state);
    setText(this.title, entry?.name || this.id);
    setText(this.about, entry?.description || (entry?.name ? this.id : (entry?.aliases ?? []).join(", ")));
    if (!model || state === "remote") {
      setText(this.doing, doingThere(this.id, store.peers).join(" · "));
      for (const it of [this.bar, this.primary, this.error]) show(it, false);
      return;
    }
    const coming = isComing(model);
    setText(this.doing, doing(model, store).join(" · "));
    show(this.bar, coming);
    if (coming) this.updateBar(model.progress?.fraction ?? null);
    const requests = requestsOf(model, entry, store);
    setText(this.running, requests.running);
    setText(this.waiting, requests.waiting);
    setText(this.why, requests.why);
    setText(this.memory, memoryOf(model).join(" + "));
    this.updateChips(model);
    this.updatePin(model);
    this.updateAction(model, coming);
    show(this.error, model.error !== null);
    setText(this.error, model.error?.message ?? "");
  }

  /** @param {number | null} fraction */
  updateBar(fraction) {
    setAttr(this.bar, "data-unknown", fraction === null);
    setAttr(this.bar, "aria-valuenow", fraction === null ? null : Math.floor(fraction * 100));
    setVar(this.fill, "--share", (fraction ?? 0).toFixed(3));
  }

  /** @param {import("../lib/types.js").ModelStatus} model */
  updateChips(model) {
    const wanted = [
      model.pin && [S.train.pins[model.pin] ?? model.pin, ""],
      model.stale && [S.train.stale, S.train.staleHint],
      model.removed && [S.train.removed, S.train.removedHint],
    ].filter((it) => Array.isArray(it));
    const text = wanted.map(([label]) => label).join("\n");
    if (this.chips.dataset.text === text) return;
    this.chips.dataset.text = text;
    replace(this.chips, ...wanted.map(([label, hint]) => h("span", { class: "chip", title: hint || null }, label)));
  }

  /**
   * @param {import("../lib/types.js").ModelStatus} model
   * @param {boolean} coming
   */
  updateAction(model, coming) {
    /** @type {[string, string, () => void]} */
    let [label, hint, act] = [S.train.load, "", () => this.load()];
    if (model.state === "asleep") label = S.train.wake;
    if (coming) [label, hint, act] = [S.train.cancel, S.train.cancelHint, () => this.unload("now")];
    else if (model.state === "ready") {
      [label, hint, act] = [S.train.unload, S.train.unloadHint, () => this.unload("drain")];
    } else if (model.state === "draining" || model.state === "stopping") {
      [label, hint, act] = [S.train.unloadNow, S.train.unloadNowHint, () => this.cut(model.in_flight)];
    }
    const refused = whyNot(this.page.me, "admin");
    show(this.primary, true);
    setText(this.primary, label);
    setAttr(this.primary, "title", refused || hint || null);
    setAttr(this.primary, "aria-disabled", refused ? "true" : null);
    this.act = refused ? () => {} : act;
  }

  load() {
    void attempt(() => this.page.api.post(`/api/models/load/${inPath(this.id)}`));
  }

  /** @param {"drain" | "now"} mode */
  unload(mode) {
    void attempt(() => this.page.api.post(`/api/models/unload/${inPath(this.id)}?mode=${mode}`));
  }

  /** @param {number} requests that would be cut */
  async cut(requests) {
    const isSure =
      !requests || (await confirmed(S.train.cutTitle(this.id), S.train.cutText(requests), S.train.unloadNow));
    if (isSure) this.unload("now");
  }

  pin() {
    const what = this.page.store.models.get(this.id)?.pin_ordered ? "unpin" : "pin";
    void attempt(() => this.page.api.post(`/api/models/${what}/${inPath(this.id)}`));
  }

  /** @param {import("../lib/types.js").ModelStatus | undefined} model */
  updatePin(model) {
    if (!this.pinButton) return;
    const refused = whyNot(this.page.me, "admin");
    setText(this.pinButton, model?.pin_ordered ? S.train.unpin : S.train.pin);
    setAttr(this.pinButton, "title", refused || (model?.pin_ordered ? S.train.unpinHint : S.train.pinHint));
    setAttr(this.pinButton, "aria-disabled", refused ? "true" : null);
  }

  /** @param {boolean} isOpen */
  open(isOpen) {
    setAttr(this.toggle, "aria-expanded", isOpen ? "true" : "false");
    this.reading?.abort();
    show(this.detail, isOpen);
    if (isOpen) this.fillDetail();
  }

  fillDetail() {
    const { store, api } = this.page;
    const model = store.models.get(this.id);
    const entry = store.catalog.get(this.id);
    const lines = h("pre", { class: "lines", tabindex: "0", "aria-label": S.train.lastLines });
    /** @type {[string, string][]} */
    const facts = [];
    if (entry?.aliases?.length) facts.push([S.train.aliases, entry.aliases.join(", ")]);
    if (entry?.abilities?.context) facts.push([S.train.context, format.count(entry.abilities.context)]);
    if (model?.pid) facts.push([S.train.process, String(model.pid)]);
    if (model?.endpoint) facts.push([S.train.address, model.endpoint]);
    const refused = whyNot(this.page.me, "admin");
    const pin = h("button", { onclick: () => refused || this.pin() });
    this.pinButton = pin;
    const isBusy = model?.state === "ready" && !entry?.remote;
    replace(
      this.detail,
      h(
        "div",
        { class: "row" },
        h("a", { href: `/ui/logs/${inPath(this.id)}` }, S.train.logs),
        h("a", { href: `/ui/requests?model=${encodeURIComponent(this.id)}` }, S.train.requests),
        h("a", { href: `/ui/memory?load=${encodeURIComponent(this.id)}` }, S.train.whatIf),
        store.devices.length > 0 && !entry?.remote && pin,
        isBusy &&
          h(
            "button",
            {
              class: "danger",
              title: refused || S.train.unloadNowHint,
              "aria-disabled": refused ? "true" : null,
              onclick: () => refused || void this.cut(store.models.get(this.id)?.in_flight ?? 0),
            },
            S.train.unloadNow,
          ),
      ),
      facts.length > 0 && h("dl", { class: "facts" }, ...facts.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text)))),
      h("h3", {}, S.train.lastLines),
      lines,
    );
    this.updatePin(model);
    if (entry?.remote) return;
    const reading = (this.reading = new AbortController());
    lastLines(api, this.id, LINES, reading.signal).then(
      (text) => setText(lines, text || S.train.noLines),
      (error) => reading.signal.aborted || setText(lines, String(error.message ?? error)),
    );
  }
}
