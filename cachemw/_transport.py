"""What the transports of httpx and of httpx2 share: the families differ in their classes, and in nothing else.

`Any` stands for a family's own class: to httpx2 a request or a response of httpx is nothing.
"""

import copy
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import partial
from typing import Any

from cachemw._transport_wire import AsyncInner, AsyncUpload, SyncInner, SyncUpload
from cachemw.async_pulling import AsyncAnswer, AsyncPullDriver
from cachemw.core.directives import CONTROL_HEADER
from cachemw.core.effects import Failed
from cachemw.core.headers import without
from cachemw.core.intake import NotAsked, NotChat, TakenIn, body_limit, script_for, take_in, unfinished
from cachemw.core.messages import DirectAnswerer, Request
from cachemw.core.policy import Policy
from cachemw.core.pulling import transported
from cachemw.core.report import Hook
from cachemw.core.transfer import Relay
from cachemw.errors import UpstreamError
from cachemw.stores import DiskStore, Store
from cachemw.sync_driver import SyncAnswer, SyncDriver
from cachemw.upstreams.http_source import absolute
from cachemw.upstreams.transports import Transports


class SyncCaching:
    """A transport of either family; a subclass says which, and has its byte stream."""

    _family: Any
    _stream: Any

    def __init__(self, inner: Any, store: Store | None, policy: Policy | None, hooks: Iterable[Hook]) -> None:
        self._inner = self._family.HTTPTransport() if inner is None else inner
        self._owns_store, self._store = store is None, DiskStore() if store is None else store
        self.driver = SyncDriver(self._store, transported(policy or Policy(default="on")), hooks=hooks)

    def handle_request(self, request: Any) -> Any:
        """Answer a request. Raises what the inner transport raises."""
        outgoing = Outgoing(self._family, request)
        policy, taken_in = self.driver.policy, outgoing.taken_in(self.driver.policy)
        if is_untouched(taken_in):
            return self._inner.handle_request(request)
        upload, limit = SyncUpload(request.stream), body_limit(taken_in, policy)
        body = upload.read(limit) if limit else None
        sent = self._stream(upload, request.stream.close) if body is None else self._family.ByteStream(body)
        opening = SyncInner(self._family, self._inner, partial(outgoing.sent_on, sent))
        script = script_for(taken_in, None if body is None else outgoing.described(body), policy, self.driver.verified)
        answer = self.driver.run(script, opening)
        if isinstance(answer.outcome, Failed):
            answer.close()
            raise outgoing.failed(answer.outcome)
        return outgoing.response(answer, self._stream(_passed(self._family, answer), answer.close), opening.extensions)

    def close(self) -> None:
        """Close the inner transport, and the store if it is our own. May be called twice."""
        self._inner.close()
        if self._owns_store:
            self._store.close()


class AsyncCaching:
    """The same, awaited. Without an inner transport every event loop has one of its own."""

    _family: Any
    _stream: Any

    def __init__(self, inner: Any, store: Store | None, policy: Policy | None, hooks: Iterable[Hook]) -> None:
        self._inner, self._inners = inner, Transports(self._family.AsyncHTTPTransport)
        self._owns_store, self._store = store is None, DiskStore() if store is None else store
        self.driver = AsyncPullDriver(self._store, transported(policy or Policy(default="on")), hooks=hooks)

    async def handle_async_request(self, request: Any) -> Any:
        """Answer a request. Raises what the inner transport raises."""
        inner = self._inner or await self._inners.get()
        outgoing = Outgoing(self._family, request)
        policy, taken_in = self.driver.policy, outgoing.taken_in(self.driver.policy)
        if is_untouched(taken_in):
            return await inner.handle_async_request(request)
        upload, limit = AsyncUpload(request.stream), body_limit(taken_in, policy)
        body = await upload.read(limit) if limit else None
        sent = self._stream(upload, request.stream.aclose) if body is None else self._family.ByteStream(body)
        opening = AsyncInner(self._family, inner, partial(outgoing.sent_on, sent))
        script = script_for(taken_in, None if body is None else outgoing.described(body), policy, self.driver.verified)
        answer = await self.driver.run(script, opening)
        if isinstance(answer.outcome, Failed):
            await answer.aclose()
            raise outgoing.failed(answer.outcome)
        return outgoing.response(answer, self._stream(_apassed(self._family, answer), answer.aclose), opening.extensions)

    async def aclose(self) -> None:
        """Close the inner transport, of this event loop, and the store if it is our own. May be called twice."""
        await (self._inners if self._inner is None else self._inner).aclose()
        if self._owns_store:
            self._store.close()


class Outgoing:
    """A request as its client sends it, and as it goes on from here."""

    def __init__(self, family: Any, request: Any) -> None:
        self.family, self.request = family, request
        self.headers = tuple(request.headers.raw)

    def taken_in(self, policy: Policy) -> TakenIn:
        """Say what it is to us."""
        return unfinished(take_in(self.request.method, self.request.url.path, self.headers, policy))

    def described(self, body: bytes) -> Request:
        """Return it as a value."""
        url = self.request.url
        return Request(self.request.method, url.path, self.headers, body, DirectAnswerer(absolute(url)))

    def sent_on(self, stream: Any, recorded: bool) -> Any:
        """Return the request to send on, with that body; an answer that may be `recorded` is to have no content coding."""
        fields = without(self.headers, (CONTROL_HEADER, b"accept-encoding") if recorded else (CONTROL_HEADER,))
        if recorded:
            fields = (*fields, (b"accept-encoding", b"identity"))
        request, extensions = self.request, self.request.extensions
        return self.family.Request(request.method, request.url, headers=list(fields), stream=stream, extensions=extensions)

    def response(self, answer: SyncAnswer | AsyncAnswer, stream: Any, extensions: dict[str, Any]) -> Any:
        """Return our answer as a response; `extensions` are those of the response it was made of."""
        kept = extensions if isinstance(answer.outcome, Relay) else {}
        return self.family.Response(
            answer.head.status,
            headers=list(answer.head.headers),
            stream=stream,
            extensions={**kept, "cachemw": answer.report},
        )

    def failed(self, outcome: Failed) -> Exception:
        """Return what to raise where there is no answer. Another request's exception is copied: clients write in theirs."""
        raised = _original(self.family, outcome.error)
        return copy.copy(raised) if outcome.report is not None and outcome.report.collapsed else raised


def is_untouched(taken_in: TakenIn) -> bool:
    """Say whether the very same request goes on to the inner transport."""
    return isinstance(taken_in, NotAsked) or (isinstance(taken_in, NotChat) and not taken_in.opted_in)


def _passed(family: Any, answer: SyncAnswer) -> Iterator[bytes]:
    try:
        yield from answer
    except UpstreamError as error:
        broken = error
    else:
        return
    raise _original(family, broken)


async def _apassed(family: Any, answer: AsyncAnswer) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer:
            yield chunk
    except UpstreamError as error:
        broken = error
    else:
        return
    raise _original(family, broken)


def _original(family: Any, error: UpstreamError) -> Exception:
    """Return what the inner transport raised; where it raised nothing, what it would have."""
    cause = error.__cause__
    if isinstance(cause, Exception) and isinstance(cause, family.TransportError):
        return cause
    raised: Exception = family.RemoteProtocolError(str(error))
    return raised
