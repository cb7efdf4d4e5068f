"""LiteLLM as a client of Anthropic's API, with and without `await`. It takes no transport."""

from typing import Any

import litellm

from tests.peers.telling import HEADERS, KEY, Ask, Hits, Seen, arguments, in_words, messages, tell

MODEL = "anthropic/claude-sonnet-4-5"
"""One that LiteLLM knows: it refuses to ask another to think."""
THINKING = {"type": "enabled", "budget_tokens": 1024}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def about(question: str, **more: Any) -> dict[str, Any]:
    url, _ = arguments()
    shared = {"api_base": url, "api_key": KEY, "extra_headers": HEADERS, "max_retries": 0}
    return {"model": MODEL, "messages": messages(question), **shared, **more}


def whole(answer: Any) -> Seen:
    message = answer.choices[0].message
    calls = tuple(part for call in message.tool_calls or () for part in (call.function.name, call.function.arguments))
    cache_status = answer._hidden_params["additional_headers"].get("llm_provider-cache-status")
    return Seen(text=in_words([message, answer.usage]), calls=calls, cache_status=cache_status)


def streamed(chunks: list[Any]) -> Seen:
    return Seen(text=in_words([chunk.choices[0].delta for chunk in chunks]), chunks=len(chunks))


def asks() -> dict[str, Ask]:
    async def acompletion() -> Seen:
        return whole(await litellm.acompletion(**about("async JSON")))

    async def astream() -> Seen:
        return streamed([chunk async for chunk in await litellm.acompletion(**about("async stream", stream=True))])

    return {
        "JSON": lambda: whole(litellm.completion(**about("JSON"))),
        "stream": lambda: streamed(list(litellm.completion(**about("stream", stream=True)))),
        "tool": lambda: whole(litellm.completion(**about("tool", tools=[WEATHER], tool_choice="required"))),
        "thinking": lambda: whole(litellm.completion(**about("thinking", thinking=THINKING))),
        "async JSON": acompletion,
        "async stream": astream,
    }


def main() -> None:
    tell(asks(), Hits())


if __name__ == "__main__":
    main()
