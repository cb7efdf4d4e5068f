"""The nine mounts, each as a test sees it: something that is sent a request and gives a reply.

What is not the same everywhere is named here, and nowhere else:

- mounts that are *pulled* (WSGI and the transports) start no thread and no task. So there is no `abandon=finish` and no
  stale-while-revalidate, and streams are not collapsed (`design.md` §6).
- mounts that *raise* hand on an exception as itself: the transports their inner one's, WSGI a wrapped app's. The others
  answer an upstream that fails before it has answered with a 502 or 504 (`design.md` §7).
"""

import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import anyio.to_thread
import httpx
import httpx2
from starlette.types import ASGIApp, Receive, Scope, Send

import cachemw.asgi
import cachemw.httpx
import cachemw.httpx2
import cachemw.wsgi
from cachemw._wsgi_environ import Environ, StartResponse, WsgiApp
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests import asgi_driver, transport_driver, wsgi_driver
from tests.asgi_driver import Hears, RawHeaders, Reply, ignore
from tests.mounts.wsgi_upstream import WsgiUpstream
from tests.upstream import Upstream

PATH = "/v1/chat/completions"
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # no test speaks TLS, and a usual one takes 30 ms


@dataclass(frozen=True, slots=True)
class Sent:
    """A request, and what its client does while it is answered: it can leave after so many chunks of the body."""

    body: bytes
    headers: RawHeaders
    path: str = PATH
    method: str = "POST"
    leave_after: int | None = None
    hears: Hears = ignore


class Mount(Protocol):
    """A mount under test."""

    @property
    def driver(self) -> Any:
        """Its driver, whose clock and hooks can be replaced."""

    async def send(self, sent: Sent) -> Reply:
        """Send a request."""

    async def aclose(self) -> None:
        """Close what the mount opened."""


class AsgiMount:
    """`cache` is what `app` consists of."""

    def __init__(self, app: Any, cache: cachemw.asgi.CacheMiddleware) -> None:
        self.app, self._cache = app, cache

    @property
    def driver(self) -> Any:
        return self._cache.driver

    async def send(self, sent: Sent) -> Reply:
        if sent.leave_after is None:
            return await asgi_driver.call(self.app, sent.method, sent.path, sent.body, sent.headers, hears=sent.hears)
        after = sent.leave_after + 1  # messages
        return await asgi_driver.call_and_leave(self.app, sent.method, sent.path, sent.body, sent.headers, after=after)

    async def aclose(self) -> None:
        await self._cache.aclose()


class WsgiMount:
    """`is_validated`: `wsgiref` looks on, as a server and as an app."""

    def __init__(self, app: cachemw.wsgi.CacheMiddleware) -> None:
        self.app, self.driver = app, app.driver
        self.is_validated = True

    async def send(self, sent: Sent) -> Reply:
        ask = partial(
            wsgi_driver.call,
            leave_after=sent.leave_after,
            hears=sent.hears,
            is_validated=self.is_validated,
        )
        return await anyio.to_thread.run_sync(ask, self.app, sent.method, sent.path, sent.body, sent.headers)

    async def aclose(self) -> None:
        self.app.close()


class TransportMount:
    """A transport in a client of its family."""

    def __init__(self, transport: Any, client: Any, url: str) -> None:
        self.driver = transport.driver
        self._client, self._url = client, url

    async def send(self, sent: Sent) -> Reply:
        ask = partial(transport_driver.call, leave_after=sent.leave_after, hears=sent.hears)
        url = self._url + sent.path
        return await anyio.to_thread.run_sync(ask, self._client, sent.method, url, sent.body, sent.headers)

    async def aclose(self) -> None:
        self._client.close()


class AsyncTransportMount(TransportMount):
    """The same, awaited."""

    async def send(self, sent: Sent) -> Reply:
        return await transport_driver.acall(
            self._client,
            sent.method,
            self._url + sent.path,
            sent.body,
            sent.headers,
            leave_after=sent.leave_after,
            hears=sent.hears,
        )

    async def aclose(self) -> None:
        await self._client.aclose()


def _asgi_around(url: str, upstream: Upstream, options: Any) -> Mount:
    cache = cachemw.asgi.CacheMiddleware(upstream, name="bot", **options)
    return AsgiMount(cache, cache)


def _asgi_before(url: str, upstream: Upstream, options: Any) -> Mount:
    cache = cachemw.asgi.CacheMiddleware(_beside(upstream), upstream=HttpUpstream(url + "/v1"), **options)
    return AsgiMount(cache, cache)


def _proxy(url: str, upstream: Upstream, options: Any) -> Mount:
    proxy = Proxy(HttpUpstream(url + "/v1"), **options)
    return AsgiMount(proxy, proxy._cache)


def _wsgi_around(url: str, upstream: Upstream, options: Any) -> Mount:
    return WsgiMount(cachemw.wsgi.CacheMiddleware(WsgiUpstream(upstream), name="bot", **options))


def _wsgi_before(url: str, upstream: Upstream, options: Any) -> Mount:
    app = _beside_here(WsgiUpstream(upstream))
    return WsgiMount(cachemw.wsgi.CacheMiddleware(app, upstream=HttpUpstream(url + "/v1"), **options))


def _transport(mount: Any, family: Any, url: str, upstream: Upstream, options: Any) -> Mount:
    transport = mount.CacheTransport(family.HTTPTransport(verify=TLS), **options)
    return TransportMount(transport, family.Client(transport=transport, trust_env=False), url)


def _async_transport(mount: Any, family: Any, url: str, upstream: Upstream, options: Any) -> Mount:
    transport = mount.AsyncCacheTransport(family.AsyncHTTPTransport(verify=TLS), **options)
    return AsyncTransportMount(transport, family.AsyncClient(transport=transport, trust_env=False), url)


def _beside(app: ASGIApp) -> ASGIApp:
    """Return the app that is wrapped although there is an upstream: no chat request reaches it."""

    async def beside(scope: Scope, receive: Receive, send: Send) -> None:
        assert not scope["path"].endswith("/chat/completions")
        await app(scope, receive, send)

    return beside


def _beside_here(app: WsgiApp) -> WsgiApp:
    def beside(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        assert not environ["PATH_INFO"].endswith("/chat/completions")
        return app(environ, start_response)

    return beside


MAKERS: dict[str, Callable[[str, Upstream, Any], Mount]] = {
    "ASGI around an app": _asgi_around,
    "ASGI with an upstream": _asgi_before,
    "proxy": _proxy,
    "WSGI around an app": _wsgi_around,
    "WSGI with an upstream": _wsgi_before,
    "httpx": partial(_transport, cachemw.httpx, httpx),
    "httpx async": partial(_async_transport, cachemw.httpx, httpx),
    "httpx2": partial(_transport, cachemw.httpx2, httpx2),
    "httpx2 async": partial(_async_transport, cachemw.httpx2, httpx2),
}
KINDS = list(MAKERS)
ASGI = ["ASGI around an app", "ASGI with an upstream", "proxy"]
WSGI = ["WSGI around an app", "WSGI with an upstream"]
TRANSPORTS = ["httpx", "httpx async", "httpx2", "httpx2 async"]
AROUND_AN_APP = ["ASGI around an app", "WSGI around an app"]
OVER_HTTP = [kind for kind in KINDS if kind not in AROUND_AN_APP]
PULLED = WSGI + TRANSPORTS
SEVEN = [kind for kind in KINDS if kind not in ("httpx async", "httpx2")]
"""The families of transports differ in their classes alone: each family, and each colour, once."""
