// A chat: its turns, one answer at a time, by one of three APIs.

import { h, replace, setAttr, setText, show } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { oncePerFrame } from "../lib/frame.js";
import { attempt } from "../lib/notice.js";
import { PageEnd } from "../lib/page_end.js";
import { S } from "../lib/strings.js";
import { CHAT_APIS } from "./playground_apis.js";
import { codeMenu } from "./playground_code.js";
import { asDataUrl, stream } from "./playground_send.js";
import { WaitBar } from "./playground_wait.js";

/** @typedef {import("./playground_apis.js").Turn} Turn */
/** @typedef {import("./playground_apis.js").Added} Added */
/** @typedef {import("./playground_apis.js").ToolCall} ToolCall */

const MAX_IMAGES = 8;

export class Chat {
  /**
   * @param {import("../lib/types.js").Page} page
   * @param {() => string} model
   */
  constructor(page, model) {
    this.page = page;
    this.model = model;
    /** @type {Turn[]} */
    this.turns = [];
    /** @type {AbortController | null} */
    this.sending = null;
    /** @type {string[]} */
    this.images = [];
    this.wait = new WaitBar(page);
    this.end = new PageEnd();
    this.list = h("ol", { class: "turns" });
    this.empty = h("p", { class: "empty" }, S.playground.chatEmpty);
    this.api = h(
      "select",
      { "aria-label": S.playground.api },
      ...Object.entries(CHAT_APIS).map(([name, it]) => h("option", { value: name }, it.path)),
    );
    this.system = h("textarea", { rows: 2, "aria-label": S.playground.system, placeholder: S.playground.system });
    this.temperature = number(S.playground.temperature, { min: 0, max: 2, step: 0.1 });
    this.maxTokens = number(S.playground.maxTokens, { min: 1, max: 1_000_000, step: 1 });
    this.tools = h("textarea", { rows: 3, class: "mono", "aria-label": S.playground.tools, placeholder: S.playground.toolsHint });
    this.text = h("textarea", {
      rows: 3,
      "aria-label": S.playground.message,
      placeholder: S.playground.messageHint,
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        void this.send();
      },
      onpaste: (/** @type {ClipboardEvent} */ event) => this.attach(event.clipboardData?.files ?? []),
    });
    this.file = h("input", { type: "file", accept: "image/*", multiple: true, hidden: true, onchange: () => this.attach(this.file.files ?? []) });
    this.thumbs = h("div", { class: "thumbs", hidden: true });
    this.button = h("button", { class: "primary", onclick: () => (this.sending ? this.sending.abort() : void this.send()) }, S.playground.send);
    this.again = h("button", { onclick: () => this.retry() }, S.playground.again);
    this.clear = h("button", { onclick: () => this.reset() }, S.playground.clear);
    this.element = h(
      "div",
      { class: "chat" },
      h(
        "details",
        { class: "card settings" },
        h("summary", {}, S.playground.settings),
        h("div", { class: "row" }, h("label", {}, S.playground.api, this.api), h("label", {}, S.playground.temperature, this.temperature), h("label", {}, S.playground.maxTokens, this.maxTokens)),
        h("label", {}, S.playground.system, this.system),
        h("label", {}, S.playground.tools, this.tools),
      ),
      this.empty,
      this.list,
      this.wait.element,
      h(
        "div",
        { class: "card compose" },
        this.text,
        this.thumbs,
        h(
          "div",
          { class: "row" },
          h("button", { onclick: () => this.file.click() }, S.playground.image),
          this.file,
          this.again,
          this.clear,
          codeMenu(() => ({ path: this.chosen().path, body: this.body(this.pending()) }), this.page.me.keys),
          h("span", { class: "grow" }),
          this.button,
        ),
      ),
    );
    this.showState();
  }

  stop() {
    this.sending?.abort();
    this.wait.stop();
    this.end.stop();
  }

  chosen() {
    return /** @type {import("./playground_apis.js").ChatApi} */ (CHAT_APIS[this.api.value]);
  }

  /** The turns, with what is being written. */
  pending() {
    const text = this.text.value.trim();
    /** @type {Turn[]} */
    const added = text || this.images.length ? [{ role: "user", text, images: this.images }] : [];
    return [...this.turns, ...added];
  }

  /** @param {Turn[]} turns */
  body(turns) {
    return this.chosen().body({
      model: this.model(),
      system: this.system.value.trim(),
      turns,
      temperature: this.temperature.value === "" ? null : Number(this.temperature.value),
      maxTokens: this.maxTokens.value === "" ? null : Number(this.maxTokens.value),
      tools: this.readTools(),
    });
  }

  /** @returns {any[]} */
  readTools() {
    const text = this.tools.value.trim();
    if (!text) return [];
    const found = JSON.parse(text);
    return Array.isArray(found) ? found : [found];
  }

  /** @param {Iterable<File>} files */
  async attach(files) {
    for (const file of files) {
      if (file.type.startsWith("image/") && this.images.length < MAX_IMAGES) this.images.push(await asDataUrl(file));
    }
    this.file.value = "";
    this.showImages();
  }

  showImages() {
    show(this.thumbs, this.images.length > 0);
    const remove = (/** @type {string} */ url) => {
      this.images = this.images.filter((it) => it !== url);
      this.showImages();
    };
    replace(
      this.thumbs,
      ...this.images.map((url) => h("button", { class: "quiet", "aria-label": S.playground.removeImage, onclick: () => remove(url) }, h("img", { src: url, alt: "" }))),
    );
  }

  async send() {
    if (this.sending) return;
    const turns = this.pending();
    if (turns.length === this.turns.length) return;
    await attempt(async () => {
      this.body(turns); // tools that are no JSON are told before anything is sent
      this.turns = turns;
      this.list.append(said(/** @type {Turn} */ (turns.at(-1))));
      this.end.goThere();
      this.text.value = "";
      this.images = [];
      this.showImages();
      await this.answer();
    });
  }

  retry() {
    if (this.sending || this.turns.at(-1)?.role !== "assistant") return;
    this.turns = this.turns.slice(0, -1);
    this.list.lastElementChild?.remove();
    void attempt(() => this.answer());
  }

  reset() {
    this.sending?.abort();
    this.turns = [];
    this.list.replaceChildren();
    this.showState();
    this.text.focus();
  }

  async answer() {
    const sending = (this.sending = new AbortController());
    const answer = new Answer(this.model(), () => this.end.follow());
    const { list } = this;
    const api = this.chosen();
    this.wait.start(this.model());
    this.showState();
    this.end.follow();
    try {
      const id = await stream(this.page, api.path, this.body(this.turns), {
        signal: sending.signal,
        progress: api.progress,
        onEvent: (event, data) => {
          if (this.wait.take(event, data)) return;
          if (!answer.take(api.read(event, data))) return;
          this.wait.stop();
          if (!answer.element.isConnected && this.sending === sending) list.append(answer.element);
        },
      });
      answer.finish(id);
    } catch (error) {
      if (sending.signal.aborted) answer.finish("", S.playground.stopped);
      else answer.finish("", error instanceof Error ? error.message : String(error), true);
    } finally {
      if (this.sending === sending) {
        this.sending = null;
        if (!answer.element.isConnected) list.append(answer.element);
        this.turns.push({ role: "assistant", text: answer.text, images: [] });
        this.wait.stop();
        this.showState();
      }
    }
  }

  showState() {
    show(this.empty, this.turns.length === 0);
    setText(this.button, this.sending ? S.playground.stop : S.playground.send);
    setAttr(this.button, "class", this.sending ? "danger" : "primary");
    setAttr(this.again, "aria-disabled", this.sending || this.turns.at(-1)?.role !== "assistant" ? "true" : null);
  }
}

/**
 * @param {string} label
 * @param {{min: number, max: number, step: number}} limits
 */
function number(label, limits) {
  return h("input", { type: "number", "aria-label": label, placeholder: S.playground.asModel, ...limits });
}

/** @param {Turn} turn */
function said(turn) {
  const images = turn.images.map((url) => h("img", { src: url, alt: S.playground.imageAlt }));
  return h("li", { class: "turn", "data-role": turn.role }, h("h2", {}, S.playground.you), h("div", { class: "text" }, turn.text), images.length > 0 && h("div", { class: "thumbs" }, ...images));
}

/** An answer as it grows: drawn at most once per frame. */
class Answer {
  /**
   * @param {string} model
   * @param {() => void} grown called whenever it has been drawn
   */
  constructor(model, grown) {
    this.grown = grown;
    this.began = performance.now();
    this.first = 0;
    this.text = "";
    this.reasoning = "";
    this.tokens = 0;
    this.error = "";
    /** @type {Map<number, ToolCall>} */
    this.calls = new Map();
    this.shown = h("div", { class: "text" });
    this.thoughts = h("div", { class: "text dim" });
    this.foldTitle = h("summary", {}, S.playground.reasoning);
    this.fold = h("details", { class: "reasoning", hidden: true }, this.foldTitle, this.thoughts);
    this.tools = h("pre", { class: "calls", hidden: true, tabindex: "0", "aria-label": S.playground.calls });
    this.problem = h("p", { class: "problem", hidden: true });
    this.note = h("p", { class: "note" });
    this.element = h("li", { class: "turn", "data-role": "assistant" }, h("h2", {}, model), this.fold, this.shown, this.tools, this.problem, this.note);
    this.draw = oncePerFrame(() => this.drawNow());
  }

  /**
   * @param {Added} added
   * @returns {boolean} whether there is anything to show yet
   */
  take(added) {
    this.text += added.text ?? "";
    this.reasoning += added.reasoning ?? "";
    this.tokens = added.tokens ?? this.tokens;
    this.error = added.error ?? this.error;
    if (added.tool) {
      const call = this.calls.get(added.tool.index) ?? { name: "", arguments: "" };
      call.name += added.tool.name ?? "";
      call.arguments += added.tool.arguments ?? "";
      this.calls.set(added.tool.index, call);
    }
    const hasBegun = Boolean(this.text || this.reasoning || this.calls.size);
    if (hasBegun && !this.first) this.first = performance.now();
    const isThere = hasBegun || this.error !== "";
    if (isThere) this.draw();
    return isThere;
  }

  /**
   * @param {string} id of the request
   * @param {string} [why] it ended early
   * @param {boolean} [isProblem]
   */
  finish(id, why = "", isProblem = false) {
    const now = performance.now();
    const passed = (now - this.began) / 1000;
    const speed = this.first && this.tokens > 1 ? (this.tokens - 1) / ((now - this.first) / 1000) : 0;
    const words = [
      this.first ? S.playground.firstToken(format.shortDuration((this.first - this.began) / 1000)) : "",
      this.tokens ? S.playground.tokens(this.tokens) : "",
      speed && Number.isFinite(speed) ? S.playground.speed(speed.toFixed(speed < 100 ? 1 : 0)) : "",
      S.playground.inAll(format.shortDuration(passed)),
      isProblem ? "" : why,
    ];
    if (isProblem) this.error = this.error || why;
    const request = id && h("a", { href: `/ui/requests/${encodeURIComponent(id)}` }, S.playground.request);
    replace(this.note, words.filter(Boolean).join(" · "), request && " · ", request || null);
    this.drawNow();
  }

  drawNow() {
    setText(this.shown, this.text);
    setText(this.foldTitle, this.text || this.note.hasChildNodes() ? S.playground.reasoning : S.playground.reasons);
    setText(this.thoughts, this.reasoning);
    show(this.fold, this.reasoning !== "");
    const calls = [...this.calls.values()].map((it) => `${it.name} ${pretty(it.arguments)}`);
    setText(this.tools, calls.join("\n"));
    show(this.tools, calls.length > 0);
    setText(this.problem, this.error);
    show(this.problem, this.error !== "");
    this.grown();
  }
}

/** @param {string} json */
function pretty(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
