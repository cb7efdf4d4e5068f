"""An upstream and the proxy before it, on real sockets. Both live in one event loop, in a thread of its own."""

import contextlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw import ExchangeReport, MemoryStore, Policy, Store
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests.patience import PATIENT
from tests.serving import serving
from tests.upstream import Asked, Told, Upstream, completion

PATIENCE = 10.0

Respond = Callable[[Asked], Told]


@dataclass(frozen=True, slots=True)
class World:
    """What one test has: `direct` is the upstream's address, `proxy` the proxy's."""

    upstream: Upstream
    store: Store
    direct: str
    proxy: str
    portal: BlockingPortal = field(repr=False)
    told: list[ExchangeReport]
    settle: Callable[[], None]

    @property
    def calls(self) -> int:
        """How many chat requests the upstream saw."""
        return sum(is_chat(asked) for asked in self.upstream.asked)

    @property
    def records(self) -> int:
        """How many answers are stored."""
        return len(list(self.store.scan()))

    @property
    def reports(self) -> list[ExchangeReport]:
        """What the proxy's hook was told, when all that is under way has come to its end."""
        self.settle()
        return self.told

    def wait_for(self, event: anyio.Event) -> None:
        """Wait for something to happen in the servers' event loop. Raises `TimeoutError`."""
        self.portal.call(_wait, event)


class Switch:
    """An ASGI app that is another one in each test: starting and stopping a server takes longer than a test."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self._running = 0
        self._settled: anyio.Event | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.app is None:
            return
        self._running += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._running -= 1
            if not self._running and self._settled is not None:
                self._settled.set()

    async def settle(self) -> None:
        """Wait until no request is under way. Raises `TimeoutError`."""
        if self._running:
            self._settled = anyio.Event()
            await _wait(self._settled)


class Servers:
    """Two servers that stay, for an upstream and a proxy that every test brings."""

    def __init__(self, portal: BlockingPortal, upstream: Switch, proxy: Switch, direct: str, url: str) -> None:
        self._portal, self._upstream, self._proxy = portal, upstream, proxy
        self._direct, self._url = direct, url

    @contextlib.contextmanager
    def proxied(
        self,
        respond: Respond,
        store: Store | None = None,
        *,
        base_url: str | None = None,
        policy: Policy | None = None,
        make_upstream: Callable[[str], HttpUpstream] = HttpUpstream,
    ) -> Iterator[World]:
        """Serve an upstream that answers so, and a proxy for it, or for what is at `base_url`."""
        http = make_upstream(base_url or f"{self._direct}/v1")
        store = MemoryStore() if store is None else store
        world = World(Upstream(respond), store, self._direct, self._url, self._portal, [], self._settle)
        self._upstream.app = world.upstream
        self._proxy.app = Proxy(http, store=world.store, policy=policy, limits=PATIENT, hooks=[world.told.append])
        try:
            yield world
        finally:
            self._settle()
            self._portal.call(http.aclose)

    @contextlib.contextmanager
    def beside(self, server: contextlib.AbstractAsyncContextManager[str]) -> Iterator[str]:
        """Have another server in the servers' event loop for a while; gives its address."""
        entered = self._portal.wrap_async_context_manager(server)
        address = entered.__enter__()
        try:
            yield address
        finally:
            entered.__exit__(None, None, None)  # a test's failure is none of the event loop's

    def _settle(self) -> None:
        self._portal.call(self._proxy.settle)
        self._portal.call(self._upstream.settle)


@contextlib.contextmanager
def started() -> Iterator[Servers]:
    """Start the servers, and stop them."""
    upstream, proxy = Switch(), Switch()
    options = {"use_uvloop": importlib.util.find_spec("uvloop") is not None}  # as `cachemw serve` does
    with (
        start_blocking_portal(backend_options=options) as portal,
        served(portal, upstream) as direct,
        served(portal, proxy) as url,
    ):
        yield Servers(portal, upstream, proxy, direct, url)


def served(portal: BlockingPortal, app: ASGIApp) -> contextlib.AbstractContextManager[str]:
    """Serve an app from the portal's event loop; gives its address."""
    return portal.wrap_async_context_manager(serving(app))


def is_chat(asked: Asked) -> bool:
    """Tell a chat request from the ones that the SDKs send to warm up."""
    return asked.path.endswith("/chat/completions")


def by_model(answers: Mapping[str, Told]) -> Respond:
    """Choose an answer by the model that the request names."""
    return lambda asked: answers[json.loads(asked.body)["model"]] if is_chat(asked) else completion()


async def _wait(event: anyio.Event) -> None:
    with anyio.fail_after(PATIENCE):
        await event.wait()
