// All models: how they stand, who waits for them, and what can be done about it.

import { h, KeyedList, replace, setAttr, setText, show } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { everySecond } from "../lib/frame.js";
import { S } from "../lib/strings.js";
import { machineOf, machineWords, stateOf } from "./train_machines.js";
import { ModelRow } from "./train_row.js";
import { matches, sectionOf } from "./train_words.js";

/** @typedef {import("../lib/types.js").Page} Page */
/** @typedef {{name: string, ids: string[]}} Section */

const BY_STATE = ["coming", "running", "failed", "stopped", "remote"];

/** @type {import("../lib/types.js").View} */
export const view = {
  needs: "read",
  mount(root, page) {
    const train = new Train(root, page);
    const { store } = page;
    const ends = [
      store.subscribe(["models", "queue", "catalog", "peers"], (changed) => {
        train.update(changed.has("catalog") || changed.has("peers"));
      }),
      everySecond(() => train.tick()),
      train.listen(),
    ];
    return () => ends.forEach((end) => end());
  },
};

/**
 * The section of a machine: no state and no device is called so.
 * @param {string} peer
 */
const machinePlace = (peer) => `machine:${peer}`;

class Train {
  /**
   * @param {HTMLElement} root
   * @param {Page} page
   */
  constructor(root, page) {
    this.page = page;
    this.text = page.query.get("q") ?? "";
    const group = page.query.get("group") ?? "state";
    this.group = S.train.groups[group] ? group : "state";
    /** @type {Map<string, ModelRow>} */
    this.rows = new Map();
    /** @type {Map<string, string>} where each was put last */
    this.places = new Map();

    this.search = h("input", {
      type: "search",
      placeholder: `${S.train.search}  /`,
      "aria-label": S.train.search,
      autocomplete: "off",
      value: this.text,
      oninput: () => this.choose(this.search.value, this.group),
    });
    this.choices = Object.entries(S.train.groups).map(([name, label]) =>
      h("button", { "data-group": name, onclick: () => this.choose(this.text, name) }, label),
    );
    this.summary = h("span", { class: "note summary" });
    this.empty = h("p", { class: "empty", hidden: true });
    this.place = h("div", { class: "sections" });
    replace(
      root,
      h(
        "div",
        { class: "toolbar" },
        h("h1", {}, S.titles.train ?? ""),
        this.summary,
        this.search,
        h("div", { class: "choices", role: "group", "aria-label": S.train.group }, ...this.choices),
      ),
      this.empty,
      this.place,
    );
    /** @type {KeyedList<Section>} */
    this.sections = new KeyedList(this.place, {
      key: (section) => section.name,
      create: (section) => this.makeSection(section.name),
      update: (element, section) => this.fillSection(element, section),
    });
    /** @type {WeakMap<Element, {title: Element, count: Element, dot: HTMLElement, about: Element, list: KeyedList<string>}>} */
    this.parts = new WeakMap();
  }

  listen() {
    const focus = (/** @type {KeyboardEvent} */ event) => {
      const isTyping = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
      if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.search.focus();
    };
    document.addEventListener("keydown", focus);
    return () => {
      document.removeEventListener("keydown", focus);
      for (const row of this.rows.values()) row.reading?.abort();
    };
  }

  /**
   * @param {string} text
   * @param {string} group
   */
  choose(text, group) {
    this.text = text;
    this.group = group;
    this.page.remember({ q: text, group: group === "state" ? "" : group });
    this.update(true);
  }

  /** @param {boolean} all every row, and not only those of models that have changed */
  update(all) {
    const { store } = this.page;
    const changed = all ? this.rows.keys() : store.changedModels;
    const isMoved = all || [...store.changedModels].some((id) => this.isMoved(id));
    if (isMoved) this.arrange();
    for (const id of changed) this.rows.get(id)?.update();
    const running = [...store.models.values()].filter((it) => it.state !== "stopped").length;
    setText(this.summary, store.hasAll ? S.train.summary(running, store.models.size) : S.link.connecting);
  }

  /**
   * Whether a model is not where it was, or is a new one.
   * @param {string} id
   */
  isMoved(id) {
    const isKnown = this.places.has(id) || this.page.store.models.has(id);
    return isKnown && this.places.get(id) !== this.placeOf(id);
  }

  tick() {
    for (const [id, row] of this.rows) {
      const model = this.page.store.models.get(id);
      if (model && (model.state !== "stopped" || model.retry_in_s) && row.element.isConnected) row.update();
    }
    for (const [name, element] of this.sections.elements) this.tellMachine(element, name);
  }

  arrange() {
    const { store } = this.page;
    for (const button of this.choices) {
      setAttr(button, "aria-pressed", String(button.dataset.group === this.group));
    }
    const text = this.text.trim().toLowerCase();
    /** @type {Map<string, string[]>} */
    const found = new Map();
    this.places.clear();
    for (const id of this.ids()) {
      const place = this.placeOf(id);
      this.places.set(id, place);
      if (!text || matches(text, id, store.catalog.get(id))) {
        const ids = found.get(place);
        if (ids) ids.push(id);
        else found.set(place, [id]);
      }
    }
    for (const id of this.rows.keys()) if (!this.places.has(id)) this.rows.delete(id);
    const order = this.group === "device" ? store.devices.map((it) => it.device) : BY_STATE;
    const machines = store.peers.map((it) => machinePlace(it.peer));
    const known = new Set([...order, ...machines]);
    const names = [
      ...order.filter((it) => found.has(it)),
      ...[...found.keys()].filter((it) => !known.has(it)),
      ...machines.filter((it) => found.has(it) || !text),
    ];
    const focused = document.activeElement;
    this.sections.set(names.map((name) => ({ name, ids: found.get(name) ?? [] })));
    // A row that moves lets go of the focus: who works by keys would begin at the top again.
    if (focused instanceof HTMLElement && focused.isConnected) focused.focus({ preventScroll: true });
    show(this.empty, store.hasAll && names.length === 0);
    setText(this.empty, text ? S.train.noMatch(this.text) : S.train.none);
  }

  /** Those that run here in the order of the configuration, then those that are elsewhere. */
  ids() {
    const { models, catalog } = this.page.store;
    const remote = [...catalog.values()].filter((it) => it.remote && !models.has(it.id));
    return [...models.keys(), ...remote.map((it) => it.id)];
  }

  /** @param {string} id */
  placeOf(id) {
    const { store } = this.page;
    const model = store.models.get(id);
    const state = sectionOf(model, store.catalog.get(id), store.queue.some((it) => it.model === id));
    const machine = state === "remote" && machineOf(id, store.peers);
    if (machine) return machinePlace(machine.peer);
    if (this.group === "state" || state === "remote") return state;
    if (this.group === "none") return "all";
    const sizes = Object.entries(model?.memory ?? {}).sort(([, a], [, b]) => b - a);
    return sizes[0]?.[0] ?? "nowhere";
  }

  /** @param {string} name */
  makeSection(name) {
    const id = `section-${encodeURIComponent(name)}`;
    const title = h("h2", { id });
    const count = h("span", { class: "dim" });
    const dot = h("span", { class: "dot", hidden: true });
    const about = h("span", { class: "machine note" });
    const ul = h("ul", { class: "models" });
    const head = h("div", { class: "row" }, dot, title, count, about);
    const element = h("section", { "aria-labelledby": id, "data-section": name }, head, ul);
    /** @type {KeyedList<string>} */
    const list = new KeyedList(ul, { key: (id) => id, create: (id) => this.row(id).element });
    this.parts.set(element, { title, count, dot, about, list });
    return element;
  }

  /**
   * @param {Element} element
   * @param {Section} section
   */
  fillSection(element, section) {
    const parts = this.parts.get(element);
    if (!parts) return;
    const machine = this.tellMachine(element, section.name);
    setText(parts.title, machine?.peer ?? S.train.sections[section.name] ?? format.device(section.name));
    setText(parts.count, section.ids.length);
    parts.list.set(section.ids);
  }

  /**
   * @param {Element} element of a section
   * @param {string} name
   */
  tellMachine(element, name) {
    const { store } = this.page;
    const parts = this.parts.get(element);
    const machine = store.peers.find((it) => machinePlace(it.peer) === name);
    if (!parts) return machine;
    show(parts.dot, machine !== undefined);
    setAttr(parts.dot, "data-state", machine ? stateOf(machine) : null);
    setText(parts.about, machine ? machineWords(machine, store.now()).join(" · ") : "");
    return machine;
  }

  /** @param {string} id */
  row(id) {
    let row = this.rows.get(id);
    if (!row) {
      row = new ModelRow(id, this.page);
      this.rows.set(id, row);
      row.update();
    }
    return row;
  }
}
