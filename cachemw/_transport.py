"""The transports of httpx and of httpx2, as far as they are the same: the families differ in their classes alone.

`Any` stands for a family's own class: to httpx2 a request or a response of httpx is nothing.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from types import MappingProxyType
from typing import Any

from cachemw.cache.classify import Classified, NotOptedIn, OtherRequest, body_limit, classify, script_for, unfinished
from cachemw.cache.directives import CONTROL_HEADER
from cachemw.cache.effects import Failed
from cachemw.cache.live_response import Relay
from cachemw.cache.policy import Policy
from cachemw.drivers.pull_async import AsyncAnswer, AsyncPullDriver
from cachemw.drivers.pull_sync import SyncAnswer, SyncPullDriver
from cachemw.errors import UpstreamError, UpstreamTimeout
from cachemw.messages import ClientTarget, Head, Headers, Request, Unread, header_values
from cachemw.report import Hook
from cachemw.stores import DiskStore, Store
from cachemw.upstreams.base import UpstreamRequest
from cachemw.upstreams.connections import SyncTransports, Transports
from cachemw.upstreams.http import head_of, hurried, origin_of
from cachemw.upstreams.providers import bookkeeping_of
from cachemw.wire.fields import without


class Upload:
    """A request's body: what was read of it, and then what was not. Never more at once than it comes in."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks
        self._read: list[bytes] = []
        self._size = 0

    def read(self, limit_bytes: int) -> bytes | None:
        """Return the body, `None` where it is larger than the limit."""
        for chunk in self._chunks:
            if self._keep(chunk) > limit_bytes:
                return None
        return b"".join(self._read)

    async def aread(self, limit_bytes: int) -> bytes | None:
        """Return the body, `None` where it is larger than the limit."""
        async for chunk in self._chunks:
            if self._keep(chunk) > limit_bytes:
                return None
        return b"".join(self._read)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._read
        yield from self._chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._read:
            yield chunk
        async for chunk in self._chunks:
            yield chunk

    def _keep(self, chunk: bytes) -> int:
        self._read.append(chunk)
        self._size += len(chunk)
        return self._size


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

    def _begin(self, method: str, response: Any) -> Any:
        """Look at the head; return the stream."""
        self._response, self.extensions, self.head = response, response.extensions, _head(method, response)
        return self._family.ByteStream(response.content) if response.is_closed else response.stream


class SyncInner(Inner):
    """The port of upstreams over a transport that is called by threads."""

    def open(self, request: UpstreamRequest) -> "SyncInner":
        sent = self._outgoing.sent_on(request)
        try:
            response = self._get_transport().handle_request(sent)
        except Exception as exc:
            raise _translated(self._family, exc) from exc
        self._chunks: Iterator[bytes] = iter(self._begin(request.method, response))
        return self

    def read(self, within: float | None) -> bytes | None:
        try:
            with hurried(self._response, within):
                return next(filter(None, self._chunks), None)
        except Exception as exc:
            raise _translated(self._family, exc) from exc

    def close(self) -> None:
        self._response.close()


class AsyncInner(Inner):
    """The port of upstreams over a transport that is awaited."""

    async def aopen(self, request: UpstreamRequest) -> "AsyncInner":
        sent = self._outgoing.sent_on(request)
        try:
            response = await (await self._get_transport()).handle_async_request(sent)
        except Exception as exc:
            raise _translated(self._family, exc) from exc
        self._chunks: AsyncIterator[bytes] = aiter(self._begin(request.method, response))
        return self

    async def read(self) -> bytes | None:
        try:
            async for chunk in self._chunks:
                if chunk:
                    return chunk
        except Exception as exc:
            raise _translated(self._family, exc) from exc
        return None

    async def aclose(self) -> None:
        await self._response.aclose()


def _head(method: str, response: Any) -> Head:
    """Return a response's head; one that was read by an inner transport was decoded, too."""
    head = head_of(method, response)
    if not response.is_closed:
        return head
    return Head(head.status, without(head.headers, (b"content-encoding", b"content-length", b"transfer-encoding")))


def _translated(family: Any, exc: Exception) -> UpstreamError:
    """Return an inner transport's exception as an error of ours: others may wait for the same, and that is what they get."""
    kind = UpstreamTimeout if isinstance(exc, family.TimeoutException) else UpstreamError
    return kind("the upstream cannot be reached, or broke off")


EDGE_COOKIES = frozenset(
    b"__cf_bm _cfuvid __cflb __cfruid __cfseq cf_clearance AWSALB AWSALBCORS AWSALBTG AWSALBTGCORS".split()
)
"""By which networks before an upstream know a client again, and send it to the same machine: they say nothing of who asks."""


class Cookies:
    """Those that came with answers to chat requests; they and those of an upstream's edge are not in the key."""

    LIMIT = 1024

    def __init__(self) -> None:
        self._pairs: dict[bytes, None] = {}

    def note(self, asked: Request, head: Head) -> None:
        """Remember what an answer sets, unless it was to no chat request; the oldest are forgotten."""
        for value in header_values(head.headers, b"set-cookie") if isinstance(asked.body, bytes) else ():
            self._pairs[value.partition(b";")[0].strip()] = None
            if len(self._pairs) > self.LIMIT:
                self._pairs.pop(next(iter(self._pairs)), None)

    def left_out(self, headers: Headers) -> Headers:
        """Return the fields without them; what is left stays as it is."""
        return tuple([field for name, value in headers for field in self._kept(name, value)])

    def _kept(self, name: bytes, value: bytes) -> Headers:
        if name.lower() != b"cookie":
            return ((name, value),)
        cookies = [cookie.strip() for cookie in value.split(b";")]
        kept = [one for one in cookies if one not in self._pairs and one.partition(b"=")[0] not in EDGE_COOKIES]
        return ((name, b"; ".join(kept)),) if kept else ()


class Caching:
    """A transport of either family; a subclass says which, and has its byte stream."""

    _family: Any
    _stream: Any

    def __init__(self, inner: Any, store: Store | None) -> None:
        self._inner = inner
        self._owns_store, self._store = store is None, DiskStore() if store is None else store
        self._cookies = Cookies()

    def _close_store(self) -> None:
        if self._owns_store:
            self._store.close()


class SyncCaching(Caching):
    """A transport that is called by threads. Without an inner transport every process has one of its own."""

    def __init__(self, inner: Any, store: Store | None, policy: Policy | None, hooks: Iterable[Hook]) -> None:
        super().__init__(inner, store)
        self._inners = SyncTransports(self._family.HTTPTransport)
        self.driver = SyncPullDriver(self._store, policy or Policy(default="on"), hooks=hooks)

    def handle_request(self, request: Any) -> Any:
        """Answer a request. Raises what the inner transport raises."""
        outgoing = TransportRequest(self._family, request)
        policy, classified = self.driver.policy, outgoing.classified(self.driver.policy)
        if outgoing.is_untouched(classified):
            return self._get_inner().handle_request(request)
        upload, limit = Upload(iter(request.stream)), body_limit(classified, policy)
        body = upload.read(limit) if limit else None
        stream = request.stream if not limit else self._stream(upload, request.stream.close)
        asked, inner = outgoing.described(body, self._cookies), SyncInner(outgoing, self._get_inner)
        script = script_for(classified, asked, policy, self.driver.verified)
        sent = outgoing.as_sent(stream if body is None else body)
        answer = self.driver.run(script, inner.open, sent, outgoing.timeout)
        if isinstance(answer.outcome, Failed):
            answer.close()
            raise outgoing.failed(answer.outcome)
        self._cookies.note(asked, answer.head)
        return outgoing.response(answer, self._stream(_passed(self._family, answer), answer.close), inner.extensions)

    def close(self) -> None:
        """Close the inner transport, and the store if it is our own. May be called twice."""
        (self._inners if self._inner is None else self._inner).close()
        self._close_store()

    def _get_inner(self) -> Any:
        return self._inners.get() if self._inner is None else self._inner


class AsyncCaching(Caching):
    """A transport that is awaited. Without an inner transport every event loop has one of its own."""

    def __init__(self, inner: Any, store: Store | None, policy: Policy | None, hooks: Iterable[Hook]) -> None:
        super().__init__(inner, store)
        self._inners = Transports(self._family.AsyncHTTPTransport)
        self.driver = AsyncPullDriver(self._store, policy or Policy(default="on"), hooks=hooks)

    async def handle_async_request(self, request: Any) -> Any:
        """Answer a request. Raises what the inner transport raises."""
        outgoing = TransportRequest(self._family, request)
        policy, classified = self.driver.policy, outgoing.classified(self.driver.policy)
        if outgoing.is_untouched(classified):
            return await (await self._get_inner()).handle_async_request(request)
        upload, limit = Upload(aiter(request.stream)), body_limit(classified, policy)
        body = await upload.aread(limit) if limit else None
        stream = request.stream if not limit else self._stream(upload, request.stream.aclose)
        asked, inner = outgoing.described(body, self._cookies), AsyncInner(outgoing, self._get_inner)
        script = script_for(classified, asked, policy, self.driver.verified)
        sent = outgoing.as_sent(stream if body is None else body)
        answer = await self.driver.run(script, inner.aopen, sent, outgoing.timeout)
        if isinstance(answer.outcome, Failed):
            await answer.aclose()
            raise outgoing.failed(answer.outcome)
        self._cookies.note(asked, answer.head)
        return outgoing.response(answer, self._stream(_apassed(self._family, answer), answer.aclose), inner.extensions)

    async def aclose(self) -> None:
        """Close the inner transport, of this event loop, and the store if it is our own. May be called twice."""
        await (self._inners if self._inner is None else self._inner).aclose()
        self._close_store()

    async def _get_inner(self) -> Any:
        return await self._inners.get() if self._inner is None else self._inner


class TransportRequest:
    """A request as its client sends it, and as it goes on from here."""

    def __init__(self, family: Any, request: Any) -> None:
        self.family, self.request = family, request
        self.headers = tuple(request.headers.raw)

    @property
    def timeout(self) -> float | None:
        """How many seconds its client waits for something to read."""
        seconds: float | None = self.request.extensions.get("timeout", {}).get("read")
        return seconds

    def classified(self, policy: Policy) -> Classified:
        """Say what it is to us."""
        return unfinished(classify(self.request.method, self.request.url.path, self.headers, policy))

    def is_untouched(self, classified: Classified) -> bool:
        """Say whether the very same request goes on; one that says `off` loses just that."""
        is_asked = not isinstance(classified, NotOptedIn) and not (
            isinstance(classified, OtherRequest) and classified.asked is None
        )
        return not is_asked and not header_values(self.headers, CONTROL_HEADER)

    def described(self, body: bytes | None, cookies: Cookies) -> Request:
        """Return it as a value, without the `cookies` that came with answers; `body` is `None` where it was not read whole."""
        read = Unread.TOO_LARGE if body is None else body
        url, extensions = self.request.url, self.request.extensions
        target = extensions.get("target", url.raw_path).decode("latin-1")  # as the inner transport understands it
        target = ClientTarget(origin_of(url) + target, self._asked_host(), bookkeeping_of(origin_of(url)))
        headers = cookies.left_out(self.headers)
        return Request(self.request.method, url.path, headers, read, target, context=MappingProxyType(extensions))

    def _asked_host(self) -> bytes:
        """Return the host that is asked for where it is not the URL's: by the field, or by the name that TLS is told."""
        url = self.request.url
        own = (url.netloc.lower(), origin_of(url).partition("://")[2].encode())
        said = b", ".join(header_values(self.headers, b"host")).lower()
        named = str(self.request.extensions.get("sni_hostname") or url.host).lower()
        return (b"" if said in own else said) + (b"" if named == url.host else b" sni " + named.encode())

    def as_sent(self, body: Any) -> UpstreamRequest:
        """Return it as an upstream is asked; `body` is a stream where it was not read whole."""
        path, _, query = self.request.url.raw_path.partition(b"?")
        return UpstreamRequest(self.request.method, path, query, self.headers, body)

    def sent_on(self, request: UpstreamRequest) -> Any:
        """Return the request to send on, as its own family has it."""
        left_out = [CONTROL_HEADER, *(name for name, _ in request.rewritten)]
        fields = (*without(request.headers, left_out), *request.rewritten)
        if request.recorded:
            fields = (*without(fields, (b"accept-encoding",)), (b"accept-encoding", b"identity"))
        stream = self.family.ByteStream(request.body) if isinstance(request.body, bytes) else request.body
        url, extensions = self.request.url, self.request.extensions
        sent = self.family.Request(request.method, url, headers=list(fields), stream=stream, extensions=extensions)
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
