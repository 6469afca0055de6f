// Requests that have ended: a table, page by page, to which those that end now are added.

import { h, KeyedList, setAttr, setText, show } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { S } from "../lib/strings.js";
import { detail } from "./requests_detail.js";
import { belongs, keyOf, money, ms, queryOf, speed, tokens, wait } from "./requests_words.js";

/** @typedef {import("../lib/types.js").Page} Page */
/** @typedef {import("../lib/types.js").RequestRecord} RequestRecord */
/** @typedef {import("./requests_words.js").Filters} Filters */
/** @typedef {{key: string, record: RequestRecord, isDetail: boolean}} Item */

const PAGE = 100;
/** Rows of the first page, with those that have come since. */
const MAX_ROWS = 300;

/** @type {[string, (record: RequestRecord) => string][]} */
const COLUMNS = [
  ["when", (it) => format.moment(it.t)],
  ["model", (it) => it.model || it.asked || S.activity.noModel],
  ["outcome", (it) => (it.outcome === "ok" ? S.activity.outcomes.ok ?? "" : it.error_code?.replaceAll("_", " ") || (S.activity.outcomes[it.outcome] ?? it.outcome))],
  ["ttft", (it) => ms(it.ttft_ms)],
  ["prefill", (it) => speed(it.prompt_per_s)],
  ["decode", (it) => speed(it.output_per_s)],
  ["queue", (it) => wait(it.queue_ms)],
  ["load", (it) => wait(it.load_ms)],
  ["whole", (it) => ms(it.duration_ms)],
  ["tokens", tokens],
  ["cost", (it) => money(it.cost_usd)],
  ["key", (it) => it.key],
  ["api", (it) => it.api],
];

export class History {
  /**
   * @param {Page} page
   * @param {Filters} filters
   */
  constructor(page, filters) {
    this.page = page;
    this.filters = filters;
    /** @type {RequestRecord[]} newest first */
    this.records = [];
    /** @type {Map<string, AbortController>} of those whose details are open */
    this.opened = new Map();
    /** @type {(number | null)[]} where pages begin, up to the one that is shown; null: the newest */
    this.pages = pagesOf(page.state);
    /** @type {number | undefined} */
    this.next = undefined;
    /** @type {AbortController | null} */
    this.asking = null;
    this.problem = h("p", { class: "problem", role: "alert", hidden: true });
    this.empty = h("p", { class: "empty", hidden: true });
    this.newer = h("button", { onclick: () => this.turn(-1) }, S.activity.newer);
    this.older = h("button", { onclick: () => this.turn(1) }, S.activity.older);
    this.place = h("span", { class: "note", role: "status" });
    const body = h("tbody");
    this.table = h(
      "table",
      { class: "records", "aria-label": S.activity.history },
      h("thead", {}, h("tr", {}, h("th", { class: "c-toggle" }, h("span", { class: "visually-hidden" }, S.activity.details)), ...COLUMNS.map(([name]) => h("th", { scope: "col", class: `c-${name}` }, S.activity.columns[name] ?? name)))),
      body,
    );
    /** @type {KeyedList<Item>} */
    this.list = new KeyedList(body, {
      key: (item) => item.key,
      create: (item) => (item.isDetail ? this.makeDetail(item) : this.makeRow(item)),
    });
    this.element = h(
      "section",
      { "aria-labelledby": "history-title" },
      h("div", { class: "row" }, h("h2", { id: "history-title" }, S.activity.history), this.place, h("span", { class: "grow" }), this.newer, this.older),
      this.problem,
      this.table,
      this.empty,
    );
  }

  /** @param {Filters} filters */
  choose(filters) {
    this.filters = filters;
    this.pages = [null];
    void this.load();
  }

  /** @param {number} by */
  turn(by) {
    if (by < 0 ? this.pages.length < 2 : this.next === undefined) return;
    if (by < 0) this.pages.pop();
    else if (this.next !== undefined) this.pages.push(this.next);
    this.page.step({ pages: this.pages });
    void this.load();
  }

  async load() {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    const query = queryOf(this.filters, this.page.store.now());
    query.set("limit", String(PAGE));
    const before = this.pages.at(-1);
    if (before) query.set("before", String(before));
    setAttr(this.table, "aria-busy", "true");
    try {
      const found = await this.page.api.get(`/api/activity?${query}`, { signal: asking.signal });
      this.records = found.requests;
      this.next = found.next;
      show(this.problem, false);
    } catch (error) {
      if (asking.signal.aborted) return;
      setText(this.problem, error instanceof Error ? error.message : String(error));
      show(this.problem, true);
    }
    setAttr(this.table, "aria-busy", null);
    this.close();
    this.draw();
  }

  /**
   * Takes in what has just ended, if the newest page is shown.
   * @param {RequestRecord[]} records oldest first
   */
  add(records) {
    if (this.pages.length > 1) return;
    const known = new Set(this.records.map(keyOf));
    const model = this.modelId();
    const added = records.filter((it) => belongs(it, this.filters, model) && !known.has(keyOf(it)));
    if (added.length === 0) return;
    this.records = [...added.reverse(), ...this.records].slice(0, MAX_ROWS);
    this.draw();
  }

  /** The id of the model that the filter names, perhaps by another name. */
  modelId() {
    const name = this.filters.model;
    for (const one of this.page.store.catalog.values()) if (one.aliases?.includes(name)) return one.id;
    return name;
  }

  draw() {
    /** @type {Item[]} */
    const items = [];
    for (const record of this.records) {
      const key = keyOf(record);
      items.push({ key, record, isDetail: false });
      if (this.opened.has(key)) items.push({ key: `detail ${key}`, record, isDetail: true });
    }
    this.list.set(items);
    show(this.table, items.length > 0);
    show(this.empty, items.length === 0);
    const isNarrowed = Boolean(this.filters.model || this.filters.outcome || this.filters.key || this.filters.id);
    setText(this.empty, isNarrowed ? S.activity.noMatch : S.activity.nothing);
    setText(this.place, this.pages.length > 1 ? S.activity.page(this.pages.length) : "");
    setAttr(this.newer, "aria-disabled", this.pages.length < 2 ? "true" : null);
    setAttr(this.older, "aria-disabled", this.next === undefined ? "true" : null);
  }

  /** @param {Item} item */
  makeRow({ key, record }) {
    const toggle = h(
      "button",
      {
        class: "quiet toggle",
        "aria-expanded": "false",
        "aria-label": S.activity.detailsOf(record.request_id),
        onclick: () => this.toggle(key, toggle),
      },
      "›",
    );
    return h(
      "tr",
      { "data-request": record.request_id, "data-outcome": record.outcome },
      h("td", { class: "c-toggle" }, toggle),
      ...COLUMNS.map(([name, words]) => {
        const text = words(record);
        return h("td", { class: `c-${name}` }, name === "outcome" ? h("span", { class: "outcome" }, h("span", { class: "dot", "data-state": stateOf(record) }), text) : text);
      }),
    );
  }

  /** @param {Item} item */
  makeDetail({ key, record }) {
    const reading = this.opened.get(key) ?? new AbortController();
    return h("tr", { class: "opened" }, h("td", { colspan: COLUMNS.length + 1 }, detail(record, this.page, reading.signal)));
  }

  /**
   * @param {string} key
   * @param {Element} toggle
   */
  toggle(key, toggle) {
    const open = this.opened.get(key);
    open?.abort();
    if (open) this.opened.delete(key);
    else this.opened.set(key, new AbortController());
    setAttr(toggle, "aria-expanded", open ? "false" : "true");
    this.draw();
  }

  /** Closes all details. */
  close() {
    for (const reading of this.opened.values()) reading.abort();
    this.opened.clear();
    for (const toggle of this.table.querySelectorAll('[aria-expanded="true"]')) setAttr(toggle, "aria-expanded", "false");
  }

  end() {
    this.asking?.abort();
    this.close();
  }
}

/** @param {RequestRecord} record */
function stateOf(record) {
  if (record.outcome === "ok") return "ready";
  return record.outcome === "cancelled" || record.outcome === "client_gone" ? "stopped" : "failed";
}

/**
 * The pages up to the one that was stepped to.
 * @param {any} state of an entry of the browser's history
 * @returns {(number | null)[]}
 */
function pagesOf(state) {
  const pages = state?.pages;
  return Array.isArray(pages) && pages.length > 0 ? [null, ...pages.slice(1).filter(Number.isSafeInteger)] : [null];
}
