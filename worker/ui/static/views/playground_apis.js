// Three APIs for a chat: one conversation -> a request body, and an event -> what it adds. Pure.

/**
 * @typedef {{name: string, arguments: string}} ToolCall
 * @typedef {{role: "user" | "assistant", text: string, images: string[]}} Turn `images` are data URLs
 *
 * @typedef {object} Wanted What is asked for.
 * @property {string} model
 * @property {string} system
 * @property {Turn[]} turns
 * @property {number | null} temperature
 * @property {number | null} maxTokens
 * @property {any[]} tools as chat completions have them
 *
 * @typedef {object} Added What one event adds to an answer.
 * @property {string} [text]
 * @property {string} [reasoning]
 * @property {{index: number, name?: string, arguments?: string}} [tool]
 * @property {number} [tokens] of the answer, so far
 * @property {string} [error]
 *
 * @typedef {object} ChatApi
 * @property {string} path
 * @property {string} progress what `X-Swap-Progress` says
 * @property {(wanted: Wanted) => object} body
 * @property {(event: string, data: any) => Added} read
 */

/** Anthropic's API does without no limit. */
const DEFAULT_MAX_TOKENS = 4096;

/** @type {ChatApi} */
const completions = {
  path: "/v1/chat/completions",
  progress: "event",
  body: ({ model, system, turns, temperature, maxTokens, tools }) => ({
    model,
    messages: [
      ...(system ? [{ role: "system", content: system }] : []),
      ...turns.map(({ role, text, images }) => ({
        role,
        content: images.length
          ? [{ type: "text", text }, ...images.map((url) => ({ type: "image_url", image_url: { url } }))]
          : text,
      })),
    ],
    stream: true,
    stream_options: { include_usage: true },
    ...(temperature !== null && { temperature }),
    ...(maxTokens !== null && { max_tokens: maxTokens }),
    ...(tools.length > 0 && { tools }),
  }),
  read: (_event, data) => {
    if (data.error) return { error: words(data.error) };
    const delta = data.choices?.[0]?.delta ?? {};
    const tool = delta.tool_calls?.[0];
    return {
      text: delta.content ?? "",
      reasoning: delta.reasoning_content ?? delta.reasoning ?? "",
      ...(tool && { tool: { index: tool.index ?? 0, name: tool.function?.name, arguments: tool.function?.arguments } }),
      ...(data.usage && { tokens: data.usage.completion_tokens }),
    };
  },
};

/** @type {ChatApi} */
const messages = {
  path: "/v1/messages",
  progress: "heartbeat",
  body: ({ model, system, turns, temperature, maxTokens, tools }) => ({
    model,
    max_tokens: maxTokens ?? DEFAULT_MAX_TOKENS,
    ...(system && { system }),
    messages: turns.map(({ role, text, images }) => ({
      role,
      content: images.length ? [...images.map(messagesImage), { type: "text", text }] : text,
    })),
    stream: true,
    ...(temperature !== null && { temperature }),
    ...(tools.length > 0 && {
      tools: tools.map(({ function: it }) => ({ name: it?.name, description: it?.description, input_schema: it?.parameters ?? { type: "object" } })),
    }),
  }),
  read: (_event, data) => {
    const { delta = {}, content_block: block = {} } = data;
    if (data.type === "error") return { error: words(data.error) };
    if (data.type === "content_block_start" && block.type === "tool_use") {
      return { tool: { index: data.index ?? 0, name: block.name } };
    }
    if (data.type === "message_delta") return { tokens: data.usage?.output_tokens };
    if (data.type !== "content_block_delta") return {};
    if (delta.type === "input_json_delta") return { tool: { index: data.index ?? 0, arguments: delta.partial_json } };
    return { text: delta.text ?? "", reasoning: delta.thinking ?? "" };
  },
};

/** @param {string} url of data */
function messagesImage(url) {
  const [head = "", data = ""] = url.split(",", 2);
  return { type: "image", source: { type: "base64", media_type: head.replace(/^data:|;base64$/g, ""), data } };
}

/** @type {ChatApi} */
const responses = {
  path: "/v1/responses",
  progress: "heartbeat",
  body: ({ model, system, turns, temperature, maxTokens, tools }) => ({
    model,
    ...(system && { instructions: system }),
    input: turns.map(({ role, text, images }) => ({
      type: "message",
      role,
      content: [
        { type: role === "user" ? "input_text" : "output_text", text },
        ...images.map((url) => ({ type: "input_image", image_url: url })),
      ],
    })),
    stream: true,
    ...(temperature !== null && { temperature }),
    ...(maxTokens !== null && { max_output_tokens: maxTokens }),
    ...(tools.length > 0 && { tools: tools.map(({ function: it }) => ({ type: "function", ...it })) }),
  }),
  read: (event, data) => {
    switch (data.type ?? event) {
      case "response.output_text.delta":
        return { text: data.delta };
      case "response.reasoning_text.delta":
      case "response.reasoning_summary_text.delta":
        return { reasoning: data.delta };
      case "response.output_item.added":
        return data.item?.type === "function_call" ? { tool: { index: data.output_index ?? 0, name: data.item.name } } : {};
      case "response.function_call_arguments.delta":
        return { tool: { index: data.output_index ?? 0, arguments: data.delta } };
      case "response.completed":
      case "response.incomplete":
        return { tokens: data.response?.usage?.output_tokens };
      case "response.failed":
        return { error: words(data.response?.error) };
      case "error":
        return { error: words(data.error ?? data) };
      default:
        return {};
    }
  },
};

/** @param {any} error */
function words(error) {
  return String(error?.message ?? JSON.stringify(error ?? "?"));
}

/** @type {Record<string, ChatApi>} */
export const CHAT_APIS = { completions, messages, responses };
