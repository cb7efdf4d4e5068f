// How a JavaScript peer tells what it saw, with the names that telling.py has: one JSON document on stdout.

// Every control there is, with a value that lets the second answer be a hit.
export const HEADERS = {
  Cachemw: 'on, mode=read-write, ttl=3600, namespace="peers", sample=1, speed=0, abandon=finish',
  "Cache-Control": "max-age=3600",
};
export const KEY = "sk-a-key-of-the-caller";
export const MODEL = "gpt-oss-120b";
export const url = process.argv[2];

export function about(question, more = {}) {
  return { model: MODEL, messages: [{ role: "user", content: question }], ...more };
}

export function seen(text, { chunks = null, cacheStatus = null, calls = [] } = {}) {
  return { text, calls, chunks, cache_status: cacheStatus };
}

export async function tell(asks) {
  const told = {};
  for (const [name, ask] of Object.entries(asks)) {
    told[name] = await ask();
  }
  console.log(JSON.stringify(told));
}

// For the two SDKs that read a stream as chunks of a chat completion.
export async function readOut({ data: stream, response }) {
  const chunks = [];
  for await (const chunk of stream) {
    chunks.push(chunk);
  }
  const text = chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");
  return seen(text, { chunks: chunks.length, cacheStatus: response.headers.get("cache-status") });
}

export function whole({ data: completion, response }) {
  const { content, tool_calls: called = [] } = completion.choices[0].message;
  const calls = (called ?? []).flatMap((call) => [call.function.name, call.function.arguments]);
  return seen(content ?? "", { calls, cacheStatus: response.headers.get("cache-status") });
}
