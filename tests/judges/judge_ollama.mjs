// Ollama's official client for Node, before arriero: what it makes of streams, lists and errors.
//
//     node judge_ollama.mjs FOLDER URL
//
// FOLDER has the client in its node_modules. Writes what it has seen to stdout, as one JSON object.

import { createRequire } from 'node:module';

const { Ollama } = createRequire(`${process.argv[2]}/`)('ollama');

const client = new Ollama({ host: process.argv[3] });
const messages = [{ role: 'user', content: 'Who drives a train of llamas?' }];
const options = { num_predict: 6, temperature: 0, seed: 1 };
const seen = { thinking: '', text: '', generated: '' };

for await (const part of await client.chat({ model: 'small', messages, stream: true, options })) {
  seen.thinking += part.message.thinking ?? '';
  seen.text += part.message.content;
  if (part.done) seen.last = { reason: part.done_reason, count: part.eval_count };
}
seen.whole = (await client.chat({ model: 'small', messages, options })).message.content;
for await (const part of await client.generate({
  model: 'small', prompt: 'A llama', raw: true, stream: true, options,
})) seen.generated += part.response;
seen.listed = (await client.list()).models.map((it) => it.name);
seen.running = (await client.ps()).models.map((it) => it.name);
seen.capabilities = (await client.show({ model: 'small' })).capabilities;
seen.version = (await client.version()).version;
try {
  await client.chat({ model: 'nobody', messages });
} catch (error) {
  seen.error = { status: error.status_code, message: error.message };
}
process.stdout.write(JSON.stringify(seen));
