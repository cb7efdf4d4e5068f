"""Every mount there is, around or before the same scriptable upstream."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw import ExchangeReport, MemoryStore, Policy
from cachemw.asgi import CacheMiddleware
from cachemw.core import limits
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests.asgi_driver import Reply, call
from tests.serving import serving, serving_in_thread
from tests.upstream import Upstream, prompt

PATH = "/v1/chat/completions"
CREDENTIAL = (b"authorization", b"Bearer alice")


@dataclass(slots=True)
class Mounted:
    """A mount under test, and everything around it."""

    kind: str
    url: str
    upstream: Upstream
    policy: Policy = field(default_factory=Policy)
    store: MemoryStore = field(default_factory=MemoryStore)
    reports: list[ExchangeReport] = field(default_factory=list)
    app: Any = None

    def mount(self, policy: Policy | None = None) -> ASGIApp:
        """Mount anew, with another policy."""
        options: Any = {"store": self.store, "policy": policy or self.policy, "hooks": [self.reports.append]}
        if self.kind == "around an app":
            self.app = CacheMiddleware(self.upstream, name="bot", **options)
        elif self.kind == "with an upstream":
            self.app = CacheMiddleware(_refuse, upstream=HttpUpstream(self.url + "/v1"), **options)
        else:
            self.app = Proxy(HttpUpstream(self.url + "/v1"), **options)
        return self.app  # type: ignore[no-any-return]

    @property
    def driver(self) -> Any:
        return self.app._cache.driver if isinstance(self.app, Proxy) else self.app.driver

    async def aclose(self) -> None:
        await (self.app._cache if isinstance(self.app, Proxy) else self.app).aclose()

    async def ask(
        self,
        control: str | None = "on",
        body: bytes | None = None,
        *,
        path: str = PATH,
        headers: tuple[tuple[bytes, bytes], ...] = (CREDENTIAL,),
    ) -> Reply:
        """Send a chat request."""
        fields = [(b"content-type", b"application/json"), *headers]
        if control is not None:
            fields.append((b"cachemw", control.encode()))
        return await call(self.app, "POST", path, prompt() if body is None else body, fields)


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("with an upstream, no chat request reaches the app")


def status_of(reply: Reply) -> str:
    """Return our `Cache-Status` member without its name and with the key's value left out."""
    text = reply.headers.get(b"cache-status", b"").decode()
    head, quote, tail = text.removeprefix("cachemw; ").partition('key="')
    return head + "key" + tail.partition('"')[2] if quote else head


@pytest.fixture(autouse=True)
def _a_busy_machine_is_no_slow_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE_PATIENCE", 5.0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


KINDS = ["around an app", "with an upstream", "proxy"]


class Switch:
    """An app that is another one for every test: a server takes a while to start and stop."""

    target: ASGIApp = Upstream()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.target(scope, receive, send)


@pytest.fixture(scope="session")
def switch() -> Iterator[tuple[Switch, str]]:
    switch = Switch()
    with serving_in_thread(switch) as url:
        yield switch, url


@pytest.fixture(params=KINDS)
async def mounted(request: pytest.FixtureRequest, anyio_backend: str, switch: tuple[Switch, str]) -> AsyncIterator[Mounted]:
    """Every mount; an HTTP upstream runs in a thread of its own."""
    app, url = switch
    mounted = Mounted(request.param, url, Upstream())
    app.target = mounted.upstream
    mounted.mount()
    yield mounted
    await mounted.aclose()


@pytest.fixture(params=KINDS)
async def mounted_here(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Mounted]:
    """Every mount; an HTTP upstream runs in the test's event loop, where the test can hold it at barriers."""
    upstream = Upstream()
    async with serving(upstream) as url:
        mounted = Mounted(request.param, url, upstream)
        mounted.mount()
        yield mounted
        await mounted.aclose()
