// Memory: what each device is used for, what waits in main memory, and what a start would change.

import { h, KeyedList, replace, setText, setVar, show } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { S } from "../lib/strings.js";
import { DeviceCard } from "./memory_device.js";
import { WhatIf } from "./memory_whatif.js";

/** @typedef {import("../lib/types.js").DeviceStatus} DeviceStatus */
/** @typedef {import("../lib/types.js").KeepStatus} KeepStatus */

/** @type {import("../lib/types.js").View} */
export const view = {
  needs: "read",
  mount(root, page) {
    const { store } = page;
    /** @type {Map<string, DeviceCard>} */
    const cards = new Map();
    const place = h("div", { class: "devices" });
    const empty = h("p", { class: "card note", hidden: true }, S.memory.none);
    const hint = h("span", { class: "note", hidden: true }, S.memory.point);
    const whatIf = new WhatIf(page);
    const warm = new WarmCard();
    replace(root, h("div", { class: "toolbar" }, h("h1", {}, S.titles.memory ?? ""), hint), empty, place, whatIf.element, warm.element);
    /** @type {KeyedList<DeviceStatus>} */
    const devices = new KeyedList(place, {
      key: (device) => device.device,
      create: (device) => {
        const card = new DeviceCard(device.device, page);
        cards.set(device.device, card);
        return card.element;
      },
      update: (_, device) => cards.get(device.device)?.update(device),
    });
    let names = "";
    const end = store.subscribe(["devices", "models", "queue", "kept"], (changed) => {
      devices.set(store.devices);
      show(hint, store.devices.length > 0);
      show(empty, store.hasAll && store.devices.length === 0);
      if (changed.has("kept")) warm.update(store.kept, store.hasAll);
      const now = [...store.models.keys()].join("\n");
      if (now !== names) {
        names = now;
        whatIf.updateChoices();
        void whatIf.ask();
      } else if (changed.has("models") || changed.has("queue")) whatIf.refresh();
    });
    return () => {
      end();
      whatIf.stop();
    };
  },
};

/** Files of models that wait in main memory for their next start. */
class WarmCard {
  constructor() {
    this.sum = h("span", { class: "sum" });
    this.remark = h("p", { class: "note" });
    this.list = h("ul", { class: "warm" });
    this.element = h(
      "section",
      { class: "card", "aria-labelledby": "warm-title", hidden: true },
      h("div", { class: "head" }, h("h2", { id: "warm-title" }, S.memory.warm), this.sum),
      this.remark,
      this.list,
    );
    /** @type {KeyedList<KeepStatus["models"][number]>} */
    this.models = new KeyedList(this.list, {
      key: (it) => it.model,
      create: (it) =>
        h(
          "li",
          {},
          h("span", { class: "ellipsis" }, it.model),
          h("div", { class: "bar", role: "img" }, h("span")),
          h("span", { class: "dim" }),
        ),
      update: (element, it) => {
        const text = S.memory.heldOf(format.bytes(it.held), format.bytes(it.size));
        setVar(element.children[1].firstElementChild, "--share", it.size ? (it.held / it.size).toFixed(3) : 0);
        element.children[1].setAttribute("aria-label", `${it.model}: ${text}`);
        setText(element.children[2], text);
      },
    });
  }

  /**
   * @param {KeepStatus | null} kept
   * @param {boolean} isKnown
   */
  update(kept, isKnown) {
    show(this.element, isKnown);
    setText(this.sum, kept ? S.memory.warmSum(format.bytes(kept.held), format.bytes(kept.room)) : "");
    setText(this.remark, kept ? [kept.locked ? S.memory.locked : "", kept.remark].filter(Boolean).join(" ") : S.memory.noWarm);
    this.models.set(kept?.models ?? []);
  }
}
