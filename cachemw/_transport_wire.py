"""Requests and responses of httpx and of httpx2 on their way, whichever it is: `Any` stands for a family's own class."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

from cachemw.core.headers import without
from cachemw.core.messages import Head, Headers
from cachemw.errors import UpstreamError, UpstreamTimeout
from cachemw.upstreams.http_source import head_of, hurried


class SyncUpload:
    """A request's body: what was read of it, and then what was not. Never more at once than it comes in."""

    def __init__(self, stream: Any) -> None:
        self._chunks: Iterator[bytes] = iter(stream)
        self._read: list[bytes] = []

    def read(self, limit_bytes: int) -> bytes | None:
        """Return the body, `None` where it is larger than the limit."""
        size = 0
        for chunk in self._chunks:
            self._read.append(chunk)
            size += len(chunk)
            if size > limit_bytes:
                return None
        return b"".join(self._read)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._read
        yield from self._chunks


class AsyncUpload:
    """The same, awaited."""

    def __init__(self, stream: Any) -> None:
        self._chunks: AsyncIterator[bytes] = aiter(stream)
        self._read: list[bytes] = []

    async def read(self, limit_bytes: int) -> bytes | None:
        """Return the body, `None` where it is larger than the limit."""
        size = 0
        async for chunk in self._chunks:
            self._read.append(chunk)
            size += len(chunk)
            if size > limit_bytes:
                return None
        return b"".join(self._read)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._read:
            yield chunk
        async for chunk in self._chunks:
            yield chunk


class SyncStream:
    """Chunks, and how to close where they come from; a family's byte stream."""

    def __init__(self, chunks: Iterable[bytes], close: Callable[[], None]) -> None:
        self._chunks, self._close = chunks, close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        self._close()


class AsyncStream:
    """The same, awaited."""

    def __init__(self, chunks: AsyncIterable[bytes], close: Callable[[], Awaitable[None]]) -> None:
        self._chunks, self._close = chunks, close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._chunks)

    async def aclose(self) -> None:
        await self._close()


class SyncInner:
    """Let an inner transport answer; `extensions` are those of its response."""

    def __init__(self, family: Any, get_transport: Callable[[], Any], request_for: Callable[[bool, Headers], Any]) -> None:
        self.extensions: dict[str, Any] = {}
        self._family, self._get_transport, self._request_for = family, get_transport, request_for

    def open(self, recorded: bool, rewritten: Headers, push: object) -> "SyncInner":
        request = self._request_for(recorded, rewritten)
        try:
            response = self._response = self._get_transport().handle_request(request)
        except Exception as exc:
            raise _translated(self._family, exc) from exc
        self.extensions, self.head = response.extensions, _head(request.method, response)
        self._chunks: Iterator[bytes] = iter([response.content] if response.is_closed else response.stream)
        return self

    def read(self, within: float | None) -> bytes | None:
        try:
            with hurried(self._response, within):
                return next(filter(None, self._chunks), None)
        except Exception as exc:
            raise _translated(self._family, exc) from exc

    def close(self) -> None:
        self._response.close()


class AsyncInner:
    """The same, awaited."""

    def __init__(
        self, family: Any, get_transport: Callable[[], Awaitable[Any]], request_for: Callable[[bool, Headers], Any]
    ) -> None:
        self.extensions: dict[str, Any] = {}
        self._family, self._get_transport, self._request_for = family, get_transport, request_for

    async def open(self, recorded: bool, rewritten: Headers) -> "AsyncInner":
        request = self._request_for(recorded, rewritten)
        try:
            response = self._response = await (await self._get_transport()).handle_async_request(request)
        except Exception as exc:
            raise _translated(self._family, exc) from exc
        self.extensions, self.head = response.extensions, _head(request.method, response)
        self._chunks: AsyncIterator[bytes] = aiter(
            self._family.ByteStream(response.content) if response.is_closed else response.stream
        )
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
