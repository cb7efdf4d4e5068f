"""The port of upstreams: a request is opened, and its response read and closed, with `await` or without."""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from cachemw.cache.header_rules import NO_RULES, HeaderRules
from cachemw.cache.plans import AskedBids, Outbound, Planner
from cachemw.errors import ConfigurationError, TruncatedResponse, UpstreamError
from cachemw.limits import Timeouts
from cachemw.messages import Head, Headers, HttpTarget, RouteTarget
from cachemw.redaction import redacted_repr


class UpstreamRequest(msgspec.Struct, frozen=True):
    """A request on its way out, with the client's own path and header fields: every upstream makes its own of them.

    `rules` say which fields go on, and the `rewritten` ones go in the place of the client's. The response to one that may be
    `recorded` is to have no content coding. `timeouts` say how long it is waited for. A gateway asks the `bids`, each
    with a body of its own, in the place of `body` and `rewritten`.
    """

    method: str
    raw_path: bytes
    query: bytes
    headers: Headers
    body: bytes | Iterable[bytes] | AsyncIterable[bytes]
    rules: HeaderRules = NO_RULES
    rewritten: Headers = ()
    recorded: bool = False
    timeouts: Timeouts = Timeouts()
    bids: AskedBids | None = None

    __repr__ = redacted_repr


def sent_as(request: UpstreamRequest, outbound: Outbound, *, recorded: bool) -> UpstreamRequest:
    """Return a request as it is sent, with what the script says in the place of what came."""
    sent = replace(request, rewritten=outbound.rewritten, bids=outbound.bids, recorded=recorded)
    other = outbound.translated
    if other is None:
        return sent
    if other.raw_path is None:
        return replace(sent, headers=other.headers, body=other.body)
    return replace(sent, raw_path=other.raw_path, query=b"", headers=other.headers, body=other.body)


class SyncResponse(Protocol):
    """A response that is read. `close` may be called twice, and before its end."""

    @property
    def head(self) -> Head:
        """Its head."""

    def read(self, within: float | None) -> bytes | None:
        """Return the next chunk, never an empty one, and `None` at the end. Raises `UpstreamError`.

        One that can stop waiting does so `within` so many seconds, by an `UpstreamTimeout`.
        """

    def close(self) -> None:
        """Give up what is left of it, and the connection it comes over."""


class AsyncResponse(Protocol):
    """A response that is read with `await`. `aclose` may be called twice, and before its end; it cannot be cancelled."""

    @property
    def head(self) -> Head:
        """Its head."""

    async def read(self) -> bytes | None:
        """Return the next chunk, never an empty one, and `None` at the end. Raises `UpstreamError`."""

    async def aclose(self) -> None:
        """Give up what is left of it, and the connection it comes over. Raises `UpstreamError`."""


SyncOpener = Callable[[UpstreamRequest], SyncResponse]
AsyncOpener = Callable[[UpstreamRequest], Awaitable[AsyncResponse]]


class SyncUpstream(Protocol):
    """An HTTP API, or several in one, in threads."""

    def target(self, raw_path: bytes, query: bytes) -> HttpTarget | RouteTarget:
        """Return what is requested for a client's raw path and query."""

    def open(self, request: UpstreamRequest) -> SyncResponse:
        """Send a request, and return its response when the head is there. Raises `UpstreamError`."""

    def close(self) -> None:
        """Close the connections. May be called twice, and before first use."""


class AsyncUpstream(Protocol):
    """An HTTP API, or several in one, in event loops. Whoever reads keeps the `timeouts` of what comes after the head."""

    @property
    def place(self) -> str:
        """Return where requests go, as people are told of it."""

    def target(self, raw_path: bytes, query: bytes) -> HttpTarget | RouteTarget:
        """Return what is requested for a client's raw path and query."""

    async def aopen(self, request: UpstreamRequest) -> AsyncResponse:
        """Send a request, and return its response when the head is there. Raises `UpstreamError`."""

    async def aclose(self) -> None:
        """Close the connections of the running event loop. May be called twice, and before first use."""


class SyncGateway(SyncUpstream, Planner, Protocol):
    """Many HTTP APIs behind one, in threads: which is asked is planned for each request."""


class AsyncGateway(AsyncUpstream, Planner, Protocol):
    """Many HTTP APIs behind one, in event loops: which is asked is planned for each request."""


Answerer = TypeVar("Answerer")


def answerer(upstream: Answerer | None, gateway: Answerer | None, name: str | None) -> Answerer | None:
    """Return who answers the misses of a mount; `None`: the app of this name. Raises `ConfigurationError`."""
    if upstream is not None and gateway is not None:
        raise ConfigurationError("CacheMiddleware takes an upstream or a gateway, and was given both")
    if upstream is None and gateway is None and not name:
        raise ConfigurationError("CacheMiddleware needs an upstream, a gateway, or a name for the app it is around")
    return gateway or upstream


def as_upstream_error(escaped: Exception | None) -> UpstreamError:
    """Return what readers are told of an upstream that returned, or raised, before its answer was complete."""
    if isinstance(escaped, UpstreamError):
        return escaped
    error = TruncatedResponse("it returned, or raised, before its answer was complete")
    error.__cause__ = escaped
    return error
