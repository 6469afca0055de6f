// Sends a request, and reads its answer as it comes.

import { readEvents } from "../lib/feed.js";

/**
 * Reads a stream of events with JSON in them until it ends.
 * @param {import("../lib/types.js").Page} page
 * @param {string} path
 * @param {object} body
 * @param {{signal: AbortSignal, progress: string, onEvent: (event: string, data: any) => void}} how
 * @returns {Promise<string>} the id of the request
 * @throws {import("../lib/api.js").Refused}
 */
export async function stream(page, path, body, { signal, progress, onEvent }) {
  const response = await page.api.fetch(path, {
    method: "POST",
    json: body,
    signal,
    headers: { "X-Swap-Progress": progress, ...(progress === "event" && { "X-Prefill-Progress": "event" }) },
  });
  for await (const { event, data } of readEvents(response)) {
    if (data.trim() === "[DONE]") continue;
    onEvent(event, JSON.parse(data));
  }
  return response.headers.get("x-request-id") ?? "";
}

/**
 * Reads a file as a data URL.
 * @param {Blob} file
 * @returns {Promise<string>}
 */
export function asDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error ?? new Error(file.type));
    reader.readAsDataURL(file);
  });
}
