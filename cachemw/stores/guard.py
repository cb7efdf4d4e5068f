"""A guard around any store: bounds every call in time, and leaves a store that fails alone for a while."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar, runtime_checkable

import anyio
from anyio.lowlevel import current_token

from cachemw import limits
from cachemw.cache.effects import not_kept
from cachemw.cache.live_response import Put
from cachemw.cache.order import Order
from cachemw.errors import StoreError
from cachemw.stores.base import Store
from cachemw.stores.calls import CallQueue, StoreCall, translated
from cachemw.stores.memory import MemoryStore

T = TypeVar("T")


@runtime_checkable
class HasThread(Protocol):
    """A store with a thread of its own for what may take its time."""

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Do it there, after what was asked before. Raises `StoreError`."""


class GuardedStore:
    """Lets nobody wait longer than `STORE_PATIENCE` seconds for a call, and asks no more while calls fail.

    Raises `StoreError` only, whatever the guarded store raises: it may be anybody's. What is given up on goes on.
    `begin_…` have the call made elsewhere, for who does not want to wait in this thread; the other names are the port's.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.never_waits = type(store) is MemoryStore  # what is derived from it may
        self._thread = store if isinstance(store, HasThread) else None
        self._calls: dict[int, CallQueue] = {}
        self._known_secret = b""

    @property
    def inline_reads(self) -> bool:
        try:
            return self.never_waits or self._store.inline_reads
        except Exception:  # noqa: BLE001 - a store may be anybody's
            return False

    @property
    def known_secret(self) -> bytes:
        """The store's secret, empty as long as it has not said it."""
        return self._store.secret() if self.never_waits else self._known_secret

    def secret(self) -> bytes:
        """Return the store's secret; it is asked once."""
        return self.known_secret or self.begin_secret().wait()

    def get(self, index: bytes) -> bytes | None:
        if self.never_waits:
            return self._store.get(index)
        if not self.inline_reads:
            return self.begin_get(index).wait()
        return self._read_inline(lambda: self._get(index))

    def order(self) -> Order:
        if self.never_waits:
            return self._store.order()
        return self._read_inline(self._order) if self.inline_reads else self.begin_order().wait()

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, waits: bool = True) -> None:
        if self.never_waits:
            self._store.put(index, record, keep, order)
        else:
            self.begin_put(index, record, keep, order, waits).wait()

    def delete(self, index: bytes) -> bool:
        if self.never_waits:
            return self._store.delete(index)
        return self._here().write(index, lambda: self._store.delete(index), 0).wait()

    def clear(self) -> int:
        return self._store.clear()

    def discard(self, index: bytes) -> None:
        if self.never_waits:
            self._store.discard(index)
        else:
            self.begin_discard(index).wait()

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        return self._store.scan()

    def close(self) -> None:
        self._store.close()

    def begin_secret(self) -> StoreCall[bytes]:
        """Begin to ask for the secret; all who ask at once share one call."""
        calls = self._here()
        with calls.asking:
            if calls.secret is None or not calls.secret.may_be_shared:
                patience = limits.STORE_OPENING if calls.secret is None else limits.STORE_PATIENCE
                calls.secret = calls.read(self._ask_secret, patience)
            return calls.secret

    def begin_get(self, index: bytes) -> StoreCall[bytes | None]:
        """Begin to read; a store that could be read inline, were it open, is given the time to open."""
        return self._here().read(lambda: self._get(index), self._reading_patience)

    def begin_order(self) -> StoreCall[Order]:
        """Begin to ask for the order, with the patience of `begin_get`."""
        return self._here().read(self._order, self._reading_patience)

    def begin_put(
        self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, waits: bool = True
    ) -> StoreCall[None]:
        """Begin to write; who does not wait gives it up at once, and it goes on."""
        attempt = self._here().write(index, lambda: self._store.put(index, record, keep, order), len(record))
        attempt.patience *= waits
        return attempt

    def begin_discard(self, index: bytes) -> StoreCall[None]:
        return self._here().write(index, lambda: self._store.discard(index), 0)

    @property
    def _reading_patience(self) -> float:
        return limits.STORE_PATIENCE if self._thread is None else limits.STORE_OPENING

    def _read_inline(self, call: Callable[[], T]) -> T:
        reading = self._here().reading
        reading.admit()
        try:
            read = call()
        except Exception as exc:
            reading.failed(exc)
            raise translated(exc) from exc
        reading.succeeded()
        return read

    def _order(self) -> Order:
        order: object = self._store.order()
        if isinstance(order, Order):
            return order
        raise StoreError("what the store gave is no order")

    def _get(self, index: bytes) -> bytes | None:
        record: object = self._store.get(index)
        if record is None or isinstance(record, bytes):
            return record
        raise StoreError("what the store gave is no record")

    def _ask_secret(self) -> bytes:
        secret: object = self._store.secret()
        if not isinstance(secret, bytes) or not secret:
            raise StoreError("what the store gave is no secret")
        self._known_secret = secret
        return secret

    def _here(self) -> CallQueue:
        pid = os.getpid()
        calls = self._calls.get(pid)
        return calls or self._calls.setdefault(pid, CallQueue(None if self._thread is None else self._thread.submit))


class AsyncStore:
    """The port, awaited. Raises `StoreError` only."""

    def __init__(self, store: Store) -> None:
        self._store = GuardedStore(store)

    async def secret(self) -> bytes:
        """Return the store's secret; it is asked once."""
        return self._store.known_secret or await _awaited(self._store.begin_secret())

    async def get(self, index: bytes) -> bytes | None:
        """Return a record, or `None`."""
        store = self._store
        return store.get(index) if store.inline_reads else await _awaited(store.begin_get(index))

    async def order(self) -> Order:
        """Return where a forward stands that begins now."""
        store = self._store
        return store.order() if store.inline_reads else await _awaited(store.begin_order())

    async def put(self, put: Put) -> str | None:
        """Store a record; return why a client cannot rely on it, `None` where it can."""
        store = self._store
        try:
            if store.never_waits:
                store.put(put.index, put.record, put.keep, put.order)
            else:
                await _awaited(store.begin_put(put.index, put.record, put.keep, put.order, put.waits))
        except StoreError as error:
            return not_kept(error)
        return None

    async def discard(self, index: bytes) -> None:
        """Remove a record that is none, if that is possible."""
        store = self._store
        with contextlib.suppress(StoreError):
            if store.never_waits:
                store.discard(index)
            else:
                await _awaited(store.begin_discard(index))


async def _awaited(attempt: StoreCall[T]) -> T:
    """Return what comes of it, soon. Raises `StoreTimeout` and `StoreError`."""
    over, token, here = anyio.Event(), current_token().native_token, threading.get_ident()

    def tell(_: object) -> None:
        if threading.get_ident() == here:
            over.set()
        else:
            _soon(token, over)

    attempt.done.add_done_callback(tell)
    with anyio.move_on_after(attempt.patience):
        await over.wait()
    if not attempt.is_over:
        raise attempt.give_up()
    return attempt.done.result()


def _soon(token: Any, over: anyio.Event) -> None:
    """Set an event of another thread's loop, and do not wait: that loop may be waiting for this thread."""
    call = token.call_soon_threadsafe if isinstance(token, asyncio.AbstractEventLoop) else token.run_sync_soon
    with contextlib.suppress(RuntimeError):  # the loop has ended
        call(over.set)
