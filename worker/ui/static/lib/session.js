// Who looks: a key is asked for where one is needed, and kept for this tab only.

import { Refused } from "./api.js";
import { h, replace, setText } from "./dom.js";
import { S } from "./strings.js";

/** @typedef {"key" | "infer" | "read" | "admin"} Scope */

const PLACE = "arriero.key";

export class Session {
  constructor() {
    this.key = "";
    try {
      this.key = sessionStorage.getItem(PLACE) ?? "";
    } catch {
      // no storage: the key is asked for again after a reload
    }
  }

  /** @param {string} key */
  keep(key) {
    this.key = key;
    try {
      if (key) sessionStorage.setItem(PLACE, key);
      else sessionStorage.removeItem(PLACE);
    } catch {
      // as above
    }
  }
}

/**
 * Returns who looks; asks for a key until there is one that is good.
 * @param {HTMLElement} root where it is asked for
 * @param {Session} session
 * @param {import("./api.js").Api} api
 * @returns {Promise<import("./types.js").WhoAmI>}
 */
export async function whoLooks(root, session, api) {
  for (let delay = 200; ; delay = Math.min(delay * 2, 5000)) {
    try {
      return await api.get("/api/whoami");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 401) await askForKey(root, session, session.key ? error.message : "");
      else await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }
}

/**
 * @param {HTMLElement} root
 * @param {Session} session
 * @param {string} problem
 * @returns {Promise<void>}
 */
function askForKey(root, session, problem) {
  return new Promise((resolve) => {
    const input = h("input", {
      type: "password",
      id: "key",
      name: "key",
      autocomplete: "current-password",
      required: true,
      spellcheck: "false",
      "aria-describedby": "key-note key-problem",
    });
    const told = h("p", { id: "key-problem", class: "problem", role: "alert" });
    const form = h(
      "form",
      {
        class: "card login",
        onsubmit: (/** @type {SubmitEvent} */ event) => {
          event.preventDefault();
          session.keep(input.value.trim());
          resolve();
        },
      },
      h("h1", {}, S.login.title),
      h("label", { for: "key" }, S.login.key),
      input,
      told,
      h("button", { class: "primary" }, S.login.enter),
      h("p", { id: "key-note", class: "note" }, S.login.note),
    );
    replace(root, form);
    setText(told, problem);
    input.focus();
  });
}

/**
 * Says why something may not be done; empty if it may.
 * @param {import("./types.js").WhoAmI} me
 * @param {Scope} scope
 */
export function whyNot(me, scope) {
  if (scope === "key" || me.scopes.includes(scope)) return "";
  return S.scopes.missing(scope);
}
