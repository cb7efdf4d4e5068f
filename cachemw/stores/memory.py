"""A store in this process's memory: for tests, and where nothing may touch a disk."""

import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from cachemw.cache.order import ALONE, Order, Others, Placed, place
from cachemw.errors import RecordTooLarge
from cachemw.limits import MEMORY_STORE_BYTES, STORE_RECORDS
from cachemw.stores.base import Inline, Store, refuse_limits
from cachemw.stores.forks import on_fork

_NOTHING: tuple[None, float, None] = None, 0.0, None


class _Changes:
    """The changes of a store, one after another, and their count."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock, self.count = lock, 0

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.count += 1  # last: whoever reads it before, and what is there after, is told of the change next time
        self._lock.release()


class MemoryStore(Store):
    """Records in a dictionary; the oldest go when there are too many, or they are too large together."""

    inline: Inline = Inline.ALL

    def __init__(
        self,
        *,
        size_limit: int = MEMORY_STORE_BYTES,
        count_limit: int = STORE_RECORDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        refuse_limits(size_limit, count_limit)
        self._size_limit, self._count_limit, self._clock = size_limit, count_limit, clock
        self._records: OrderedDict[bytes, tuple[bytes, float, Placed | None]] = OrderedDict()
        self._size = self._generation = self._puts = 0
        self._lock = threading.Lock()
        self._changes = _Changes(self._lock)
        self._secret = os.urandom(32)
        on_fork(self)

    def secret(self) -> bytes:
        return self._secret

    def get(self, index: bytes) -> bytes | None:
        record, expires, _ = self._records.get(index, _NOTHING)
        return record if expires > self._clock() else None

    def order(self) -> Order:
        return Order(self._generation, self._puts, time.monotonic_ns())

    def version(self) -> int:
        return self._changes.count

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, others: Others = ALONE) -> None:
        if len(record) > self._size_limit:
            raise RecordTooLarge("the record is larger than the store may be")
        with self._changes:
            placed = None if order is None else self._placed(order, index, *others.beside)
            for replaced in (index, *others.instead_of):
                self._remove(replaced)
            self._puts += 1
            self._records[index] = record, math.inf if keep is None else self._clock() + keep, placed
            self._size += len(record)
            while self._records and (self._size > self._size_limit or len(self._records) > self._count_limit):
                self._remove(next(iter(self._records)))

    def delete(self, *indexes: bytes) -> bool:
        with self._changes:
            self._generation += 1
            is_there = any(self.get(index) is not None for index in indexes)
            for index in indexes:
                self._remove(index)
            return is_there

    def clear(self) -> int:
        with self._changes:
            self._generation += 1
            count, self._size = len(self._records), 0
            self._records.clear()
            return count

    def discard(self, *indexes: bytes) -> None:
        with self._changes:
            for index in indexes:
                self._remove(index)

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        for index in self.indexes():
            if (record := self.get(index)) is not None:
                yield index, record

    def indexes(self) -> list[bytes]:
        with self._lock:
            return list(self._records)

    def size(self) -> int:
        return self._size

    def count(self) -> int:
        return len(self._records)

    def close(self) -> None:
        """Nothing is open."""

    def before_fork(self) -> None:
        """Let no other thread be in the middle of something: in the child there is nobody to end it."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Let the others go on."""
        self._lock.release()

    def _placed(self, order: Order, *indexes: bytes) -> Placed:
        return place(order, [self._records.get(index, _NOTHING)[2] for index in indexes], self.order())

    def _remove(self, index: bytes) -> None:
        record, _, _ = self._records.pop(index, _NOTHING)
        self._size -= len(record or b"")
