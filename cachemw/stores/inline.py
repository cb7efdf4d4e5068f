"""diskcache, tamed: bytes only, values inline, no pickle, no file names from rows, and connections that can be closed."""

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import DBNAME, ENOVAL, METADATA, MODE_RAW

from cachemw.core.order import Order, place, placed
from cachemw.stores.damage import identity

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
SEEN = 0.25
"""For how many seconds a database is taken to be where it was."""

WRITE_TRY = 0.01
"""How long SQLite itself waits for a lock before it is seen whether that is still wanted."""

_KNOWN = {*SETTINGS, "size_limit", *METADATA}
_SELECT = "SELECT mode, filename, value FROM Cache WHERE key = ? AND raw = 1 AND (expire_time IS NULL OR expire_time > ?)"
_GENERATION, _PUTS = "cachemw_generation", "cachemw_puts"
"""The rows of diskcache's own table of settings that say which purge was the last, and count what was put."""

_SELECT_ORDER = "SELECT value FROM Settings WHERE key IN (?, ?) ORDER BY key", (_GENERATION, _PUTS)
_DELETE_OLDEST = "DELETE FROM Cache WHERE rowid IN (SELECT rowid FROM Cache ORDER BY store_time, rowid LIMIT ?)"
_DELETE_FOREIGN = (
    "DELETE FROM Cache WHERE typeof(key) != 'blob' OR raw IS NOT 1"
    " OR mode IS NOT 1 OR filename IS NOT NULL OR typeof(value) != 'blob'"
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


class InlineCache(diskcache.Cache):  # type: ignore[misc]
    """Two connections for the process: one for the thread that made this, and one to read with for all others.

    diskcache has one for every thread, and closes none but the caller's.
    """

    def __init__(self, directory: Path, unless: Callable[[], bool], **settings: object) -> None:
        self._database, self._unless = directory / DBNAME, unless
        self._own: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._reading, self._seen = threading.Lock(), time.monotonic()
        try:
            super().__init__(str(directory), timeout=WRITE_TIMEOUT, disk=InlineDisk, **{**SETTINGS, **settings})
            self._reader = self._connect(READ_TIMEOUT)
            _tune(self._reader)
            self.identity = identity(self._database)
            self._begin_counting()
            self._check_counters()
        except BaseException:
            self.close()
            raise

    @property
    def _con(self) -> sqlite3.Connection:
        if self._own is None:
            self._own = self._connect(WRITE_TRY)
            _tune(self._own)
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

    def _connect(self, timeout: float) -> sqlite3.Connection:
        return sqlite3.connect(self._database, timeout=timeout, isolation_level=None, check_same_thread=False)

    @property
    def _sql(self) -> Any:
        return self._execute

    @property
    def _sql_retry(self) -> Any:
        """`_execute` waits for a lock; diskcache would go on for a minute."""
        return self._sql

    def _execute(self, *statement: Any) -> sqlite3.Cursor:
        """Wait for a lock, up to `WRITE_TIMEOUT`, and no longer when the store is closed."""
        until = time.monotonic() + WRITE_TIMEOUT
        while True:
            try:
                return self._con.execute(*statement)
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until or self._unless():
                    raise

    def reset(self, key: str, value: object = ENOVAL, update: bool = True) -> object:
        """Take over a setting, if it is one of ours: diskcache makes an attribute of any that a database holds."""
        return super().reset(key, value, update) if key in _KNOWN else None

    def read(self, index: bytes) -> bytes | None:
        """Return a row's value, from any thread. Raises `ForeignRowError`, and what sqlite3 raises."""
        found = self._select(_SELECT, (index, time.time()))
        return self._disk.fetch(*found[0], read=False) if found else None

    def order(self) -> Order:
        """Return where a forward stands that begins now, from any thread. Raises what sqlite3 raises."""
        return _order(self._select(*_SELECT_ORDER))

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None) -> None:
        """Put a record, unless one is there that goes before it. Raises `Superseded` and `Purged`."""
        with self.transact():
            there = self._sql("SELECT tag FROM Cache WHERE key = ? AND raw = 1", (index,)).fetchone()
            tag = None
            if order is not None:
                now = _order(self._sql(*_SELECT_ORDER).fetchall())
                tag = sqlite3.Binary(place(order, placed(there and there[0]), now).to_bytes())
            self._sql("UPDATE Settings SET value = value + 1 WHERE key = ?", (_PUTS,))
            self.set(index, record, expire=keep, tag=tag)

    def purge(self, index: bytes) -> bool:
        """Remove a row and say whether there was one; what was asked for before this is not kept."""
        with self.transact():
            self.begin_generation()
            return bool(self.delete(index))

    def begin_generation(self) -> None:
        """Let nothing be kept that was asked for before this."""
        self._sql("UPDATE Settings SET value = (value + 1) % 4503599627370496 WHERE key = ?", (_GENERATION,))

    def _select(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        with self._reading:
            if self._reader is None:
                raise sqlite3.ProgrammingError("the store is closed")
            return self._reader.execute(statement, values).fetchall()

    @property
    def is_in_place(self) -> bool:
        """Whether this is still the database that others find."""
        self._seen = time.monotonic()
        return identity(self._database) == self.identity

    @property
    def was_seen(self) -> bool:
        """Whether that was looked at a moment ago."""
        return time.monotonic() - self._seen < SEEN

    def indexes(self) -> list[bytes]:
        """Return the key of every row, oldest first; the rows this store never wrote are deleted."""
        self._sql(_DELETE_FOREIGN)
        return [index for (index,) in self._sql("SELECT key FROM Cache ORDER BY store_time, rowid")]

    def trim(self, count_limit: int) -> None:
        """Delete the oldest rows beyond so many."""
        surplus = len(self) - count_limit
        if surplus > 0:
            self._sql(_DELETE_OLDEST, (surplus,))

    def close(self) -> None:
        """Close every connection, from any thread."""
        with self._reading:
            for connection in (self._own, self._reader):
                if connection is not None:
                    connection.close()
            self._own = self._reader = None

    def __getstate__(self) -> Any:
        raise TypeError("a store is opened where it is used")


def _order(rows: list[tuple[object]]) -> Order:
    """Read the rows of `_SELECT_ORDER`. Raises `sqlite3.DatabaseError` where somebody has written something else there."""
    match rows:
        case [(int() as generation,), (int() as puts,)]:
            return Order(generation, puts, time.monotonic_ns())
    raise sqlite3.DatabaseError("the database does not know what it holds")


def _tune(connection: sqlite3.Connection) -> None:
    """Give a connection the settings that are each connection's own."""
    for name in ("sqlite_cache_size", "sqlite_mmap_size", "sqlite_synchronous"):
        connection.execute(f"PRAGMA {name.removeprefix('sqlite_')} = {SETTINGS[name]}")
