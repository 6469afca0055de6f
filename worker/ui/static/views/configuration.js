// The configuration: its files without secrets, what is wrong in them, what a reload would change.

import { h, replace, setAttr, setText, show } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { attempt, notice } from "../lib/notice.js";
import { whyNot } from "../lib/session.js";
import { S } from "../lib/strings.js";
import { sourceOf } from "./configuration_file.js";
import { changesOf, elsewhereOf, isNothing, keysOf, profilesOf } from "./configuration_parts.js";

/** @typedef {import("../lib/types.js").Page} Page */
/** @typedef {import("./configuration_file.js").Remark} Remark */
/** @typedef {import("./configuration_file.js").ConfigFile} ConfigFile */
/** @typedef {import("./configuration_parts.js").Changes} Changes */
/** @typedef {{generation: number, files: ConfigFile[], remarks: Remark[], more: number, changes: Changes | null, keys: import("./configuration_parts.js").KeyStatus[], plain_keys: number}} Told */

/** @type {import("../lib/types.js").View} */
export const view = {
  needs: "admin",
  mount(root, page) {
    const configuration = new Configuration(root, page);
    const ends = [
      page.store.subscribe(["config"], () => configuration.follow()),
      page.store.subscribe(["catalog"], () => configuration.showNames()),
    ];
    return () => {
      for (const end of ends) end();
      configuration.gone.abort();
    };
  },
};

class Configuration {
  /**
   * @param {HTMLElement} root
   * @param {Page} page
   */
  constructor(root, page) {
    this.page = page;
    this.gone = new AbortController();
    /** What was in force, or failed, when it was looked at last. */
    this.seen = "";
    this.summary = h("span", { class: "note summary" });
    this.refresh = h("button", { onclick: () => void this.look() }, S.configuration.lookAgain);
    this.drain = h("input", { type: "checkbox", id: "drain" });
    this.reload = h("button", { class: "primary", onclick: () => void this.putInForce() }, S.configuration.reload);
    this.problem = h("p", { class: "problem", role: "alert", hidden: true });
    this.changes = h("div");
    this.remarks = h("div");
    this.files = h("div", { class: "files" });
    this.profiles = h("div");
    this.selectors = h("div");
    this.peers = h("div");
    this.keys = h("div");
    const words = S.configuration;
    replace(
      root,
      h(
        "div",
        { class: "toolbar" },
        h("h1", {}, S.titles.configuration ?? ""),
        this.summary,
        this.refresh,
        h("label", { class: "row", for: "drain", title: words.drainHint }, this.drain, words.drain),
        this.reload,
      ),
      this.problem,
      h(
        "div",
        { class: "beside" },
        h("div", { class: "main-part" }, section("changes", words.wouldChange, this.changes), section("remarks", words.remarks, this.remarks), section("files", words.files, this.files)),
        h(
          "div",
          { class: "side-part" },
          (this.profilesSection = section("profiles", words.profiles, this.profiles)),
          (this.selectorsSection = section("selectors", words.selectors, this.selectors)),
          (this.peersSection = section("peers", words.peers, this.peers)),
        ),
      ),
      section("keys", words.keys, this.keys),
    );
  }

  /** Looks again when another configuration came into force, or could not. */
  follow() {
    const { config } = this.page.store;
    if (!config) return;
    setText(this.summary, S.configuration.inForce(config.generation, format.moment(config.loaded_at)));
    const now = [config.generation, config.loaded_at, config.failed?.t, config.profile].join(" ");
    if (now === this.seen) return;
    this.seen = now;
    void this.look();
    void this.loadProfiles();
  }

  async look() {
    setAttr(this.files, "aria-busy", "true");
    try {
      this.show(await this.page.api.get("/api/config", { signal: this.gone.signal }));
      show(this.problem, false);
    } catch (error) {
      if (this.gone.signal.aborted) return;
      setText(this.problem, error instanceof Error ? error.message : String(error));
      show(this.problem, true);
    }
    setAttr(this.files, "aria-busy", null);
  }

  /** @param {Told} told */
  show(told) {
    replace(this.changes, changesOf(told.changes));
    replace(this.remarks, this.remarkList(told));
    replace(this.files, ...told.files.map((file) => sourceOf(file, told.remarks.filter((it) => it.file === file.name))));
    if (told.files.length === 0) replace(this.files, h("p", { class: "note" }, S.configuration.noFiles));
    const words = told.keys.length ? keysOf(told.keys) : told.plain_keys ? null : h("p", { class: "note" }, S.configuration.noKeys);
    replace(this.keys, words, told.plain_keys > 0 && h("p", { class: "note" }, S.configuration.plainKeys(told.plain_keys)));
    const hint = told.changes === null ? S.configuration.reloadFails : isNothing(told.changes) ? S.configuration.noChanges : "";
    setAttr(this.reload, "title", hint || null);
  }

  /** @param {Told} told */
  remarkList(told) {
    if (told.remarks.length === 0) return h("p", { class: "note" }, S.configuration.nothingWrong);
    return h(
      "ul",
      { class: "remarks" },
      ...told.remarks.map((it) =>
        h(
          "li",
          { "data-kind": it.kind },
          h("span", { class: "chip", "data-kind": it.kind === "error" ? "problem" : it.kind === "warning" ? "accent" : null }, S.configuration.kinds[it.kind] ?? it.kind),
          it.line
            ? h("button", { class: "quiet mono", onclick: () => this.goTo(it) }, `${it.file}:${it.line}:${it.column}`)
            : h("span", { class: "mono dim" }, it.file),
          it.path && h("span", { class: "mono" }, it.path),
          h("span", {}, it.message),
        ),
      ),
      told.more > 0 && h("li", { class: "note" }, S.configuration.andMore(told.more)),
    );
  }

  /** @param {Remark} remark */
  goTo(remark) {
    const file = [...this.files.children].find((it) => it.getAttribute("aria-label") === remark.file);
    const line = file?.querySelector(`[data-line="${remark.line}"]`);
    if (!(line instanceof HTMLElement)) return;
    line.scrollIntoView({ block: "center" });
    line.focus({ preventScroll: true });
  }

  async putInForce() {
    if (this.reload.getAttribute("aria-disabled")) return;
    setAttr(this.reload, "aria-disabled", "true");
    await attempt(async () => {
      const said = await this.page.api.post(`/api/config/reload?drain=${this.drain.checked}`);
      notice(said.applied ? S.configuration.applied(said.generation) : S.configuration.nothingApplied);
    });
    setAttr(this.reload, "aria-disabled", null);
    await this.look();
  }

  async loadProfiles() {
    try {
      const found = await this.page.api.get("/api/profiles", { signal: this.gone.signal });
      show(this.profilesSection, found.profiles.length > 0);
      const choose = (/** @type {string | null} */ name) =>
        void attempt(async () => {
          await this.page.api.fetch("/api/profiles/active", { method: "PUT", json: { name } });
          await this.loadProfiles();
        });
      replace(this.profiles, profilesOf(found.profiles, found.active, choose, whyNot(this.page.me, "admin")));
    } catch {
      show(this.profilesSection, false); // it takes the scope read as well
    }
  }

  showNames() {
    const all = [...this.page.store.catalog.values()];
    for (const [kind, place, part] of /** @type {[string, Element, HTMLElement][]} */ ([
      ["selector", this.selectors, this.selectorsSection],
      ["peer", this.peers, this.peersSection],
    ])) {
      const found = all.filter((it) => it.kind === kind);
      show(part, found.length > 0);
      replace(place, elsewhereOf(found));
    }
  }
}

/**
 * @param {string} name
 * @param {string} title
 * @param {Element} content
 */
function section(name, title, content) {
  return h("section", { "aria-labelledby": `${name}-title`, "data-section": name }, h("h2", { id: `${name}-title` }, title), content);
}
