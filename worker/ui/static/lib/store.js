// How all stands, and who wants to know when it changes: once per frame, however much has come.

import { oncePerFrame } from "./frame.js";

/** @typedef {import("./types.js").ModelStatus} ModelStatus */
/** @typedef {import("./types.js").RunningRequest} RunningRequest */
/** @typedef {import("./types.js").CatalogEntry} CatalogEntry */
/** @typedef {import("./types.js").NumberedRecord} NumberedRecord */
/** @typedef {import("./types.js").Decision} Decision */

/** @typedef {"connecting" | "live" | "away" | "offline" | "refused"} Link */
/** @typedef {"link" | "models" | "queue" | "workers" | "devices" | "kept" | "store" | "peers" | "config" | "host" | "catalog" | "running" | "records" | "decisions"} Part */

/** What happened once is kept up to here. */
const MAX_KEPT = 1000;

export class Store {
  constructor() {
    /** @type {Link} "away": a worker answers, the supervisor does not. */
    this.link = "connecting";
    /** Why the link is refused. */
    this.refusal = "";
    /** Seconds to add to this machine's clock to have that of arriero. */
    this.offset = 0;
    this.hasAll = false;
    /** @type {Map<string, ModelStatus>} in the order of the configuration */
    this.models = new Map();
    /** @type {import("./types.js").QueueEntry[]} */
    this.queue = [];
    /** @type {import("./types.js").WorkerStatus[]} */
    this.workers = [];
    /** @type {import("./types.js").DeviceStatus[]} */
    this.devices = [];
    /** @type {import("./types.js").KeepStatus | null} */
    this.kept = null;
    /** @type {import("./types.js").StoreStatus | null} */
    this.store = null;
    /** @type {import("./types.js").PeerStatus[]} other machines */
    this.peers = [];
    /** @type {import("./types.js").ConfigStatus | null} */
    this.config = null;
    /** @type {import("./types.js").Host | null} */
    this.host = null;
    /** @type {Map<string, CatalogEntry>} all names of the configuration, peers and selectors too */
    this.catalog = new Map();
    /** @type {Map<string, RunningRequest>} */
    this.running = new Map();
    /** @type {NumberedRecord[]} of requests that have ended since the page was opened, oldest first */
    this.records = [];
    /** Rises when records were missed: a list has to be asked for again. */
    this.recordsLost = 0;
    /** @type {Decision[]} oldest first */
    this.decisions = [];

    /** @type {Set<{parts: Set<Part>, call: (changed: Set<Part>) => void}>} */
    this.subscribers = new Set();
    /** @type {Set<Part>} */
    this.changed = new Set();
    /** @type {Set<string>} ids of models that have changed since the last frame, or their place in the queue */
    this.changedModels = new Set();
    this.flush = oncePerFrame(() => this.tell());
  }

  /** Unix time, as arriero's clock has it. */
  now() {
    return Date.now() / 1000 + this.offset;
  }

  /**
   * Has `call` called in the next frame, and in each in which one of these parts has changed.
   * @param {Part[]} parts
   * @param {(changed: Set<Part>) => void} call
   * @returns {() => void} what ends that
   */
  subscribe(parts, call) {
    const subscriber = { parts: new Set(parts), call };
    this.subscribers.add(subscriber);
    this.note(...parts);
    return () => this.subscribers.delete(subscriber);
  }

  /** @param {...Part} parts */
  note(...parts) {
    for (const part of parts) this.changed.add(part);
    this.flush();
  }

  /**
   * @param {Link} link
   * @param {string} [refusal]
   */
  setLink(link, refusal = "") {
    if (this.link === link && this.refusal === refusal) return;
    this.link = link;
    this.refusal = refusal;
    this.note("link");
  }

  /** @param {import("./types.js").LiveMessage} message */
  apply(message) {
    this.offset = message.t - Date.now() / 1000;
    if (message.all) {
      if (this.hasAll) this.recordsLost += 1;
      this.models.clear();
      this.running.clear();
      this.decisions = [];
      this.hasAll = true;
      this.note("models", "running", "decisions", "records");
    }
    if (message.models || message.gone) this.applyModels(message);
    if (message.running || message.ended) {
      for (const one of message.running ?? []) this.running.set(one.id, one);
      for (const id of message.ended ?? []) this.running.delete(id);
      this.note("running");
    }
    if (message.records || message.records_lost) {
      this.records = [...this.records, ...(message.records ?? [])].slice(-MAX_KEPT);
      if (message.records_lost) this.recordsLost += 1;
      this.note("records");
    }
    if (message.decisions) {
      const known = new Set(this.decisions.map((one) => one.seq)); // who comes back may be told twice
      const added = message.decisions.filter((one) => !known.has(one.seq));
      this.decisions = [...this.decisions, ...added].slice(-MAX_KEPT);
      this.note("decisions");
    }
    if (message.catalog) {
      this.catalog = new Map(message.catalog.map((one) => [one.id, one]));
      this.note("catalog");
    }
    this.applyWhole(message);
    this.setLink(this.host?.link === "away" ? "away" : "live");
  }

  /** @param {import("./types.js").LiveMessage} message */
  applyModels(message) {
    for (const one of message.models ?? []) {
      this.models.set(one.model, one);
      this.changedModels.add(one.model);
    }
    for (const id of message.gone ?? []) {
      this.models.delete(id);
      this.changedModels.add(id);
    }
    this.note("models");
  }

  /** @param {import("./types.js").LiveMessage} message */
  applyWhole(message) {
    if (message.queue) this.applyQueue(message.queue);
    if (message.workers) (this.workers = message.workers), this.note("workers");
    if (message.devices) (this.devices = message.devices), this.note("devices");
    if (message.kept !== undefined) (this.kept = message.kept), this.note("kept");
    if (message.store !== undefined) (this.store = message.store), this.note("store");
    if (message.peers) (this.peers = message.peers), this.note("peers");
    if (message.config) (this.config = message.config), this.note("config");
    if (message.host) (this.host = message.host), this.note("host");
  }

  /** @param {import("./types.js").QueueEntry[]} queue */
  applyQueue(queue) {
    for (const one of [...this.queue, ...queue]) this.changedModels.add(one.model);
    this.queue = queue;
    this.note("queue");
  }

  tell() {
    const changed = this.changed;
    this.changed = new Set();
    for (const subscriber of [...this.subscribers]) {
      for (const part of changed) {
        if (subscriber.parts.has(part)) {
          subscriber.call(changed);
          break;
        }
      }
    }
    this.changedModels.clear();
  }
}
