// What memory is used for, device by device, as parts of a bar and in words.

import * as format from "../lib/format.js";
import { S } from "../lib/strings.js";

/** @typedef {import("../lib/types.js").DeviceStatus} DeviceStatus */
/** @typedef {import("../lib/types.js").ModelStatus} ModelStatus */
/** @typedef {import("../lib/store.js").Store} Store */

/**
 * @typedef {object} Part
 * @property {string} key
 * @property {"model" | "reserved" | "foreign" | "reserve" | "away" | "free"} kind
 * @property {string} label
 * @property {number} size bytes
 * @property {number} [series] 1 to 6: the colour of a model
 * @property {string} about one sentence
 */

const SERIES = 6;

/** Below this share of a device, what cannot be put down to anybody is rounding. */
const LEAST_SHARE = 0.002;

/**
 * The colours of those that use memory: the same on all devices, and no two alike while there are
 * enough of them.
 * @param {Store} store
 * @param {string} [added] a model that would be started
 * @returns {Map<string, number>} 1 to 6
 */
export function coloursOf(store, added) {
  const order = [...store.models.keys()];
  const using = [...store.models.values()].filter((it) => it.state !== "stopped" && it.memory).map((it) => it.model);
  if (added && !using.includes(added)) using.push(added);
  /** @type {Map<string, number>} */
  const colours = new Map();
  for (const name of using) {
    const usual = Math.max(0, order.indexOf(name));
    const taken = new Set(colours.values());
    const choices = Array.from({ length: SERIES }, (_, step) => ((usual + step) % SERIES) + 1);
    colours.set(name, choices.find((it) => !taken.has(it)) ?? (usual % SERIES) + 1);
  }
  return colours;
}

/**
 * The parts of a device, in their order; together they are all of it.
 * @param {DeviceStatus} device
 * @param {Store} store
 * @returns {Part[]}
 */
export function partsOf(device, store) {
  const colours = coloursOf(store);
  /** @type {Part[]} */
  const parts = [];
  let told = 0;
  for (const model of store.models.values()) {
    const size = model.memory?.[device.device] ?? 0;
    if (!size || model.state === "stopped") continue;
    told += size;
    parts.push({
      key: model.model,
      kind: "model",
      label: model.model,
      size,
      series: colours.get(model.model),
      about: aboutModel(model, size, store),
    });
  }
  parts.push(other("reserved", Math.max(0, device.reserved - told)), other("foreign", device.foreign));
  parts.push(other("reserve", device.reserve), other("free", Math.max(0, device.free)));
  const known = parts.reduce((sum, it) => sum + it.size, 0);
  parts.splice(-1, 0, other("away", Math.max(0, device.total - known)));
  return parts.filter((it) => it.kind === "model" || it.size > device.total * LEAST_SHARE);
}

/**
 * @param {Exclude<Part["kind"], "model">} kind
 * @param {number} size
 * @returns {Part}
 */
function other(kind, size) {
  const words = S.memory.kinds[kind];
  return { key: `(${kind})`, kind, label: words?.label ?? kind, size, about: words?.about ?? "" };
}

/**
 * @param {ModelStatus} model
 * @param {number} size
 * @param {Store} store
 */
function aboutModel(model, size, store) {
  const words = [S.states[model.state] ?? model.state];
  if (model.in_flight) words.push(S.requests(model.in_flight));
  else if (model.idle_since !== null) words.push(S.train.idle(format.wholeDuration(store.now() - model.idle_since)));
  if (model.unloads_at !== null) words.push(S.train.unloadsIn(format.wholeDuration(model.unloads_at - store.now())));
  if (model.pin) words.push(S.train.pins[model.pin] ?? model.pin);
  const source = S.memory.sources[model.memory_source ?? ""];
  return `${model.model}: ${format.bytes(size)}${source ? `, ${source}` : ""}. ${words.join(", ")}.`;
}

/**
 * The device after a start, by what `explain` says of each model.
 * @param {DeviceStatus} device
 * @param {import("./memory_whatif.js").Explanation} told
 * @param {Store} store
 * @returns {Part[]}
 */
export function partsAfter(device, told, store) {
  const colours = coloursOf(store, told.model);
  const stays = told.models.filter((it) => it.verdict === "starts" || it.verdict === "stays");
  /** @type {Part[]} */
  const parts = stays
    .filter((it) => it.memory[device.device])
    .map((it) => ({
      key: it.model,
      kind: "model",
      label: it.model,
      size: it.memory[device.device] ?? 0,
      series: colours.get(it.model) ?? 1,
      about: it.why,
    }));
  const known = device.reserved + device.foreign + device.reserve + Math.max(0, device.free);
  parts.push(other("foreign", device.foreign), other("reserve", device.reserve));
  parts.push(other("away", Math.max(0, device.total - known)));
  const used = parts.reduce((sum, it) => sum + it.size, 0);
  parts.push(other("free", Math.max(0, device.total - used)));
  return parts.filter((it) => it.size > device.total * LEAST_SHARE);
}
