"""How a Python peer tells what it saw: one JSON document. It runs in the environment of every peer.

python peer.py BASE_URL             through the proxy at that URL
python peer.py BASE_URL DIRECTORY   through a transport, with the store in that directory
"""

import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

HEADERS = {
    "Cachemw": 'on, mode=read-write, ttl=3600, namespace="peers", sample=1, speed=0, abandon=finish',
    "Cache-Control": "max-age=3600",
}
"""Every control there is, with a value that lets the second answer be a hit."""
KEY = "sk-a-key-of-the-caller"
ANSWERED = ("/chat/completions", "/completions", "/messages", "/responses", "/embeddings")
MODEL = "gpt-oss-120b"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a client made of one answer."""

    text: str
    calls: tuple[str, ...] = ()  # a tool's name, then the arguments it is called with
    chunks: int | None = None  # None: it was not streamed
    cache_status: str | None = None  # None: this client shows no headers


Ask = Callable[[], Seen | Coroutine[Any, Any, Seen]]


class Hits:
    """What a transport's report says of each answer; `hear` and `hear_async` are for `event_hooks`."""

    def __init__(self) -> None:
        self._heard: list[bool] = []

    def hear(self, response: Any) -> None:
        if response.request.url.path.endswith(ANSWERED):  # an SDK may also ask for something to warm up
            self._heard.append(response.extensions["cachemw"].hit)

    async def hear_async(self, response: Any) -> None:
        self.hear(response)

    def take(self) -> list[bool]:
        """Return what was heard since the last time."""
        heard, self._heard = self._heard, []
        return heard


def arguments() -> tuple[str, Path | None]:
    """Return the base URL, and the store's directory where there is to be a transport."""
    url, *directory = sys.argv[1:]
    return url, Path(directory[0]) if directory else None


def messages(question: str) -> list[Any]:
    """Return a chat of one message."""
    return [{"role": "user", "content": question}]


def tell(asks: Mapping[str, Ask], hits: Hits) -> None:
    """Ask everything once, in one event loop, and print what was seen."""
    with asyncio.Runner() as runner:
        told = {name: _ask(ask, runner) | {"hits": hits.take()} for name, ask in asks.items()}
    print(json.dumps(told))


def _ask(ask: Ask, runner: asyncio.Runner) -> dict[str, Any]:
    seen = ask()
    return dataclasses.asdict(runner.run(seen) if isinstance(seen, Coroutine) else seen)


def in_words(value: Any) -> str:
    """Return a value of an SDK's as JSON, whole: text for those answers that are more than text."""
    return json.dumps(value, sort_keys=True, default=lambda each: each.model_dump(mode="json"))


def text_of(chunks: Iterable[Any]) -> str:
    """Put the chunks of a chat completion together."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
