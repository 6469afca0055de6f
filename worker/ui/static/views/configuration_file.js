// A file of the configuration, line by line, with what is wrong in it at its place.

import { h } from "../lib/dom.js";
import { S } from "../lib/strings.js";

/** @typedef {{name: string, text: string, is_cut: boolean}} ConfigFile */
/** @typedef {{kind: "error" | "warning" | "note", file: string, line: number, column: number, path: string, message: string}} Remark */

/** Lines that a browser lays out at once. */
const BLOCK = 100;
const KINDS = ["error", "warning", "note"];
const KEY = /^(\s*(?:- +)*)([^\s#:'"[\]{}][^:#]*:)(?=\s|$)(.*)$/s;

/**
 * @param {ConfigFile} file
 * @param {Remark[]} remarks of this file
 */
export function sourceOf(file, remarks) {
  /** @type {Map<number, Remark[]>} */
  const byLine = new Map();
  for (const remark of remarks) byLine.set(remark.line, [...(byLine.get(remark.line) ?? []), remark]);
  const lines = file.text.replace(/\n$/, "").split("\n");
  const blocks = [];
  for (let from = 0; from < lines.length; from += BLOCK) {
    blocks.push(
      h(
        "ol",
        { class: "source-block", start: from + 1 },
        ...lines.slice(from, from + BLOCK).map((text, place) => line(text, from + place + 1, byLine.get(from + place + 1) ?? [])),
      ),
    );
  }
  return h(
    "section",
    { class: "file", "aria-label": file.name },
    h("h3", { class: "mono" }, file.name),
    h("div", { class: "source", tabindex: "0", role: "region", "aria-label": S.configuration.linesOf(file.name) }, ...blocks),
    file.is_cut && h("p", { class: "note" }, S.configuration.cut),
  );
}

/**
 * @param {string} text
 * @param {number} number
 * @param {Remark[]} remarks
 */
function line(text, number, remarks) {
  const worst = KINDS.find((kind) => remarks.some((it) => it.kind === kind)) ?? null;
  const [, indent = "", key = "", rest = text] = KEY.exec(text) ?? [];
  return h(
    "li",
    { "data-line": number, "data-kind": worst, tabindex: worst ? "-1" : null },
    h("code", {}, indent, key && h("span", { class: "yaml-key" }, key), rest.trimStart().startsWith("#") ? h("span", { class: "dim" }, rest) : rest),
    ...remarks.map((it) => h("p", { class: "remark", "data-kind": it.kind }, h("strong", {}, S.configuration.kinds[it.kind] ?? it.kind), ` ${it.message}`)),
  );
}
