// What is said of requests, those that run and those that have ended: words and numbers only.

import * as format from "../lib/format.js";
import { S } from "../lib/strings.js";

/** @typedef {import("../lib/types.js").RequestRecord} RequestRecord */
/** @typedef {import("../lib/types.js").RunningRequest} RunningRequest */
/** @typedef {import("../lib/store.js").Store} Store */

/** What a list is narrowed to; empty: not at all. */
/** @typedef {{model: string, outcome: string, key: string, id: string, time: string, from: string, to: string}} Filters */

/** Seconds that a choice of time goes back, and those of a bar in its charts. */
const SPANS = /** @type {Record<string, [number, number]>} */ ({
  hour: [3600, 60],
  day: [86_400, 1800],
  week: [7 * 86_400, 4 * 3600],
  month: [30 * 86_400, 12 * 3600],
  all: [90 * 86_400, 86_400],
});
const MAX_BARS = 90;

/** @param {URLSearchParams} query @returns {Filters} */
export function filtersOf(query) {
  const text = (/** @type {string} */ name) => query.get(name) ?? "";
  const time = text("time");
  return {
    model: text("model"),
    outcome: S.activity.outcomes[text("outcome")] ? text("outcome") : "",
    key: text("key"),
    id: text("id"),
    time: S.activity.times[time] ? time : "day",
    from: text("from"),
    to: text("to"),
  };
}

/** What of them goes into the address. @param {Filters} filters @returns {Record<string, string>} */
export function toRemember(filters) {
  const isBetween = filters.time === "between";
  return {
    ...filters,
    time: filters.time === "day" ? "" : filters.time,
    from: isBetween ? filters.from : "",
    to: isBetween ? filters.to : "",
  };
}

/** @param {string} local as an input gives it @returns {number | null} Unix time */
function momentOf(local) {
  const ms = local ? new Date(local).getTime() : NaN;
  return Number.isFinite(ms) ? Math.max(0, ms / 1000) : null;
}

/**
 * Unix times; until null: up to now.
 * @param {Filters} filters
 * @param {number} now
 * @returns {{since: number | null, until: number | null}}
 */
export function timesOf(filters, now) {
  if (filters.time === "between") return { since: momentOf(filters.from), until: momentOf(filters.to) };
  if (filters.time === "all") return { since: null, until: null };
  return { since: now - (SPANS[filters.time]?.[0] ?? 86_400), until: null };
}

/**
 * The query for a list or an export.
 * @param {Filters} filters
 * @param {number} now
 * @returns {URLSearchParams}
 */
export function queryOf(filters, now) {
  const query = new URLSearchParams();
  for (const name of /** @type {const} */ (["model", "outcome", "key", "id"])) {
    if (filters[name]) query.set(name, filters[name]);
  }
  const { since, until } = timesOf(filters, now);
  if (since !== null) query.set("since", since.toFixed(3));
  if (until !== null) query.set("until", until.toFixed(3));
  return query;
}

/**
 * The query for totals over time.
 * @param {Filters} filters
 * @param {number} now
 */
export function historyQuery(filters, now) {
  const query = queryOf(filters, now);
  const { since, until } = timesOf(filters, now);
  const end = until ?? now;
  const begin = Math.min(since ?? end - (SPANS.all?.[0] ?? 0), end);
  const usual = SPANS[filters.time]?.[1];
  const step = usual ?? Math.max(60, Math.ceil((end - begin) / MAX_BARS / 60) * 60);
  query.set("since", begin.toFixed(3));
  query.set("until", end.toFixed(3));
  query.set("step", String(Math.min(step, 366 * 86_400)));
  return query;
}

/**
 * Whether a request that has just ended belongs to the list.
 * @param {RequestRecord} record
 * @param {Filters} filters
 * @param {string} model id that the filter means
 */
export function belongs(record, filters, model) {
  return (
    (!filters.model || (record.model || record.asked) === model) &&
    (!filters.outcome || record.outcome === filters.outcome) &&
    (!filters.key || record.key === filters.key) &&
    (!filters.id || record.request_id.includes(filters.id)) &&
    (filters.time !== "between" || !filters.to)
  );
}

/** Ids come from clients, and may come twice. @param {RequestRecord} record */
export function keyOf(record) {
  return `${record.t}/${record.request_id}`;
}

/** @param {number | null | undefined} milliseconds */
export function ms(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "";
  return format.shortDuration(milliseconds / 1000);
}

/** A wait that there was; none says nothing. @param {number} milliseconds */
export function wait(milliseconds) {
  return milliseconds >= 1 ? ms(milliseconds) : "";
}

/** @param {number | null | undefined} perSecond */
export function speed(perSecond) {
  if (!perSecond) return "";
  return S.activity.perSecond(perSecond >= 100 ? format.count(perSecond) : perSecond.toFixed(1));
}

/** @param {string | number | null | undefined} usd */
export function money(usd) {
  if (usd === null || usd === undefined || usd === "") return "";
  const dollars = Number(usd);
  if (!Number.isFinite(dollars)) return "";
  if (dollars === 0) return "$0";
  return dollars >= 1 ? `$${dollars.toFixed(2)}` : `$${dollars.toPrecision(2)}`;
}

/** Tokens as short as a column is wide. @param {number} tokens */
export function short(tokens) {
  if (tokens < 10_000) return format.count(tokens);
  if (tokens < 1_000_000) return `${(tokens / 1000).toFixed(tokens < 100_000 ? 1 : 0)}k`;
  return `${(tokens / 1_000_000).toFixed(1)}M`;
}

/** @param {RequestRecord} record */
export function tokens(record) {
  if (record.usage_source === "none") return "";
  return S.activity.inOut(short(record.input_tokens), short(record.output_tokens));
}

/**
 * What it took its time for, in the order in which it happened; behind each wait what its model did meanwhile.
 * @param {RequestRecord} record
 * @returns {{name: string, from: number, length: number, isPart: boolean}[]} milliseconds since it came
 */
export function stagesOf(record) {
  /** @type {{name: string, from: number, length: number, isPart: boolean}[]} */
  const stages = [];
  let at = 0;
  const add = (/** @type {string} */ name, /** @type {number} */ length) => {
    if (length >= 0.5) stages.push({ name, from: at, length, isPart: false });
    at += Math.max(0, length);
  };
  const addParts = (/** @type {number} */ begin) => {
    for (const { phase, from_ms, took_ms } of record.load_stages ?? []) {
      const middle = from_ms + took_ms / 2;
      if (middle < begin || middle >= at) continue;
      const from = Math.max(from_ms, begin);
      stages.push({ name: phase, from, length: Math.min(from_ms + took_ms, at) - from, isPart: true });
    }
  };
  const end = Math.max(record.duration_ms, 0);
  add("queue", Math.min(record.queue_ms, end));
  addParts(0);
  const waited = at;
  add("load", Math.min(record.load_ms, end - at));
  addParts(waited);
  const first = record.ttft_ms === null || record.ttft_ms === undefined ? null : Math.min(record.ttft_ms, end);
  if (first !== null && first >= at) {
    add("prompt", first - at);
    add("answer", end - at);
  } else if (record.prompt_ms && record.gen_ms) {
    add("prompt", Math.min(record.prompt_ms, end - at));
    add("answer", Math.min(record.gen_ms, end - at));
    add("rest", end - at);
  } else {
    add("whole", end - at);
  }
  return stages;
}

/**
 * What a running request does, in words.
 * @param {RunningRequest} request
 * @param {Store} store
 * @returns {string[]}
 */
export function doing(request, store) {
  const model = store.models.get(request.model);
  const words = [S.activity.phases[request.phase] ?? request.phase];
  const progress = model?.progress;
  if ((request.phase === "load" || request.phase === "queue") && progress) {
    words[0] = S.phases[progress.phase] ?? progress.phase;
    if (progress.other) words.push(S.train.makesRoom(progress.other, progress.requests));
    if (progress.fraction !== null) words.push(format.percent(progress.fraction));
    if (progress.eta_s !== null) words.push(S.train.left(format.duration(progress.eta_s)));
  } else if (request.phase === "queue") {
    const place = store.queue.findIndex((it) => it.model === request.model);
    const ahead = store.queue[place - 1];
    if (store.queue[place]?.is_full) words.push(S.train.full);
    else if (ahead) words.push(S.train.after(ahead.model));
  }
  return words;
}

/**
 * Tokens that it has, and how fast they come since the first of them.
 * @param {RunningRequest} request
 * @param {number} now
 */
export function live(request, now) {
  if (!request.output_tokens || request.ttft_ms === null) return request.output_tokens ? S.activity.tokens(request.output_tokens) : "";
  const since = now - request.t - request.ttft_ms / 1000;
  const rate = since > 0.5 ? speed(request.output_tokens / since) : "";
  return [S.activity.tokens(request.output_tokens), rate].filter(Boolean).join(" · ");
}
