"""The proxy as `cachemw serve` runs it, gate and protocol included, in the running event loop; and clients that misbehave."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Self

import anyio
from anyio.abc import SocketStream
from starlette.types import ASGIApp

from cachemw import Limits, MemoryStore, Policy
from cachemw.cli.listening import listen, url_of
from cachemw.cli.serve import configured
from cachemw.proxy import Gate, Proxy
from cachemw.proxy.admission import AccessRules
from cachemw.proxy.listener import GuardedProtocol
from cachemw.upstreams import HttpUpstream
from tests.serving import served_here, serving
from tests.upstream import Upstream

RULES = AccessRules(Policy(max_request_bytes=1_000), max_body=100_000)


HASTY = Limits(head_time=0.3, body_time=0.5, write_time=0.3)
"""Little time."""

Protocol = Callable[..., GuardedProtocol]


@dataclass(slots=True)
class Guarded:
    """A proxy behind its gate, and what is behind it."""

    port: int
    upstream: Upstream
    store: MemoryStore

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fresh(self) -> Self:
        """Forget what was asked and stored before; another test begins."""
        self.upstream.asked.clear()
        self.upstream.respond, self.upstream.left, self.upstream.hears = Upstream().respond, None, None
        for index, _ in list(self.store.scan()):
            self.store.delete(index)
        return self

    async def connect(self) -> SocketStream:
        return await anyio.connect_tcp("127.0.0.1", self.port)

    async def say(self, *pieces: bytes, pause: float = 0.0) -> bytes:
        """Send bytes, and return all that comes back until the connection is closed. Fails if it is not."""
        async with await self.connect() as stream, anyio.create_task_group() as tasks:
            tasks.start_soon(_send, stream, pieces, pause)
            reply = await rest(stream)
            tasks.cancel_scope.cancel()
        return reply


async def _send(stream: SocketStream, pieces: Iterable[bytes], pause: float) -> None:
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        for piece in pieces:
            await stream.send(piece)
            await anyio.sleep(pause)


async def rest(stream: SocketStream, seconds: float = 5.0) -> bytes:
    """Return all that comes until the connection is closed. Raises `TimeoutError` if it is not."""
    reply = b""
    with anyio.fail_after(seconds), contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            reply += await stream.receive()
    return reply


@contextlib.asynccontextmanager
async def guarding(
    limits: Limits = Limits(), rules: AccessRules = RULES, protocol: Protocol = GuardedProtocol
) -> AsyncIterator[Guarded]:
    """Serve the proxy before an upstream that counts."""
    behind = Upstream()
    async with serving(behind) as upstream_url:
        http = HttpUpstream(upstream_url + "/v1", api_key="sk-server", credentials="lend" if rules.client_keys else "pass")
        store = MemoryStore()
        proxy = Proxy(http, store=store, policy=rules.policy)
        gate = Gate(proxy, rules, bodies=proxy.bodies, recaller=proxy.recaller)
        async with listening(gate, limits, protocol) as port:
            yield Guarded(port, behind, store)
        await http.aclose()


@contextlib.asynccontextmanager
async def listening(app: ASGIApp, limits: Limits = Limits(), protocol: Protocol = GuardedProtocol) -> AsyncIterator[int]:
    """Serve an app over a protocol; gives the port."""
    with listen("127.0.0.1", 0) as listener:
        async with served_here(configured(app, None, protocol=partial(protocol, limits=limits)), listener):
            yield int(url_of(listener).rpartition(":")[2])


def status_of(reply: bytes) -> int:
    """Return the status of the first answer; 0 where there is none."""
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.1 ") else 0
