"""An HTTP upstream, over aiohttp or an httpx transport."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast

import anyio
import httpx

from cachemw.cache.header_rules import forwarded
from cachemw.cache.key import callers_credentials, with_credential
from cachemw.errors import Cause, KeyMissing, UpstreamError, UpstreamTimeout
from cachemw.limits import Timeouts
from cachemw.messages import (
    DIALECTS,
    USUAL_CLOSING,
    Closing,
    Head,
    Headers,
    HttpRecipient,
    HttpTarget,
    Sends,
    header_values,
    host_in,
)
from cachemw.redaction import redacted_repr
from cachemw.upstreams.aiohttp import AiohttpResponse, Sessions
from cachemw.upstreams.base import AsyncResponse, UpstreamRequest
from cachemw.upstreams.checking import (
    Credentials,
    bearer,
    checked_dialects,
    checked_fields,
    checked_key,
    checked_url,
    what_it_sends,
)
from cachemw.upstreams.connections import (
    MakeSyncTransport,
    MakeTransport,
    SyncTransports,
    Transports,
    default_sync_transport,
    default_transport,
    refuse_unusable_certificates,
)
from cachemw.upstreams.failures import described, log_status, log_unspoken
from cachemw.upstreams.heads import head_in_http1, sayable
from cachemw.upstreams.proxies import HttpProxy, proxy_for
from cachemw.wire.fields import in_utf8
from cachemw.wire.paths import below_version, is_target

LONGEST_TARGET_BYTES = 64 * 1024
_MESSAGES_PATHS = (b"/messages", b"/messages/count_tokens")
_NO_SUCH_PATH = (404, 405)
TRANSPORT_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError)


class SyncHttpResponse:
    """A response of an upstream. Raises `UpstreamError` when it is made, and when it is read."""

    def __init__(self, transport: httpx.BaseTransport, request: httpx.Request, timeouts: Timeouts, host: str) -> None:
        self._timeouts, self._began, self._host = timeouts, time.monotonic(), host
        waits = request.extensions["timeout"]
        waits.update(read=timeouts.first_byte, write=timeouts.first_byte)
        try:
            self._response = transport.handle_request(request)
        except TRANSPORT_ERRORS as exc:
            raise described(exc, self._host) from exc
        waits["read"] = timeouts.idle  # it is looked up anew when the body is begun
        try:
            self.head = sayable(request.method, head_of(request.method, self._response))
        except UpstreamError as error:
            self._response.close()
            error.host = self._host
            raise
        log_status(self._host, self.head.status)
        self._chunks: Iterator[bytes] = iter(cast(httpx.SyncByteStream, self._response.stream))

    def read(self, within: float | None) -> bytes | None:
        """Return the next chunk, `None` at the end."""
        try:
            with hurried(self._response, within):
                chunk = next(filter(None, self._chunks), None)
        except TRANSPORT_ERRORS as exc:
            raise described(exc, self._host, has_head=True) from exc
        if chunk is not None and time.monotonic() - self._began > self._timeouts.total:
            error = UpstreamTimeout("the upstream took too long in all")
            error.host = self._host
            raise error
        return chunk

    def close(self) -> None:
        """Close the connection, unless all has been read."""
        self._response.close()


class AsyncHttpResponse:
    """A response of an upstream, read with `await`; `opened` is what its end closes."""

    def __init__(self, head: Head, stream: AsyncIterable[bytes], opened: AsyncExitStack, host: str) -> None:
        self.head, self._host = head, host
        self._chunks, self._opened = aiter(stream), opened

    async def read(self) -> bytes | None:
        """Return the next chunk, `None` at the end. However long that takes."""
        try:
            async for chunk in self._chunks:
                if chunk:
                    return chunk
        except TRANSPORT_ERRORS as exc:
            raise described(exc, self._host, has_head=True) from exc
        return None

    async def aclose(self) -> None:
        """Close the connection, unless all has been read. Raises `UpstreamError`."""
        try:
            await self._opened.aclose()
        except TRANSPORT_ERRORS as exc:
            raise described(exc, self._host, has_head=True) from exc


@contextlib.contextmanager
def hurried(response: Any, within: float | None) -> Iterator[None]:
    """Let a read of a response's body take no longer than `within` seconds, if that is possible.

    httpcore has fixed the time of its reads by then, but shows the connection that it reads from. When the body ends, that
    connection is any other thread's at once: what is changed holds in this one alone.
    """
    stream = response.extensions.get("network_stream")
    if within is None or not hasattr(stream, "__dict__"):
        yield
        return
    read, here = stream.read, threading.get_ident()

    def sooner(max_bytes: int, timeout: float | None = None) -> bytes:
        is_ours = threading.get_ident() == here
        data: bytes = read(max_bytes, min(within, timeout or within) if is_ours else timeout)
        return data

    stream.read = sooner
    try:
        yield
    finally:
        del stream.read


def head_of(method: str, response: httpx.Response) -> Head:
    """Return a response's head. What is not HTTP/1 ends by itself, and says when it was cut."""
    fields = tuple(response.headers.raw)
    if response.extensions.get("http_version") in (b"HTTP/1.0", b"HTTP/1.1"):
        return head_in_http1(method, response.status_code, fields)
    return Head(response.status_code, fields)


@dataclass(frozen=True, slots=True)
class KeyNeed:
    """An upstream that answers nobody without a key: the variable that its key is read from, and what it shows to everybody.

    The `open_paths` are the beginnings, below the version, of what may be read.
    """

    variable: str
    open_paths: tuple[bytes, ...] = ()

    __repr__ = redacted_repr


class HttpUpstream:
    """Answers misses from an HTTP API, over what `transport` makes; under WSGI over what `sync_transport` does.

    Without a `transport` it asks over aiohttp in asyncio, and over httpx's own in trio; through the `proxy` that `HTTPS_PROXY`
    or `HTTP_PROXY` names, unless it is on this machine or in `NO_PROXY`, and with the certificates of `SSL_CERT_FILE`.

    `base_url` ends in the version segment. `api_key` is sent as a bearer token; an empty one is none. `credentials` says whose
    credential goes there: "replace", that key and never a caller's where there is one, else the caller's; "pass", the caller's,
    and the key for callers that bring none; "lend", never a caller's, even where there is no key. `headers` are sent with
    every request, in the place of a caller's, and are in the key. `key_needed`: it has a key or a caller brings one, else it is
    not asked. `provider` says whose own header fields it understands, by default everyone's, `bookkeeping` which members of a
    body it only counts by, by default none, and `closing` how its answers end. It `speaks` these of chat, messages and
    responses itself, by default all; for others it is asked in another dialect. But for chat its key goes in the `key_field`.
    A transport of httpx's own is replaced when its pool has lost connections. Raises `ConfigurationError` for a URL that is not
    absolute http or https, for a key or a field that no request can carry, and for variables that cannot be obeyed.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        credentials: Credentials = "replace",
        headers: Mapping[str, str] | None = None,
        provider: str | None = None,
        bookkeeping: Iterable[str] = (),
        closing: Closing = USUAL_CLOSING,
        key_needed: KeyNeed | None = None,
        speaks: Iterable[str] = DIALECTS,
        key_field: str = "authorization",
        transport: MakeTransport | None = None,
        sync_transport: MakeSyncTransport | None = None,
    ) -> None:
        self.base_url = checked_url(base_url)
        self._host = host_in(self.base_url)
        key = checked_key(api_key)
        self._credential = bearer(key)
        self._own_credential = self._credential if key_field == "authorization" or not key else ((key_field.encode(), key),)
        sends, fields = what_it_sends(credentials, bool(self._credential)), checked_fields(headers or {})
        self.recipient = HttpRecipient(provider, frozenset(bookkeeping), sends, fields, closing, checked_dialects(speaks))
        self._key_needed = None if self._credential else key_needed
        self._is_told = False
        self.proxy = None if transport and sync_transport else self._proxy()
        self._sessions = Sessions(self._host, self.proxy) if transport is None else None
        self._transports = Transports(transport or partial(default_transport, self.proxy))
        self._sync_transports = SyncTransports(sync_transport or partial(default_sync_transport, self.proxy))
        self._by_proxy = self.proxy is not None and transport is None
        self._by_proxy_sync = self.proxy is not None and sync_transport is None

    @property
    def place(self) -> str:
        return self.base_url

    def target(self, raw_path: bytes, query: bytes) -> HttpTarget:
        """Return what is requested for a client's raw path and query: `/v1/X` and `/v1/v1/X` are `X` below `base_url`."""
        return HttpTarget(_joined(self.base_url, raw_path, query), self.recipient)

    def open(self, request: UpstreamRequest) -> SyncHttpResponse:
        """Send a request, and return its response when the head is there. Raises `UpstreamError`."""
        self._check_key(request)
        sent = self._sent(request, self._by_proxy_sync)
        response = SyncHttpResponse(self._sync_transports.get(), sent, request.timeouts, self._host)
        self._look_for_unspoken(request, response.head.status)
        return response

    async def aopen(self, request: UpstreamRequest) -> AsyncResponse:
        """Send a request, and return its response when the head is there. Raises `UpstreamError`."""
        self._check_key(request)
        with anyio.CancelScope(deadline=anyio.current_time() + request.timeouts.first_byte):
            if self._sessions is not None and _is_asyncio():
                response: AsyncResponse = await self._over_aiohttp(self._sessions, request)
            else:
                response = await self._opened(self._sent(request, self._by_proxy), request.timeouts.pool)
            log_status(self._host, response.head.status)
            self._look_for_unspoken(request, response.head.status)
            return response
        raise UpstreamTimeout("the upstream did not answer in time")

    async def aclose(self) -> None:
        """Close the connections of the running event loop. May be called twice, and before first use."""
        if self._sessions is not None:
            await self._sessions.aclose()
        await self._transports.aclose()

    def close(self) -> None:
        """Close the connections that were opened without `await`. May be called twice, and before first use."""
        self._sync_transports.close()

    def _proxy(self) -> HttpProxy | None:
        if self.base_url.startswith("https:"):
            refuse_unusable_certificates()
        return proxy_for(self.base_url)

    def _check_key(self, request: UpstreamRequest) -> None:
        """Raise `KeyMissing` for a request that the upstream would refuse."""
        need = self._key_needed
        if need is None or request.method in ("GET", "HEAD") and below_version(request.raw_path).startswith(need.open_paths):
            return
        is_ours = self.recipient.sends is Sends.OURS
        if is_ours or not callers_credentials(request.headers, over_http=True):
            raise KeyMissing(need.variable, can_be_sent=not is_ours)

    def _look_for_unspoken(self, request: UpstreamRequest, status: int) -> None:
        """Say, once, that it has no Messages, where it is taken to speak everything because nobody knows what it does."""
        is_guessed = self.recipient.provider is None and self.recipient.speaks.issuperset(DIALECTS)
        if not is_guessed or self._is_told or status not in _NO_SUCH_PATH:
            return
        if request.method == "POST" and below_version(request.raw_path) in _MESSAGES_PATHS:
            self._is_told = True
            log_unspoken(self._host, status)

    def _fields(self, request: UpstreamRequest) -> Headers:
        """Return the header fields that are sent, each of them UTF-8."""
        passed_on = forwarded(request.headers, self.recipient, request.rules)
        ours = self._credential if request.raw_path.endswith(b"/chat/completions") else self._own_credential
        fields = [*with_credential(passed_on, self.recipient, ours), *request.rewritten]
        accepted = [] if request.recorded else header_values(request.headers, b"accept-encoding")
        fields.append((b"accept-encoding", b", ".join(accepted) or b"identity"))
        if not isinstance(request.body, bytes):
            fields += [(b"content-length", size) for size in header_values(request.headers, b"content-length")]
        return in_utf8(fields)

    async def _over_aiohttp(self, sessions: Sessions, request: UpstreamRequest) -> AiohttpResponse:
        url = _joined(self.base_url, request.raw_path, request.query)
        _target(url)
        return await sessions.open(request.method, url, self._fields(request), request.body, request.timeouts.connect)

    def _sent(self, request: UpstreamRequest, by_proxy: bool) -> httpx.Request:
        url = _joined(self.base_url, request.raw_path, request.query)
        timeout = {"connect": request.timeouts.connect, "read": None, "write": None, "pool": None}
        target, is_tunnelled = _target(url), by_proxy and url.startswith("https:")
        extensions: dict[str, Any] = {"timeout": timeout}
        if not is_tunnelled:  # else httpcore would ask the proxy for this target, too
            extensions["target"] = url.encode("latin-1") if by_proxy else target  # RFC 9112 §3.2.2
        fields, content = self._fields(request), request.body
        try:
            sent = httpx.Request(request.method, url, headers=fields, content=content, extensions=extensions)
        except httpx.InvalidURL as exc:
            raise _unaskable() from exc
        if is_tunnelled:
            sent.url = cast(httpx.URL, _ExactUrl(sent.url, target))
        return sent

    async def _opened(self, request: httpx.Request, wait: float) -> AsyncHttpResponse:
        try:
            async with AsyncExitStack() as opened:
                response = await opened.enter_async_context(self._transports.asked(request, wait))
                head = sayable(request.method, head_of(request.method, response))
                stream = cast(httpx.AsyncByteStream, response.stream)
                return AsyncHttpResponse(head, stream, opened.pop_all(), self._host)
        except TRANSPORT_ERRORS as exc:
            raise described(exc, self._host) from exc


class _ExactUrl:
    """As much of a URL as a transport of httpx's reads; path and query are asked for byte by byte, and not spelt anew."""

    def __init__(self, url: httpx.URL, target: bytes) -> None:
        self.raw_scheme, self.raw_host, self.port, self.raw_path = url.raw_scheme, url.raw_host, url.port, target


@lru_cache(256)
def _joined(base_url: str, path: bytes, query: bytes) -> str:
    below = below_version(path).decode("latin-1")
    url = base_url + below if below.startswith("/") else f"{base_url}/{below}"
    return f"{url}?{query.decode('latin-1')}" if query else url


def _is_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _target(url: str) -> bytes:
    """Return what is asked for, byte by byte. Raises `UpstreamError` for what no request can carry."""
    target = ("/" + url.split("/", 3)[3]).encode("latin-1")
    if len(target) > LONGEST_TARGET_BYTES or not is_target(target):
        raise _unaskable()
    return target


def _unaskable() -> UpstreamError:
    error = UpstreamError("the path cannot be requested")
    error.cause = Cause.REQUEST
    return error
