// Asks arriero. The key, if there is one, goes into a header of each request: never into an address
// or a cookie, so that no other page can make a browser send it.

/** What arriero said when it refused; `message` is for people. */
export class Refused extends Error {
  /**
   * @param {number} status 0: it did not answer
   * @param {string} code
   * @param {string} message
   */
  constructor(status, code, message) {
    super(message);
    this.name = "Refused";
    this.status = status;
    this.code = code;
  }
}

export class Api {
  /** @param {() => string} key */
  constructor(key) {
    this.key = key;
    /** @type {(refused: Refused) => void} called when a key is not, or no longer, good */
    this.onUnauthorized = () => {};
  }

  /**
   * Asks, and returns the response if its status is that of a success.
   * @param {string} path
   * @param {RequestInit & {json?: unknown}} [options] `json` is sent as the body
   * @returns {Promise<Response>}
   * @throws {Refused}
   */
  async fetch(path, options = {}) {
    const headers = new Headers(options.headers);
    if (this.key()) headers.set("Authorization", `Bearer ${this.key()}`);
    // No credentials of the browser's: it would ask for a password itself, since llama-swap's clients
    // are told of Basic, and nobody would be told of the refusal.
    /** @type {RequestInit} */
    const init = { cache: "no-store", credentials: "omit", ...options, headers };
    if (options.json !== undefined) {
      headers.set("Content-Type", "application/json");
      init.body = JSON.stringify(options.json);
      init.method = options.method ?? "POST";
    }
    let response;
    try {
      response = await fetch(path, init);
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new Refused(0, "no_answer", "arriero does not answer");
    }
    if (response.ok) return response;
    const refused = await readRefusal(response);
    if (refused.status === 401) this.onUnauthorized(refused);
    throw refused;
  }

  /**
   * Returns what JSON is there.
   * @param {string} path
   * @param {RequestInit} [options]
   * @returns {Promise<any>}
   * @throws {Refused}
   */
  async get(path, options = {}) {
    return (await this.fetch(path, options)).json();
  }

  /**
   * Sends JSON (or nothing), and returns what is answered: JSON, or a text.
   * @param {string} path
   * @param {unknown} [json]
   * @param {RequestInit} [options]
   * @returns {Promise<any>}
   * @throws {Refused}
   */
  async post(path, json, options = {}) {
    const response = await this.fetch(path, { method: "POST", ...options, json });
    const isJson = (response.headers.get("content-type") ?? "").startsWith("application/json");
    return isJson ? response.json() : response.text();
  }
}

/**
 * Writes a name of a model into a path; it may have slashes, and does not lose them.
 * @param {string} name
 */
export function inPath(name) {
  const parts = name.split("/");
  const isPath = parts.every((part) => part !== "" && part !== "." && part !== "..");
  return isPath ? parts.map(encodeURIComponent).join("/") : encodeURIComponent(name); // paths lose empty parts
}

/**
 * @param {Response} response
 * @returns {Promise<Refused>}
 */
async function readRefusal(response) {
  try {
    const said = await response.json();
    const error = said.error ?? said;
    return new Refused(response.status, String(error.code ?? ""), String(error.message ?? response.statusText));
  } catch {
    return new Refused(response.status, "", response.statusText || `status ${response.status}`);
  }
}
