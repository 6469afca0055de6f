// The bar above an answer that has not come yet: how far its model is, in the words of the train.

import { h, setAttr, setText, setVar, show } from "../lib/dom.js";
import { everySecond } from "../lib/frame.js";
import * as format from "../lib/format.js";
import { S } from "../lib/strings.js";
import { doing } from "./train_words.js";

export class WaitBar {
  /** @param {import("../lib/types.js").Page} page */
  constructor(page) {
    this.page = page;
    this.words = h("span", { class: "note" });
    this.fill = h("span");
    this.bar = h("div", { class: "bar", role: "progressbar", "aria-label": S.playground.waiting }, this.fill);
    this.element = h("div", { class: "wait", hidden: true }, this.words, this.bar);
    this.model = "";
    this.began = 0;
    /** What the stream itself has told last. @type {{words: string, fraction: number | null} | null} */
    this.told = null;
    this.end = () => {};
  }

  /** @param {string} model */
  start(model) {
    this.stop();
    this.model = model;
    this.began = performance.now();
    this.told = null;
    const ends = [this.page.store.subscribe(["models", "queue"], () => this.update()), everySecond(() => this.update())];
    this.end = () => ends.forEach((end) => end());
    show(this.element, true);
    this.update();
  }

  stop() {
    this.end();
    this.end = () => {};
    show(this.element, false);
  }

  /**
   * Takes what an event of the stream says of progress.
   * @param {string} event
   * @param {any} data
   * @returns {boolean} whether it was one
   */
  take(event, data) {
    if (event === "prefill_progress") {
      const isReading = data.phase === "prefill" && data.n_prompt_tokens > 0;
      this.told = isReading ? { words: S.playground.reading(data.n_past, data.n_prompt_tokens), fraction: data.fraction } : this.told;
    } else if (event === "swap_progress") {
      const { phase, percent } = data.swap_progress ?? {};
      this.told = { words: S.phases[phase] ?? String(phase ?? ""), fraction: typeof percent === "number" ? percent / 100 : null };
    } else return false;
    this.update();
    return true;
  }

  update() {
    const { store } = this.page;
    const id = store.models.has(this.model) ? this.model : this.realName();
    const model = store.models.get(id);
    const passed = (performance.now() - this.began) / 1000;
    let words = [S.playground.sent, format.wholeDuration(passed)];
    let fraction = this.told?.words === S.phases.ready ? null : (this.told?.fraction ?? null); // it reads the prompt
    if (model && model.state !== "ready" && (model.progress || model.state !== "stopped")) {
      words = doing(model, store);
      fraction = model.progress?.fraction ?? null;
    } else if (this.told?.words && this.told.words !== S.phases.ready) words = [this.told.words, format.wholeDuration(passed)];
    setText(this.words, words.join(" · "));
    setAttr(this.bar, "data-unknown", fraction === null);
    setAttr(this.bar, "aria-valuenow", fraction === null ? null : Math.floor(fraction * 100));
    setVar(this.fill, "--share", fraction ?? 0);
  }

  /** The model that an alias stands for. */
  realName() {
    const found = [...this.page.store.catalog.values()].find((it) => it.aliases?.includes(this.model));
    return found?.id ?? this.model;
  }
}
