// What stands here until the view is there.

import { h } from "../lib/dom.js";
import { S } from "../lib/strings.js";

/** @type {import("../lib/types.js").View} */
export const view = {
  needs: "read",
  mount(root) {
    root.append(h("p", { class: "empty" }, S.soon));
    return () => {};
  },
};
