// Decisions in words: events and refused requests -> entries of one list, the newest first.

import * as format from "../lib/format.js";
import { S } from "../lib/strings.js";

/** @typedef {import("../lib/types.js").Decision} Decision */
/** @typedef {import("../lib/types.js").RequestRecord} RequestRecord */

/**
 * @typedef {object} Entry
 * @property {string} key
 * @property {number} t
 * @property {"eviction" | "end" | "failure" | "refusal" | "config" | "worker"} kind
 * @property {string} text
 * @property {string} model empty if it is of none
 * @property {number} times how often it happened in a row
 * @property {[string, string][]} facts
 */

/** Refusals of the same kind within so many seconds are one entry. */
const SAME_S = 60;

/**
 * The entries of events. An end is told once, though a model drains before it stops.
 * @param {Decision[]} events
 * @returns {Entry[]}
 */
export function entriesOf(events) {
  /** @type {Set<string>} */
  const told = new Set();
  return events
    .filter((event) => {
      if (event.type !== "state" || event.error) return true;
      const end = `${event.epoch} ${event.model} ${event.swap} ${event.reason}`;
      return !told.has(end) && told.add(end);
    })
    .map(entryOf);
}

/**
 * @param {Decision} event
 * @returns {Entry}
 */
function entryOf(event) {
  const entry = { key: `e${event.epoch}-${event.seq}`, t: event.t, times: 1, model: event.model ?? "", facts: [] };
  switch (event.type) {
    case "evicted":
      return { ...entry, kind: "eviction", text: event.text, facts: factsOf(event) };
    case "state":
      return event.error
        ? { ...entry, kind: "failure", text: event.error.message }
        : { ...entry, kind: "end", text: S.decisions.goes(event.model, S.decisions.reasons[event.reason] ?? event.reason) };
    case "config":
      return { ...entry, kind: "config", text: configWords(event) };
    case "worker":
      return { ...entry, kind: "worker", text: S.decisions.worker(event.worker, event.state, event.reason) };
    default:
      return { ...entry, kind: "end", text: event.type };
  }
}

/**
 * @param {Decision} event
 * @returns {[string, string][]}
 */
function factsOf(event) {
  const kept = Object.entries(event.kept ?? {}).map(([model, why]) => `${model}: ${why}`);
  /** @type {[string, string][]} */
  const facts = [
    [S.decisions.gaveBack, sizes(event.memory)],
    [S.decisions.needed, sizes(event.needed)],
    [S.decisions.keeps, sizes(event.keeps)],
    [S.decisions.kept, kept.join("\n")],
  ];
  return facts.filter(([, text]) => text);
}

/** @param {Record<string, number> | null | undefined} memory */
function sizes(memory) {
  const parts = Object.entries(memory ?? {}).map(([device, size]) => S.train.memory(format.bytes(size), format.device(device)));
  return parts.join(" + ");
}

/** @param {Decision} event */
function configWords(event) {
  const problems = event.problems ?? [];
  return problems.length ? S.decisions.badConfig(problems.join("; ")) : S.decisions.config(event.summary ?? "");
}

/**
 * Refused requests; those of the same kind soon after each other are one entry.
 * @param {Iterable<RequestRecord>} records in any order
 * @returns {Entry[]}
 */
export function refusals(records) {
  const refused = [...records].filter((it) => it.outcome === "rejected").sort((a, b) => a.t - b.t);
  /** @type {Map<string, Entry>} the last one of each kind */
  const last = new Map();
  /** @type {Entry[]} */
  const entries = [];
  for (const record of refused) {
    const model = record.asked || record.model || "";
    const kind = `${model} ${record.error_code} ${record.status}`;
    const before = last.get(kind);
    if (before && record.t - before.t < SAME_S) {
      before.times += 1;
      before.t = record.t;
      continue;
    }
    const why = S.decisions.codes[record.error_code] ?? (record.error_code || S.decisions.noCode).replaceAll("_", " ");
    /** @type {Entry} */
    const entry = {
      key: `r${record.request_id}`,
      t: record.t,
      kind: "refusal",
      text: S.decisions.refused(model, why, record.status),
      model,
      times: 1,
      facts: [
        [S.decisions.request, record.request_id],
        [S.decisions.path, record.path ?? ""],
        [S.decisions.key, record.key ?? ""],
      ].filter(/** @returns {it is [string, string]} */ (it) => Boolean(it[1])),
    };
    last.set(kind, entry);
    entries.push(entry);
  }
  return entries;
}
