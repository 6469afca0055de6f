// Other machines: which one has a model, how it stands there, and how the machine does.

import * as format from "../lib/format.js";
import { S } from "../lib/strings.js";

/** @typedef {import("../lib/types.js").PeerStatus} PeerStatus */

/**
 * The machine that has a model, by the model's full name.
 * @param {string} id
 * @param {PeerStatus[]} peers
 */
export function machineOf(id, peers) {
  return peers.find((it) => id.startsWith(`${it.peer}/`));
}

/**
 * How a model stands at another machine, in words.
 * @param {string} id
 * @param {PeerStatus[]} peers
 * @returns {string[]}
 */
export function doingThere(id, peers) {
  const machine = machineOf(id, peers);
  const name = machine ? id.slice(machine.peer.length + 1) : id;
  if (machine?.failing.includes(name)) return [S.train.failsThere];
  const model = machine?.running.find((it) => it.model === name);
  if (!model) return [S.states.remote ?? ""];
  const words = [S.states[model.state] ?? model.state];
  if (model.state === "starting" && model.fraction !== null) words.push(format.percent(model.fraction));
  if (model.state === "starting" && model.eta_s !== null) words.push(S.train.left(format.duration(model.eta_s)));
  if (model.running) words.push(S.train.running(model.running));
  if (model.waiting) words.push(S.train.waiting(model.waiting));
  return words;
}

/** @param {PeerStatus} machine */
export function stateOf(machine) {
  if (machine.circuit !== "closed" || machine.link === "away") return "failed";
  return machine.link === "up" ? "ready" : "remote";
}

/**
 * How a machine does: parts that are shown with dots between them.
 * @param {PeerStatus} machine
 * @param {number} now Unix time
 * @returns {string[]}
 */
export function machineWords(machine, now) {
  const words = [S.train.links[machine.link] ?? machine.link, machine.kind];
  if (machine.circuit !== "closed") words.push(S.train.circuits[machine.circuit] ?? machine.circuit);
  if (machine.circuit === "open" && machine.retry_at !== null) {
    words.push(S.train.askedIn(format.wholeDuration(machine.retry_at - now)));
  }
  if (machine.listed_at !== null) words.push(S.train.listAge(format.wholeDuration(now - machine.listed_at)));
  if (machine.left_out) words.push(S.train.leftOut(machine.left_out));
  if (machine.why) words.push(machine.why);
  return words.filter(Boolean);
}
