// Requests over time: small charts of one kind, one above the other or side by side.

import { h, replace, setText, svg } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { S } from "../lib/strings.js";
import { money, ms, short } from "./requests_words.js";

/** @typedef {{t: number, requests: number, failed: number, input_tokens: number, output_tokens: number, cost_usd: string, queue_ms: number, load_ms: number}} Span */
/** @typedef {{since: number, until: number, step_s: number, spans: Span[]}} History */
/** @typedef {{name: string, of: (span: Span) => number}} Series */

const WIDTH = 300;
const HEIGHT = 64;

/** @type {{name: string, series: Series[], words: (value: number) => string, total: (spans: Span[]) => string}[]} */
const CHARTS = [
  {
    name: "requests",
    series: [
      { name: "ok", of: (span) => span.requests - span.failed },
      { name: "failed", of: (span) => span.failed },
    ],
    words: format.count,
    total: (spans) => format.count(sum(spans, (it) => it.requests)),
  },
  {
    name: "tokens",
    series: [
      { name: "input", of: (span) => span.input_tokens },
      { name: "output", of: (span) => span.output_tokens },
    ],
    words: short,
    total: (spans) => short(sum(spans, (it) => it.input_tokens + it.output_tokens)),
  },
  {
    name: "cost",
    series: [{ name: "cost", of: (span) => Number(span.cost_usd) }],
    words: (value) => money(value) || "$0",
    total: (spans) => money(sum(spans, (it) => Number(it.cost_usd))),
  },
  {
    name: "waits",
    series: [
      { name: "queue", of: (span) => span.queue_ms / Math.max(1, span.requests) },
      { name: "load", of: (span) => span.load_ms / Math.max(1, span.requests) },
    ],
    words: ms,
    total: (spans) => ms(sum(spans, (it) => it.queue_ms + it.load_ms) / Math.max(1, sum(spans, (it) => it.requests))),
  },
];

export class Charts {
  constructor() {
    this.summary = h("p", { class: "note", role: "status" });
    this.place = h("div", { class: "charts" });
    this.loads = h("div", { class: "loads" });
    this.element = h(
      "section",
      { "aria-labelledby": "charts-title" },
      h("div", { class: "row" }, h("h2", { id: "charts-title" }, S.activity.overTime), this.summary),
      this.place,
      this.loads,
    );
  }

  /** @param {History} history */
  show(history) {
    const { spans } = history;
    const requests = sum(spans, (it) => it.requests);
    const failed = sum(spans, (it) => it.failed);
    setText(
      this.summary,
      S.activity.totals(
        format.count(requests),
        format.count(failed),
        short(sum(spans, (it) => it.input_tokens)),
        short(sum(spans, (it) => it.output_tokens)),
        money(sum(spans, (it) => Number(it.cost_usd))) || "$0",
      ),
    );
    replace(this.place, ...CHARTS.map((it) => chart(it, history)));
  }

  /**
   * Shows what a start of each model took, by stage.
   * @param {string} metrics as Prometheus gets them
   */
  showLoads(metrics) {
    const models = loadStages(metrics);
    const longest = Math.max(...models.map((it) => it.total), 0);
    replace(
      this.loads,
      models.length > 0 && h("h3", {}, S.activity.loadStages),
      ...models.map(({ model, total, starts, stages }) =>
        h(
          "div",
          { class: "load-row" },
          h("span", { class: "ellipsis", title: model }, model),
          svg(
            "svg",
            { viewBox: "0 0 1000 10", preserveAspectRatio: "none", role: "img", "aria-label": stages.map((it) => `${S.phases[it.stage] ?? it.stage} ${format.duration(it.seconds)}`).join(", ") },
            ...stacked(stages.map((it) => it.seconds)).map(([from, length], place) =>
              svg(
                "rect",
                { x: (from / longest) * 1000, width: (length / longest) * 1000, height: 10, class: `series-${(place % 6) + 1}` },
                svg("title", {}, `${S.phases[stages[place]?.stage ?? ""] ?? stages[place]?.stage}: ${format.duration(length)}`),
              ),
            ),
          ),
          h("span", { class: "note" }, S.activity.perStart(format.duration(total), starts)),
        ),
      ),
      models.length > 0 && legend(STAGES.map((stage, place) => [S.phases[stage] ?? stage, place + 1])),
    );
  }
}

/** @param {[string, number][]} names each with its colour */
function legend(names) {
  return h("p", { class: "legend note" }, ...names.map(([name, colour]) => h("span", { class: `key-${colour}` }, name)));
}

/**
 * @param {(typeof CHARTS)[number]} it
 * @param {History} history
 */
function chart(it, history) {
  const { since, until, step_s: step, spans } = history;
  const first = Math.floor(since / step) * step;
  const bars = Math.max(1, Math.ceil((until - first) / step));
  const totals = spans.map((span) => sum(it.series, (one) => one.of(span)));
  const most = Math.max(...totals, 0);
  const each = WIDTH / bars;
  const drawing = svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": S.activity.chart(S.activity.charts[it.name] ?? "", it.total(spans) || "0", it.words(most)),
    },
    ...spans.map((span) => bar(it, span, ((span.t - first) / step) * each, each, most)),
  );
  return h(
    "figure",
    { class: "chart", "data-chart": it.name },
    h("figcaption", {}, h("h3", {}, S.activity.charts[it.name] ?? ""), h("strong", {}, it.total(spans) || "–")),
    h("span", { class: "most note" }, most ? it.words(most) : ""),
    drawing,
    h("div", { class: "axis note" }, h("span", {}, format.moment(since)), h("span", {}, format.moment(until))),
    it.series.length > 1 && legend(it.series.map((one, place) => [S.activity.series[one.name] ?? one.name, place + (it.name === "requests" && place ? 5 : 1)])),
  );
}

/**
 * @param {(typeof CHARTS)[number]} it
 * @param {Span} span
 * @param {number} x
 * @param {number} width
 * @param {number} most
 */
function bar(it, span, x, width, most) {
  const said = it.series.map((one) => `${S.activity.series[one.name] ?? one.name} ${it.words(one.of(span))}`).join(", ");
  return svg(
    "g",
    {},
    svg("title", {}, `${format.moment(span.t)}: ${said}`),
    ...stacked(it.series.map((one) => one.of(span))).map(([from, length], place) =>
      svg("rect", {
        x: x + Math.min(0.5, width / 8),
        width: Math.max(width - Math.min(1, width / 4), 0.5),
        y: HEIGHT * (1 - (from + length) / (most || 1)),
        height: (HEIGHT * length) / (most || 1),
        class: `series-${it.name === "requests" && place ? 6 : place + 1}`,
        "data-failed": it.name === "requests" && place === 1,
      }),
    ),
  );
}

/** Where each begins, and how long it is. @param {number[]} lengths @returns {[number, number][]} */
function stacked(lengths) {
  let at = 0;
  return lengths.map((length) => {
    const from = at;
    at += Math.max(0, length);
    return [from, Math.max(0, length)];
  });
}

/**
 * @template T
 * @param {T[]} items
 * @param {(item: T) => number} of
 */
function sum(items, of) {
  return items.reduce((total, item) => total + of(item), 0);
}

const STAGES = ["draining", "stopping", "starting", "loading", "warming", "restoring"];
const SAMPLE = /^arriero_model_load_stage_seconds_(sum|count)\{model="((?:[^"\\]|\\.)*)",stage="([a-z_]+)"\} ([0-9.e+-]+)$/gm;
const MAX_LOADS = 12;

/**
 * What a start of each model takes, from what Prometheus is told; those that take longest first.
 * @param {string} metrics
 * @returns {{model: string, total: number, starts: number, stages: {stage: string, seconds: number}[]}[]}
 */
export function loadStages(metrics) {
  /** @type {Map<string, Map<string, {sum: number, count: number}>>} */
  const found = new Map();
  for (const [, kind, label = "", stage = "", value] of metrics.matchAll(SAMPLE)) {
    const model = label.replace(/\\(.)/g, (_, it) => (it === "n" ? "\n" : it));
    const stages = found.get(model) ?? new Map();
    found.set(model, stages);
    const one = stages.get(stage) ?? { sum: 0, count: 0 };
    stages.set(stage, one);
    one[kind === "sum" ? "sum" : "count"] = Number(value);
  }
  return [...found]
    .map(([model, all]) => {
      const starts = Math.max(...[...all.values()].map((it) => it.count), 1);
      const stages = STAGES.map((stage) => ({ stage, seconds: (all.get(stage)?.sum ?? 0) / starts }));
      return { model, starts, stages, total: sum(stages, (it) => it.seconds) };
    })
    .filter((it) => it.total > 0)
    .sort((a, b) => b.total - a.total)
    .slice(0, MAX_LOADS);
}
