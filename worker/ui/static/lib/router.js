// Views by path: /ui/NAME/REST?QUERY. Links are links, so they open in other tabs as well.

/** @typedef {{view: string, rest: string, query: URLSearchParams, state: unknown}} Place */

/** Paths of llama-swap's pages, which are in people's bookmarks. */
const OTHER_NAMES = /** @type {Record<string, string>} */ ({ "": "train", models: "train", activity: "requests" });

/**
 * @param {string} path
 * @param {string} search
 * @param {unknown} [state] of the view, as `step` was given it
 * @returns {Place}
 */
export function placeOf(path, search, state = null) {
  const [, name = "", rest = ""] = /^\/ui\/([^/]*)\/?(.*)$/s.exec(path) ?? [];
  return {
    view: OTHER_NAMES[name] ?? name,
    rest: decoded(rest),
    query: new URLSearchParams(search),
    state,
  };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * Calls `open` with each place that is gone to, the first one included.
 * @param {(place: Place) => void} open
 * @returns {(path: string) => void} what goes elsewhere
 */
export function route(open) {
  const here = () => open(placeOf(location.pathname, location.search, history.state));
  /** @param {string} path */
  const go = (path) => {
    if (path !== location.pathname + location.search) history.pushState(null, "", path);
    here();
  };
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (!link.pathname.startsWith("/ui/") || event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
  window.addEventListener("popstate", here);
  here();
  return go;
}

/**
 * Puts a query into the address without going anywhere.
 * @param {Record<string, string>} query
 */
export function remember(query) {
  const kept = Object.entries(query).filter(([, value]) => value);
  const text = new URLSearchParams(kept).toString();
  history.replaceState(null, "", location.pathname + (text && `?${text}`));
}

/**
 * Makes an entry in the browser's history, with this address and `state`: who goes back to it, or
 * loads the page again, finds the view opened with that.
 * @param {unknown} state
 */
export function step(state) {
  history.pushState(state, "", location.href);
}
