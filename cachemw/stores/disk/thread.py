"""The thread in which one process has the database open."""

import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from typing import Protocol, TypeVar

import diskcache

from cachemw.errors import StoreError
from cachemw.stores.disk.damage import Identity, is_damage
from cachemw.stores.disk.database import Database

T = TypeVar("T")

DATABASE_ERRORS = (sqlite3.Error, diskcache.Timeout, OSError)

STRIKES = 60.0
"""Seconds within which a database that fails twice as a damaged one does is one."""


class OpenCache(Protocol):
    """Opens the database. The `doubted` one is closed; if it is damaged, and still in its place, it is set aside first."""

    def __call__(self, doubted: Database | None, is_damaged: bool, unless: Callable[[], bool]) -> Database:
        """Raises what is in `DATABASE_ERRORS`, and `StoreError`; it, and the cache, wait for no lock when `unless` holds."""


class DatabaseThread:
    """Opens the database when it is first used, and anew where it fails or was taken away.

    SQLite's last connection to close a database removes its log by its name: it is closed under the lock under which
    databases are opened and set aside, else the log may be the next one's.
    """

    def __init__(self, open_cache: OpenCache, lock: Callable[[], AbstractContextManager[None]]) -> None:
        self._open_cache, self._file_lock = open_cache, lock
        self._pid, self._idents = os.getpid(), list[int]()
        self._thread = ThreadPoolExecutor(1, "cachemw-store", initializer=_note, initargs=(self._idents,))
        self._is_closing, self._is_wanted = threading.Event(), threading.Event()
        self._urgent = 0  # how many calls there were that nobody delays
        self._until = math.inf
        self._lock = threading.Lock()
        self.database: Database | None = None
        """The database, while it is open."""
        self._doubted: Database | None = None
        self._is_damaged = False
        self._struck: tuple[Identity | None, float] = None, 0.0

    @property
    def is_here(self) -> bool:
        """Say whether this very thread is the one that has it open."""
        return threading.get_ident() in self._idents and self._pid == os.getpid()

    def cache(self) -> Database:
        """Return the open database, to read from. Raises `StoreError`."""
        cache = self.database
        return self.call(lambda cache: cache) if cache is None else cache

    def suspect(self, cache: Database, fault: Exception | None = None) -> None:
        """Use this database no more; the next call opens what is there by then.

        It is set aside where `fault` is its second within `STRIKES` seconds: a disk that fails once looks like damage too.
        """
        with self._lock:
            if self.database is not cache:
                return
            self.database, self._doubted = None, cache
            if fault is not None:
                identity, when = self._struck
                self._struck = cache.identity, time.monotonic()
                self._is_damaged = identity == cache.identity and time.monotonic() - when < STRIKES

    def fault(self, cache: Database, exc: Exception) -> StoreError:
        """Suspect the database where what it raised says something of it; return what to raise for who reads."""
        if is_damage(exc):
            self.suspect(cache, exc)
        elif cache.was_overdue:
            self.suspect(cache)
        return StoreError(f"cannot read from the store: {exc}")

    def call(self, do: Callable[[Database], T]) -> T:
        """Do it in the store's thread and wait. Raises `StoreError`."""
        try:
            if self.is_here:
                return self._done(do)
            return self.submit(lambda: self._done(do)).result()
        except DATABASE_ERRORS as exc:
            raise StoreError(f"the store does not work: {exc}") from exc

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have a call made in the store's thread, and do not wait. Raises `StoreError`."""
        submitted = self._begin(call)
        self._urgent += 1
        self._is_wanted.set()
        return submitted

    def submit_later(self, call: Callable[[], object], seconds: float) -> None:
        """Have a call made in so many seconds, or when it is closed; what else is to be done there goes before it.

        Raises `StoreError`.
        """
        due = time.monotonic() + seconds
        self._begin(partial(self._await_due, call, due, self._urgent))

    def _begin(self, call: Callable[[], T]) -> Future[T]:
        try:
            return self._thread.submit(call)
        except RuntimeError as exc:
            raise StoreError("the store is closed, or no thread can be started") from exc

    def close(self, within: float) -> None:
        """Let what was begun end, but begin nothing after so many seconds and wait for no lock; then close the database."""
        self._until = time.monotonic() + within
        self._is_closing.set()
        self._is_wanted.set()
        self._thread.shutdown()
        opened = [cache for cache in (self.database, self._doubted) if cache is not None]
        self.database = self._doubted = None
        with ExitStack() as stack:
            if opened:
                with suppress(OSError):  # it is gone, or somebody who opens it does not get on: unlikely enough
                    stack.enter_context(self._file_lock())
            for cache in opened:
                cache.close()

    def _await_due(self, call: Callable[[], object], due: float, urgent: int) -> None:
        """Make a call when it is due; where something else is to be done before that, wait again behind it."""
        self._is_wanted.clear()
        if self._urgent == urgent and not self._is_closing.is_set():
            self._is_wanted.wait(due - time.monotonic())
        if time.monotonic() < due and not self._is_closing.is_set():
            with suppress(RuntimeError):  # it is being closed
                self._thread.submit(self._await_due, call, due, self._urgent)
                return
        call()

    def _done(self, do: Callable[[Database], T]) -> T:
        if time.monotonic() > self._until:
            raise StoreError("the store is closed")
        for _ in range(2):
            cache = self._opened()
            try:
                return do(cache)
            except DATABASE_ERRORS as exc:
                if not is_damage(exc):
                    if cache.was_overdue:
                        self.suspect(cache)
                    raise
                self.suspect(cache, exc)
        return do(self._opened())

    def _opened(self) -> Database:
        if self.database is not None and not self.database.is_in_place:
            self.suspect(self.database)
        if self.database is None:
            opened = self._open_cache(self._doubted, self._is_damaged, self._is_closing.is_set)
            with self._lock:
                self.database, self._doubted, self._is_damaged = opened, None, False
        return self.database


def _note(idents: list[int]) -> None:
    """Serve as the thread's initializer; one that held the session would keep it, and the thread, for ever."""
    idents.append(threading.get_ident())
