// What stands beside the files: what a reload would change, profiles, selectors, peers, keys.

import { h, setVar } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { S } from "../lib/strings.js";

/** @typedef {{model: string, keys: string[]}} ModelChange */
/** @typedef {{added: string[], removed: string[], relaunch: ModelChange[], adjusted: ModelChange[], settings: string[], needs_restart: string[]}} Changes */
/** @typedef {{name: string, scopes: string[], models: string[] | null, concurrency: number, daily_tokens: number, daily_cost: string | null, requests: number, tokens: number, cost_usd: string}} KeyStatus */
/** @typedef {{id: string, description: string, pins: Record<string, string | null>}} Profile */

/** @param {Changes} changes */
export function isNothing(changes) {
  return Object.values(changes).every((it) => it.length === 0);
}

/** @param {Changes | null} changes null: the files cannot be used */
export function changesOf(changes) {
  if (changes === null) return h("p", { class: "problem" }, S.configuration.unusable);
  if (isNothing(changes)) return h("p", { class: "note" }, S.configuration.noChanges);
  const names = S.configuration.changes;
  /** @type {[string, string, string[]][]} */
  const rows = [
    ["+", names.added, changes.added],
    ["−", names.removed, changes.removed],
    ["~", names.relaunch, changes.relaunch.map(changed)],
    ["~", names.adjusted, changes.adjusted.map(changed)],
    ["~", names.settings, changes.settings],
    ["!", names.needsRestart, changes.needs_restart],
  ];
  return h(
    "ul",
    { class: "diff" },
    ...rows.flatMap(([sign, what, items]) =>
      items.map((it) => h("li", { "data-sign": sign }, h("span", { class: "sign", "aria-hidden": "true" }, sign), h("span", { class: "mono" }, it), h("span", { class: "note" }, what))),
    ),
  );
}

/** @param {ModelChange} change */
function changed(change) {
  return `${change.model}: ${change.keys.join(", ")}`;
}

/**
 * @param {Profile[]} profiles
 * @param {string | null} active
 * @param {(id: string | null) => void} choose
 * @param {string} refused why none may be chosen; empty: it may
 */
export function profilesOf(profiles, active, choose, refused) {
  const button = (/** @type {string | null} */ id, /** @type {string} */ label) =>
    h(
      "button",
      { "aria-pressed": String(active === id), "aria-disabled": refused ? "true" : null, title: refused || null, onclick: () => refused || choose(id) },
      label,
    );
  return h(
    "ul",
    { class: "entries" },
    h("li", {}, button(null, S.configuration.noProfile)),
    ...profiles.map((it) =>
      h(
        "li",
        {},
        button(it.id, it.id),
        h("span", { class: "note" }, it.description),
        h("span", { class: "note mono" }, Object.entries(it.pins).map(([name, to]) => (to === null ? S.configuration.off(name) : `${name} → ${to}`)).join(", ")),
      ),
    ),
  );
}

/** @param {Iterable<import("../lib/types.js").CatalogEntry>} entries */
export function elsewhereOf(entries) {
  return h(
    "ul",
    { class: "entries" },
    ...[...entries].map((it) =>
      h(
        "li",
        {},
        h("span", { class: "mono" }, it.id),
        h("span", { class: "note" }, it.description ?? ""),
        it.targets && h("span", { class: "note mono" }, `→ ${it.targets.join(", ")}`),
      ),
    ),
  );
}

/** @param {KeyStatus[]} keys */
export function keysOf(keys) {
  const words = S.configuration.keyColumns;
  return h(
    "table",
    { class: "keys", "aria-label": S.configuration.keys },
    h("thead", {}, h("tr", {}, ...Object.values(words).map((it) => h("th", { scope: "col" }, it)))),
    h(
      "tbody",
      {},
      ...keys.map((key) =>
        h(
          "tr",
          { "data-key": key.name },
          h("th", { scope: "row", class: "mono" }, key.name),
          h("td", { "data-label": words.scopes }, h("span", { class: "chips" }, ...key.scopes.map((it) => h("span", { class: "chip" }, it)))),
          h("td", { "data-label": words.models, class: "mono" }, key.models === null ? S.configuration.all : key.models.join(", ")),
          h("td", { "data-label": words.concurrency }, key.concurrency || S.configuration.any),
          h("td", { "data-label": words.tokens }, budget(key.tokens, key.daily_tokens, format.count, S.configuration.tokensToday(key.name))),
          h("td", { "data-label": words.cost }, budget(Number(key.cost_usd), Number(key.daily_cost ?? 0), (usd) => `$${usd.toFixed(2)}`, S.configuration.costToday(key.name))),
        ),
      ),
    ),
  );
}

/**
 * @param {number} used
 * @param {number} most 0: any amount
 * @param {(amount: number) => string} words
 * @param {string} label
 */
function budget(used, most, words, label) {
  if (!most) return words(used);
  const share = Math.min(1, used / most);
  const fill = h("span");
  setVar(fill, "--share", share.toFixed(4));
  return h(
    "div",
    { class: "budget", "data-used-up": used >= most },
    S.configuration.of(words(used), words(most)),
    h("div", { class: "bar", role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.floor(share * 100) }, fill),
  );
}
