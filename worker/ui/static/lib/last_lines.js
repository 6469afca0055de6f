// The last lines that a model wrote, as a text without colours.

import { inPath } from "./api.js";

/** Where nothing was written, nothing comes; and a browser has six connections for all its tabs. */
const PATIENCE_MS = 2000;

const COLOURS = /\x1b\[[0-9;]*m/g;

/**
 * @param {import("./api.js").Api} api
 * @param {string} model
 * @param {number} count
 * @param {AbortSignal} signal
 * @returns {Promise<string>} empty if it has written nothing
 */
export async function lastLines(api, model, count, signal) {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
  try {
    const response = await api.fetch(`/logs/stream/${inPath(model)}`, { signal: patience });
    const reader = response.body?.getReader();
    if (!reader) return "";
    const { value } = await reader.read(); // what was comes in one piece; what follows is of no use here
    await reader.cancel().catch(() => {});
    const text = new TextDecoder().decode(value).replace(COLOURS, "").trimEnd();
    return text.split("\n").slice(-count).join("\n");
  } catch (error) {
    if (signal.aborted || !patience.aborted) throw error;
    return "";
  }
}
