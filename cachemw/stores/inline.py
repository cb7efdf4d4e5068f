"""diskcache, tamed: bytes only, values inline, no pickle, no file names from rows, and connections that can be closed."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import DBNAME, MODE_RAW

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
WRITE_TIMEOUT = 1.0


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
    """Two connections for the process: the one of the thread that made this, and one to read with for all others.

    diskcache has one for every thread, and closes none but the caller's.
    """

    def __init__(self, directory: Path, **settings: object) -> None:
        self._owner = threading.get_ident()
        self._connections: dict[bool, sqlite3.Connection] = {}
        self._reading = threading.Lock()
        super().__init__(str(directory), timeout=WRITE_TIMEOUT, disk=InlineDisk, **{**SETTINGS, **settings})
        self._connect(is_owner=False)

    @property
    def _con(self) -> sqlite3.Connection:
        is_owner = threading.get_ident() == self._owner
        return self._connections.get(is_owner) or self._connect(is_owner)

    def _connect(self, is_owner: bool) -> sqlite3.Connection:
        connection = self._connections[is_owner] = sqlite3.connect(
            Path(self._directory, DBNAME),
            timeout=WRITE_TIMEOUT if is_owner else READ_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
        for name, value in SETTINGS.items():
            if name.startswith("sqlite_") and name not in ("sqlite_auto_vacuum", "sqlite_journal_mode"):
                connection.execute(f"PRAGMA {name.removeprefix('sqlite_')} = {value}")
        return connection

    def read(self, index: bytes) -> bytes | None:
        """Return a row's value. Raises `ForeignRowError`, and what sqlite3 raises."""
        with self._reading:
            value: bytes | None = self.get(index)
        return value

    def sweep(self) -> None:
        """Delete the rows this store never wrote."""
        self._sql("DELETE FROM Cache WHERE raw != 1 OR mode != ? OR filename IS NOT NULL", (MODE_RAW,))

    def close(self) -> None:
        """Close every connection, from any thread."""
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            connection.close()

    def __getstate__(self) -> Any:
        raise TypeError("a store is opened where it is used")
