// What the Anthropic SDK for JavaScript raises: each answer is an error, told by its class, status, type and message.

import Anthropic from "@anthropic-ai/sdk";
import { HEADERS, KEY, about, url } from "./telling.mjs";

const ERRORS = 3; // so many answers are errors from their head on; then a stream breaks
const client = new Anthropic({ baseURL: url, apiKey: KEY, defaultHeaders: HEADERS, maxRetries: 0 });

async function raised(question, stream) {
  try {
    const answer = await client.messages.create(about(question, { max_tokens: 100, stream }));
    for await (const _ of answer);
  } catch (error) {
    return [error.constructor.name, error.status ?? null, error.error?.error?.type, error.error?.error?.message];
  }
  return ["nothing"];
}

const told = [];
for (let number = 0; number <= ERRORS; number += 1) {
  told.push(await raised(`error ${number}`, number === ERRORS));
}
console.log(JSON.stringify(told));
