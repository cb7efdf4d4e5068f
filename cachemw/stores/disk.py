"""The default store: diskcache in a directory of the user's, shared by every process that opens it."""

import contextlib
import os
import sqlite3
import threading
import weakref
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
from cachemw.stores.private import LOCK_FILE, locked, prepare_directory, read_secret, touch

T = TypeVar("T")

_TROUBLE = (sqlite3.Error, diskcache.Timeout, OSError)
_FOREIGN_SETTINGS = (TypeError, ValueError, AttributeError)
"""What diskcache raises over a database with settings it does not know."""


class DiskStore:
    """Records in an SQLite database, opened on first use in each process.

    Reads are inline once it is open; every other call runs in the store's one thread.
    `path` is a directory, `~` and `$VARIABLES` in it expanded; by default `cachemw` in the user's cache directory.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        size_limit: int = limits.STORE_BYTES,
        count_limit: int = limits.STORE_RECORDS,
    ) -> None:
        self._path = None if path is None else _absolute(path)
        self._size_limit, self._count_limit = size_limit, count_limit
        self._sessions: dict[int, _Session] = {}  # by process, for forks that run no hooks
        self._may_begin = threading.Lock()
        _close_over_forks(weakref.ref(self))

    @property
    def path(self) -> Path:
        """The store's directory."""
        return self._path or Path(platformdirs.user_cache_dir("cachemw"))

    @property
    def inline_reads(self) -> bool:
        session = self._sessions.get(os.getpid())
        return session is not None and session.is_open

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
            cache.trim(self._count_limit)

        self._here().call(put)

    def delete(self, index: bytes) -> bool:
        return bool(self._here().call(lambda cache: cache.delete(index)))

    def clear(self) -> int:
        """Remove every record, those whose time is over too; return how many there were."""
        return int(self._here().call(lambda cache: cache.clear()))

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        for index in self._here().call(lambda cache: cache.indexes()):
            if (record := self.get(index)) is not None:
                yield index, record

    def size(self) -> int:
        """Return the bytes the store takes on disk."""
        return int(self._here().call(lambda cache: cache.volume()))

    def close(self) -> None:
        session = self._sessions.pop(os.getpid(), None)
        if session is not None:
            session.close()

    def _here(self) -> "_Session":
        """Return what this process has open of the store; a forked child opens its own."""
        pid = os.getpid()
        return self._sessions.get(pid) or self._begin(pid)

    def _begin(self, pid: int) -> "_Session":
        with self._may_begin:
            return self._sessions.setdefault(pid, _Session(self._open))

    def _before_fork(self) -> None:
        """Close the store, and let nobody open it again."""
        self._may_begin.acquire()
        self.close()

    def _after_fork(self) -> None:
        """Let it be opened again, in either process."""
        with contextlib.suppress(RuntimeError):  # it was made meanwhile, so nobody closed it
            self._may_begin.release()

    def _open(self) -> InlineCache:
        directory = self.path
        if not directory.is_absolute():
            raise StoreError("there is no home directory to keep the store in")
        prepare_directory(directory)
        with locked(directory / LOCK_FILE):
            touch(directory / DBNAME)  # SQLite gives its other files the same mode
            try:
                return InlineCache(directory, size_limit=self._size_limit)
            except _FOREIGN_SETTINGS as exc:
                raise StoreError("the store's database is another program's") from exc


class _Session:
    """The store as one process has it open: a thread, and in it the database."""

    def __init__(self, open_cache: Callable[[], InlineCache]) -> None:
        self._open_cache = open_cache
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cachemw-store")
        self._cache: InlineCache | None = None

    @property
    def is_open(self) -> bool:
        return self._cache is not None

    def cache(self) -> InlineCache:
        """Return the open database, to read from. Raises `StoreError`."""
        return self.call(lambda cache: cache) if self._cache is None else self._cache

    def call(self, do: Callable[[InlineCache], T]) -> T:
        """Do it in the store's thread and wait. Raises `StoreError`."""
        try:
            return self.submit(do).result()
        except _TROUBLE as exc:
            raise StoreError("the store does not work") from exc

    def submit(self, do: Callable[[InlineCache], T]) -> Future[T]:
        """Do it in the store's thread, and do not wait. Raises `StoreError`."""
        try:
            return self._thread.submit(lambda: do(self._opened()))
        except RuntimeError as exc:
            raise StoreError("the store is closed, or no thread can be started") from exc

    def close(self) -> None:
        """Let what was begun end, then close the database."""
        self._thread.shutdown()
        cache, self._cache = self._cache, None
        if cache is not None:
            cache.close()

    def _opened(self) -> InlineCache:
        if self._cache is None:
            self._cache = self._open_cache()
        return self._cache


def _absolute(path: str | os.PathLike[str]) -> Path:
    """Return where the path leads now, as diskcache reads it, wherever the process goes later."""
    return Path(os.path.abspath(os.path.expandvars(os.path.expanduser(path))))


def _close_over_forks(store: weakref.ref[DiskStore]) -> None:
    """Have the store closed whenever this process forks; it opens again on the next use, in either process.

    SQLite forbids carrying connections over a fork. Even one that the child leaves alone makes SQLite believe there that
    it holds locks, which only the parent has: the log is then taken away from under the child.
    """

    def before() -> None:
        if (open_store := store()) is not None:
            open_store._before_fork()

    def after() -> None:
        if (closed_store := store()) is not None:
            closed_store._after_fork()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after)
