"""An upstream in the event loop of the test, behind a transport: it says what the test says, when the test lets it."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import httpx
from starlette.types import Receive, Scope, Send

from cachemw import Policy
from cachemw.asgi import CacheMiddleware
from cachemw.upstreams import HttpUpstream
from tests.flights.callers import Caller
from tests.flights.conftest import House
from tests.mounts.translating import OTHER, Client
from tests.upstream import Told


class Talker(httpx.AsyncBaseTransport):
    """Gives its answers in turn, the last one ever after; it waits at its gate before each."""

    def __init__(self, *answers: Told, gate: anyio.Event | None = None) -> None:
        self.answers, self.gate, self.asked = answers, gate, list[bytes]()
        self.left = 0

    @property
    def calls(self) -> int:
        return len(self.asked)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.content)
        told = self.answers[min(self.calls, len(self.answers)) - 1]
        if self.gate is not None:
            await self.gate.wait()
        has_length = any(name == b"content-length" for name, _ in told.headers)
        headers = [*told.headers, *([] if has_length else [(b"transfer-encoding", b"chunked")])]
        return httpx.Response(told.status, headers=headers, stream=_Body(told, self), extensions={"http_version": b"HTTP/1.1"})


class _Body(httpx.AsyncByteStream):
    def __init__(self, told: Told, talker: Talker) -> None:
        self._told, self._talker, self._has_ended = told, talker, False
        self._parts = self._said()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts

    async def _said(self) -> AsyncGenerator[bytes]:
        for part in self._told.parts:
            await anyio.lowlevel.checkpoint()
            if isinstance(part, bytes):
                yield part
            elif isinstance(part, anyio.Event):
                await part.wait()
            else:
                raise part
        if not self._told.ends:
            raise httpx.RemoteProtocolError("the peer closed the connection before the last chunk")
        self._has_ended = True

    async def aclose(self) -> None:
        self._talker.left += not self._has_ended
        await self._parts.aclose()


async def _no_app(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("no call is the app's")


def mount(house: House, talker: Talker, client: Client, **policy: Any) -> None:
    """Mount before an upstream that speaks the other dialect than this client."""
    upstream = HttpUpstream("http://upstream/v1", speaks={OTHER[client].dialect}, transport=lambda: talker)
    house.app = CacheMiddleware(
        _no_app,
        upstream=upstream,
        store=house.store,
        policy=Policy(**policy),
        limits=house.limits,
        hooks=[house.reports.append],
    )


def caller_of(client: Client, stream: bool = True, control: str = "on", **options: Any) -> Caller:
    """Return one request of a client; all bring one key."""
    body = options.pop("body", None) or client.asks(stream=stream)
    headers = (*client.fields(), *options.pop("headers", ()))
    return Caller(body, control, headers=headers, path=client.path, **options)
