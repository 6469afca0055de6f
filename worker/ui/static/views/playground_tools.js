// What else models do: completions, embeddings, reranking, speech, images. Each is a form, a request
// and what is made of its answer.

import { h, replace, setAttr, setText, setVar, show } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { S } from "../lib/strings.js";
import { codeMenu } from "./playground_code.js";
import { stream } from "./playground_send.js";
import { WaitBar } from "./playground_wait.js";

/** @typedef {import("../lib/types.js").Page} Page */
/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Field */

/**
 * @typedef {object} Tool
 * @property {string} path
 * @property {Record<string, () => Field>} fields in their order
 * @property {(values: Record<string, string>, model: string) => object} body
 * @property {boolean} [streams]
 * @property {(response: Response, values: Record<string, string>) => Promise<(Node | string | null)[]>} [show]
 */

const area = (/** @type {number} */ rows, /** @type {string} */ value = "") => {
  const made = h("textarea", { rows });
  made.value = value;
  return made;
};
const line = (/** @type {string} */ value = "") => h("input", { type: "text", value, autocomplete: "off" });

/** @type {Record<string, Tool>} */
export const TOOLS = {
  completions: {
    path: "/v1/completions",
    fields: { prompt: () => area(6), max: () => h("input", { type: "number", min: 1, value: 128 }) },
    streams: true,
    body: ({ prompt, max }, model) => ({ model, prompt, max_tokens: Number(max) || 128, stream: true }),
  },
  embeddings: {
    path: "/v1/embeddings",
    fields: { first: () => area(3), second: () => area(3) },
    body: ({ first, second }, model) => ({ model, input: [first, second] }),
    show: async (response) => {
      const { data } = await response.json();
      const [a, b] = data.map((/** @type {any} */ it) => it.embedding);
      const likeness = cosine(a, b);
      return [meter(S.playground.likeness, likeness.toFixed(4), Math.max(0, likeness)), h("p", { class: "note" }, S.playground.dimensions(a.length))];
    },
  },
  rerank: {
    path: "/v1/rerank",
    fields: { query: () => line(), documents: () => area(6) },
    body: ({ query, documents }, model) => ({ model, query, documents: rows(documents) }),
    show: async (response, { documents = "" }) => {
      const { results } = await response.json();
      const texts = rows(documents);
      const scores = results.map((/** @type {any} */ it) => Number(it.relevance_score ?? it.score ?? 0));
      const [low, high] = [Math.min(...scores), Math.max(...scores)];
      const order = results.map((/** @type {any} */ it, /** @type {number} */ n) => ({ text: texts[it.index] ?? "", score: scores[n] }));
      order.sort((/** @type {any} */ x, /** @type {any} */ y) => y.score - x.score);
      return order.map((/** @type {any} */ it) => meter(it.text, it.score.toFixed(3), high > low ? (it.score - low) / (high - low) : 1));
    },
  },
  speech: {
    path: "/v1/audio/speech",
    fields: { text: () => area(4), voice: () => line("alloy") },
    body: ({ text, voice }, model) => ({ model, input: text, voice }),
    show: async (response) => {
      const url = URL.createObjectURL(await response.blob());
      return [h("audio", { controls: true, src: url, "aria-label": S.playground.fields.speech ?? "" })];
    },
  },
  images: {
    path: "/v1/images/generations",
    fields: { prompt: () => area(4), size: () => line("512x512") },
    body: ({ prompt, size }, model) => ({ model, prompt, size, n: 1, response_format: "b64_json" }),
    show: async (response, { prompt = "" }) => {
      const { data } = await response.json();
      return data.map((/** @type {any} */ it) => {
        if (it.b64_json) return h("img", { src: `data:image/png;base64,${it.b64_json}`, alt: prompt });
        const url = String(it.url ?? "");
        return /^https?:/i.test(url) ? h("a", { href: url, rel: "noreferrer" }, url) : h("span", {}, url);
      });
    },
  },
};

/** One of them on the screen. */
export class ToolForm {
  /**
   * @param {string} name
   * @param {Page} page
   * @param {() => string} model
   */
  constructor(name, page, model) {
    this.tool = /** @type {Tool} */ (TOOLS[name]);
    this.page = page;
    this.model = model;
    /** @type {AbortController | null} */
    this.sending = null;
    this.wait = new WaitBar(page);
    /** @type {[string, Field][]} */
    this.fields = Object.entries(this.tool.fields).map(([field, make]) => [field, make()]);
    this.button = h("button", { class: "primary" }, S.playground.send);
    this.problem = h("p", { class: "problem", role: "status" });
    this.result = h("div", { class: "result" });
    this.note = h("p", { class: "note" });
    const form = h(
      "form",
      {
        class: "card compose",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          if (this.sending) this.sending.abort();
          else void this.send();
        },
      },
      ...this.fields.map(([field, element]) => h("label", {}, S.playground.fields[field] ?? field, element)),
      h("div", { class: "row" }, codeMenu(() => ({ path: this.tool.path, body: this.body() }), page.me.keys), h("span", { class: "grow" }), this.button),
    );
    this.element = h("div", { class: "tool" }, form, this.wait.element, this.problem, h("div", { class: "card", hidden: true }, this.result, this.note));
    this.card = /** @type {HTMLElement} */ (this.element.lastElementChild);
  }

  stop() {
    this.sending?.abort();
    this.wait.stop();
  }

  values() {
    return Object.fromEntries(this.fields.map(([field, element]) => [field, element.value]));
  }

  body() {
    return this.tool.body(this.values(), this.model());
  }

  async send() {
    const sending = (this.sending = new AbortController());
    const began = performance.now();
    setText(this.problem, "");
    replace(this.result);
    show(this.card, false);
    setText(this.button, S.playground.stop);
    this.wait.start(this.model());
    try {
      if (this.tool.streams) await this.sendStream(sending.signal);
      else {
        const response = await this.page.api.fetch(this.tool.path, { method: "POST", json: this.body(), signal: sending.signal });
        replace(this.result, ...((await this.tool.show?.(response, this.values())) ?? []));
      }
      setText(this.note, S.playground.inAll(format.shortDuration((performance.now() - began) / 1000)));
      show(this.card, true);
    } catch (error) {
      if (!sending.signal.aborted) setText(this.problem, error instanceof Error ? error.message : String(error));
    } finally {
      this.sending = null;
      this.wait.stop();
      setText(this.button, S.playground.send);
    }
  }

  /** @param {AbortSignal} signal */
  async sendStream(signal) {
    const text = h("div", { class: "text" });
    let said = "";
    replace(this.result, h("div", { class: "text dim" }, this.values().prompt ?? ""), text);
    await stream(this.page, this.tool.path, this.body(), {
      signal,
      progress: "event",
      onEvent: (event, data) => {
        if (this.wait.take(event, data)) return;
        if (data.error) throw new Error(String(data.error.message ?? data.error));
        said += data.choices?.[0]?.text ?? "";
        if (!said) return;
        this.wait.stop();
        show(this.card, true);
        setText(text, said);
      },
    });
  }
}

/** @param {string} text */
function rows(text) {
  return text.split("\n").map((it) => it.trim()).filter(Boolean);
}

/**
 * @param {number[]} a
 * @param {number[]} b
 */
export function cosine(a, b) {
  const dot = a.reduce((sum, it, at) => sum + it * (b[at] ?? 0), 0);
  const size = Math.hypot(...a) * Math.hypot(...b);
  return size ? dot / size : 0;
}

/**
 * @param {string} label
 * @param {string} value
 * @param {number} share
 */
function meter(label, value, share) {
  const fill = h("span");
  setVar(fill, "--share", share);
  const bar = h("div", { class: "bar", role: "img", "aria-label": `${label}: ${value}` }, fill);
  setAttr(bar, "data-kind", "meter");
  return h("div", { class: "meter" }, h("span", { class: "what" }, label), bar, h("span", { class: "value" }, value));
}
