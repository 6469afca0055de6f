// Gives the browser something to save. What needs a key cannot be a plain link: the key is in a header.

import { h } from "./dom.js";

/** How long the browser may take to begin. */
const KEPT_MS = 60_000;

/**
 * @param {Blob} blob
 * @param {string} name of the file
 */
export function saveAs(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
}
