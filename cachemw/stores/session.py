"""The store as one process has it open: a thread, and in it the database."""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import diskcache

from cachemw.errors import StoreError
from cachemw.stores.damage import Identity, is_damage
from cachemw.stores.inline import InlineCache

T = TypeVar("T")

TROUBLE = (sqlite3.Error, diskcache.Timeout, OSError)

OpenCache = Callable[[Identity | None], InlineCache]
"""Opens the database; one that is known to be damaged, and still in its place, is set aside first."""


class Session:
    """Opens the database when it is first used, and anew where it is damaged or was taken away."""

    def __init__(self, open_cache: OpenCache) -> None:
        self._open_cache = open_cache
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cachemw-store", initializer=self._begin)
        self._ident = 0
        self._lock = threading.Lock()
        self._cache: InlineCache | None = None
        self._doubted: InlineCache | None = None

    @property
    def is_open(self) -> bool:
        return self._cache is not None

    def cache(self) -> InlineCache:
        """Return the open database, to read from. Raises `StoreError`."""
        return self.call(lambda cache: cache) if self._cache is None else self._cache

    def doubt(self, cache: InlineCache) -> None:
        """Use this database no more; the next call opens what is there by then, and sets this one aside if it still is."""
        with self._lock:
            if self._cache is cache:
                self._cache, self._doubted = None, cache

    def call(self, do: Callable[[InlineCache], T]) -> T:
        """Do it in the store's thread and wait. Raises `StoreError`."""
        try:
            if threading.get_ident() == self._ident:
                return self._done(do)
            return self.submit(lambda: self._done(do)).result()
        except TROUBLE as exc:
            raise StoreError(f"the store does not work: {exc}") from exc

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have a call made in the store's thread, and do not wait. Raises `StoreError`."""
        try:
            return self._thread.submit(call)
        except RuntimeError as exc:
            raise StoreError("the store is closed, or no thread can be started") from exc

    def close(self) -> None:
        """Let what was begun end, then close the database."""
        self._thread.shutdown()
        for cache in (self._cache, self._doubted):
            if cache is not None:
                cache.close()
        self._cache = self._doubted = None

    def _begin(self) -> None:
        self._ident = threading.get_ident()

    def _done(self, do: Callable[[InlineCache], T]) -> T:
        cache = self._opened()
        try:
            return do(cache)
        except TROUBLE as exc:
            if not is_damage(exc):
                raise
            self.doubt(cache)
        return do(self._opened())

    def _opened(self) -> InlineCache:
        if self._cache is not None and not self._cache.is_in_place:
            self.doubt(self._cache)
        if self._cache is None:
            doubted, self._doubted = self._doubted, None
            if doubted is not None:
                doubted.close()
            opened = self._open_cache(None if doubted is None else doubted.identity)
            with self._lock:
                self._cache = opened
        return self._cache
