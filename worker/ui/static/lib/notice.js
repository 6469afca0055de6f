// Short messages at the edge of the page, and questions before what cannot be undone.

import { h } from "./dom.js";
import { S } from "./strings.js";

/** More than these are not read by anybody: the oldest goes. */
const MAX_NOTICES = 4;
const SHOWN_MS = 8000;

/**
 * Says something; a problem stays until it is dismissed.
 * @param {string} text
 * @param {{kind?: "info" | "problem", action?: {label: string, call: () => void}}} [how]
 */
export function notice(text, how = {}) {
  const place = document.getElementById("notices");
  if (!place) return;
  const kind = how.kind ?? "info";
  const element = h(
    "div",
    { class: "notice", "data-kind": kind },
    h("span", {}, text),
    how.action && h("button", { onclick: how.action.call }, how.action.label),
    h("button", { class: "quiet", "aria-label": S.errors.dismiss, onclick: () => element.remove() }, "×"),
  );
  place.append(element);
  while (place.children.length > MAX_NOTICES) place.firstElementChild?.remove();
  if (kind === "info" && !how.action) setTimeout(() => element.remove(), SHOWN_MS);
}

/**
 * Runs what may be refused, and says so if it was.
 * @param {() => Promise<unknown>} work
 * @returns {Promise<boolean>} whether it went well
 */
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    notice(error instanceof Error ? error.message : String(error), { kind: "problem" });
    return false;
  }
}

/**
 * Asks before something is done.
 * @param {string} title
 * @param {string} text
 * @param {string} ok
 * @returns {Promise<boolean>}
 */
export function confirmed(title, text, ok = S.dialog.ok) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { class: "card", "aria-labelledby": "dialog-title" },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "dialog-title" }, title),
        h("p", {}, text),
        h(
          "div",
          { class: "row end" },
          h("button", { value: "cancel" }, S.dialog.cancel),
          h("button", { value: "ok", class: "primary" }, ok),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "ok");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
