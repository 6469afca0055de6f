// Wiring: who looks, the feed, and the view that the address names.

import { Api } from "./lib/api.js";
import { h, replace, setAttr, setText } from "./lib/dom.js";
import { Feed } from "./lib/feed.js";
import { notice } from "./lib/notice.js";
import { remember, route, step } from "./lib/router.js";
import { Session, whoLooks, whyNot } from "./lib/session.js";
import { Store } from "./lib/store.js";
import { S } from "./lib/strings.js";
import { themeButton } from "./lib/theme_button.js";

/** @typedef {import("./lib/types.js").View} View */
/** @typedef {import("./lib/router.js").Place} Place */

/** Each is loaded when it is first shown. @type {Record<string, () => Promise<{view: View}>>} */
const VIEWS = {
  train: () => import("./views/train.js"),
  memory: () => import("./views/memory.js"),
  requests: () => import("./views/requests.js"),
  logs: () => import("./views/logs.js"),
  decisions: () => import("./views/decisions.js"),
  playground: () => import("./views/playground.js"),
  configuration: () => import("./views/configuration.js"),
};

const root = /** @type {HTMLElement} */ (document.getElementById("view"));
const status = /** @type {HTMLElement} */ (document.getElementById("status"));

const session = new Session();
const api = new Api(() => session.key);
const store = new Store();

function showStatus() {
  const link = h("span", { class: "link" });
  const leave = h("button", { class: "quiet", hidden: true, onclick: leaveSession }, S.login.leave);
  replace(status, link, leave, themeButton());
  store.subscribe(["link"], () => {
    setAttr(link, "data-link", store.link);
    setAttr(link, "title", store.refusal || S.linkHints[store.link] || null);
    setAttr(root, "data-stale", store.hasAll && store.link !== "live");
    setText(link, S.link[store.link]);
    leave.hidden = !session.key;
  });
}

function leaveSession() {
  session.keep("");
  location.reload();
}

/** @param {import("./lib/types.js").WhoAmI} me */
function start(me) {
  const feed = new Feed(store, api);
  if (!whyNot(me, "read") && me.models === null) void feed.run();
  else store.setLink("refused", whyNot(me, "read") || S.scopes.someModels);

  let unmount = () => {};
  let number = 0;
  /** @type {(path: string) => void} */
  let go = () => {};

  /** @param {Place} place */
  async function open(place) {
    const mine = (number += 1);
    const load = VIEWS[place.view] ?? VIEWS.train;
    const name = VIEWS[place.view] ? place.view : "train";
    for (const link of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#nav a"))) {
      const isHere = link.dataset.view === name;
      setAttr(link, "aria-current", isHere ? "page" : null);
      if (isHere) bringIntoSight(link);
    }
    document.title = `${S.titles[name]} · ${S.name}`;
    const loaded = await load?.().catch(() => null);
    if (mine !== number) return;
    unmount();
    const isFirst = root.hasAttribute("data-first");
    root.removeAttribute("data-first");
    replace(root, h("h1", {}, S.titles[name] ?? ""));
    setAttr(root, "data-view", name);
    unmount = loaded ? mount(loaded.view, place) : cannotLoad();
    if (!isFirst) root.focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  /** @param {View} view @param {Place} place */
  function mount(view, place) {
    const refused = whyNot(me, view.needs);
    const ofAll = view.needs === "read" && me.models !== null;
    if (refused || ofAll) {
      root.append(h("p", { class: "empty" }, refused ? S.scopes.view(view.needs) : S.scopes.someModels));
      return () => {};
    }
    const { rest, query, state } = place;
    return view.mount(root, { store, api, me, rest, query, state, go: (path) => go(path), remember, step });
  }

  function cannotLoad() {
    root.append(
      h("p", { class: "empty" }, S.errors.view),
      h("button", { class: "primary", onclick: () => location.reload() }, S.errors.reload),
    );
    return () => {};
  }

  go = route((place) => void open(place));
  store.subscribe(["host"], () => void tellOfUpdate(me));
}

/**
 * Rolls the navigation, where it is too wide for the screen, so that a link stands in its middle.
 * @param {HTMLElement} link
 */
function bringIntoSight(link) {
  const list = link.closest("ul");
  if (list) list.scrollLeft = link.offsetLeft - list.offsetLeft - (list.clientWidth - link.offsetWidth) / 2;
}

let told = false;

/**
 * Other files may belong to the page since the supervisor is another one.
 * @param {import("./lib/types.js").WhoAmI} me
 */
async function tellOfUpdate(me) {
  if (told || !store.host || store.host.version === me.version) return;
  told = true;
  notice(S.errors.newVersion, {
    action: { label: S.errors.reload, call: () => location.reload() },
  });
}

api.onUnauthorized = () => {
  if (store.hasAll) location.reload(); // the key was taken out of the configuration
};

showStatus();
start(await whoLooks(root, session, api));
