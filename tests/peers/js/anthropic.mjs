// The Anthropic SDK for JavaScript, its `.stream()` helper, tools and thinking.

import Anthropic from "@anthropic-ai/sdk";
import { HEADERS, KEY, about, seen, tell, url } from "./telling.mjs";

const client = new Anthropic({ baseURL: url, apiKey: KEY, defaultHeaders: HEADERS, maxRetries: 0 });
const tools = [
  { name: "get_weather", input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } },
];
const called = { tools, tool_choice: { type: "any" } };
const thinking = { thinking: { type: "enabled", budget_tokens: 1024 }, max_tokens: 4096 };

function asking(question, more = {}) {
  return about(question, { max_tokens: 1000, ...more });
}

function whole({ data: message, response }) {
  const calls = message.content.filter(({ type }) => type === "tool_use").flatMap(({ name, input }) => [name, JSON.stringify(input)]);
  return seen(JSON.stringify(message), { calls, cacheStatus: response.headers.get("cache-status") });
}

async function create(question, more) {
  return whole(await client.messages.create(asking(question, more)).withResponse());
}

async function stream(question) {
  const { data: events, response } = await client.messages.create(asking(question, { stream: true })).withResponse();
  const said = [];
  for await (const event of events) {
    said.push(event);
  }
  return seen(JSON.stringify(said), { chunks: said.length, cacheStatus: response.headers.get("cache-status") });
}

async function helper(question, more) {
  const { data: stream, response } = await client.messages.stream(asking(question, more)).withResponse();
  let chunks = 0;
  for await (const _ of stream) {
    chunks += 1;
  }
  return { ...whole({ data: await stream.finalMessage(), response }), chunks };
}

await tell({
  JSON: () => create("JSON"),
  stream: () => stream("stream"),
  tool: () => create("tool", called),
  thinking: () => create("thinking", thinking),
  ".stream()": () => helper("helper"),
  ".stream() of a tool": () => helper("helper, tool", called),
  ".stream() of thinking": () => helper("helper, thinking", thinking),
});
