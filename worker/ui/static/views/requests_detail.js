// All that is known of one request: its facts, where its time went, and what was kept of it.

import { h, replace, setVar } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { S } from "../lib/strings.js";
import { money, ms, speed, stagesOf } from "./requests_words.js";

/** @typedef {import("../lib/types.js").Page} Page */
/** @typedef {import("../lib/types.js").RequestRecord} RequestRecord */

/** Of a body, so much is shown. */
const MAX_SHOWN = 200_000;

/**
 * @param {RequestRecord} record
 * @param {Page} page
 * @param {AbortSignal} signal ends what is still asked
 */
export function detail(record, page, signal) {
  const capture = h("div", { class: "capture" });
  if ((page.store.store?.captures ?? 0) > 0) void showCapture(record, page, capture, signal);
  return h("div", { class: "record-detail" }, waterfall(record), facts(record), capture);
}

/** @param {RequestRecord} record */
function waterfall(record) {
  const whole = Math.max(record.duration_ms, 1);
  return h(
    "ol",
    { class: "waterfall", "aria-label": S.activity.timeline },
    ...stagesOf(record).map((stage) => {
      const bar = h("span", { class: "stage-bar", "data-stage": stage.name });
      setVar(bar, "--from", Math.min(stage.from / whole, 1).toFixed(4));
      setVar(bar, "--length", Math.min(stage.length / whole, 1).toFixed(4));
      const words = stage.isPart ? S.phases : S.activity.stages;
      return h(
        "li",
        { class: stage.isPart ? "part" : null },
        h("span", {}, words[stage.name] ?? stage.name),
        h("span", { class: "stage-track" }, bar),
        h("span", { class: "number" }, ms(stage.length)),
      );
    }),
  );
}

/** @param {RequestRecord} record */
function facts(record) {
  const names = S.activity.facts;
  /** @type {[string, string | number | null | undefined][]} */
  const rows = [
    [names.id, record.request_id],
    [names.came, format.moment(record.t)],
    [names.path, record.path],
    [names.asked, record.asked === record.model ? "" : record.asked],
    [names.servedAs, record.served_as === record.model ? "" : record.served_as],
    [names.status, record.status || ""],
    [names.error, record.error_code],
    [names.finish, record.finish_reason],
    [names.api, record.stream ? S.activity.streamed(record.api) : record.api],
    [names.upstream, record.upstream_kind === "unknown" ? "" : record.upstream_kind],
    [names.key, record.key],
    [names.input, record.input_tokens && format.count(record.input_tokens)],
    [names.cached, record.cached_tokens && format.count(record.cached_tokens)],
    [names.output, record.output_tokens && format.count(record.output_tokens)],
    [names.reasoning, record.reasoning_tokens && format.count(record.reasoning_tokens)],
    [names.draft, record.draft_tokens && S.activity.drafts(format.count(record.draft_accepted), format.count(record.draft_tokens))],
    [names.counted, S.activity.sources[record.usage_source] ?? ""],
    [names.cost, money(record.cost_usd)],
    [names.ttft, ms(record.ttft_ms)],
    [names.prompt, [ms(record.prompt_ms), speed(record.prompt_per_s)].filter(Boolean).join(" · ")],
    [names.answer, [ms(record.gen_ms), speed(record.output_per_s)].filter(Boolean).join(" · ")],
    [names.whole, ms(record.duration_ms)],
    [names.sent, format.bytes(record.bytes_out)],
    [names.heartbeats, record.heartbeats || ""],
    [names.swap, record.swap || ""],
  ];
  const shown = rows.filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== 0);
  return h("dl", { class: "facts" }, ...shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/**
 * @param {RequestRecord} record
 * @param {Page} page
 * @param {Element} place
 * @param {AbortSignal} signal
 */
async function showCapture(record, page, place, signal) {
  try {
    const list = await page.api.get(`/api/captures?limit=1&request=${encodeURIComponent(record.request_id)}`, { signal });
    const number = list.data?.[0]?.id;
    if (number === undefined) return;
    const kept = await page.api.get(`/api/captures/${number}`, { signal });
    replace(
      place,
      h("h3", {}, S.activity.captured),
      kept.is_cut && h("p", { class: "note" }, S.activity.cut),
      body(S.activity.request, kept.req_headers, kept.req_body),
      body(S.activity.response, kept.resp_headers, kept.resp_body),
    );
  } catch (error) {
    if (!signal.aborted) replace(place, h("p", { class: "note problem" }, error instanceof Error ? error.message : String(error)));
  }
}

/**
 * @param {string} name
 * @param {Record<string, string>} headers
 * @param {string} base64
 */
function body(name, headers, base64) {
  const fields = Object.entries(headers).map(([field, value]) => `${field}: ${value}`);
  return h(
    "details",
    {},
    h("summary", {}, name),
    h("pre", { class: "lines", tabindex: "0", "aria-label": name }, `${fields.join("\n")}\n\n${readable(base64)}`),
  );
}

/** @param {string} base64 */
function readable(base64) {
  const bytes = Uint8Array.from(atob(base64), (it) => it.charCodeAt(0));
  const text = new TextDecoder().decode(bytes);
  if (text.length > MAX_SHOWN) return `${text.slice(0, MAX_SHOWN)}\n${S.activity.cut}`;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
