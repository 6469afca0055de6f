// Dark, light, or what the system says.

import { h, setAttr, setText } from "./dom.js";
import { S } from "./strings.js";

const PLACE = "arriero.theme";
const THEMES = /** @type {const} */ (["system", "dark", "light"]);

/** Returns the button that goes from one to the next. */
export function themeButton() {
  const root = document.documentElement;
  const button = h("button", { class: "quiet theme" });
  const tell = () => {
    const name = root.dataset.theme === "dark" || root.dataset.theme === "light" ? root.dataset.theme : "system";
    setText(button, S.theme[name]);
    setAttr(button, "data-theme", name);
    setAttr(button, "title", S.theme.hint);
    button.setAttribute("aria-label", `${S.theme.toggle}: ${S.theme[name]}`);
    return name;
  };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(tell()) + 1) % THEMES.length] ?? "system";
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem(PLACE, next);
    } catch {
      // it holds until the page is left
    }
    tell();
  });
  tell();
  return button;
}
