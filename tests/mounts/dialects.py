"""A proxy before an upstream that speaks some dialects, and what clients of any ask it."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import httpx

from cachemw import MemoryStore, Policy
from cachemw.messages import Headers
from cachemw.proxy import Proxy
from cachemw.stores import Store
from cachemw.upstreams import HttpUpstream
from tests.asgi_driver import Reply, call
from tests.upstream import Told

PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages"}
"""Where the two dialects are spoken between which there are translations."""

_FIELDS = ((b"content-type", b"application/json"),)
_VERSION = (b"anthropic-version", b"2023-06-01")


class SpokenTo:
    """Asks the proxy; `asked` is what came to the upstream, each with its path. Answers are what `respond` says to a body."""

    def __init__(
        self,
        speaks: Iterable[str],
        respond: Callable[[dict[str, Any]], Told],
        store: Store | None = None,
        policy: Policy = Policy(default="on"),  # noqa: B008 (it is frozen)
        provider: str | None = None,
    ) -> None:
        self.store, self.asked = store or MemoryStore(), list[tuple[str, dict[str, Any]]]()
        self._respond = respond
        transport = httpx.MockTransport(self._answer)
        upstream = HttpUpstream(
            *("https://api.example/v1",),
            api_key="sk-ours",
            speaks=speaks,
            provider=provider,
            transport=lambda: transport,
            sync_transport=lambda: transport,
        )
        self._proxy = Proxy(upstream, store=self.store, policy=policy)

    @property
    def calls(self) -> int:
        """Return how often the upstream was asked."""
        return len(self.asked)

    async def ask(self, path: str, body: Mapping[str, Any], control: str = "on") -> Reply:
        """Send a request; to paths of Anthropic's as its SDK does."""
        fields: Headers = (*_FIELDS, (b"cachemw", control.encode()))
        if path.startswith("/v1/messages"):
            fields = (*fields, _VERSION)
        return await call(self._proxy, "POST", path, json.dumps(body).encode(), fields)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.read())
        self.asked.append((request.url.raw_path.decode(), body))
        told = self._respond(body)
        pieces = [part for part in told.parts if isinstance(part, bytes)]
        return httpx.Response(told.status, headers=list(told.headers), stream=_Pieces(pieces))


class _Pieces(httpx.AsyncByteStream, httpx.SyncByteStream):
    """A body in the pieces that it has."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> Any:
        for piece in self._pieces:
            yield piece

    def __iter__(self) -> Any:
        return iter(self._pieces)
