"""A guarded store as an event loop asks it."""

import asyncio
import contextlib
import threading
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import current_token

from cachemw.core.errands import not_kept
from cachemw.core.order import Order
from cachemw.core.transfer import Put
from cachemw.errors import StoreError
from cachemw.stores.attempts import Attempt
from cachemw.stores.base import Store
from cachemw.stores.guard import GuardedStore

T = TypeVar("T")


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


async def _awaited(attempt: Attempt[T]) -> T:
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
