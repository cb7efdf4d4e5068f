"""The ASGI mount: `Middleware(CacheMiddleware, upstream=cerebras())`, or around an app, with `name="support-bot"`.

Pure ASGI. Mount it outside of `BaseHTTPMiddleware`, which hides from the server that a transfer was broken off, and
inside of what authenticates callers: who is refused there learns nothing of what is stored.
"""

from collections.abc import Iterable
from types import MappingProxyType

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw.asgi_wire import (
    AsgiClient,
    ClientLeftError,
    FromApp,
    FromUpstream,
    Incoming,
)
from cachemw.async_driver import AsyncDriver
from cachemw.budget import Budget
from cachemw.core import limits
from cachemw.core.intake import NotAsked, NotChat, TakenIn, body_limit, script_for, take_in
from cachemw.core.messages import Answerer, AppAnswerer, HttpAnswerer, Request, Unread
from cachemw.core.policy import Policy
from cachemw.core.report import Hook
from cachemw.core.seen import attested_in_scope
from cachemw.errors import ConfigurationError
from cachemw.stores import DiskStore, Store
from cachemw.upstreams.http import HttpUpstream


class CacheMiddleware:
    """Caches the chat completions of an ASGI app, or of an HTTP upstream beside it.

    With `upstream` every chat request goes there and everything else to `app`; with `name` the app answers misses, and
    the name is in the key: change it when the app's prompts change. The default store is `DiskStore()`, the default
    policy off unless asked. Raises `ConfigurationError` without `upstream` and `name`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        upstream: HttpUpstream | None = None,
        name: str | None = None,
        store: Store | None = None,
        policy: Policy | None = None,
        hooks: Iterable[Hook] = (),
    ) -> None:
        if upstream is None and not name:
            raise ConfigurationError("CacheMiddleware needs an upstream, or a name for the app it is around")
        self.app = app
        self.policy = policy or Policy()
        self._upstream, self._name = upstream, name or ""
        self._owns_store = store is None
        self._store = DiskStore() if store is None else store
        self.driver = AsyncDriver(self._store, self.policy, hooks=hooks)
        self.bodies = Budget(limits.REQUESTS_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, self._observing(send))
        else:
            await self.app(scope, receive, send)

    async def aclose(self) -> None:
        """Close the upstream's connections, and the store if it is our own. May be called twice."""
        if self._upstream is not None:
            await self._upstream.aclose()
        if self._owns_store:
            self._store.close()

    def _observing(self, send: Send) -> Send:
        async def observe(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await self.aclose()
            await send(message)

        return observe

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        incoming = Incoming(scope, receive, self.bodies)
        match take_in(incoming.method, incoming.path, incoming.headers, self.policy):
            case NotChat(asked, headers):
                await self.app(scope if asked is None else {**scope, "headers": list(headers)}, receive, send)
            case NotAsked() if self._upstream is None:
                await self.app(scope, receive, send)
            case taken_in:
                try:
                    await self._run(taken_in, incoming, send)
                except ClientLeftError:
                    pass
                finally:
                    incoming.let_go()

    async def _run(self, taken_in: TakenIn, incoming: Incoming, send: Send) -> None:
        forwarding = self._forwarding(incoming)
        body = await incoming.read(body_limit(taken_in, self.policy))
        script = script_for(taken_in, self.request(incoming, body), self.policy, self.driver.verified, forwarding.target)
        await self.driver.run(script, forwarding, AsgiClient(send, incoming))

    def _forwarding(self, incoming: Incoming) -> FromApp | FromUpstream:
        if self._upstream is None:
            return FromApp(self.app, incoming)
        return FromUpstream(self._upstream, incoming, self.policy)

    def request(self, incoming: Incoming, body: bytes | Unread) -> Request:
        """Return a request as a value."""
        scope, raw_path = incoming.scope, incoming.raw_path
        path = incoming.path.encode(errors="surrogatepass")
        answerer: Answerer
        if self._upstream is None:
            answerer = AppAnswerer(self._name, incoming.root, path, raw_path, incoming.query)
        else:
            answerer = HttpAnswerer(self._upstream.url_for(raw_path, incoming.query), self._upstream.target)
        attested = attested_in_scope(scope)
        return Request(incoming.method, incoming.path, incoming.headers, body, answerer, attested, MappingProxyType(scope))
