// What is said of a model, from how it stands: words and numbers only.

import * as format from "../lib/format.js";
import { S } from "../lib/strings.js";

/** @typedef {import("../lib/store.js").Store} Store */
/** @typedef {import("../lib/types.js").ModelStatus} ModelStatus */
/** @typedef {import("../lib/types.js").CatalogEntry} CatalogEntry */

/**
 * What the dot shows: the state of its process, or that it has failed, or is not here.
 * @param {ModelStatus | undefined} model
 * @param {CatalogEntry | undefined} entry
 */
export function shownState(model, entry) {
  if (entry?.remote || !model) return "remote";
  if (model.state === "stopped" && isComing(model)) return "starting";
  return model.state === "stopped" && model.error ? "failed" : model.state;
}

/** @param {ModelStatus} model */
export function isComing(model) {
  return model.state === "starting" || model.progress !== null;
}

/**
 * The section in which it is shown, by state.
 * @param {ModelStatus | undefined} model
 * @param {CatalogEntry | undefined} entry
 * @param {boolean} isWaitedFor
 */
export function sectionOf(model, entry, isWaitedFor) {
  const state = shownState(model, entry);
  if (state === "remote") return "remote";
  if (model && (isComing(model) || (isWaitedFor && model.state !== "ready"))) return "coming";
  return state === "failed" || state === "stopped" ? state : "running";
}

/**
 * What it does, in words: parts that are shown with dots between them.
 * @param {ModelStatus} model
 * @param {Store} store
 * @returns {string[]}
 */
export function doing(model, store) {
  const now = store.now();
  const p = model.progress;
  if (p) {
    const words = [S.phases[p.phase] ?? p.phase];
    if (p.other) words.push(S.train.makesRoom(p.other, p.requests));
    if (p.phase === "waiting" && model.retry_in_s) words.push(S.train.retryIn(format.wholeDuration(model.retry_in_s)));
    if (p.fraction !== null) words.push(format.percent(p.fraction));
    if (p.eta_s !== null) words.push(S.train.left(format.duration(p.eta_s)));
    else words.push(S.train.elapsed(format.duration(p.elapsed_s)));
    if (p.bytes_total && p.bytes_done !== null) {
      words.push(S.train.bytesOf(format.bytes(p.bytes_done), format.bytes(p.bytes_total)));
    }
    if (p.detail) words.push(p.detail);
    return words;
  }
  const words = [S.states[shownState(model, undefined)] ?? model.state];
  if (model.state === "ready" && model.idle_since !== null && !model.in_flight) {
    words.push(S.train.idle(format.wholeDuration(now - model.idle_since)));
    if (model.unloads_at !== null) words.push(S.train.unloadsIn(format.wholeDuration(model.unloads_at - now)));
  } else if (model.state !== "stopped") {
    words.push(S.train.since(format.wholeDuration(now - model.since)));
  } else if (model.retry_in_s) {
    words.push(S.train.retryIn(format.wholeDuration(model.retry_in_s)));
  }
  return words;
}

/**
 * Its requests: those that run, and those that wait and what for.
 * @param {ModelStatus} model
 * @param {CatalogEntry | undefined} entry
 * @param {Store} store
 * @returns {{running: string, waiting: string, why: string}}
 */
export function requestsOf(model, entry, store) {
  const limit = entry?.limit ?? 0;
  const running = limit ? S.train.ofLimit(model.in_flight, limit) : S.train.running(model.in_flight);
  const place = store.queue.findIndex((it) => it.model === model.model);
  const queued = store.queue[place];
  const ahead = store.queue[place - 1];
  let why = "";
  if (queued?.is_full) why = S.train.full;
  else if (ahead) why = S.train.after(ahead.model);
  else if (queued && !model.progress) why = S.train.next;
  return {
    running: model.in_flight || (limit && model.state === "ready") ? running : "",
    waiting: queued?.waiting ? S.train.waiting(queued.waiting) : "",
    why,
  };
}

/**
 * Its memory by device, largest first.
 * @param {ModelStatus} model
 */
export function memoryOf(model) {
  return Object.entries(model.memory ?? {})
    .sort(([, a], [, b]) => b - a)
    .map(([device, size]) => S.train.memory(format.bytes(size), format.device(device)));
}

/**
 * Whether a text is in what a model is called.
 * @param {string} text lower-case
 * @param {string} id
 * @param {CatalogEntry | undefined} entry
 */
export function matches(text, id, entry) {
  return [id, entry?.name, entry?.description, ...(entry?.aliases ?? [])].some((it) =>
    it?.toLowerCase().includes(text),
  );
}
