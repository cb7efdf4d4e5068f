// Vercel's AI SDK over its provider for whatever speaks like OpenAI.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import { HEADERS, KEY, MODEL, seen, tell, url } from "./telling.mjs";

const provider = createOpenAICompatible({ name: "cachemw", baseURL: `${url}/v1`, apiKey: KEY, headers: HEADERS });
const model = provider(MODEL);

async function generate(prompt) {
  const { text, response } = await generateText({ model, prompt, maxRetries: 0 });
  return seen(text, { cacheStatus: response.headers["cache-status"] });
}

async function stream(prompt) {
  const result = streamText({ model, prompt, maxRetries: 0 });
  const pieces = [];
  for await (const piece of result.textStream) {
    pieces.push(piece);
  }
  const { headers } = await result.response;
  return seen(pieces.join(""), { chunks: pieces.length, cacheStatus: headers["cache-status"] });
}

await tell({
  generateText: () => generate("JSON"),
  streamText: () => stream("stream"),
});
