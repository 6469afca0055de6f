// "Copy as curl", "Copy as Python": the same request from a shell and from a program.

import { h } from "../lib/dom.js";
import { notice } from "../lib/notice.js";
import { S } from "../lib/strings.js";

/**
 * @param {string} path
 * @param {object} body
 * @param {boolean} hasKey
 */
export function asCurl(path, body, hasKey) {
  const lines = [`curl ${location.origin}${path}`, "-H 'Content-Type: application/json'"];
  if (hasKey) lines.push('-H "Authorization: Bearer $ARRIERO_API_KEY"');
  lines.push(`-d '${JSON.stringify(body, null, 2).replaceAll("'", "'\\''")}'`);
  if ("stream" in body) lines[0] += " --no-buffer";
  return `${lines.join(" \\\n  ")}\n`;
}

/**
 * @param {string} path
 * @param {object} body
 * @param {boolean} hasKey
 */
export function asPython(path, body, hasKey) {
  const key = hasKey ? 'os.environ["ARRIERO_API_KEY"]' : '"none"';
  const first = `${hasKey ? "import os\n\n" : ""}`;
  if (path === "/v1/chat/completions") {
    return `${first}from openai import OpenAI

client = OpenAI(base_url="${location.origin}/v1", api_key=${key})
stream = client.chat.completions.create(**${literal(body)})
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
`;
  }
  return `${first}import httpx

body = ${literal(body)}
headers = {"Authorization": "Bearer " + ${key}}
with httpx.stream("POST", "${location.origin}${path}", json=body, headers=headers, timeout=None) as response:
    for line in response.iter_lines():
        print(line)
`;
}

/**
 * JSON as Python writes it.
 * @param {unknown} value
 * @param {string} [indent]
 * @returns {string}
 */
export function literal(value, indent = "") {
  const more = `${indent}    `;
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) {
    return value.length ? `[\n${value.map((it) => `${more}${literal(it, more)},\n`).join("")}${indent}]` : "[]";
  }
  if (typeof value === "object") {
    const rows = Object.entries(value).map(([name, it]) => `${more}${JSON.stringify(name)}: ${literal(it, more)},\n`);
    return rows.length ? `{\n${rows.join("")}${indent}}` : "{}";
  }
  return JSON.stringify(value); // strings of JSON and numbers are the same in Python
}

/**
 * A menu with both.
 * @param {() => {path: string, body: object}} request
 * @param {boolean} hasKey
 */
export function codeMenu(request, hasKey) {
  const menu = h(
    "details",
    { class: "menu" },
    h("summary", {}, S.playground.copy),
    h(
      "div",
      {},
      ...[
        { label: "curl", make: asCurl },
        { label: "Python", make: asPython },
      ].map(({ label, make }) =>
        h(
          "button",
          {
            onclick: () => {
              menu.open = false;
              const { path, body } = request();
              void offer(make(path, body, hasKey));
            },
          },
          label,
        ),
      ),
    ),
  );
  return menu;
}

/**
 * Copies a text; where a browser does not let pages do that (no TLS), it is shown to be copied.
 * @param {string} text
 */
async function offer(text) {
  try {
    await navigator.clipboard.writeText(text);
    notice(S.playground.copied);
  } catch {
    const area = h("textarea", { class: "mono code", readonly: true, rows: 16, "aria-label": S.playground.copy });
    area.value = text;
    const dialog = h(
      "dialog",
      { class: "card wide", "aria-label": S.playground.copy },
      h("form", { method: "dialog" }, area, h("div", { class: "row end" }, h("button", {}, S.dialog.ok))),
    );
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    area.select();
  }
}
