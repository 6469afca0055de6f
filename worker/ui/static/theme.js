// Sets the theme before anything is shown. It is no module: those run later, and the page would
// be seen in the other theme first.
(() => {
  /** @type {string | null} */
  let chosen = null;
  try {
    chosen = localStorage.getItem("arriero.theme");
  } catch {
    // storage may be switched off: then the system's theme it is
  }
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
})();
