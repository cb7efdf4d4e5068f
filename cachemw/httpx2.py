"""The httpx2 mount, inside SDKs that speak httpx2 (`openai` since 3), with no server at all.

`httpx2.Client(transport=CacheTransport())`: all that goes through the client is cached, unless a request says otherwise.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator

import httpx2

from cachemw._transport import AsyncCaching, SyncCaching
from cachemw.core.policy import Policy
from cachemw.core.report import Hook
from cachemw.stores import Store


class _Stream(httpx2.SyncByteStream):
    def __init__(self, chunks: Iterable[bytes], close: Callable[[], None]) -> None:
        self._chunks, self._close = chunks, close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        self._close()


class _AsyncStream(httpx2.AsyncByteStream):
    def __init__(self, chunks: AsyncIterable[bytes], close: Callable[[], Awaitable[None]]) -> None:
        self._chunks, self._close = chunks, close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._chunks)

    async def aclose(self) -> None:
        await self._close()


class CacheTransport(SyncCaching, httpx2.BaseTransport):
    """Caches the chat completions that go through a client; `inner` sends what is not stored, by default over HTTP.

    `response.extensions["cachemw"]` is the `ExchangeReport` as known at the head. The default store is `DiskStore()`, the
    default policy on. For any number of threads. Raises what `inner` raises. Closing it closes `inner`.
    """

    family, stream = httpx2, _Stream

    def __init__(
        self,
        inner: httpx2.BaseTransport | None = None,
        *,
        store: Store | None = None,
        policy: Policy | None = None,
        hooks: Iterable[Hook] = (),
    ) -> None:
        super().__init__(inner, store, policy, hooks)


class AsyncCacheTransport(AsyncCaching, httpx2.AsyncBaseTransport):
    """`CacheTransport`, awaited. The default `inner` is one for each event loop."""

    family, stream = httpx2, _AsyncStream

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport | None = None,
        *,
        store: Store | None = None,
        policy: Policy | None = None,
        hooks: Iterable[Hook] = (),
    ) -> None:
        super().__init__(inner, store, policy, hooks)
