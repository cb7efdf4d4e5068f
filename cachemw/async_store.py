"""A store as an event loop may use it: what could wait runs in a thread, and nobody waits for it long."""

import threading
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from cachemw.core import limits
from cachemw.core.transfer import Put
from cachemw.errors import StoreError
from cachemw.stores import MemoryStore, Store

T = TypeVar("T")

THREADS = 16
"""How many calls an event loop has under way at once."""

HANGING = 16
"""How many more may hang, given up on, before the store is not asked at all."""


class AsyncStore:
    """The blocking port, awaited. What is given up on goes on in its thread. Raises `StoreError` only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._never_waits = type(store) is MemoryStore  # what is derived from it may
        self._secret: bytes | None = None
        self._has_answered = False  # it may have to open first
        self._slots = threading.BoundedSemaphore(THREADS + HANGING)
        self._threads: RunVar[anyio.CapacityLimiter] = RunVar(f"cachemw store threads {id(self)}")

    async def secret(self) -> bytes:
        """Return the store's secret; it is asked once."""
        if self._secret is None:
            self._secret = await self._in_thread(self._store.secret)
        return self._secret

    async def get(self, index: bytes) -> bytes | None:
        """Return a record, or `None`."""
        if self._store.inline_reads:
            return self._store.get(index)
        return await self._in_thread(lambda: self._store.get(index))

    async def put(self, put: Put) -> str | None:
        """Store a record; return why a client cannot rely on it, `None` where it can."""
        try:
            await self._in_thread(lambda: self._store.put(put.index, put.record, put.keep))
        except SlowStoreError:
            return "store-slow"
        except StoreError:
            return "store-failed"
        return None

    async def discard(self, index: bytes) -> None:
        """Remove a record that is none, if that is possible."""
        try:
            await self._in_thread(lambda: self._store.delete(index))
        except StoreError:
            return

    async def _in_thread(self, call: Callable[[], T]) -> T:
        if self._never_waits:
            return call()
        patience = limits.STORE_PATIENCE if self._has_answered else limits.STORE_OPENING
        with anyio.move_on_after(patience):
            answer = await anyio.to_thread.run_sync(self._in_slot, call, abandon_on_cancel=True, limiter=self._limiter())
            self._has_answered = True
            return answer
        self._has_answered = True
        raise SlowStoreError("the store did not answer in time")

    def _in_slot(self, call: Callable[[], T]) -> T:
        """A thread that is given up on is still a thread, and a store that hangs would take one for every request."""
        if not self._slots.acquire(blocking=False):
            raise SlowStoreError("too many calls hang in the store")
        try:
            return call()
        finally:
            self._slots.release()

    def _limiter(self) -> anyio.CapacityLimiter:
        limiter = self._threads.get(None)
        if limiter is None:
            limiter = anyio.CapacityLimiter(THREADS)
            self._threads.set(limiter)
        return limiter


class SlowStoreError(StoreError):
    """The store did not answer in time; what it was asked may still be done."""
