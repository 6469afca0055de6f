// Trying models out: a chat, and whatever else they do. Nothing of it is kept.

import { h, replace, setAttr } from "../lib/dom.js";
import { attempt } from "../lib/notice.js";
import { S } from "../lib/strings.js";
import { Chat } from "./playground_chat.js";
import { ToolForm, TOOLS } from "./playground_tools.js";

/** @typedef {import("../lib/types.js").Page} Page */
/** @typedef {Chat | ToolForm} Task */
/** @typedef {{id: string, name?: string, status?: {value: string}, meta?: {llamaswap?: {aliases?: string[]}}}} Listed */

/** @type {import("../lib/types.js").View} */
export const view = {
  needs: "infer",
  mount(root, page) {
    const playground = new Playground(root, page);
    void playground.listModels();
    return () => playground.task.stop();
  },
};

class Playground {
  /**
   * @param {HTMLElement} root
   * @param {Page} page
   */
  constructor(root, page) {
    this.page = page;
    this.select = h("select", { "aria-label": S.playground.model, onchange: () => page.remember({ model: this.select.value }) });
    const names = ["chat", ...Object.keys(TOOLS)];
    this.buttons = names.map((name) => h("button", { "data-task": name, onclick: () => page.go(`/ui/playground/${name}?model=${encodeURIComponent(this.select.value)}`) }, S.playground.tasks[name] ?? name));
    this.place = h("div", { class: "task" });
    replace(
      root,
      h("div", { class: "toolbar" }, h("h1", {}, S.titles.playground ?? ""), this.select, h("div", { class: "choices", role: "group", "aria-label": S.playground.task }, ...this.buttons)),
      this.place,
    );
    const chosen = names.includes(page.rest) ? page.rest : "chat";
    const model = () => this.select.value;
    /** @type {Task} */
    this.task = chosen === "chat" ? new Chat(page, model) : new ToolForm(chosen, page, model);
    for (const button of this.buttons) setAttr(button, "aria-pressed", String(button.dataset.task === chosen));
    replace(this.place, this.task.element);
  }

  /** Those that the key may use; asked for, since the feed is not for everybody. */
  async listModels() {
    await attempt(async () => {
      const { data } = await this.page.api.get("/v1/models");
      const wanted = this.page.query.get("model") ?? "";
      /** @type {Listed[]} */
      const models = data;
      replace(this.select, ...models.map((it) => h("option", { value: it.id }, it.name && it.name !== it.id ? `${it.name} (${it.id})` : it.id)));
      const chosen = models.find((it) => it.id === wanted) ?? models.find((it) => it.meta?.llamaswap?.aliases?.includes(wanted));
      const running = models.find((it) => it.status?.value === "loaded");
      const model = chosen ?? (wanted ? null : running);
      if (model) this.select.value = model.id;
    });
  }
}
