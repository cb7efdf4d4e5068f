"""The default store: diskcache in a directory of the user's, shared by every process that opens it."""

import itertools
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import diskcache
import platformdirs
from diskcache.core import DBNAME

from cachemw.core import limits
from cachemw.errors import StoreError
from cachemw.stores.inline import ForeignRowError, InlineCache
from cachemw.stores.private import locked, prepare_directory, read_secret, touch

T = TypeVar("T")

_TROUBLE = (sqlite3.Error, diskcache.Timeout, OSError, RuntimeError)


class DiskStore:
    """Records in an SQLite database, opened on first use in each process.

    Reads are inline once it is open; every other call runs in the store's one thread.
    `path` is a directory, by default `cachemw` in the user's cache directory.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        size_limit: int = limits.STORE_BYTES,
        count_limit: int = limits.STORE_RECORDS,
    ) -> None:
        self._path = None if path is None else Path(path)
        self._size_limit, self._count_limit = size_limit, count_limit
        self._session: _Session | None = None
        self._inherited: list[_Session] = []  # never closed here: SQLite forbids carrying connections over a fork
        self._opening = threading.Lock()

    @property
    def path(self) -> Path:
        """The store's directory."""
        return self._path or Path(platformdirs.user_cache_dir("cachemw"))

    @property
    def inline_reads(self) -> bool:
        session = self._session
        return session is not None and session.pid == os.getpid() and session.is_open

    def secret(self) -> bytes:
        return self._here().call(lambda _: read_secret(self.path))

    def get(self, index: bytes) -> bytes | None:
        session = self._here()
        try:
            return session.cache().read(index)
        except ForeignRowError:
            session.submit(lambda cache: cache.delete(index))
            return None
        except _TROUBLE as exc:
            raise StoreError("cannot read from the store") from exc

    def put(self, index: bytes, record: bytes, keep: float | None) -> None:
        def put(cache: InlineCache) -> None:
            cache.set(index, record, expire=keep)
            for oldest in itertools.islice(cache, max(0, len(cache) - self._count_limit)):
                cache.delete(oldest)

        self._here().call(put)

    def delete(self, index: bytes) -> bool:
        return bool(self._here().call(lambda cache: cache.delete(index)))

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        def indexes(cache: InlineCache) -> list[bytes]:
            cache.sweep()
            return list(cache)

        for index in self._here().call(indexes):
            if (record := self.get(index)) is not None:
                yield index, record

    def size(self) -> int:
        """Return the bytes the store takes on disk."""
        return int(self._here().call(lambda cache: cache.volume()))

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None and session.pid == os.getpid():
            session.close()

    def _here(self) -> "_Session":
        """Return what this process has open of the store; a forked child opens its own."""
        session = self._session
        if session is not None and session.pid == os.getpid():
            return session
        with self._opening:
            if self._session is not None and self._session.pid != os.getpid():
                self._inherited.append(self._session)
                self._session = None
            self._session = self._session or _Session(self._open)
            return self._session

    def _open(self) -> InlineCache:
        directory = self.path
        prepare_directory(directory)
        with locked(directory / "lock"):
            touch(directory / DBNAME)  # SQLite gives its other files the same mode
            return InlineCache(directory, size_limit=self._size_limit)


class _Session:
    """The store as one process has it open: a thread, and in it the database."""

    def __init__(self, open_cache: Callable[[], InlineCache]) -> None:
        self.pid = os.getpid()
        self._open_cache = open_cache
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cachemw-store")
        self._cache: InlineCache | None = None

    @property
    def is_open(self) -> bool:
        return self._cache is not None

    def cache(self) -> InlineCache:
        """Return the open database, to read from. Raises `StoreError`."""
        return self._cache or self.call(lambda cache: cache)

    def call(self, do: Callable[[InlineCache], T]) -> T:
        """Do it in the store's thread and wait. Raises `StoreError`."""
        try:
            return self.submit(do).result()
        except _TROUBLE as exc:
            raise StoreError("the store does not work") from exc

    def submit(self, do: Callable[[InlineCache], T]) -> Future[T]:
        """Do it in the store's thread, and do not wait."""
        return self._thread.submit(lambda: do(self._opened()))

    def close(self) -> None:
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _opened(self) -> InlineCache:
        if self._cache is None:
            self._cache = self._open_cache()
        return self._cache

    def _close(self) -> None:
        cache, self._cache = self._cache, None
        if cache is not None:
            cache.close()
