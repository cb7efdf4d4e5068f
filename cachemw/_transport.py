"""The transports of httpx and of httpx2, as far as they are the same: the families differ in their classes alone.

`Any` stands for a family's own class: to httpx2 a request or a response of httpx is nothing.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any

from cachemw._transport_request import Cookies, TransportRequest, Upload
from cachemw.cache.classify import Classified, OptedIn, body_limit, exchange_for
from cachemw.cache.effects import Failed
from cachemw.cache.plans import Planner
from cachemw.cache.policy import Policy
from cachemw.cache.recall import Moment, Recalled
from cachemw.drivers.metering import Meter, Passage
from cachemw.drivers.pull_async import AsyncAnswer, AsyncPullDriver
from cachemw.drivers.pull_sync import SyncAnswer, SyncPullDriver
from cachemw.errors import ConfigurationError, UpstreamError
from cachemw.ledger.ledger import ledger_beside
from cachemw.limits import Limits
from cachemw.messages import URL_RECIPIENT, Head, Inside, Recipient, Unread
from cachemw.report import Hook
from cachemw.stores import DiskStore, Store
from cachemw.upstreams.base import AsyncGateway, SyncGateway, UpstreamRequest
from cachemw.upstreams.by_proxy import AsyncByProxy, SyncByProxy
from cachemw.upstreams.connections import SyncTransports, Transports
from cachemw.upstreams.failures import described, log_status
from cachemw.upstreams.http import head_of, hurried
from cachemw.upstreams.proxies import refuse_unusable_proxies
from cachemw.wire.fields import without


class SyncStream:
    """Chunks, and how to close where they come from; a family's byte stream."""

    def __init__(self, chunks: Iterable[bytes], close: Callable[[], None]) -> None:
        self._chunks, self._close = chunks, close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        self._close()


class AsyncStream:
    """Chunks that are awaited, and how to close where they come from."""

    def __init__(self, chunks: AsyncIterable[bytes], close: Callable[[], Awaitable[None]]) -> None:
        self._chunks, self._close = chunks, close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._chunks)

    async def aclose(self) -> None:
        await self._close()


class Inner:
    """An inner transport that is asked one request, and its response, with that one's `extensions`."""

    def __init__(self, outgoing: "TransportRequest", get_transport: Callable[[], Any]) -> None:
        self.extensions: dict[str, Any] = {}
        self._outgoing, self._family, self._get_transport = outgoing, outgoing.family, get_transport
        self._host = outgoing.host

    def _begin(self, method: str, response: Any) -> Any:
        """Look at the head; return the stream."""
        self._response, self.extensions, self.head = response, response.extensions, _head(method, response)
        log_status(self._host, self.head.status)
        return self._family.ByteStream(response.content) if response.is_closed else response.stream


class SyncInner(Inner):
    """The port of upstreams over a transport that is called by threads."""

    def open(self, request: UpstreamRequest) -> "SyncInner":
        sent = self._outgoing.sent_on(request)
        try:
            response = self._get_transport().handle_request(sent)
        except Exception as exc:
            raise described(exc, self._host) from exc
        self._chunks: Iterator[bytes] = iter(self._begin(request.method, response))
        return self

    def read(self, within: float | None) -> bytes | None:
        try:
            with hurried(self._response, within):
                return next(filter(None, self._chunks), None)
        except Exception as exc:
            raise described(exc, self._host, has_head=True) from exc

    def close(self) -> None:
        self._response.close()


class AsyncInner(Inner):
    """The port of upstreams over a transport that is awaited."""

    async def aopen(self, request: UpstreamRequest) -> "AsyncInner":
        sent = self._outgoing.sent_on(request)
        try:
            response = await (await self._get_transport()).handle_async_request(sent)
        except Exception as exc:
            raise described(exc, self._host) from exc
        self._chunks: AsyncIterator[bytes] = aiter(self._begin(request.method, response))
        return self

    async def read(self) -> bytes | None:
        try:
            async for chunk in self._chunks:
                if chunk:
                    return chunk
        except Exception as exc:
            raise described(exc, self._host, has_head=True) from exc
        return None

    async def aclose(self) -> None:
        await self._response.aclose()


def _head(method: str, response: Any) -> Head:
    """Return a response's head; one that was read by an inner transport was decoded, too."""
    head = head_of(method, response)
    if not response.is_closed:
        return head
    return Head(head.status, without(head.headers, (b"content-encoding", b"content-length", b"transfer-encoding")))


def _meter(driver: SyncPullDriver | AsyncPullDriver, outgoing: "TransportRequest") -> Meter:
    return Meter(driver.clock(), outgoing.headers if driver.is_traced else ())


FAMILIES = ("httpx", "httpx2")


class Caching:
    """A transport of either family; a subclass says which, and has its byte stream."""

    _family: Any
    _stream: Any

    def __init__(self, inner: Any, store: Store | None, policy: Policy | None, hooks: Iterable[Hook], ledger: bool) -> None:
        self._refuse_others("transport", type(inner))
        if inner is None:
            refuse_unusable_proxies()
        self._inner = inner
        self._owns_store, self._store = store is None, DiskStore() if store is None else store
        self._cookies = Cookies()
        self._policy = policy or Policy(default="on")
        self._ledger = ledger_beside(self._store, self._policy) if ledger else None
        self._hooks = (*hooks, self._ledger) if self._ledger else tuple(hooks)

    def _refuse_others(self, what: str, kind: type) -> None:
        """Raise `ConfigurationError` for what is the other family's: nothing of it is anything to this one."""
        own = self._family.__name__
        other = next((root for base in kind.__mro__ if (root := base.__module__.partition(".")[0]) in FAMILIES), own)
        if other != own:
            raise ConfigurationError(
                f"this {what} speaks {other}, and this {type(self).__name__} {own}: import it from cachemw.{other}, or let"
                " cachemw.sdk choose"
            )

    def _recipient(self, gateway: Planner | None) -> Recipient:
        """Return where misses go. Raises `ConfigurationError` for an inner transport that nothing would go through."""
        if gateway is not None and self._inner is not None:
            raise ConfigurationError("a transport with a gateway has no inner transport: its targets are asked directly")
        return Inside.TRANSPORT if gateway is None else URL_RECIPIENT

    def _close_store(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
        if self._owns_store:
            self._store.close()


class SyncCaching(Caching):
    """A transport that is called by threads. Without an inner transport every process has one of its own."""

    def __init__(
        self,
        inner: Any,
        store: Store | None,
        policy: Policy | None,
        limits: Limits,
        hooks: Iterable[Hook],
        gateway: SyncGateway | None,
        ledger: bool,
    ) -> None:
        super().__init__(inner, store, policy, hooks, ledger)
        self._gateway = gateway
        make: Any = partial(SyncByProxy, self._family)
        self._inners = SyncTransports(make)
        self.driver = SyncPullDriver(self._store, self._policy, limits, self._hooks, self._recipient(gateway), gateway)

    def handle_request(self, request: Any) -> Any:
        """Answer a request. Raises what the inner transport raises."""
        if not isinstance(request, self._family.Request):
            self._refuse_others("client", type(request))
        outgoing = TransportRequest(self._family, request, self._cookies, self._gateway)
        policy, classified = self.driver.policy, outgoing.classified(self.driver.policy)
        if outgoing.is_untouched(classified):
            return self._passed(outgoing, classified) if self.driver.hooks else self._get_inner().handle_request(request)
        upload, limit = Upload(iter(request.stream)), body_limit(classified, policy, is_read=outgoing.is_routed(classified))
        body = upload.read(limit) if limit else Unread.TOO_LARGE
        door = outgoing.door(self.driver.recaller) if isinstance(classified, OptedIn) else None
        found = None if door is None else door.find(body)
        if found is not None:
            return self._recalled(outgoing, *found)
        stream = request.stream if not limit else self._stream(upload, request.stream.close)
        asked, inner = outgoing.described(body), SyncInner(outgoing, self._get_inner)
        opener = inner.open if self._gateway is None else self._gateway.open
        exchange = exchange_for(classified, asked, policy, self.driver.limits, self.driver.verified)
        whole_or_not = stream if isinstance(body, Unread) else body
        sent = outgoing.as_sent(whole_or_not, policy.header_rules, self.driver.limits.timeouts)
        if door is not None:
            door.begin(body)
        answer = self.driver.run(exchange, opener, sent, outgoing.timeout, door)
        if isinstance(answer.outcome, Failed) and outgoing.raises(answer.outcome):
            answer.close()
            raise outgoing.failed(answer.outcome)
        self._cookies.note(asked, answer.head)
        return outgoing.response(answer, self._stream(_passed(outgoing, answer), answer.close), inner.extensions)

    def _recalled(self, outgoing: "TransportRequest", recalled: Recalled, moment: Moment) -> Any:
        """Give a request again what the like of it was given."""
        self.driver.recaller.tally.add(moment, recalled.body_size)
        return outgoing.recalled(moment, self._stream(recalled.pieces, _nothing))

    def _passed(self, outgoing: "TransportRequest", classified: Classified) -> Any:
        """Let the inner transport answer the very same request, and tell the hooks of it."""
        passage = Passage(self.driver.hooks, outgoing.passed(classified), _meter(self.driver, outgoing))
        with passage.told_of_failure(outgoing.host):
            response = self._get_inner().handle_request(outgoing.request)
        passage.meter.start(_head(outgoing.request.method, response))
        response.stream = self._stream(map(passage.noting, response.stream), partial(passage.close, response.stream.close))
        return response

    def close(self) -> None:
        """Close the inner transport, and the store if it is our own. May be called twice."""
        self.driver.recaller.tally.tell()
        if self._gateway is not None:
            self._gateway.close()
        (self._inners if self._inner is None else self._inner).close()
        self._close_store()

    def _get_inner(self) -> Any:
        return self._inners.get() if self._inner is None else self._inner


class AsyncCaching(Caching):
    """A transport that is awaited. Without an inner transport every event loop has one of its own."""

    def __init__(
        self,
        inner: Any,
        store: Store | None,
        policy: Policy | None,
        limits: Limits,
        hooks: Iterable[Hook],
        gateway: AsyncGateway | None,
        ledger: bool,
    ) -> None:
        super().__init__(inner, store, policy, hooks, ledger)
        self._gateway = gateway
        make: Any = partial(AsyncByProxy, self._family)
        self._inners = Transports(make)
        self.driver = AsyncPullDriver(self._store, self._policy, limits, self._hooks, self._recipient(gateway), gateway)

    async def handle_async_request(self, request: Any) -> Any:
        """Answer a request. Raises what the inner transport raises."""
        if not isinstance(request, self._family.Request):
            self._refuse_others("client", type(request))
        outgoing = TransportRequest(self._family, request, self._cookies, self._gateway)
        policy, classified = self.driver.policy, outgoing.classified(self.driver.policy)
        if outgoing.is_untouched(classified):
            inner_transport = await self._get_inner()
            if self.driver.hooks:
                return await self._passed(inner_transport, outgoing, classified)
            return await inner_transport.handle_async_request(request)
        upload, limit = Upload(aiter(request.stream)), body_limit(classified, policy, is_read=outgoing.is_routed(classified))
        body = await upload.aread(limit) if limit else Unread.TOO_LARGE
        door = outgoing.door(self.driver.recaller) if isinstance(classified, OptedIn) else None
        found = None if door is None else door.find(body)
        if found is not None:
            return self._recalled(outgoing, *found)
        stream = request.stream if not limit else self._stream(upload, request.stream.aclose)
        asked, inner = outgoing.described(body), AsyncInner(outgoing, self._get_inner)
        opener = inner.aopen if self._gateway is None else self._gateway.aopen
        exchange = exchange_for(classified, asked, policy, self.driver.limits, self.driver.verified)
        whole_or_not = stream if isinstance(body, Unread) else body
        sent = outgoing.as_sent(whole_or_not, policy.header_rules, self.driver.limits.timeouts)
        if door is not None:
            door.begin(body)
        answer = await self.driver.run(exchange, opener, sent, outgoing.timeout, door)
        if isinstance(answer.outcome, Failed) and outgoing.raises(answer.outcome):
            await answer.aclose()
            raise outgoing.failed(answer.outcome)
        self._cookies.note(asked, answer.head)
        return outgoing.response(answer, self._stream(_apassed(outgoing, answer), answer.aclose), inner.extensions)

    def _recalled(self, outgoing: "TransportRequest", recalled: Recalled, moment: Moment) -> Any:
        """Give a request again what the like of it was given."""
        self.driver.recaller.tally.add(moment, recalled.body_size)
        return outgoing.recalled(moment, self._stream(_in_turn(recalled.pieces), _anothing))

    async def _passed(self, inner: Any, outgoing: "TransportRequest", classified: Classified) -> Any:
        """Let the inner transport answer the very same request, and tell the hooks of it."""
        passage = Passage(self.driver.hooks, outgoing.passed(classified), _meter(self.driver, outgoing))
        with passage.told_of_failure(outgoing.host):
            response = await inner.handle_async_request(outgoing.request)
        passage.meter.start(_head(outgoing.request.method, response))
        chunks = (passage.noting(chunk) async for chunk in response.stream)
        response.stream = self._stream(chunks, partial(passage.aclose, response.stream.aclose))
        return response

    async def aclose(self) -> None:
        """Close the inner transport, of this event loop, and the store if it is our own. May be called twice."""
        self.driver.recaller.tally.tell()
        if self._gateway is not None:
            await self._gateway.aclose()
        await (self._inners if self._inner is None else self._inner).aclose()
        self._close_store()

    async def _get_inner(self) -> Any:
        return await self._inners.get() if self._inner is None else self._inner


def _passed(outgoing: TransportRequest, answer: SyncAnswer) -> Iterator[bytes]:
    try:
        yield from answer
    except UpstreamError as error:
        broken = error
    else:
        return
    raise outgoing.broken(broken)


async def _apassed(outgoing: TransportRequest, answer: AsyncAnswer) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer:
            yield chunk
    except UpstreamError as error:
        broken = error
    else:
        return
    finally:
        await answer.aclose()  # also where a response was dropped, and not closed
    raise outgoing.broken(broken)


async def _in_turn(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _nothing() -> None:
    """Close what is not open."""


async def _anothing() -> None:
    """Close what is not open."""
