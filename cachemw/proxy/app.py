"""The standalone proxy: change `base_url`, add one header."""

import contextlib
from collections.abc import AsyncIterator, Iterable

from starlette.requests import Request as Page
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, Router
from starlette.types import Lifespan, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from cachemw.asgi import CacheMiddleware
from cachemw.asgi_wire import AsgiClient, ClientLeftError, FromUpstream, Incoming, path_below
from cachemw.core.admission import HEALTH
from cachemw.core.chat import is_chat
from cachemw.core.intake import script_for, take_in
from cachemw.core.messages import Unread
from cachemw.core.policy import Policy
from cachemw.core.report import Hook
from cachemw.proxy.gate import Gate
from cachemw.proxy.settings import Settings
from cachemw.stores import Store
from cachemw.upstreams import HttpUpstream, upstream_of


class Proxy:
    """An ASGI app that answers chat requests from the store or the upstream, and passes all others to the upstream.

    The default store is `DiskStore()`, closed with the lifespan; one that is given is, too, where `closes_store`.
    """

    def __init__(
        self,
        upstream: HttpUpstream,
        *,
        store: Store | None = None,
        policy: Policy | None = None,
        hooks: Iterable[Hook] = (),
        closes_store: bool = False,
    ) -> None:
        self._upstream = upstream
        pages = Router(
            [
                Route(HEALTH, _healthy),
                Route("/v1/tcp_warming", _warm),  # the Cerebras SDK asks for it whenever a client is made
                Route("/v1/v1/tcp_warming", _warm),
                Mount("/", self._pass_on),
            ],
            lifespan=_closing(store if closes_store else None),
        )
        self._cache = CacheMiddleware(pages, upstream=upstream, store=store, policy=policy, hooks=hooks)
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and not is_chat(scope["method"], path_below(scope), self._cache.policy.paths)
        await (self._pages if is_page else self._cache)(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        policy, incoming = self._cache.policy, Incoming(scope, receive, self._cache.bodies)
        taken_in = take_in(incoming.method, incoming.path, incoming.headers, policy)
        script = script_for(taken_in, self._cache.request(incoming, Unread.LEFT_ALONE), policy, self._cache.driver.verified)
        with contextlib.suppress(ClientLeftError):
            await incoming.read(0)
            forwarding = FromUpstream(self._upstream, incoming, policy)
            await self._cache.driver.run(script, forwarding, AsgiClient(send, incoming))


def create() -> Gate:
    """Make the proxy that the environment describes, behind its gate. Raises `ConfigurationError`."""
    settings = Settings.from_environment()
    rules = settings.rules()
    upstream = upstream_of(settings.upstream, credentials="lend" if rules.client_keys else "pass")
    return Gate(Proxy(upstream, store=settings.store(), policy=rules.policy, closes_store=True), rules)


def _closing(store: Store | None) -> Lifespan[Router]:
    @contextlib.asynccontextmanager
    async def lifespan(_: Router) -> AsyncIterator[None]:
        yield
        if store is not None:
            store.close()

    return lifespan


async def _healthy(_: Page) -> JSONResponse:
    return JSONResponse({"status": "ok"})


async def _warm(_: Page) -> JSONResponse:
    return JSONResponse({})
