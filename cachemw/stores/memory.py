"""A store in this process's memory: for tests, and where nothing may touch a disk."""

import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from cachemw.core import limits


class MemoryStore:
    """Records in a dictionary; the oldest go when there are too many, or they are too large together."""

    inline_reads = True

    def __init__(
        self,
        *,
        size_limit: int = limits.MEMORY_STORE_BYTES,
        count_limit: int = limits.STORE_RECORDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._size_limit, self._count_limit, self._clock = size_limit, count_limit, clock
        self._records: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._secret = os.urandom(32)

    def secret(self) -> bytes:
        return self._secret

    def get(self, index: bytes) -> bytes | None:
        record, expires = self._records.get(index, (None, 0.0))
        return record if expires > self._clock() else None

    def put(self, index: bytes, record: bytes, keep: float | None) -> None:
        with self._lock:
            self._remove(index)
            self._records[index] = record, math.inf if keep is None else self._clock() + keep
            self._size += len(record)
            while self._records and (self._size > self._size_limit or len(self._records) > self._count_limit):
                self._remove(next(iter(self._records)))

    def delete(self, index: bytes) -> bool:
        with self._lock:
            is_there = self.get(index) is not None
            self._remove(index)
            return is_there

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        with self._lock:
            indexes = list(self._records)
        for index in indexes:
            if (record := self.get(index)) is not None:
                yield index, record

    def close(self) -> None:
        """Nothing is open."""

    def _remove(self, index: bytes) -> None:
        record, _ = self._records.pop(index, (b"", 0.0))
        self._size -= len(record)
