"""diskcache, tamed: bytes only, values inline, no pickle, no file names from rows, and connections that can be closed."""

import itertools
import math
import secrets
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import DBNAME, ENOVAL, METADATA, MODE_RAW

from cachemw.cache.order import Order, Others, place, placed
from cachemw.limits import ROW_BYTES
from cachemw.stores.base import stored_at
from cachemw.stores.disk.damage import identity
from cachemw.stores.disk.schema import IS_OURS, SELECT_RECORD, SELECT_RECORDS, refuse_foreign_schema

SETTINGS = {
    "statistics": 0,  # else every read is a write
    "tag_index": 0,
    "eviction_policy": "least-recently-stored",  # the others write on every read
    "cull_limit": 10,
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 2**13,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,  # a truncated file would be a SIGBUS
    "sqlite_synchronous": 1,
    "disk_min_file_size": 2**31,  # inline: nothing is orphaned or torn
    "disk_pickle_protocol": 0,
}
READ_TIMEOUT = 0.02
WRITE_TIMEOUT = 2.0
"""The seconds for which a connection waits for a lock."""

OPENING_TIME = 1.0
"""The seconds that it may take to open the database, locks and all."""

READ_TIME = 0.05
WRITE_SECONDS = 1.0
UPKEEP_TIME = 60.0
"""The seconds that a statement runs before it is given up: one that reads, one that writes, one that goes through all rows."""

STEPS = 1000
"""After how many steps of a statement it is looked at whether it is over time; ours have fewer, but for upkeep."""

SEEN = 0.25
"""For how many seconds a database is taken to be where it was."""

NOTED = 0.001
"""For how many seconds what another process commits may go unnoticed by who asks whether anything has changed."""

WRITE_TRY = 0.01
"""The seconds for which SQLite itself waits for a lock before it is seen whether that is still wanted."""

_KNOWN = {*SETTINGS, "size_limit", *METADATA}
_GENERATION, _PUTS = "cachemw_generation", "cachemw_puts"
"""The rows of diskcache's own table of settings that say which purge was the last, and count what was put."""

SELECT_COUNT = "SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM Settings WHERE key = 'count'"
_SELECT_ORDER = (
    "SELECT value FROM Settings WHERE key IN (?, ?) AND typeof(value) = 'integer' ORDER BY key",
    (_GENERATION, _PUTS),
)

# A row's tag is when its response was stored, in 8 bytes, and after it the place of a record that came from a forward, in 16.
_SELECT_PLACE = (
    "SELECT CASE WHEN typeof(tag) = 'blob' AND length(tag) = 24 THEN substr(tag, 9) END FROM Cache WHERE key = ? AND raw = 1"
)
_IS_OLDER = (
    "typeof(tag) = 'blob' AND length(tag) IN (8, 24) AND substr(tag, 1, 8) < ? AND (expire_time IS NULL OR expire_time > ?)"
)
_SELECT_OLDER = f"SELECT rowid FROM Cache WHERE {_IS_OLDER}"  # noqa: S608 - of constants
_DELETE_OLDER = f"DELETE FROM Cache WHERE rowid = ? AND {_IS_OLDER}"  # noqa: S608 - of constants

MARGIN = 64 * 1024
"""The bytes by which a row may be larger than its record: what else is in it has a few hundred bytes."""

LARGEST_ROW = 10**9 - MARGIN
"""The largest row that SQLite takes, unless it was built for more."""

KEY_BYTES = 1024
"""A longer key is none of ours."""

_DELETED_AT_ONCE = 100

_DELETE_OLDEST = "DELETE FROM Cache WHERE rowid IN (SELECT rowid FROM Cache ORDER BY store_time, rowid LIMIT ?)"
_DELETE_SOME = f"DELETE FROM Cache WHERE rowid IN (SELECT rowid FROM Cache LIMIT {_DELETED_AT_ONCE})"  # noqa: S608
_DELETE_KEY = "DELETE FROM Cache WHERE key = ? AND raw = 1"
_DELETE_FOREIGN = (
    f"DELETE FROM Cache WHERE typeof(key) != 'blob' OR length(key) > {KEY_BYTES} OR typeof(raw) != 'integer' OR raw != 1"  # noqa: S608
    f" OR typeof(mode) != 'integer' OR NOT ({IS_OURS})"
)


class ForeignRowError(Exception):
    """A row this store never wrote: pickled, or in a file, or no bytes."""


class InlineDisk(diskcache.Disk):  # type: ignore[misc]
    """Bytes, in the row. CVE-2025-69872 is a row that says otherwise."""

    def put(self, key: bytes) -> tuple[memoryview, bool]:
        return sqlite3.Binary(key), True

    def get(self, key: object, raw: object) -> bytes:
        if not raw or not isinstance(key, bytes):
            raise ForeignRowError
        return key

    def store(self, value: bytes, read: bool, key: object = None) -> tuple[int, int, None, memoryview]:
        return 0, MODE_RAW, None, sqlite3.Binary(value)

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> bytes:
        if mode != MODE_RAW or filename is not None or not isinstance(value, bytes):
            raise ForeignRowError
        return value

    def remove(self, file_path: str) -> None:
        """Remove nothing: this store has no files, so the name is not ours."""


_openings = itertools.count()


class Database(diskcache.Cache):  # type: ignore[misc]
    """Three connections for the process: one for the thread that made this, and for all others one to read with and one to
    see whether anything has changed, which never waits for a lock.

    diskcache has one for every thread, and closes none but the caller's.
    """

    def __init__(
        self,
        directory: Path,
        unless: Callable[[], bool],
        record_limit: int = ROW_BYTES,
        write_timeout: float = WRITE_TIMEOUT,
        **settings: object,
    ) -> None:
        self._database, self._unless, self._record_limit = directory / DBNAME, unless, record_limit
        self._write_timeout = write_timeout
        self._opens_until = time.monotonic() + OPENING_TIME
        self._reads_until = self._writes_until = math.inf
        self._write_time, self.was_overdue = WRITE_SECONDS, False
        self._own: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._watcher: sqlite3.Connection | None = None
        self._opening = next(_openings)
        self._statements = 0  # of the connection that writes
        self._noted = 0, -math.inf, 0
        self._reading, self._seen = threading.Lock(), time.monotonic()
        try:
            refuse_foreign_schema(self._execute)
            super().__init__(str(directory), timeout=write_timeout, disk=InlineDisk, **{**SETTINGS, **settings})
            self._reader = self._connect(READ_TIMEOUT, lambda: self._is_overdue(self._reads_until))
            self._watcher = self._connect(0.0, lambda: False)
            self.identity = identity(self._database)
            self._begin_counting()
            self._check_counters()
            self._opens_until = math.inf
        except BaseException:
            self.close()
            raise

    @property
    def _con(self) -> sqlite3.Connection:
        if self._own is None:
            self._own = self._connect(WRITE_TRY, lambda: self._is_overdue(self._writes_until))
        return self._own

    def _begin_counting(self) -> None:
        """Begin with a generation of this database's own: what was asked for while another one was here is not kept."""
        begun = ((_GENERATION, secrets.randbits(52)), (_PUTS, 0))
        for row in begun:
            self._sql("INSERT OR IGNORE INTO Settings (key, value) VALUES (?, ?)", row)

    def _check_counters(self) -> None:
        """Raise `ValueError` where the counters are none: with them nothing would be kept, or everything."""
        found = dict(self._sql("SELECT key, value FROM Settings"))
        if not all(type(found.get(name)) is int and 0 <= found[name] < 2**53 for name in ("count", "size", _GENERATION, _PUTS)):
            raise ValueError("the database does not know what it holds")

    def _connect(self, timeout: float, is_overdue: Callable[[], bool]) -> sqlite3.Connection:
        connection = sqlite3.connect(self._database, timeout=timeout, isolation_level=None, check_same_thread=False)
        try:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._record_limit + MARGIN)
            connection.set_progress_handler(is_overdue, STEPS)
            tune(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_overdue(self, until: float) -> bool:
        """Serve as SQLite's progress handler: what takes so long is not a statement of ours over a schema of ours."""
        is_overdue = time.monotonic() > until
        self.was_overdue |= is_overdue
        return is_overdue

    @property
    def _sql(self) -> Any:
        return self._execute

    @property
    def _sql_retry(self) -> Any:
        """`_execute` waits for a lock; diskcache would go on for a minute."""
        return self._sql

    def _execute(self, *statement: Any) -> sqlite3.Cursor:
        """Wait for a lock, up to `write_timeout`, and no longer when the store is closed, or was to be open by now.

        Then it raises `TimeoutError`: over what sqlite3 raises diskcache would go on trying.
        """
        until = min(time.monotonic() + self._write_timeout, self._opens_until)
        while True:
            self._writes_until = min(time.monotonic() + self._write_time, self._opens_until)
            try:
                cursor = self._con.execute(*statement)
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY and time.monotonic() < until and not self._unless():
                    continue
                if time.monotonic() > self._opens_until:
                    raise TimeoutError(f"it could not be opened within {OPENING_TIME:g} s: {exc}") from exc
                raise
            self._statements += 1
            return cursor

    def reset(self, key: str, value: object = ENOVAL, update: bool = True) -> object:
        """Take over a setting, if it is one of ours: diskcache makes an attribute of any that a database holds."""
        return super().reset(key, value, update) if key in _KNOWN else None

    def read(self, index: bytes) -> bytes | None:
        """Return a row's value, from any thread. Raises `ForeignRowError`, and what sqlite3 raises."""
        try:
            found = self._select(self._reader, SELECT_RECORD, (self._record_limit, index, time.time()))
        except sqlite3.DataError as exc:  # something else in the row is larger than that
            raise ForeignRowError from exc
        if not found:
            return None
        if found[0][0] is None:
            raise ForeignRowError
        return bytes(found[0][0])

    def read_many(self, indexes: Sequence[bytes]) -> list[tuple[bytes, bytes | None]]:
        """Return index and value of the rows that are there, as `read` does; `None` for a value that is none of ours."""
        statement = SELECT_RECORDS.format(", ".join("?" * len(indexes)))
        return self._select(self._reader, statement, (self._record_limit, *indexes, time.time()))

    def order(self) -> Order:
        """Return where a forward stands that begins now, from any thread. Raises what sqlite3 raises."""
        return _order(self._select(self._reader, *_SELECT_ORDER))

    def version(self) -> tuple[int, int]:
        """Return another value after every commit that anybody made, from any thread. Raises what sqlite3 raises."""
        now, statements = time.monotonic(), self._statements
        ((commits,),) = self._select(self._watcher, "PRAGMA data_version")
        self._noted = commits, now, statements
        return self._opening, commits

    def rows(self) -> int:
        """Return how many rows there are, from any thread. Raises what sqlite3 raises."""
        return int(self._select(self._reader, SELECT_COUNT)[0][0])

    def noted_version(self) -> tuple[int, int] | None:
        """Return what was said less than a millisecond ago; `None` after a statement of this process's own.

        `None` as well where it is to be looked whether this is still the database that others find.
        """
        now, (commits, noted_at, noted_after) = time.monotonic(), self._noted
        is_recent = noted_after == self._statements and now - noted_at < NOTED and now - self._seen < SEEN
        return (self._opening, commits) if is_recent else None

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None, others: Others) -> None:
        """Put a record, unless one is there that goes before it. Raises `Superseded` and `Purged`."""
        tag = _sortable(stored_at(record, time.time()))
        with self.transact():
            if order is not None:
                there = [self._sql(_SELECT_PLACE, (other,)).fetchone() for other in (index, *others.beside)]
                now = _order(self._sql(*_SELECT_ORDER).fetchall())
                tag += place(order, [placed(row and row[0]) for row in there], now).to_bytes()
            for replaced in others.instead_of:
                self._sql(_DELETE_KEY, (replaced,))
            self._sql("UPDATE Settings SET value = value + 1 WHERE key = ?", (_PUTS,))
            self.set(index, record, expire=keep, tag=sqlite3.Binary(tag))

    def purge(self, indexes: Iterable[bytes]) -> bool:
        """Remove rows and say whether there was one; what was asked for before this is not kept."""
        with self.transact():
            self.begin_generation()
            were_there = [self.delete(index) for index in indexes]
        return any(were_there)

    def purge_older(self, than: float) -> int:
        """Purge the rows of what was stored before this time, a few at a time; return how many there were."""
        older, count = (sqlite3.Binary(_sortable(than)), time.time()), 0
        with self._upkeep():
            rows = self._sql(_SELECT_OLDER, older).fetchall()
            for start in range(0, len(rows), _DELETED_AT_ONCE):
                with self.transact():
                    self.begin_generation()
                    for row in rows[start : start + _DELETED_AT_ONCE]:
                        count += self._sql(_DELETE_OLDER, (*row, *older)).rowcount
        return count

    def begin_generation(self) -> None:
        """Let nothing be kept that was asked for before this."""
        self._sql("UPDATE Settings SET value = (value + 1) % 4503599627370496 WHERE key = ?", (_GENERATION,))

    def _select(self, connection: sqlite3.Connection | None, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        with self._reading:
            if connection is None:
                raise sqlite3.ProgrammingError("the store is closed")
            self._reads_until = time.monotonic() + READ_TIME
            return connection.execute(statement, values).fetchall()

    @property
    def is_in_place(self) -> bool:
        """Say whether this is still the database that others find."""
        self._seen = time.monotonic()
        return identity(self._database) == self.identity

    @property
    def was_seen(self) -> bool:
        """Say whether that was looked at a moment ago."""
        return time.monotonic() - self._seen < SEEN

    def indexes(self) -> list[bytes]:
        """Return the key of every row, oldest first; the rows this store never wrote are deleted."""
        with self._upkeep():
            self._sql(_DELETE_FOREIGN, (self._record_limit,))
            return [index for (index,) in self._sql("SELECT key FROM Cache ORDER BY store_time, rowid")]

    def remove(self, indexes: Iterable[bytes]) -> None:
        """Delete rows, whatever they are; of one that this store never wrote diskcache would read the name of its file."""
        with self.transact():
            for index in indexes:
                self._sql(_DELETE_KEY, (index,))

    def clear(self, retry: bool = False) -> int:
        """Delete every row, whatever it holds, and return how many there were; diskcache leaves some, and reads of all."""
        count = 0
        with self._upkeep():
            while removed := self._sql(_DELETE_SOME).rowcount:
                count += removed
        return count

    def trim(self, count_limit: int) -> None:
        """Delete the oldest rows beyond so many, a few at a time: there are more puts to come."""
        surplus = len(self) - count_limit
        if surplus > 0:
            self._sql(_DELETE_OLDEST, (min(surplus, _DELETED_AT_ONCE),))

    @contextmanager
    def _upkeep(self) -> Iterator[None]:
        """Let statements take the time that it takes to go through all rows."""
        self._write_time = UPKEEP_TIME
        try:
            yield
        finally:
            self._write_time = WRITE_SECONDS

    def close(self) -> None:
        """Close every connection, from any thread."""
        with self._reading:
            for connection in (self._own, self._reader, self._watcher):
                if connection is not None:
                    connection.close()
            self._own = self._reader = self._watcher = None

    def __getstate__(self) -> Any:
        raise TypeError("a store is opened where it is used")


def _sortable(moment: float) -> bytes:
    """Return 8 bytes that compare as times do."""
    return struct.pack(">d", max(0.0, moment))


def _order(rows: list[tuple[object]]) -> Order:
    """Read the rows of `_SELECT_ORDER`. Raises what damage raises where somebody has written something else there."""
    match rows:
        case [(int() as generation,), (int() as puts,)]:
            return Order(generation, puts, time.monotonic_ns())
    error = sqlite3.DatabaseError("the database does not know what it holds")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    raise error


def tune(connection: sqlite3.Connection) -> None:
    """Give a connection the settings that are each connection's own. A schema's functions are not ours to run."""
    connection.execute("PRAGMA trusted_schema = OFF")
    for name in ("sqlite_cache_size", "sqlite_mmap_size", "sqlite_synchronous"):
        connection.execute(f"PRAGMA {name.removeprefix('sqlite_')} = {SETTINGS[name]}")
