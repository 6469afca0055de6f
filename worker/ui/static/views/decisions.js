// What was decided, and why: evictions, ends, failures, refusals, configurations. In words.

import { h, KeyedList, replace, setAttr, setText, show } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { oncePerFrame } from "../lib/frame.js";
import { inPath } from "../lib/api.js";
import { attempt } from "../lib/notice.js";
import { S } from "../lib/strings.js";
import { entriesOf, refusals } from "./decisions_words.js";

/** @typedef {import("./decisions_words.js").Entry} Entry */
/** @typedef {import("../lib/types.js").Page} Page */
/** @typedef {import("../lib/types.js").RequestRecord} RequestRecord */

/** Entries that are shown; refused requests that are asked for. */
const MAX_SHOWN = 500;
const ASKED = 200;

/** @type {import("../lib/types.js").View} */
export const view = {
  needs: "read",
  mount(root, page) {
    const decisions = new Decisions(root, page);
    const end = page.store.subscribe(["decisions", "records"], () => decisions.update());
    return () => {
      end();
      decisions.filtering.cancel();
      decisions.asking.abort();
    };
  },
};

class Decisions {
  /**
   * @param {HTMLElement} root
   * @param {Page} page
   */
  constructor(root, page) {
    this.page = page;
    this.asking = new AbortController();
    const wanted = page.query.get("kind") ?? "";
    this.kind = S.decisions.kinds[wanted] ? wanted : "";
    /** How often records were missed when the refused ones were asked for. */
    this.asked = -1;
    /** @type {RequestRecord[]} */
    this.earlier = [];
    this.filtering = oncePerFrame(() => this.update());
    this.search = h("input", {
      type: "search",
      placeholder: S.decisions.search,
      "aria-label": S.decisions.search,
      autocomplete: "off",
      value: page.query.get("q") ?? "",
      oninput: () => this.choose(this.kind),
    });
    this.select = h(
      "select",
      { "aria-label": S.decisions.kind, onchange: () => this.choose(this.select.value) },
      h("option", { value: "" }, S.decisions.all),
      ...Object.entries(S.decisions.kinds).map(([name, label]) => h("option", { value: name }, label)),
    );
    this.select.value = this.kind;
    this.count = h("span", { class: "note" });
    this.list = h("ol", { class: "decisions" });
    this.empty = h("p", { class: "empty" });
    replace(
      root,
      h("div", { class: "toolbar" }, h("h1", {}, S.titles.decisions ?? ""), this.count, this.select, this.search),
      this.empty,
      this.list,
    );
    /** @type {KeyedList<Entry>} */
    this.entries = new KeyedList(this.list, {
      key: (entry) => entry.key,
      create: (entry) => element(entry),
      update: (made, entry) => {
        setText(made.querySelector(".times"), entry.times > 1 ? S.decisions.times(entry.times) : "");
        setText(made.querySelector("time"), format.moment(entry.t));
      },
    });
  }

  /** @param {string} kind */
  choose(kind) {
    this.kind = kind;
    this.page.remember({ kind, q: this.search.value });
    this.filtering();
  }

  update() {
    const { store } = this.page;
    if (store.hasAll && this.asked !== store.recordsLost) void this.askEarlier(store.recordsLost);
    const known = new Map([...this.earlier, ...store.records.map((it) => it.record)].map((it) => [it.request_id, it]));
    const all = [...entriesOf(store.decisions), ...refusals(known.values())].sort((a, b) => b.t - a.t);
    const text = this.search.value.trim().toLowerCase();
    const found = all.filter((it) => (!this.kind || it.kind === this.kind) && (!text || it.text.toLowerCase().includes(text)));
    this.entries.set(found.slice(0, MAX_SHOWN));
    setText(this.count, store.hasAll ? S.decisions.count(found.length) : S.link.connecting);
    show(this.empty, store.hasAll && found.length === 0);
    setText(this.empty, all.length ? S.decisions.noMatch : S.decisions.none);
  }

  /** @param {number} lost */
  async askEarlier(lost) {
    this.asked = lost;
    const { signal } = this.asking;
    await attempt(async () => {
      const path = `/api/activity?outcome=rejected&limit=${ASKED}`;
      const answer = await this.page.api.get(path, { signal }).catch((error) => {
        if (!signal.aborted) throw error;
      });
      if (!answer) return;
      this.earlier = answer.requests;
      this.filtering();
    });
  }
}

/** @param {Entry} entry */
function element(entry) {
  const what = h("span", { class: "what" }, entry.text);
  const about = h("span", { class: "chip", "data-kind": ["failure", "refusal"].includes(entry.kind) ? "problem" : null }, S.decisions.kinds[entry.kind] ?? entry.kind);
  const line = [h("time", {}), about, what, h("span", { class: "times dim" })];
  const made = h("li", { "data-entry": entry.kind });
  if (entry.facts.length === 0 && !entry.model) {
    replace(made, h("div", { class: "said" }, ...line));
    return made;
  }
  const facts = entry.facts.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text)));
  const links = entry.model
    ? h(
        "div",
        { class: "row" },
        h("a", { href: `/ui/logs/${inPath(entry.model)}` }, S.train.logs),
        h("a", { href: `/ui/requests?model=${encodeURIComponent(entry.model)}` }, S.train.requests),
      )
    : null;
  const summary = h("summary", { class: "said" }, ...line);
  replace(made, h("details", {}, summary, h("div", { class: "more" }, facts.length > 0 && h("dl", {}, ...facts), links)));
  setAttr(made, "data-model", entry.model);
  return made;
}
