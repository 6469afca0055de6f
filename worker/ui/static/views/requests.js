// Requests: those that run, what they have come to over time, and each that has ended.

import { saveAs } from "../lib/download.js";
import { h, replace, setAttr, show } from "../lib/dom.js";
import { everySecond } from "../lib/frame.js";
import { attempt } from "../lib/notice.js";
import { S } from "../lib/strings.js";
import { Charts } from "./requests_charts.js";
import { detail } from "./requests_detail.js";
import { History } from "./requests_history.js";
import { Running } from "./requests_running.js";
import { filtersOf, historyQuery, queryOf, toRemember } from "./requests_words.js";

/** @typedef {import("../lib/types.js").Page} Page */
/** @typedef {import("./requests_words.js").Filters} Filters */

/** Charts follow what happens no more often. */
const CHARTS_EVERY_MS = 5000;
/** Who types a filter is not asked for after each letter. */
const TYPING_MS = 250;

/** @type {import("../lib/types.js").View} */
export const view = {
  needs: "read",
  mount(root, page) {
    const requests = new Requests(root, page);
    const ends = [
      page.store.subscribe(["running", "models", "queue"], () => requests.running.update()),
      page.store.subscribe(["records"], () => requests.follow()),
      page.store.subscribe(["catalog"], () => requests.fillModels()),
      everySecond(() => page.store.running.size && requests.running.update()),
    ];
    requests.load();
    if (page.rest) void requests.showOne(page.rest);
    return () => {
      for (const end of ends) end();
      requests.end();
    };
  },
};

class Requests {
  /**
   * @param {HTMLElement} root
   * @param {Page} page
   */
  constructor(root, page) {
    this.page = page;
    this.filters = filtersOf(page.query);
    this.seen = page.store.records.at(-1)?.id ?? 0;
    this.lost = page.store.recordsLost;
    this.gone = new AbortController();
    /** @type {AbortController | null} */
    this.asking = null;
    this.typing = 0;
    this.chartTimer = 0;
    this.askedAt = 0;
    this.running = new Running(page);
    this.charts = new Charts();
    this.history = new History(page, this.filters);
    this.models = h("datalist", { id: "model-names" });
    this.keys = h("datalist", { id: "key-names" });
    this.one = h("section", { class: "card one-request", hidden: true, "aria-label": S.activity.oneRequest });
    replace(
      root,
      h(
        "div",
        { class: "toolbar" },
        h("h1", {}, S.titles.requests ?? ""),
        this.exportButton("csv"),
        this.exportButton("jsonl"),
      ),
      this.one,
      this.running.element,
      this.filterBar(),
      this.charts.element,
      this.history.element,
    );
  }

  filterBar() {
    const f = this.filters;
    const field = (/** @type {"model" | "key" | "id"} */ name, /** @type {string} */ type, /** @type {string | null} */ list) =>
      h("input", {
        type,
        list,
        name,
        value: f[name],
        placeholder: S.activity.filters[name] ?? "",
        "aria-label": S.activity.filters[name] ?? "",
        autocomplete: "off",
        spellcheck: "false",
        oninput: (/** @type {any} */ event) => this.type(name, event.target.value.trim()),
      });
    const choice = (/** @type {"outcome" | "time"} */ name, /** @type {[string, string][]} */ options) => {
      const select = h(
        "select",
        { name, "aria-label": S.activity.filters[name] ?? "", onchange: () => this.choose({ [name]: select.value }) },
        ...options.map(([value, label]) => h("option", { value, selected: f[name] === value }, label)),
      );
      return select;
    };
    const moment = (/** @type {"from" | "to"} */ name) =>
      h("input", {
        type: "datetime-local",
        value: f[name],
        "aria-label": S.activity.filters[name] ?? "",
        onchange: (/** @type {any} */ event) => this.choose({ [name]: event.target.value }),
      });
    this.between = h("span", { class: "row", hidden: f.time !== "between" }, moment("from"), "–", moment("to"));
    return h(
      "div",
      { class: "row filters", role: "search" },
      choice("time", Object.entries(S.activity.times)),
      this.between,
      field("model", "search", "model-names"),
      choice("outcome", [["", S.activity.anyOutcome], ...Object.entries(S.activity.outcomes)]),
      field("key", "search", "key-names"),
      field("id", "search", null),
      this.models,
      this.keys,
    );
  }

  /** @param {"csv" | "jsonl"} form */
  exportButton(form) {
    const button = h("button", { title: S.activity.exportHint, onclick: () => void this.save(form, button) }, S.activity.exports[form] ?? form);
    return button;
  }

  /**
   * @param {"csv" | "jsonl"} form
   * @param {Element} button
   */
  async save(form, button) {
    if (button.getAttribute("aria-disabled")) return;
    setAttr(button, "aria-disabled", "true");
    await attempt(async () => {
      const query = queryOf(this.filters, this.page.store.now());
      const response = await this.page.api.fetch(`/api/activity.${form}?${query}`, { signal: this.gone.signal });
      saveAs(await response.blob(), `requests.${form}`);
    });
    setAttr(button, "aria-disabled", null);
  }

  /**
   * @param {"model" | "key" | "id"} name
   * @param {string} text
   */
  type(name, text) {
    clearTimeout(this.typing);
    this.typing = window.setTimeout(() => this.choose({ [name]: text }), TYPING_MS);
  }

  /** @param {Partial<Filters>} filters */
  choose(filters) {
    this.filters = { ...this.filters, ...filters };
    if (this.between) show(this.between, this.filters.time === "between");
    this.page.remember(toRemember(this.filters));
    this.history.choose(this.filters);
    void this.loadCharts();
  }

  load() {
    void this.history.load();
    void this.loadCharts();
    void this.loadOthers();
  }

  /** Takes in what has ended since. */
  follow() {
    const { store } = this.page;
    if (store.recordsLost !== this.lost) {
      this.lost = store.recordsLost;
      this.seen = store.records.at(-1)?.id ?? 0;
      this.load();
      return;
    }
    const added = store.records.filter((it) => it.id > this.seen);
    if (added.length === 0) return;
    this.seen = added.at(-1)?.id ?? this.seen;
    this.history.add(added.map((it) => it.record));
    if (!this.chartTimer) {
      const pause = Math.max(500, this.askedAt + CHARTS_EVERY_MS - Date.now());
      this.chartTimer = window.setTimeout(() => void this.loadCharts(), pause);
    }
  }

  async loadCharts() {
    clearTimeout(this.chartTimer);
    this.chartTimer = 0;
    this.askedAt = Date.now();
    this.asking?.abort();
    const { signal } = (this.asking = new AbortController());
    try {
      const query = historyQuery(this.filters, this.page.store.now());
      this.charts.show(await this.page.api.get(`/api/history?${query}`, { signal }));
    } catch {
      // the list says why; charts stay as they are
    }
  }

  /** What helps only: names of keys, and what starts take. */
  async loadOthers() {
    const { api } = this.page;
    const { signal } = this.gone;
    try {
      const usage = await api.get("/api/usage?by=key", { signal });
      const keys = usage.rows.map((/** @type {{key: string}} */ it) => it.key).filter(Boolean);
      replace(this.keys, ...keys.map((/** @type {string} */ value) => h("option", { value })));
      this.charts.showLoads(await (await api.fetch("/metrics", { signal })).text());
    } catch {
      // as above
    }
  }

  fillModels() {
    replace(this.models, ...[...this.page.store.catalog.keys()].map((value) => h("option", { value })));
  }

  /** @param {string} id */
  async showOne(id) {
    const found = await attempt(async () => {
      const record = await this.page.api.get(`/api/activity/${encodeURIComponent(id)}`, { signal: this.gone.signal });
      replace(this.one, h("h2", {}, record.model || S.activity.noModel), detail(record, this.page, this.gone.signal));
    });
    show(this.one, found);
  }

  end() {
    clearTimeout(this.typing);
    clearTimeout(this.chartTimer);
    this.asking?.abort();
    this.gone.abort();
    this.history.end();
  }
}
