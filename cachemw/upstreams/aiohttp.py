"""Requests over aiohttp: how an HTTP upstream asks in asyncio, where it was given no transport.

httpx's own pool wedges for good after cancellations (httpcore#1093), and a relay cancels all day.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from functools import lru_cache

import aiohttp
import anyio
import yarl
from anyio.lowlevel import RunVar

from cachemw.errors import UpstreamError
from cachemw.messages import Headers
from cachemw.upstreams.connections import KEEPALIVE, tls
from cachemw.upstreams.failures import described
from cachemw.upstreams.heads import head_in_http1, sayable
from cachemw.upstreams.proxies import HttpProxy

LARGEST_HEAD_BYTES = 64 * 1024
"""The longest line of a response's head."""

_ERRORS = (aiohttp.ClientError, OSError)

Body = bytes | Iterable[bytes] | AsyncIterable[bytes]


class AiohttpResponse:
    """A response of an upstream, read with `await`. Raises `UpstreamError` where its head is none that can be said."""

    def __init__(self, method: str, response: aiohttp.ClientResponse, host: str) -> None:
        self._response, self._host = response, host
        self.head = sayable(method, head_in_http1(method, response.status, response.raw_headers))

    async def read(self) -> bytes | None:
        """Return the next chunk, `None` at the end. However long that takes."""
        try:
            return await self._response.content.readany() or None
        except _ERRORS as exc:
            raise described(exc, self._host, has_head=True) from exc

    async def aclose(self) -> None:
        """Close the connection, unless all has been read."""
        await _close(self._response)


class Sessions:
    """Gives the running event loop its connections to a `host`, which are closed when that loop ends or earlier.

    With a `proxy` all of them go through it.
    """

    def __init__(self, host: str, proxy: HttpProxy | None = None) -> None:
        self._host, self._proxy = host, proxy
        self._held: RunVar[_Held | None] = RunVar(f"cachemw session {id(self)}", None)

    async def open(self, method: str, url: str, fields: Headers, body: Body, connect: float) -> AiohttpResponse:
        """Send a request for a URL that is taken byte by byte; return its response when the head is there.

        Raises `UpstreamError`.
        """
        session, _ = self._held.get() or await self._begin()
        proxy = self._proxy
        sent = [(name.lower().decode(), value.decode()) for name, value in fields]  # of two spellings it sends one
        if proxy is not None and url.startswith("http:"):  # else a tunnel is asked for, which has its own head
            sent += proxy.headers.items()
        try:
            response = await session.request(
                method,
                yarl.URL(url, encoded=True),
                headers=sent,
                data=body or None,
                allow_redirects=False,
                timeout=_within(connect),
                proxy=None if proxy is None else proxy.url,
                proxy_headers=None if proxy is None else proxy.headers,
            )
        except _ERRORS as exc:
            raise described(exc, self._host) from exc
        try:
            return AiohttpResponse(method, response, self._host)
        except UpstreamError:
            await _close(response)
            raise

    async def aclose(self) -> None:
        """Close this event loop's connections, if there are any."""
        held = self._held.get()
        if held is not None:
            self._held.set(None)
            await held[1].aclose()

    async def _begin(self) -> "_Held":
        holder = _hold()
        held = await anext(holder), holder
        self._held.set(held)
        return held


_Held = tuple[aiohttp.ClientSession, AsyncGenerator[aiohttp.ClientSession, None]]


async def _hold() -> AsyncGenerator[aiohttp.ClientSession, None]:
    """Event loops close their asynchronous generators when they end: nothing stays open without a lifespan."""
    connector = aiohttp.TCPConnector(limit=0, ssl=tls(), keepalive_timeout=KEEPALIVE)
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),  # one caller's cookies are not another's
        skip_auto_headers=("Accept", "Content-Type"),  # what the client did not say is not said for it
        auto_decompress=False,
        trust_env=False,  # it would take credentials from `.netrc`
        max_line_size=LARGEST_HEAD_BYTES,
        max_field_size=LARGEST_HEAD_BYTES,
    )
    try:
        yield session
    finally:
        await session.close()


@lru_cache(8)
def _within(connect: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(sock_connect=connect)


async def _close(response: aiohttp.ClientResponse) -> None:
    """Close a response; what of the request is still being sent ends with it."""
    response.close()
    with anyio.CancelScope(shield=True):
        await response.wait_for_close()
