"""The httpx2 mount, inside SDKs that speak httpx2 (`openai` since 3), with no server at all.

`httpx2.Client(transport=CacheTransport())`: all that goes through the client is cached, unless a request says otherwise.
"""

from collections.abc import Iterable

import httpx2

from cachemw._transport import AsyncCaching, AsyncStream, SyncCaching, SyncStream
from cachemw.cache.policy import Policy
from cachemw.limits import Limits
from cachemw.report import Hook
from cachemw.stores import Store
from cachemw.upstreams.base import AsyncGateway, SyncGateway


class _Stream(SyncStream, httpx2.SyncByteStream):
    """A body of this family."""


class _AsyncStream(AsyncStream, httpx2.AsyncByteStream):
    """A body of this family that is awaited."""


class CacheTransport(SyncCaching, httpx2.BaseTransport):
    """Caches the API calls that go through a client; `inner` sends what is not stored, by default over HTTP.

    `response.extensions["cachemw"]` is the `ExchangeReport` as known at the head. The default store is `DiskStore()`, the
    default policy on. For any number of threads. Raises what `inner` raises. Closing it closes `inner`.
    With a `gateway` every request goes to one of its targets, whatever its URL.
    """

    _family, _stream = httpx2, _Stream

    def __init__(
        self,
        inner: httpx2.BaseTransport | None = None,
        *,
        store: Store | None = None,
        policy: Policy | None = None,
        limits: Limits = Limits(),
        hooks: Iterable[Hook] = (),
        gateway: SyncGateway | None = None,
        ledger: bool = True,
    ) -> None:
        super().__init__(inner, store, policy, limits, hooks, gateway, ledger)


class AsyncCacheTransport(AsyncCaching, httpx2.AsyncBaseTransport):
    """`CacheTransport`, awaited. The default `inner` is one for each event loop."""

    _family, _stream = httpx2, _AsyncStream

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport | None = None,
        *,
        store: Store | None = None,
        policy: Policy | None = None,
        limits: Limits = Limits(),
        hooks: Iterable[Hook] = (),
        gateway: AsyncGateway | None = None,
        ledger: bool = True,
    ) -> None:
        super().__init__(inner, store, policy, limits, hooks, gateway, ledger)
