"""The default store: diskcache in a directory of the user's, shared by every process that opens it."""

import contextlib
import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import ClassVar, TypeVar

import platformdirs
from diskcache.core import DBNAME

from cachemw.cache.order import ALONE, Order, Others
from cachemw.errors import RecordTooLarge, StoreError
from cachemw.limits import ROW_BYTES, STORE_BYTES, STORE_RECORDS
from cachemw.stores.base import Inline, Store, absolute, refuse_limits, refuse_nothing
from cachemw.stores.disk.damage import discard, identity, is_damage, set_aside
from cachemw.stores.disk.database import LARGEST_ROW, WRITE_TIMEOUT, Database, ForeignRowError
from cachemw.stores.disk.files import (
    CLOSING_WAIT,
    LOCK_FILE,
    OURS,
    given_secret,
    has_room,
    locked,
    prepare_directory,
    read_secret,
    refuse_network,
    restore_secret,
    touch,
)
from cachemw.stores.disk.reading import DiskReader
from cachemw.stores.disk.schema import ForeignSchemaError
from cachemw.stores.disk.thread import DATABASE_ERRORS, DatabaseThread
from cachemw.stores.forks import on_fork

T = TypeVar("T")

logger = logging.getLogger(__name__)

_FOREIGN = (ForeignSchemaError, TypeError, ValueError, AttributeError)
"""The exceptions over another program's database; the last ones by diskcache, over settings it does not know."""

CLOSING_TIME = 1.0
FORKING_TIME = 0.05
"""The seconds that the calls that were begun have when the store is closed, and when the process forks, in seconds."""


class DiskStore(Store):
    """Records in an SQLite database, opened on first use in each process.

    Reads are inline once it is open; every other call runs in the store's one thread. A database that is damaged, or another
    program's, is set aside as `cache.db.corrupt-…`, and a new one serves.
    `path` is a directory, `~` and `$VARIABLES` in it expanded; by default `cachemw` in the user's cache directory. On a
    network file system the store does not open, unless `allow_network`. A record larger than `record_limit` is neither written
    nor read. Raises `ConfigurationError` for limits, or a `CACHEMW_SECRET`, that cannot work.
    """

    write_timeout: ClassVar[float] = WRITE_TIMEOUT
    """How long a write waits for another's lock, in seconds."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        size_limit: int = STORE_BYTES,
        count_limit: int = STORE_RECORDS,
        record_limit: int = ROW_BYTES,
        allow_network: bool = False,
    ) -> None:
        refuse_limits(size_limit, count_limit, record_limit)
        self._path = None if path is None else absolute(path)
        self._size_limit, self._count_limit, self._allow_network = size_limit, count_limit, allow_network
        self._record_limit = min(record_limit, size_limit, LARGEST_ROW)
        self._given_secret = given_secret()
        self._sessions: dict[int, DatabaseThread] = {}  # by process, for forks that run no hooks
        self._closing: list[DatabaseThread] = []
        self._known_secret = b""
        self._reader: DiskReader | None = None
        self._may_begin = threading.Lock()
        self._beside: list[weakref.WeakMethod[Callable[[], None]]] = []
        on_fork(self)

    @property
    def path(self) -> Path:
        """The store's directory."""
        return self._path or Path(platformdirs.user_cache_dir("cachemw"))

    @property
    def place(self) -> str:
        return str(self.path)

    @property
    def inline(self) -> Inline:
        session = self._sessions.get(os.getpid())
        return Inline.NONE if session is None or session.database is None else Inline.READS

    def submit(self, call: Callable[[], T], /) -> Future[T]:
        """Have a call made in the store's thread. Raises `StoreError`."""
        return self._here().submit(call)

    def submit_later(self, call: Callable[[], object], seconds: float, /) -> None:
        """Have a call made in the store's thread in so many seconds; what else is to be done there goes before it.

        Raises `StoreError`.
        """
        self._here().submit_later(call, seconds)

    def exists(self) -> bool:
        return all((self.path / name).is_file() for name in OURS)

    def read_only(self) -> DiskReader:
        refuse_nothing(self.path, self.path / DBNAME)
        if self._reader is None:
            self._reader = DiskReader(self.path, self._record_limit, self._given_secret)
        return self._reader

    def secret(self) -> bytes:
        if self._given_secret:
            return self._given_secret
        try:
            self._prepare()
            self._known_secret = read_secret(self.path)
        except OSError as exc:
            raise StoreError(f"cannot read the store's secret: {exc}") from exc
        return self._known_secret

    def get(self, index: bytes) -> bytes | None:
        session = self._here()
        cache = session.cache()
        try:
            record = cache.read(index)
        except ForeignRowError:
            session.submit(lambda: self.discard(index))
            return None
        except DATABASE_ERRORS as exc:
            raise session.fault(cache, exc) from exc
        if (record is None or not cache.was_seen) and not cache.is_in_place:
            session.suspect(cache)
            return None
        return record

    def get_many(self, indexes: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return the records; what is more than to read them is left to `get`, which sees to rows that are none of ours."""
        session = self._here()
        cache = session.cache()
        try:
            found = dict(cache.read_many(indexes))
        except (sqlite3.DataError, sqlite3.OperationalError):  # one is larger than it may be, or all take too long
            return super().get_many(indexes)
        except DATABASE_ERRORS as exc:
            raise session.fault(cache, exc) from exc
        if None in found.values() or len(found) < len(set(indexes)) and not cache.is_in_place:
            return super().get_many(indexes)
        if not cache.was_seen and not cache.is_in_place:
            session.suspect(cache)
            return [None] * len(indexes)
        return [found.get(index) for index in indexes]

    def order(self) -> Order:
        return self._read(Database.order)

    def version(self) -> tuple[int, int]:
        session = self._sessions.get(os.getpid())
        opened = None if session is None else session.database
        noted = None if opened is None else opened.noted_version()  # as it nearly always is: every recalled hit comes this way
        return noted or self._read(Database.version)

    def _read(self, read: Callable[[Database], T]) -> T:
        session = self._here()
        cache = session.cache()
        try:
            result = read(cache)
        except DATABASE_ERRORS as exc:
            raise session.fault(cache, exc) from exc
        if not cache.was_seen and not cache.is_in_place:
            session.suspect(cache)
            raise StoreError("the store was taken away")
        return result

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, others: Others = ALONE) -> None:
        if len(record) > self._record_limit:
            raise RecordTooLarge("the record is larger than one, or than all of the store, may be")

        def put(cache: Database) -> None:
            if not has_room(self.path, len(record)):
                discard(self.path)
                raise StoreError("too little space is left on the file system")
            cache.put(index, record, keep, order, others)
            cache.trim(self._count_limit)

        self._here().call(put)

    def delete(self, *indexes: bytes) -> bool:
        return self._here().call(lambda cache: cache.purge(indexes))

    def purge(self, stored_before: float) -> int:
        return self._here().call(lambda cache: cache.purge_older(stored_before))

    def discard(self, *indexes: bytes) -> None:
        self._here().call(lambda cache: cache.remove(indexes))

    def clear(self) -> int:
        """Purge every record, those whose time is over too, and what was set aside; return how many there were."""

        def clear(cache: Database) -> int:
            discard(self.path)
            cache.begin_generation()
            return int(cache.clear())

        return self._here().call(clear)

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        """Go through the records there are, oldest first."""
        for index in self.indexes():
            if (record := self.get(index)) is not None:
                yield index, record

    def indexes(self) -> list[bytes]:
        return self._here().call(lambda cache: cache.indexes())

    def size(self) -> int:
        """Return the bytes it takes on disk."""
        try:
            return int(self._here().call(lambda cache: cache.volume()))
        except (TypeError, ValueError, OverflowError) as exc:  # diskcache adds up what the database says
            raise StoreError("the database does not know what it holds") from exc

    def count(self) -> int:
        return self._read(Database.rows)

    def closes_with(self, let_go: Callable[[], None], /) -> None:
        """Have a method called when the store was closed, for as long as what lies beside it and has that method is there."""
        self._beside = [*[one for one in self._beside if one() is not None], weakref.WeakMethod(let_go)]

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._close(CLOSING_TIME)
        for let_go in self._beside:
            if (method := let_go()) is not None:
                method()

    def _close(self, within: float) -> None:
        session = self._sessions.pop(os.getpid(), None)
        if session is None:
            return
        self._closing.append(session)
        try:
            session.close(within)
        finally:
            self._closing.remove(session)

    def _here(self) -> DatabaseThread:
        """Return what this process has open of the store; a forked child opens its own, what ends goes on in its thread."""
        for session in tuple(self._closing):
            if session.is_here:
                return session
        pid = os.getpid()
        return self._sessions.get(pid) or self._begin(pid)

    def _begin(self, pid: int) -> DatabaseThread:
        with self._may_begin:
            return self._sessions.setdefault(pid, DatabaseThread(self._open, self._locked))

    def before_fork(self) -> None:
        """Close the store, and let nobody open it again. SQLite forbids carrying connections over a fork.

        Even one that the child leaves alone makes SQLite believe there that it holds locks, which only the parent has: the
        log is then taken away from under the child.
        """
        self._may_begin.acquire()
        self._close(FORKING_TIME)

    def after_fork(self) -> None:
        """Let it be opened again, in either process."""
        self._may_begin.release()

    def _prepare(self) -> None:
        """Have the directory made. Raises `OSError`."""
        directory = self.path
        if not directory.is_absolute():
            raise OSError("there is no home directory to keep the store in")
        if not self._allow_network:
            refuse_network(directory)
        prepare_directory(directory)

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return locked(self.path / LOCK_FILE, CLOSING_WAIT)

    def _open(self, doubted: Database | None, is_damaged: bool, unless: Callable[[], bool]) -> Database:
        self._prepare()
        with locked(self.path / LOCK_FILE, unless=unless):
            is_in_place = doubted is not None and doubted.is_in_place
            if doubted is not None:
                doubted.close()
            restore_secret(self.path, self._known_secret)
            if is_damaged and is_in_place:
                _set_aside(self.path)
            return self._connected(unless)

    def _connected(self, unless: Callable[[], bool]) -> Database:
        for _ in range(2):  # a disk that fails once looks like damage too
            try:
                return self._connect(unless)
            except (sqlite3.Error, *_FOREIGN) as exc:
                if isinstance(exc, sqlite3.Error) and not is_damage(exc):
                    raise
        _set_aside(self.path)
        return self._connect(unless)

    def _connect(self, unless: Callable[[], bool]) -> Database:
        touch(self.path / DBNAME)  # SQLite gives its other files the same mode
        touched = identity(self.path / DBNAME)
        opened = Database(self.path, unless, self._record_limit, self.write_timeout, size_limit=self._size_limit)
        if opened.identity != touched:  # diskcache makes it anew, for everybody to read
            opened.close()
            raise OSError("the store was taken away while it was opened")
        return opened


def _set_aside(directory: Path) -> None:
    logger.warning("the store's database is damaged, or another program's: it is set aside as %s", set_aside(directory))
