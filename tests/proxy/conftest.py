"""The proxy before a scriptable upstream, all three ends over real sockets and in one event loop."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
import httpx
import pytest
from anyio.abc import SocketStream
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw import ExchangeReport, MemoryStore
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests.serving import serving
from tests.upstream import Upstream, prompt

CHAT = "/v1/chat/completions"
ALICE = {"authorization": "Bearer sk-alice", "content-type": "application/json"}
ON = {**ALICE, "cachemw": "on"}
CANCELLING = {**ALICE, "cachemw": "on, abandon=cancel"}


class Switch:
    """An app that is another one for every test: a server takes a while to start and stop."""

    def __init__(self, target: ASGIApp) -> None:
        self.target = target

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.target(scope, receive, send)


@dataclass(slots=True)
class Place:
    """Where the proxy is, and what is behind it."""

    proxy_switch: Switch
    upstream_switch: Switch
    url: str
    upstream_url: str
    client: httpx.AsyncClient
    upstream: Upstream = field(default_factory=Upstream)
    store: MemoryStore = field(default_factory=MemoryStore)
    reports: list[ExchangeReport] = field(default_factory=list)
    upstreams: list[HttpUpstream] = field(default_factory=list)

    def put_up(self, upstream: ASGIApp) -> None:
        """Let another app be the upstream."""
        self.upstream_switch.target = upstream

    def put_up_url(self, url: str) -> None:
        """Let another server be the upstream."""
        self.mount(self.proxy(url))

    def mount(self, app: ASGIApp) -> None:
        """Let another app be where the proxy is."""
        self.proxy_switch.target = app

    def proxy(self, upstream_url: str) -> Proxy:
        """Return a proxy for the upstream at this URL; its connections are closed in the end."""
        self.upstreams.append(HttpUpstream(upstream_url + "/v1", api_key="sk-server", credentials="pass"))
        return Proxy(self.upstreams[-1], store=self.store, hooks=[self.reports.append])

    def records(self) -> list[bytes]:
        return [record for _, record in self.store.scan()]

    async def ask(self, body: bytes | None = None, headers: dict[str, str] = ON, path: str = CHAT) -> httpx.Response:
        """Send a chat request, by default one that opts in."""
        return await self.client.post(path, content=prompt() if body is None else body, headers=headers)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def servers(anyio_backend: str) -> AsyncIterator[tuple[Switch, str, Switch, str]]:
    upstream, proxy = Switch(Upstream()), Switch(Upstream())
    async with serving(upstream) as upstream_url, serving(proxy) as url:
        yield upstream, upstream_url, proxy, url


@pytest.fixture
async def place(servers: tuple[Switch, str, Switch, str]) -> AsyncIterator[Place]:
    upstream_switch, upstream_url, proxy_switch, url = servers
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as client:
        place = Place(proxy_switch, upstream_switch, url, upstream_url, client)
        place.put_up(place.upstream)
        place.put_up_url(upstream_url)
        yield place
        for upstream in place.upstreams:
            await upstream.aclose()


def status_of(response: httpx.Response) -> str:
    """Return our `Cache-Status` member without its name and with the key's value left out."""
    text: str = response.headers.get("cache-status", "").removeprefix("cachemw; ")
    head, quote, tail = text.partition('key="')
    return head + "key" + tail.partition('"')[2] if quote else head


async def say(url: str, request: bytes, until: bytes | None = None) -> bytes:
    """Send bytes to a server, and return what comes back: all, or as far as asked for."""
    host, _, port = url.removeprefix("http://").partition(":")
    reply = b""
    stream: SocketStream
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(request)
        async for chunk in stream:
            reply += chunk
            if until is not None and until in reply:
                break
    return reply
