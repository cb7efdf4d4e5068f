"""Requests and responses of httpx and of httpx2 on their way, whichever it is: `Any` stands for a family's own class."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

from cachemw.errors import UpstreamError, UpstreamTimeout
from cachemw.upstreams.http_source import head_of


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

    def __init__(self, family: Any, transport: Any, request_for: Callable[[bool], Any]) -> None:
        self.extensions: dict[str, Any] = {}
        self._family, self._transport, self._request_for = family, transport, request_for

    def open(self, recorded: bool, push: object) -> "SyncInner":
        request = self._request_for(recorded)
        try:
            self._response = self._transport.handle_request(request)
        except self._family.TransportError as exc:
            raise _translated(self._family, exc) from exc
        self.extensions, self.head = self._response.extensions, head_of(request.method, self._response)
        self._chunks: Iterator[bytes] = iter(self._response.stream)
        return self

    def read(self) -> bytes | None:
        try:
            return next(filter(None, self._chunks), None)
        except self._family.TransportError as exc:
            raise _translated(self._family, exc) from exc

    def close(self) -> None:
        self._response.close()


class AsyncInner:
    """The same, awaited."""

    def __init__(self, family: Any, transport: Any, request_for: Callable[[bool], Any]) -> None:
        self.extensions: dict[str, Any] = {}
        self._family, self._transport, self._request_for = family, transport, request_for

    async def open(self, recorded: bool) -> "AsyncInner":
        request = self._request_for(recorded)
        try:
            self._response = await self._transport.handle_async_request(request)
        except self._family.TransportError as exc:
            raise _translated(self._family, exc) from exc
        self.extensions, self.head = self._response.extensions, head_of(request.method, self._response)
        self._chunks: AsyncIterator[bytes] = aiter(self._response.stream)
        return self

    async def read(self) -> bytes | None:
        try:
            async for chunk in self._chunks:
                if chunk:
                    return chunk
        except self._family.TransportError as exc:
            raise _translated(self._family, exc) from exc
        return None

    async def aclose(self) -> None:
        await self._response.aclose()


def _translated(family: Any, exc: Exception) -> UpstreamError:
    """Return a family's exception as an error of ours."""
    kind = UpstreamTimeout if isinstance(exc, family.TimeoutException) else UpstreamError
    return kind("the upstream cannot be reached, or broke off")
