"""What the transports of httpx and of httpx2 share: the families differ in their classes, and in nothing else.

`Any` stands for a family's own class: to httpx2 a request or a response of httpx is nothing.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from functools import partial
from types import MappingProxyType
from typing import Any

from cachemw._transport_wire import AsyncInner, AsyncUpload, SyncInner, SyncUpload
from cachemw.async_pulling import AsyncAnswer, AsyncPullDriver
from cachemw.core.cookies import Cookies
from cachemw.core.directives import CONTROL_HEADER
from cachemw.core.effects import Failed
from cachemw.core.headers import without
from cachemw.core.intake import NotAsked, NotChat, TakenIn, body_limit, script_for, take_in, unfinished
from cachemw.core.messages import DirectAnswerer, Headers, Request, Unread, header_values
from cachemw.core.policy import Policy
from cachemw.core.report import Hook
from cachemw.core.transfer import Relay
from cachemw.errors import UpstreamError, UpstreamTimeout
from cachemw.stores import DiskStore, Store
from cachemw.sync_driver import SyncAnswer, SyncDriver
from cachemw.upstreams.http_source import origin_of
from cachemw.upstreams.providers import bookkeeping_of
from cachemw.upstreams.transports import SyncTransports, Transports


class SyncCaching:
    """A transport of either family; a subclass says which, and has its byte stream."""

    _family: Any
    _stream: Any

    def __init__(self, inner: Any, store: Store | None, policy: Policy | None, hooks: Iterable[Hook]) -> None:
        self._inner, self._inners = inner, SyncTransports(self._family.HTTPTransport)
        self._owns_store, self._store = store is None, DiskStore() if store is None else store
        self._cookies = Cookies()
        self.driver = SyncDriver(self._store, policy or Policy(default="on"), hooks=hooks)

    def handle_request(self, request: Any) -> Any:
        """Answer a request. Raises what the inner transport raises."""
        outgoing = Outgoing(self._family, request)
        policy, taken_in = self.driver.policy, outgoing.taken_in(self.driver.policy)
        if outgoing.is_untouched(taken_in):
            return self._get_inner().handle_request(request)
        upload, limit = SyncUpload(request.stream), body_limit(taken_in, policy)
        body = upload.read(limit) if limit else None
        sent = request.stream if not limit else self._stream(upload, request.stream.close)
        opening = SyncInner(self._family, self._get_inner, partial(outgoing.sent_on, sent, body))
        asked = outgoing.described(body, self._cookies)
        answer = self.driver.run(script_for(taken_in, asked, policy, self.driver.verified), opening, outgoing.timeout)
        if isinstance(answer.outcome, Failed):
            answer.close()
            raise outgoing.failed(answer.outcome)
        self._cookies.note(asked, answer.head)
        return outgoing.response(answer, self._stream(_passed(self._family, answer), answer.close), opening.extensions)

    def close(self) -> None:
        """Close the inner transport, and the store if it is our own. May be called twice."""
        (self._inners if self._inner is None else self._inner).close()
        if self._owns_store:
            self._store.close()

    def _get_inner(self) -> Any:
        return self._inners.get() if self._inner is None else self._inner


class AsyncCaching:
    """The same, awaited. Without an inner transport every event loop has one of its own."""

    _family: Any
    _stream: Any

    def __init__(self, inner: Any, store: Store | None, policy: Policy | None, hooks: Iterable[Hook]) -> None:
        self._inner, self._inners = inner, Transports(self._family.AsyncHTTPTransport)
        self._owns_store, self._store = store is None, DiskStore() if store is None else store
        self._cookies = Cookies()
        self.driver = AsyncPullDriver(self._store, policy or Policy(default="on"), hooks=hooks)

    async def handle_async_request(self, request: Any) -> Any:
        """Answer a request. Raises what the inner transport raises."""
        outgoing = Outgoing(self._family, request)
        policy, taken_in = self.driver.policy, outgoing.taken_in(self.driver.policy)
        if outgoing.is_untouched(taken_in):
            return await (await self._get_inner()).handle_async_request(request)
        upload, limit = AsyncUpload(request.stream), body_limit(taken_in, policy)
        body = await upload.read(limit) if limit else None
        sent = request.stream if not limit else self._stream(upload, request.stream.aclose)
        opening = AsyncInner(self._family, self._get_inner, partial(outgoing.sent_on, sent, body))
        asked = outgoing.described(body, self._cookies)
        answer = await self.driver.run(script_for(taken_in, asked, policy, self.driver.verified), opening, outgoing.timeout)
        if isinstance(answer.outcome, Failed):
            await answer.aclose()
            raise outgoing.failed(answer.outcome)
        self._cookies.note(asked, answer.head)
        return outgoing.response(answer, self._stream(_apassed(self._family, answer), answer.aclose), opening.extensions)

    async def aclose(self) -> None:
        """Close the inner transport, of this event loop, and the store if it is our own. May be called twice."""
        await (self._inners if self._inner is None else self._inner).aclose()
        if self._owns_store:
            self._store.close()

    async def _get_inner(self) -> Any:
        return await self._inners.get() if self._inner is None else self._inner


class Outgoing:
    """A request as its client sends it, and as it goes on from here."""

    def __init__(self, family: Any, request: Any) -> None:
        self.family, self.request = family, request
        self.headers = tuple(request.headers.raw)

    @property
    def timeout(self) -> float | None:
        """How many seconds its client waits for something to read."""
        seconds: float | None = self.request.extensions.get("timeout", {}).get("read")
        return seconds

    def taken_in(self, policy: Policy) -> TakenIn:
        """Say what it is to us."""
        return unfinished(take_in(self.request.method, self.request.url.path, self.headers, policy))

    def is_untouched(self, taken_in: TakenIn) -> bool:
        """Say whether the very same request goes on; one that says `off` loses just that."""
        is_asked = not isinstance(taken_in, NotAsked) and not (isinstance(taken_in, NotChat) and taken_in.asked is None)
        return not is_asked and not header_values(self.headers, CONTROL_HEADER)

    def described(self, body: bytes | None, cookies: Cookies) -> Request:
        """Return it as a value, without the `cookies` that came with answers; `body` is `None` where it was not read whole."""
        read = Unread.TOO_LARGE if body is None else body
        url, extensions = self.request.url, self.request.extensions
        target = extensions.get("target", url.raw_path).decode("latin-1")  # as the inner transport understands it
        answerer = DirectAnswerer(origin_of(url) + target, self._asked_host(), bookkeeping_of(origin_of(url)))
        headers = cookies.left_out(self.headers)
        return Request(self.request.method, url.path, headers, read, answerer, context=MappingProxyType(extensions))

    def _asked_host(self) -> bytes:
        """Return the host that is asked for where it is not the URL's: by the field, or by the name that TLS is told."""
        url = self.request.url
        own = (url.netloc.lower(), origin_of(url).partition("://")[2].encode())
        said = b", ".join(header_values(self.headers, b"host")).lower()
        named = str(self.request.extensions.get("sni_hostname") or url.host).lower()
        return (b"" if said in own else said) + (b"" if named == url.host else b" sni " + named.encode())

    def sent_on(self, stream: Any, body: bytes | None, recorded: bool, rewritten: Headers) -> Any:
        """Return the request to send on; an answer that may be `recorded` is to have no content coding."""
        left_out = [CONTROL_HEADER, *(name for name, _ in rewritten), *([b"accept-encoding"] if recorded else [])]
        fields = (*without(self.headers, left_out), *rewritten)
        if recorded:
            fields = (*fields, (b"accept-encoding", b"identity"))
        request, extensions = self.request, self.request.extensions
        stream = stream if body is None else self.family.ByteStream(body)
        sent = self.family.Request(request.method, request.url, headers=list(fields), stream=stream, extensions=extensions)
        if isinstance(stream, self.family.ByteStream):
            sent.read()  # who signs it looks at its content
        return sent

    def response(self, answer: SyncAnswer | AsyncAnswer, stream: Any, extensions: dict[str, Any]) -> Any:
        """Return our answer as a response; `extensions` are those of the response it was made of."""
        kept = extensions if isinstance(answer.outcome, Relay) else {}
        return self.family.Response(
            answer.head.status,
            headers=list(answer.head.headers),
            stream=stream,
            extensions={**kept, "cachemw": answer.report},
        )

    def failed(self, outcome: Failed) -> BaseException:
        """Return what to raise where there is no answer. Another request's exception is copied: clients write in theirs."""
        raised = _original(self.family, outcome.error)
        return _copy(raised) if outcome.report is not None and outcome.report.collapsed else raised


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
    finally:
        await answer.aclose()  # also where a response was dropped, and not closed
    raise _original(family, broken)


def _original(family: Any, error: UpstreamError) -> BaseException:
    """Return what the inner transport raised; where it raised nothing, what it would have."""
    if error.__cause__ is not None:
        return error.__cause__
    kind = family.ReadTimeout if isinstance(error, UpstreamTimeout) else family.RemoteProtocolError
    raised: BaseException = kind(str(error))
    return raised


def _copy(raised: BaseException) -> BaseException:
    copied = type(raised).__new__(type(raised), *raised.args)  # whatever its own constructor asks for
    copied.__dict__.update(raised.__dict__)
    copied.__cause__, copied.__context__ = raised.__cause__, raised.__context__
    return copied
