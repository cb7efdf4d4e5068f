"""LangChain's `ChatAnthropic`: invoke and stream, with and without `await`. It takes no transport, and shows no headers."""

from typing import Any

from langchain_anthropic import ChatAnthropic

from tests.peers.telling import HEADERS, KEY, MODEL, Ask, Hits, Seen, arguments, in_words, tell


def whole(message: Any) -> Seen:
    calls = tuple(part for call in message.tool_calls for part in (call["name"], in_words(call["args"])))
    return Seen(text=in_words([message.content, message.usage_metadata]), calls=calls)


def streamed(chunks: list[Any]) -> Seen:
    return Seen(text=in_words([chunk.content for chunk in chunks]), chunks=len(chunks))


def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"It rains in {city}."


def asks_of(model: ChatAnthropic) -> dict[str, Ask]:
    with_tool = model.bind_tools([get_weather], tool_choice="any")
    thinking = model.model_copy(update={"thinking": {"type": "enabled", "budget_tokens": 1024}})

    async def ainvoke() -> Seen:
        return whole(await model.ainvoke("async JSON"))

    async def astream() -> Seen:
        return streamed([chunk async for chunk in model.astream("async stream")])

    return {
        "JSON": lambda: whole(model.invoke("JSON")),
        "stream": lambda: streamed(list(model.stream("stream"))),
        "tool": lambda: whole(with_tool.invoke("tool")),
        "thinking": lambda: whole(thinking.invoke("thinking")),
        "async JSON": ainvoke,
        "async stream": astream,
    }


def main() -> None:
    url, _ = arguments()
    shared: dict[str, Any] = {"base_url": url, "api_key": KEY, "max_retries": 0, "max_tokens": 4096}
    tell(asks_of(ChatAnthropic(model=MODEL, default_headers=HEADERS, **shared)), Hits())


if __name__ == "__main__":
    main()
