"""The least that a store promises."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator

from cachemw import Store
from cachemw.cache.order import ALONE, Order, Others, Placed, place


class DictionaryStore(Store):
    """Records in a dictionary, with no limits; everything else is as the port has it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._rows: dict[bytes, tuple[bytes, float, Placed | None]] = {}
        self._generation, self._clock, self._lock = 0, clock, threading.Lock()
        self._puts, self._secret = 0, os.urandom(32)

    def secret(self) -> bytes:
        return self._secret

    def get(self, index: bytes) -> bytes | None:
        record, expires, _ = self._rows.get(index, (None, 0.0, None))
        return record if expires > self._clock() else None

    def order(self) -> Order:
        return Order(self._generation, self._puts, time.monotonic_ns())

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, others: Others = ALONE) -> None:
        with self._lock:
            there = [self._rows[other][2] for other in (index, *others.beside) if other in self._rows]
            placed = None if order is None else place(order, there, self.order())
            self._puts += 1
            for replaced in others.instead_of:
                self._rows.pop(replaced, None)
            self._rows[index] = record, math.inf if keep is None else self._clock() + keep, placed

    def delete(self, *indexes: bytes) -> bool:
        with self._lock:
            self._generation += 1
            is_there = any(self.get(index) is not None for index in indexes)
            for index in indexes:
                self._rows.pop(index, None)
            return is_there

    def clear(self) -> int:
        with self._lock:
            self._generation += 1
            count = len(self._rows)
            self._rows.clear()
            return count

    def discard(self, *indexes: bytes) -> None:
        with self._lock:
            for index in indexes:
                self._rows.pop(index, None)

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        return ((index, record) for index in list(self._rows) if (record := self.get(index)) is not None)

    def size(self) -> int:
        return sum(len(record) for record, _, _ in list(self._rows.values()))

    def close(self) -> None:
        """Nothing is open."""
