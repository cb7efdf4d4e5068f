"""Open a ledger to read it while others write it: no row is changed, and one that is not there yet has nothing."""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cachemw.errors import BookError, StoreError
from cachemw.ledger.schema import LEDGER_FILE, LEDGER_VERSION
from cachemw.stores.disk.damage import Identity, identity
from cachemw.stores.disk.reading import Look, connected, follows, looked_at

_STATE = "SELECT user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_user_version"

READ_PATIENCE = 2.0
"""The seconds for which who reads waits where nobody can: while the log of the database is begun, or made whole."""


class LedgerReader:
    """The ledger of the store in one directory, for any thread. It may come, go and come again while it is read.

    `openings` counts which file it is that is read: a place in one means nothing in the next.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / LEDGER_FILE
        self.openings = 0
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened: Identity | None = None
        self._look: Look | None = None
        self._follows = False

    def query(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return what a query finds; nothing where there is no ledger. Raises `BookError`."""
        with self._lock:
            try:
                connection = self._open()
                return [] if connection is None else connection.execute(query, values).fetchall()
            except (sqlite3.Error, OSError, StoreError) as exc:
                self._let_go()
                raise BookError(f"the ledger in {self.path} cannot be read: {exc}") from exc

    def close(self) -> None:
        """Close it. It may be called twice, and before first use."""
        with self._lock:
            self._let_go()

    def _open(self) -> sqlite3.Connection | None:
        """Open it, unless it is; no file is made beside it, which might be in the way of who writes it later."""
        found = identity(self.path)
        look = None if found is None else looked_at(self.path)
        if self._connection is not None and found == self._opened and self._sees(look):
            return self._connection
        self._let_go()
        if look is None:
            return None
        connection = connected(self.path, look, READ_PATIENCE)
        if not _is_readable(connection):
            connection.close()
            return None
        self.openings += found != self._opened  # after an error, or another process's end, it is the same again
        self._connection, self._opened, self._look = connection, found, look
        self._follows = follows(connection, look)
        return connection

    def _sees(self, look: Look | None) -> bool:
        """Say whether what is open sees what is there now."""
        return look is not None and (look == self._look or self._follows and look[1] is not None)

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _is_readable(connection: sqlite3.Connection) -> bool:
    """Say whether there is something to read: who makes a ledger makes the file first. Raises `sqlite3.Error`."""
    try:
        ((version, tables),) = connection.execute(_STATE)  # as one statement: somebody may be making it
    except sqlite3.Error:
        connection.close()
        raise
    if version != LEDGER_VERSION and (version or tables):
        connection.close()
        raise sqlite3.DatabaseError(_of_another_version(version))
    return bool(version == LEDGER_VERSION)


def _of_another_version(version: int) -> str:
    if version == 0:
        return "it is another program's"
    age = "a newer" if version > LEDGER_VERSION else "an older"
    return f"it is of version {version}, which {age} cachemw writes; this one reads version {LEDGER_VERSION}"
