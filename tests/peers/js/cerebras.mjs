// The Cerebras SDK for JavaScript.

import Cerebras from "@cerebras/cerebras_cloud_sdk";
import { HEADERS, KEY, about, readOut, tell, url, whole } from "./telling.mjs";

const client = new Cerebras({ baseURL: url, apiKey: KEY, defaultHeaders: HEADERS, maxRetries: 0 });
const chat = client.chat.completions;

await tell({
  JSON: async () => whole(await chat.create(about("JSON")).withResponse()),
  stream: async () => readOut(await chat.create(about("stream", { stream: true })).withResponse()),
});
