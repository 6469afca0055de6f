// What models write, and arriero itself: with what was, and as it comes.

import { inPath } from "../lib/api.js";
import { saveAs } from "../lib/download.js";
import { h, replace, setAttr, setText, show } from "../lib/dom.js";
import { S } from "../lib/strings.js";
import { LogLines, MAX_LINES } from "./logs_lines.js";

/** @typedef {import("../lib/types.js").Page} Page */

/** Names that are no models: lines of arriero itself, and of all models. */
const OWN = "proxy";
const ALL = "upstream";

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 10_000;

/** @type {import("../lib/types.js").View} */
export const view = {
  needs: "read",
  mount(root, page) {
    const logs = new Logs(root, page);
    const end = page.store.subscribe(["catalog"], () => logs.listSources());
    logs.choose(page.rest || OWN);
    return () => {
      end();
      logs.lines.draw.cancel();
      logs.reading.abort();
    };
  },
};

class Logs {
  /**
   * @param {HTMLElement} root
   * @param {Page} page
   */
  constructor(root, page) {
    this.page = page;
    this.name = OWN;
    this.reading = new AbortController();
    this.select = h("select", { "aria-label": S.logs.source, onchange: () => this.go(this.select.value) });
    this.search = h("input", {
      type: "search",
      placeholder: S.logs.filter,
      "aria-label": S.logs.filter,
      autocomplete: "off",
      value: page.query.get("q") ?? "",
      oninput: () => this.filter(),
    });
    this.follow = h("button", { onclick: () => this.lines.follow(!this.lines.follows) }, S.logs.follow);
    this.wrap = h("button", { "aria-pressed": "true", onclick: () => this.toggleWrap() }, S.logs.wrap);
    this.count = h("span", { class: "note" });
    this.problem = h("p", { class: "problem", role: "status" });
    this.pane = h("div", { class: "log", role: "log", "aria-live": "off", tabindex: "0", "aria-label": S.titles.logs ?? "" });
    this.empty = h("p", { class: "empty" });
    replace(
      root,
      h(
        "div",
        { class: "toolbar" },
        h("h1", {}, S.titles.logs ?? ""),
        this.count,
        this.select,
        this.search,
        h("div", { class: "row" }, this.follow, this.wrap, h("button", { onclick: () => this.lines.clear() }, S.logs.clear), h("button", { onclick: () => this.save() }, S.logs.save)),
      ),
      this.problem,
      h("div", { class: "log-frame" }, this.pane, this.empty),
    );
    this.lines = new LogLines(this.pane, () => this.tell());
    this.lines.filter(this.search.value.trim());
    this.listSources();
  }

  listSources() {
    const models = [...this.page.store.catalog.values()].filter((it) => !it.kind && !it.remote).map((it) => it.id);
    const names = [OWN, ALL, ...models];
    if (!names.includes(this.name)) names.push(this.name);
    const wanted = names.join("\n");
    if (this.select.dataset.names !== wanted) {
      this.select.dataset.names = wanted;
      replace(this.select, ...names.map((it) => h("option", { value: it }, S.logs.sources[it] ?? it)));
    }
    this.select.value = this.name;
  }

  /** @param {string} name */
  go(name) {
    this.page.go(name === OWN ? "/ui/logs" : `/ui/logs/${inPath(name)}`);
  }

  /** @param {string} name */
  choose(name) {
    this.name = name;
    this.listSources();
    void this.read(this.reading.signal);
  }

  filter() {
    this.page.remember({ q: this.search.value });
    this.lines.filter(this.search.value.trim());
  }

  toggleWrap() {
    const wraps = this.wrap.getAttribute("aria-pressed") !== "true";
    setAttr(this.wrap, "aria-pressed", String(wraps));
    this.pane.classList.toggle("long", !wraps);
  }

  tell() {
    const { count, shown, follows, text } = this.lines;
    setAttr(this.follow, "aria-pressed", String(follows));
    setText(this.count, text ? S.logs.shown(shown, count) : S.logs.lines(count, count >= MAX_LINES));
    show(this.empty, shown === 0 && !this.problem.textContent);
    setText(this.empty, count ? S.logs.noMatch : S.logs.none);
  }

  /**
   * Reads until the view is left. After a break all comes anew: what was missed is among it.
   * @param {AbortSignal} signal
   */
  async read(signal) {
    let delay = FIRST_DELAY_MS;
    while (!signal.aborted) {
      try {
        const response = await this.page.api.fetch(`/logs/stream/${inPath(this.name)}`, { signal });
        setText(this.problem, "");
        this.lines.clear();
        delay = FIRST_DELAY_MS;
        await this.takeAll(response);
      } catch (error) {
        if (signal.aborted) return;
        const why = error instanceof Error ? error.message : String(error);
        setText(this.problem, S.logs.broken(why));
        this.tell();
      }
      await new Promise((resolve) => setTimeout(resolve, delay));
      delay = Math.min(delay * 2, MAX_DELAY_MS);
    }
  }

  /** @param {Response} response */
  async takeAll(response) {
    if (!response.body) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.lines.take(value);
    }
  }

  save() {
    saveAs(new Blob([this.lines.asText()], { type: "text/plain" }), `${this.name.replaceAll("/", "-")}.log`);
  }
}
