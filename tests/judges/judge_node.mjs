// The official OpenAI client for Node: raw streams, and the helpers that put them together.
//
//     node judge_node.mjs FOLDER
//
// FOLDER has the client in its node_modules. Reads a question from each line of stdin and writes
// an answer to stdout; the words of both are explained in asked.py.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const { OpenAI } = createRequire(`${process.argv[2]}/`)('openai');

const PATIENCE_MS = 60_000;
const talks = new Map();

function clientFor(asked) {
  const more = asked.retries === null ? {} : { maxRetries: asked.retries };
  return new OpenAI({
    baseURL: `${asked.url}/v1`,
    apiKey: 'none',
    timeout: PATIENCE_MS,
    defaultHeaders: asked.headers,
    ...more,
  });
}

function turnsOf(asked, reply) {
  if (asked.talk && !talks.has(asked.talk)) talks.set(asked.talk, []);
  const turns = asked.talk ? talks.get(asked.talk) : [];
  if (asked.result) turns.push(reply(turns));
  if (asked.say) turns.push({ role: 'user', content: asked.say });
  return turns;
}

const STREAM = { stream: true, stream_options: { include_usage: true } };

const newSeen = () => ({
  role: '', text: '', calls: [], input_tokens: 0, output_tokens: 0, finish: '', told: '', odd: [],
});

// --- chat -----------------------------------------------------------------------------------------

function chatTurns(asked) {
  return turnsOf(asked, (turns) => ({
    role: 'tool', tool_call_id: turns.at(-1).tool_calls[0].id, content: asked.result,
  }));
}

function chatBody(asked, turns) {
  const body = { model: asked.model, messages: turns, max_tokens: asked.tokens, temperature: 0 };
  if (asked.tools) {
    body.tools = [{ type: 'function', function: asked.callable }];
    body.tool_choice = asked.must_call ? 'required' : 'auto';
  }
  return body;
}

async function chatRaw(asked) {
  const seen = newSeen();
  const calls = [];
  for await (const chunk of await clientFor(asked).chat.completions.create({
    ...chatBody(asked, chatTurns(asked)), ...STREAM,
  })) {
    if (chunk.usage) {
      seen.input_tokens = chunk.usage.prompt_tokens;
      seen.output_tokens = chunk.usage.completion_tokens;
    }
    if (chunk.choices.length === 0) continue;
    const { delta, finish_reason: finish } = chunk.choices[0];
    seen.role += delta.role ?? '';
    seen.text += delta.content ?? '';
    seen.told += delta.reasoning_content ?? '';
    seen.finish = finish ?? seen.finish;
    for (const part of delta.tool_calls ?? []) {
      calls[part.index] ??= { name: '', arguments: '' };
      calls[part.index].name += part.function.name ?? '';
      calls[part.index].arguments += part.function.arguments ?? '';
    }
  }
  seen.calls = calls.map((call) => [call.name, JSON.parse(call.arguments)]);
  return seen;
}

function ofChat(whole) {
  const { message, finish_reason: finish } = whole.choices[0];
  const seen = newSeen();
  seen.role = message.role;
  seen.text = message.content ?? '';
  seen.calls = (message.tool_calls ?? []).map((call) => [
    call.function.name, JSON.parse(call.function.arguments),
  ]);
  seen.finish = finish;
  seen.input_tokens = whole.usage.prompt_tokens;
  seen.output_tokens = whole.usage.completion_tokens;
  return seen;
}

async function chatHelper(asked) {
  const turns = chatTurns(asked);
  const runner = clientFor(asked).chat.completions.stream({
    ...chatBody(asked, turns), ...STREAM,
  });
  let told = '';
  runner.on('chunk', (chunk) => { told += chunk.choices[0]?.delta.reasoning_content ?? ''; });
  const whole = await runner.finalChatCompletion();
  turns.push(whole.choices[0].message);
  return { ...ofChat(whole), told };
}

async function chatWhole(asked) {
  return ofChat(await clientFor(asked).chat.completions.create(chatBody(asked, chatTurns(asked))));
}

// --- completions ----------------------------------------------------------------------------------

async function completionRaw(asked) {
  const seen = newSeen();
  for await (const chunk of await clientFor(asked).completions.create({
    model: asked.model, prompt: asked.say, max_tokens: asked.tokens, temperature: 0, ...STREAM,
  })) {
    if (chunk.usage) {
      seen.input_tokens = chunk.usage.prompt_tokens;
      seen.output_tokens = chunk.usage.completion_tokens;
    }
    for (const choice of chunk.choices) {
      if (typeof choice.text !== 'string') seen.odd.push('a choice without text');
      seen.text += choice.text;
      seen.finish = choice.finish_reason ?? seen.finish;
    }
  }
  return seen;
}

// --- responses ------------------------------------------------------------------------------------

function responseTurns(asked) {
  return turnsOf(asked, (turns) => ({
    type: 'function_call_output',
    call_id: turns.findLast((turn) => turn.type === 'function_call').call_id,
    output: asked.result,
  }));
}

function responseBody(asked, turns) {
  const body = {
    model: asked.model, input: turns, max_output_tokens: asked.tokens, temperature: 0,
  };
  if (asked.tools) {
    body.tools = [{ type: 'function', ...asked.callable }];
    body.tool_choice = asked.must_call ? 'required' : 'auto';
  }
  return body;
}

function ofResponse(whole) {
  const seen = newSeen();
  seen.finish = whole.status;
  for (const item of whole.output) {
    if (item.type === 'message') {
      seen.role += item.role;
      seen.text += item.content.map((part) => part.text).join('');
    } else if (item.type === 'function_call') {
      seen.calls.push([item.name, JSON.parse(item.arguments)]);
    } else if (item.id?.startsWith('rs_swapprogress_')) {
      seen.odd.push("the proxy's own item is in the output");
    }
  }
  seen.input_tokens = whole.usage.input_tokens;
  seen.output_tokens = whole.usage.output_tokens;
  return seen;
}

async function responseRaw(asked) {
  let whole = null;
  let told = '';
  for await (const event of await clientFor(asked).responses.create({
    ...responseBody(asked, responseTurns(asked)), stream: true,
  })) {
    if (event.type === 'response.reasoning_summary_text.delta') told += event.delta;
    if (event.type === 'response.completed') whole = event.response;
  }
  if (whole === null) {
    const odd = ['the stream ended without response.completed, and nothing was raised'];
    return { ...newSeen(), odd };
  }
  return { ...ofResponse(whole), told };
}

async function responseHelper(asked) {
  const turns = responseTurns(asked);
  const stream = clientFor(asked).responses.stream(responseBody(asked, turns));
  const numbers = [];
  const ids = new Set();
  let told = '';
  for await (const event of stream) {
    numbers.push(event.sequence_number);
    if (event.response) ids.add(event.response.id);
    if (event.type === 'response.reasoning_summary_text.delta') told += event.delta;
  }
  const whole = await stream.finalResponse();
  turns.push(...whole.output);
  const seen = { ...ofResponse(whole), told };
  if (!numbers.every((number, index) => number === index)) {
    seen.odd.push(`sequence numbers ${numbers}`);
  }
  if (ids.size !== 1 || !ids.has(whole.id)) seen.odd.push(`ids ${[...ids]}`);
  return seen;
}

async function responseWhole(asked) {
  return ofResponse(
    await clientFor(asked).responses.create(responseBody(asked, responseTurns(asked))),
  );
}

const JUDGES = {
  'node chat raw': chatRaw,
  'node chat helper': chatHelper,
  'node chat whole': chatWhole,
  'node completion raw': completionRaw,
  'node response raw': responseRaw,
  'node response helper': responseHelper,
  'node response whole': responseWhole,
};

process.stdout.write('{"number":-1}\n'); // ready
for await (const line of createInterface({ input: process.stdin })) {
  const { number, ...asked } = JSON.parse(line);
  JUDGES[asked.judge](asked)
    .catch((error) => ({
      ...newSeen(), error: error.message, kind: error.constructor.name, status: error.status ?? 0,
    }))
    .then((seen) => process.stdout.write(`${JSON.stringify({ number, ...seen })}\n`));
}
