"""The OpenAI SDK at the endpoints beside chat: responses, embeddings and legacy completions."""

from typing import Any

import httpx2
import openai

from tests.peers.telling import KEY, MODEL, Ask, Hits, Seen, arguments, in_words, tell
from tests.peers.through import sdk_options

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


def whole(answer: Any, cache_status: str | None = None) -> Seen:
    """Return all that an answer says."""
    return Seen(text=in_words(answer), cache_status=cache_status)


def streamed(events: list[Any]) -> Seen:
    return Seen(text=in_words(events), chunks=len(events))


def helped(responses: Any, question: str) -> Seen:
    with responses.stream(model=MODEL, input=question) as stream:
        events = list(stream)
        return Seen(text=in_words(stream.get_final_response()), chunks=len(events))


def raw(responses: Any, question: str) -> Seen:
    response = responses.with_raw_response.create(model=MODEL, input=question)
    return whole(response.parse(), response.headers["cache-status"])


def waiting(client: Any) -> dict[str, Ask]:
    responses, embeddings, completions = client.responses, client.embeddings, client.completions
    tool = {"tools": [WEATHER], "tool_choice": "required"}
    return {
        "response": lambda: whole(responses.create(model=MODEL, input="response")),
        "response stream": lambda: streamed(list(responses.create(model=MODEL, input="response stream", stream=True))),
        "response with a tool": lambda: whole(responses.create(model=MODEL, input="response, tool", **tool)),
        "response .stream()": lambda: helped(responses, "response helper"),
        "raw response": lambda: raw(responses, "raw response"),
        "embeddings": lambda: whole(embeddings.create(model=MODEL, input=["one", "two", "three"])),
        "embedding in floats": lambda: whole(embeddings.create(model=MODEL, input="float", encoding_format="float")),
        "completion": lambda: whole(completions.create(model=MODEL, prompt="completion")),
        "completion stream": lambda: streamed(list(completions.create(model=MODEL, prompt="stream", stream=True))),
    }


def awaiting(client: Any) -> dict[str, Ask]:
    async def response_stream() -> Seen:
        stream = await client.responses.create(model=MODEL, input="async response stream", stream=True)
        return streamed([event async for event in stream])

    async def embedding() -> Seen:
        return whole(await client.embeddings.create(model=MODEL, input="async embedding"))

    async def completion() -> Seen:
        return whole(await client.completions.create(model=MODEL, prompt="async completion"))

    return {"async response stream": response_stream, "async embedding": embedding, "async completion": completion}


def main() -> None:
    hits, (url, directory) = Hits(), arguments()
    shared = {"base_url": f"{url}/v1", "api_key": KEY, "max_retries": 0}
    sync_options, async_options = sdk_options(httpx2, shared, directory, hits)
    tell(waiting(openai.OpenAI(**sync_options)) | awaiting(openai.AsyncOpenAI(**async_options)), hits)


if __name__ == "__main__":
    main()
