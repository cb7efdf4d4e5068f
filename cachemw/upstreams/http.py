"""An HTTP upstream, over an httpx transport."""

import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast

import anyio
import httpx

from cachemw.core.discreet import sizes_only
from cachemw.core.headers import CREDENTIALS, NEVER_FORWARDED, HeaderRules, forwarded, in_utf8
from cachemw.core.messages import Head, Headers, HttpTarget, Sends, header_values
from cachemw.core.partition import with_credential
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

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KEY = re.compile(r"[!-~](?:[ -~]*[!-~])?")


Credentials = Literal["replace", "pass", "lend"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request on its way out, with the client's own header fields, and what some of them are to be instead."""

    method: str
    url: str
    headers: Headers
    body: bytes | Iterator[bytes] | AsyncIterator[bytes]
    rewritten: Headers = ()

    __repr__ = sizes_only


class HttpUpstream:
    """Answers misses from an HTTP API, over what `transport` makes; under WSGI over what `sync_transport` does.

    `base_url` ends in the version segment. `api_key` is sent as a bearer token; an empty one is none. `credentials` says whose
    credential goes there: "replace", that key and never a caller's where there is one, else the caller's; "pass", the caller's,
    and the key for callers that bring none; "lend", never a caller's, even where there is no key. `headers` are sent with
    every request, in the place of a caller's, and are in the key. `provider` says whose own header fields it understands, by
    default everyone's, and `bookkeeping` which members of a body it only counts by, by default none.
    A transport of httpx's own is replaced when its pool has lost connections. Raises `ConfigurationError` for a URL that is not
    absolute http or https, and for a key or a field that no request can carry.
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
        timeouts: Timeouts | None = None,
        transport: MakeTransport = default_transport,
        sync_transport: MakeSyncTransport = default_sync_transport,
    ) -> None:
        self.base_url = _checked(base_url)
        self._api_key = _checked_key(api_key)
        sends = _sends(credentials, bool(self._api_key))
        self.target = HttpTarget(provider, frozenset(bookkeeping), sends, _checked_fields(headers or {}))
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
        passed_on = forwarded(outgoing.headers, self.target, rules)
        sent = [*with_credential(passed_on, self.target, self._api_key), *outgoing.rewritten]
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


def _sends(credentials: Credentials, has_key: bool) -> Sends:
    match credentials:
        case "lend":
            return Sends.OURS
        case "replace":
            return Sends.OURS if has_key else Sends.CALLERS
        case "pass":
            return Sends.CALLERS_OR_OURS if has_key else Sends.CALLERS
    raise ConfigurationError('the credentials of an upstream are "replace", "pass" or "lend"')


def _checked_fields(fields: Mapping[str, str]) -> Headers:
    for name, value in fields.items():
        if not (_FIELD_NAME.fullmatch(name) and (value == "" or _KEY.fullmatch(value))):  # what it says may be secret
            raise ConfigurationError(f"{name!r}, or what it says, can be no header field of a request")
        if name.lower().encode() in {*NEVER_FORWARDED, *CREDENTIALS}:
            raise ConfigurationError(
                f"{name} is not the operator's to say: a key is given as api_key, the rest is made for each request"
            )
    return tuple(sorted((name.lower().encode(), value.encode()) for name, value in fields.items()))


def _checked_key(api_key: str | None) -> bytes:
    if api_key and not _KEY.fullmatch(api_key):  # not shown: it is a secret all the same
        raise ConfigurationError(
            "the upstream's API key holds what no header field can: a line end, another control character, blanks around"
            " it, or what is not ASCII (is it from a file with line ends of its own?)"
        )
    return (api_key or "").encode()
