"""A store in this process's memory: for tests, and where nothing may touch a disk."""

import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from cachemw.core import limits
from cachemw.errors import RecordTooLarge
from cachemw.stores.base import refuse_limits
from cachemw.stores.forks import over_forks


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
        refuse_limits(size_limit, count_limit)
        self._size_limit, self._count_limit, self._clock = size_limit, count_limit, clock
        self._records: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._secret = os.urandom(32)
        over_forks(self)

    def secret(self) -> bytes:
        return self._secret

    def get(self, index: bytes) -> bytes | None:
        record, expires = self._records.get(index, (None, 0.0))
        return record if expires > self._clock() else None

    def put(self, index: bytes, record: bytes, keep: float | None) -> None:
        if len(record) > self._size_limit:
            raise RecordTooLarge("the record is larger than the store may be")
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

    def before_fork(self) -> None:
        """Let no other thread be in the middle of something: in the child there is nobody to end it."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Let the others go on."""
        self._lock.release()

    def _remove(self, index: bytes) -> None:
        record, _ = self._records.pop(index, (b"", 0.0))
        self._size -= len(record)
