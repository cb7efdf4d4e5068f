"""A guard around any store: bounds every call in time, and leaves a store that fails alone for a while."""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, ParamSpec, Protocol, TypeVar

import anyio
from anyio.lowlevel import current_token

from cachemw.cache.effects import Wanted, not_kept
from cachemw.cache.live_response import Put
from cachemw.cache.order import ALONE, Order, Others
from cachemw.errors import RecordError, RecordRefused, StoreError
from cachemw.limits import Limits
from cachemw.stores.base import Inline, Store, account_of
from cachemw.stores.calls import CallQueue, Side, StoreCall, translated
from cachemw.stores.recorded import NearestRecords

logger = logging.getLogger(__name__)

PARTS_AT_ONCE = 32
"""The number of an answer's parts that are put in one call: others have their turn between."""

NEAREST_SECONDS = 1.0
"""The seconds for which records are looked through for the one that is nearest to a request."""

READ_AT_ONCE = 16
"""The number of records that are read in one call of a store: others have their turn between."""

P = ParamSpec("P")
T = TypeVar("T")


class CallNote(Protocol):
    """Is told of calls of a store: their names, how many seconds they took, and the fault in which they ended."""

    def __call__(self, call: str, seconds: float, fault: BaseException | None, /) -> None:
        """Take note of one call, at once."""


class GuardedStore:
    """Lets nobody wait longer than `store_patience` seconds for a call, and asks no more while calls fail.

    Raises `StoreError` only, whatever the guarded store raises: it may be anybody's. What is given up on goes on.
    `begin_…` have the call made elsewhere, for who does not want to wait in this thread; the other names are the port's.
    """

    def __init__(self, store: Store, limits: Limits = Limits()) -> None:
        self._store, self._submit, self._limits = store, store.submit, limits
        self._keeps_parts = store.keeps_parts
        self._nearest_records = NearestRecords(store)
        self._calls: dict[int, CallQueue] = {}
        self.known_secret = b""
        """The store's secret, empty as long as it has not said it."""
        self.note: CallNote | None = None
        """Is told of every `get`, `put` and `delete`."""

    @property
    def inline(self) -> Inline:
        """The calls that never wait now."""
        try:
            return self._store.inline
        except Exception:  # noqa: BLE001 - a store may be anybody's
            return Inline.NONE

    @property
    def is_well(self) -> bool:
        """Say whether neither the last read nor the last write failed."""
        calls = self._here()
        return calls.reading.is_well and calls.writing.is_well

    @property
    def left_alone(self) -> tuple[bool, bool]:
        """Say whether it is neither read, nor written to, for now."""
        calls = self._here()
        return calls.reading.is_left_alone, calls.writing.is_left_alone

    def secret(self) -> bytes:
        """Return the store's secret; it is asked once."""
        if self.known_secret:
            return self.known_secret
        if self.inline is Inline.ALL:
            return self._inline(self._here().reading, self._secret)
        return self.begin_secret().wait()

    def get(self, index: bytes) -> bytes | None:
        return self.begin_get(index).wait() if self.inline is Inline.NONE else self.inline_get(index)

    def inline_get(self, index: bytes) -> bytes | None:
        """Read in this thread."""
        if self.note is None:
            return self._inline(self._here().reading, self._get, index)
        return self._noted(self.note, "get", self._here().reading, self._get, index)

    def get_many(self, indexes: Sequence[bytes], *, to_the_end: bool = False) -> tuple[bytes | None, ...]:
        """Read records up to the first that is not there, or `to_the_end`, all in this thread or in one call elsewhere."""
        if self.inline is Inline.NONE:
            read = partial(self._get_many, indexes, to_the_end)
            return self._watched("get", self._here().read(read, self._reading_patience)).wait()
        return self._noted(self.note, "get", self._here().reading, self._get_many, indexes, to_the_end)

    def inline_version(self) -> Hashable | None:
        """Ask for the version in this thread."""
        return self._inline(self._here().reading, self._store.version)

    def order(self) -> Order:
        return self.begin_order().wait() if self.inline is Inline.NONE else self.inline_order()

    def inline_order(self) -> Order:
        """Ask for the order in this thread."""
        return self._inline(self._here().reading, self._order)

    def put(
        self,
        index: bytes,
        record: bytes,
        keep: float | None,
        order: Order | None = None,
        others: Others = ALONE,
        waits: bool = True,
    ) -> None:
        if self.inline is Inline.ALL:
            self._noted(self.note, "put", self._here().writing, self._store.put, index, record, keep, order, others)
        else:
            self.begin_put(index, record, keep, order, others, waits=waits).wait()

    def discard(self, *indexes: bytes) -> None:
        if self.inline is Inline.ALL:
            self._noted(self.note, "delete", self._here().writing, self._store.discard, *indexes)
        else:
            self.begin_discard(*indexes).wait()

    def begin_secret(self) -> StoreCall[bytes]:
        """Begin to ask for the secret; all who ask at once share one call."""
        calls = self._here()
        with calls.asking:
            if calls.secret is None or not calls.secret.may_be_shared:
                patience = self._limits.store_opening if calls.secret is None else self._limits.store_patience
                calls.secret = calls.read(self._secret, patience)
            return calls.secret

    def begin_get(self, index: bytes) -> StoreCall[bytes | None]:
        """Begin to read; a store that could be read inline, were it open, is given the time to open."""
        return self._watched("get", self._here().read(lambda: self._get(index), self._reading_patience))

    def begin_order(self) -> StoreCall[Order]:
        """Begin to ask for the order, with the patience of `begin_get`."""
        return self._here().read(self._order, self._reading_patience)

    def account(self) -> str:
        """Return what people are told of what the store holds. Raises nothing."""
        try:
            return self._account() if self.inline is not Inline.NONE else self.begin_account().wait()
        except StoreError as exc:
            return _unasked(exc)

    def nearest(self, wanted: Wanted) -> str:
        """Return what people are told of the record that is nearest to a request; nothing where none is near.

        It reads all that there is, as far as there is time: not for an event loop. Raises nothing.
        """
        find = partial(self._nearest, wanted)
        try:
            return find() if self.inline is not Inline.NONE else self._here().read(find, self._reading_patience).wait()
        except StoreError:
            return ""

    def begin_account(self) -> StoreCall[str]:
        return self._here().read(self._account, self._reading_patience)

    def begin_put(
        self,
        index: bytes,
        record: bytes,
        keep: float | None,
        order: Order | None = None,
        others: Others = ALONE,
        *,
        waits: bool,
    ) -> StoreCall[None]:
        """Begin to write; who does not wait gives it up at once, and it goes on."""
        attempt = self._here().write(index, lambda: self._store.put(index, record, keep, order, others), len(record))
        attempt.patience *= waits
        return self._watched("put", attempt)

    def put_parts(self, put: Put) -> None:
        """Have the parts of a record put that was put itself, some at a time; nobody hears how that went."""
        if put.parts is None or not self._keeps_parts:
            return
        with contextlib.suppress(StoreError):
            if self.inline is Inline.ALL and len(put.record) <= self._limits.judged_bytes:  # to divide megabytes takes a while
                self._inline(self._here().writing, self._put_some, put, put.parts(), None)
            else:
                self._begin_parts(put, put.parts())

    def _begin_parts(self, put: Put, records: Iterator[tuple[bytes, bytes]]) -> None:
        def some() -> None:
            if self._put_some(put, records, PARTS_AT_ONCE) == PARTS_AT_ONCE:
                with contextlib.suppress(StoreError):
                    self._begin_parts(put, records)

        self._here().write(put.index, some, len(put.record))

    def _put_some(self, put: Put, records: Iterator[tuple[bytes, bytes]], count: int | None) -> int:
        """Put so many records, `None` for all, and say how many there were; one may be refused, as older than what is there."""
        done = 0
        for index, record in islice(records, count):
            done += 1
            with contextlib.suppress(RecordRefused):
                self._store.put(index, record, put.keep, put.order)
        return done

    def begin_discard(self, *indexes: bytes) -> StoreCall[None]:
        return self._watched("delete", self._here().write(indexes[0], lambda: self._store.discard(*indexes), 0))

    @property
    def _reading_patience(self) -> float:
        return self._limits.store_patience if self._submit is None else self._limits.store_opening

    def _inline(self, side: Side, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if not side.is_well:  # as it nearly always is: every hit comes this way
            side.admit()
        try:
            result = call(*args, **kwargs)
        except (RecordRefused, RecordError) as exc:
            side.succeeded()
            if isinstance(exc, RecordError):
                logger.warning("a record is not used: %s", exc)
            raise
        except Exception as exc:
            side.failed(exc)
            raise translated(exc) from exc
        if not side.is_well:
            side.succeeded()
        return result

    def _noted(
        self, note: CallNote | None, name: str, side: Side, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Make a call in this thread, and tell how long it took."""
        if note is None:
            return self._inline(side, call, *args, **kwargs)
        began, fault = time.perf_counter(), None
        try:
            return self._inline(side, call, *args, **kwargs)
        except StoreError as exc:
            fault = exc
            raise
        finally:
            note(name, time.perf_counter() - began, fault)

    def _watched(self, name: str, attempt: StoreCall[T]) -> StoreCall[T]:
        """Have it told how long a call takes that was begun elsewhere, with the time for which it waits for its turn."""
        note, began = self.note, time.perf_counter()
        if note is not None:
            attempt.done.add_done_callback(lambda done: note(name, time.perf_counter() - began, done.exception()))
        return attempt

    def _account(self) -> str:
        try:
            return account_of(self._store)
        except Exception as exc:  # noqa: BLE001 - a store may be anybody's
            return _unasked(translated(exc))

    def _nearest(self, wanted: Wanted) -> str:
        until = time.monotonic() + NEAREST_SECONDS
        try:
            return self._nearest_records.told(wanted, lambda: time.monotonic() > until)
        except Exception as exc:  # noqa: BLE001 - a store may be anybody's
            logger.info("the nearest record cannot be told: %s", type(exc).__name__)
            return ""

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

    def _get_many(self, indexes: Sequence[bytes], to_the_end: bool) -> tuple[bytes | None, ...]:
        found: list[bytes | None] = []
        for start in range(0, len(indexes), READ_AT_ONCE):
            found += map(_checked, self._store.get_many(indexes[start : start + READ_AT_ONCE]))
            if None in found and not to_the_end:
                del found[found.index(None) :]
                break
        return tuple(found)

    def _secret(self) -> bytes:
        secret: object = self._store.secret()
        if not isinstance(secret, bytes) or not secret:
            raise StoreError("what the store gave is no secret")
        self.known_secret = secret
        return secret

    def _here(self) -> CallQueue:
        pid = os.getpid()
        return self._calls.get(pid) or self._calls.setdefault(pid, CallQueue(self._submit, self._limits))


class AsyncStore:
    """The port, awaited. Raises `StoreError` only."""

    def __init__(self, store: Store, limits: Limits = Limits()) -> None:
        self.guarded = self._store = GuardedStore(store, limits)

    async def secret(self) -> bytes:
        """Return the store's secret; it is asked once."""
        store = self._store
        return store.secret() if store.known_secret or store.inline is Inline.ALL else await _awaited(store.begin_secret())

    async def get(self, index: bytes) -> bytes | None:
        """Return a record, or `None`."""
        store = self._store
        return await _awaited(store.begin_get(index)) if store.inline is Inline.NONE else store.inline_get(index)

    async def order(self) -> Order:
        """Return where a forward stands that begins now."""
        store = self._store
        return await _awaited(store.begin_order()) if store.inline is Inline.NONE else store.inline_order()

    async def account(self) -> str:
        """Return what people are told of what the store holds. Raises nothing."""
        store = self._store
        try:
            return await _awaited(store.begin_account()) if store.inline is Inline.NONE else store.account()
        except StoreError as exc:
            return _unasked(exc)

    async def put(self, put: Put) -> str | None:
        """Store a record; return why a client cannot rely on it, `None` where it can."""
        store = self._store
        try:
            if store.inline is Inline.ALL:
                store.put(put.index, put.record, put.keep, put.order, put.others)
            else:
                await _awaited(store.begin_put(put.index, put.record, put.keep, put.order, put.others, waits=put.waits))
        except StoreError as error:
            return not_kept(error)
        store.put_parts(put)
        return None

    async def discard(self, *indexes: bytes) -> None:
        """Remove a record that is none, if that is possible."""
        store = self._store
        with contextlib.suppress(StoreError):
            if store.inline is Inline.ALL:
                store.discard(*indexes)
            else:
                await _awaited(store.begin_discard(*indexes))


def _checked(record: object) -> bytes | None:
    if record is None or isinstance(record, bytes):
        return record
    raise StoreError("what the store gave is no record")


def _unasked(error: StoreError) -> str:
    return f"the store does not say what it holds: {error}"


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
