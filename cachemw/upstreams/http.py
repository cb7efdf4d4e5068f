"""An HTTP upstream, over an httpx transport."""

import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import anyio
import httpx

from cachemw.core.discreet import sizes_only
from cachemw.core.headers import CREDENTIALS, HeaderRules, forwarded, in_utf8, without
from cachemw.core.messages import Head, Headers, header_values
from cachemw.core.partition import callers_credentials, without_placeholder
from cachemw.core.paths import below_version, is_target
from cachemw.core.upstream_head import sayable
from cachemw.errors import ConfigurationError, UpstreamError, UpstreamTimeout
from cachemw.upstreams.base import END, Answer, Emit, Source
from cachemw.upstreams.http_source import DEFAULT_PORTS, TROUBLE, HttpSource, head_of, origin_of, translated
from cachemw.upstreams.timing import Timeouts
from cachemw.upstreams.transports import (
    MakeSyncTransport,
    MakeTransport,
    SyncTransports,
    Transports,
    default_sync_transport,
    default_transport,
)

_KEY = re.compile(r"[!-~](?:[ -~]*[!-~])?")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request on its way out, with the client's own header fields."""

    method: str
    url: str
    headers: Headers
    body: bytes | Iterator[bytes] | AsyncIterator[bytes]

    __repr__ = sizes_only


class HttpUpstream:
    """Answers misses from an HTTP API, over what `transport` makes; under WSGI over what `sync_transport` does.

    `base_url` ends in the version segment; `api_key` is sent as a bearer token for callers that bring no credential, and
    where it `lends_key` in place of whatever any of them brings. A transport of httpx's own is replaced when its pool has lost
    connections. Raises `ConfigurationError` for a URL that is not absolute http or https, and for a key that no header
    field can carry; an empty one is none.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        lends_key: bool = False,
        timeouts: Timeouts | None = None,
        transport: MakeTransport = default_transport,
        sync_transport: MakeSyncTransport = default_sync_transport,
    ) -> None:
        self.base_url = _checked(base_url)
        self._api_key, self._lends_key = _checked_key(api_key), lends_key
        self._timeouts = timeouts or Timeouts()
        self._transports = Transports(transport)
        self._sync_transports = SyncTransports(sync_transport)

    def url_for(self, path: bytes, query: bytes) -> str:
        """Return the absolute URL for a client's raw path and query: `/v1/X` and `/v1/v1/X` are `X` below `base_url`."""
        return _joined(self.base_url, path, query)

    def answer(self, outgoing: Outgoing, rules: HeaderRules, recorded: bool) -> Answer:
        """Return who answers this request; `recorded`: in no content coding."""

        async def answer(emit: Emit) -> None:
            await self._answer(self._request(outgoing, rules, recorded), emit)

        return answer

    def open(self, outgoing: Outgoing, rules: HeaderRules, recorded: bool) -> Source:
        """Begin to answer this request without `await`. Raises `UpstreamError`."""
        return HttpSource(self._sync_transports.get(), self._request(outgoing, rules, recorded), self._timeouts)

    async def aclose(self) -> None:
        """Close the connections of the running event loop. May be called twice, and before first use."""
        await self._transports.aclose()

    def close(self) -> None:
        """Close the connections that were opened without `await`. May be called twice, and before first use."""
        self._sync_transports.close()

    def _request(self, outgoing: Outgoing, rules: HeaderRules, recorded: bool) -> httpx.Request:
        passed_on = forwarded(outgoing.headers, rules)
        sent = list(without(passed_on, CREDENTIALS) if self._lends_key else without_placeholder(passed_on))
        if self._api_key and not callers_credentials(tuple(sent), over_http=True):
            sent.append((b"authorization", b"Bearer " + self._api_key))
        accepted = [] if recorded else header_values(outgoing.headers, b"accept-encoding")
        sent.append((b"accept-encoding", b", ".join(accepted) or b"identity"))
        if not isinstance(outgoing.body, bytes):
            sent += [(b"content-length", size) for size in header_values(outgoing.headers, b"content-length")]
        timeout = {"connect": self._timeouts.connect, "read": None, "write": None, "pool": None}
        extensions = {"timeout": timeout, "target": _target(outgoing.url)}
        try:
            return httpx.Request(
                outgoing.method, outgoing.url, headers=in_utf8(sent), content=outgoing.body, extensions=extensions
            )
        except httpx.InvalidURL as exc:
            raise UpstreamError("the path cannot be requested") from exc

    async def _answer(self, request: httpx.Request, emit: Emit) -> None:
        began = anyio.current_time()
        with anyio.CancelScope(deadline=began + self._timeouts.first_byte) as patience:
            async with aclosing(self._events(request)) as events:
                async for event in events:
                    patience.deadline = math.inf  # a client that is slow to read is not a slow upstream
                    await emit(event)
                    patience.deadline = min(anyio.current_time() + self._timeouts.idle, began + self._timeouts.total)
            patience.deadline = math.inf
            await emit(END)
        if patience.cancelled_caught:
            raise UpstreamTimeout("the upstream did not answer, or fell silent")

    async def _events(self, request: httpx.Request) -> AsyncGenerator[Head | bytes, None]:
        try:
            async with self._transports.asked(request) as response:
                yield sayable(request.method, head_of(request.method, response))
                async for chunk in cast(httpx.AsyncByteStream, response.stream):
                    yield chunk
        except TROUBLE as exc:
            raise translated(exc) from exc


@lru_cache(256)
def _joined(base_url: str, path: bytes, query: bytes) -> str:
    below = below_version(path).decode("latin-1")
    url = base_url + below if below.startswith("/") else f"{base_url}/{below}"
    return f"{url}?{query.decode('latin-1')}" if query else url


def _target(url: str) -> bytes:
    """Return what is asked for, byte by byte. Raises `UpstreamError` for what no request can carry."""
    target = ("/" + url.split("/", 3)[3]).encode("latin-1")
    if not is_target(target):
        raise UpstreamError("the path cannot be requested")
    return target


def _checked(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        raise ConfigurationError("the base URL is none") from None  # what it says may be a password
    if url.userinfo or "@" in base_url:  # also where it is not read as one
        raise ConfigurationError("a base URL holds no credentials: give an api_key")
    has_port = url.port is None or 0 < url.port < 2**16
    if url.scheme not in DEFAULT_PORTS or not url.host or not has_port or b"?" in url.raw_path or url.fragment:
        shown = re.split("[?#]", base_url, maxsplit=1)[0]  # a query may hold a key
        raise ConfigurationError(f"{shown!r} is not the absolute http or https URL of an API")
    return origin_of(url) + url.raw_path.decode().rstrip("/")


def _checked_key(api_key: str | None) -> bytes:
    if api_key and not _KEY.fullmatch(api_key):  # not shown: it is a secret all the same
        raise ConfigurationError(
            "the upstream's API key holds what no header field can: a line end, another control character, blanks around"
            " it, or what is not ASCII (is it from a file with line ends of its own?)"
        )
    return (api_key or "").encode()
