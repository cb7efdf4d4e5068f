// The OpenAI SDK for JavaScript, and its `.stream()` helper.

import OpenAI from "openai";
import { HEADERS, KEY, about, readOut, seen, tell, url, whole } from "./telling.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: KEY, defaultHeaders: HEADERS, maxRetries: 0 });
const chat = client.chat.completions;

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];

async function helper(question) {
  const stream = chat.stream(about(question));
  let chunks = 0;
  for await (const _ of stream) {
    chunks += 1;
  }
  return seen(await stream.finalContent(), { chunks });
}

await tell({
  JSON: async () => whole(await chat.create(about("JSON")).withResponse()),
  stream: async () => readOut(await chat.create(about("stream", { stream: true })).withResponse()),
  tool: async () => whole(await chat.create(about("tool", { tools, tool_choice: "required" })).withResponse()),
  ".stream()": () => helper("helper"),
});
