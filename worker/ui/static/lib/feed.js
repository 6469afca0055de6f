// The one feed of this page: reads /api/live into the store, and comes back to it whatever happens
// to workers, the supervisor or the network.

import { Refused } from "./api.js";

const FIRST_DELAY_MS = 200;
const MAX_DELAY_MS = 2000;
/** arriero says something at least every 15 s; who hears nothing for so long has lost it. */
const SILENCE_MS = 40_000;
/** A page that nobody looks at lets go of its connection: a browser has six for all its tabs. */
const HIDDEN_MS = 60_000;

export class Feed {
  /**
   * @param {import("./store.js").Store} store
   * @param {import("./api.js").Api} api
   */
  constructor(store, api) {
    this.store = store;
    this.api = api;
    /** Id of the last message; names it to whichever worker is asked next. */
    this.after = "";
    this.isOver = false;
    /** @type {AbortController | null} */
    this.asking = null;
    /** @type {(() => void) | null} ends the pause before the next try */
    this.hurry = null;
    this.hiddenTimer = 0;
    document.addEventListener("visibilitychange", () => this.lookAgain());
    window.addEventListener("online", () => this.hurry?.());
  }

  async run() {
    let delay = FIRST_DELAY_MS;
    while (!this.isOver) {
      try {
        await this.follow(() => (delay = FIRST_DELAY_MS));
        this.store.setLink("connecting");
      } catch (error) {
        if (error instanceof Refused && [401, 403].includes(error.status)) {
          this.store.setLink("refused", error.message);
          return;
        }
        this.store.setLink(error instanceof Refused && error.status === 0 ? "offline" : "connecting");
      }
      await this.pause(delay * (0.75 + Math.random() / 2));
      delay = Math.min(delay * 2, MAX_DELAY_MS);
    }
  }

  stop() {
    this.isOver = true;
    this.asking?.abort();
    this.hurry?.();
  }

  /**
   * @param {() => void} onMessage
   */
  async follow(onMessage) {
    const asking = (this.asking = new AbortController());
    let watchdog = 0;
    const heard = () => {
      clearTimeout(watchdog);
      watchdog = window.setTimeout(() => asking.abort(), SILENCE_MS);
    };
    heard();
    try {
      const path = this.after ? `/api/live?after=${encodeURIComponent(this.after)}` : "/api/live";
      const response = await this.api.fetch(path, {
        signal: asking.signal,
        headers: { Accept: "text/event-stream" },
      });
      for await (const { id, data } of readEvents(response, heard)) {
        this.store.apply(JSON.parse(data));
        this.after = id;
        onMessage();
      }
    } catch (error) {
      if (!(error instanceof DOMException) && !(error instanceof TypeError)) throw error;
    } finally {
      clearTimeout(watchdog);
      asking.abort();
    }
  }

  /** @param {number} ms */
  pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => document.hidden || resolve(undefined), ms);
      this.hurry = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
  }

  lookAgain() {
    clearTimeout(this.hiddenTimer);
    if (document.hidden) this.hiddenTimer = window.setTimeout(() => this.asking?.abort(), HIDDEN_MS);
    else this.hurry?.();
  }
}

/**
 * Yields the messages of a response of Server-Sent Events.
 * @param {Response} response
 * @param {() => void} [heard] called whenever anything comes
 * @returns {AsyncGenerator<{id: string, event: string, data: string}, void, void>}
 */
export async function* readEvents(response, heard = () => {}) {
  if (!response.body) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      rest = (rest + decoder.decode(value, { stream: true })).replaceAll("\r\n", "\n"); // a half of one waits for the other
      const blocks = rest.split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const message = readBlock(block);
        if (message.data) yield message;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** @param {string} block */
function readBlock(block) {
  const message = { id: "", event: "", data: "" };
  for (const line of block.split("\n")) {
    const [, name, value] = /^([a-z]+): ?(.*)$/s.exec(line) ?? [];
    if (name === "data") message.data += (message.data && "\n") + value;
    else if (name === "id" || name === "event") message[name] = value ?? "";
  }
  return message;
}
