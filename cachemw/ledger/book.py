"""A small database beside the store's, for money: SQLite, this user's alone, and shared by all processes that open it."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cachemw.errors import BookError, PlaceRefused
from cachemw.ledger.schema import LEDGER_FILE, LEDGER_SCHEMA, LEDGER_VERSION
from cachemw.stores.disk.damage import Identity, identity
from cachemw.stores.disk.database import tune
from cachemw.stores.disk.files import LOCK_FILE, locked, prepare_directory, refuse_network, touch
from cachemw.stores.forks import on_fork

LEDGER_PATIENCE = 0.02
"""The seconds for which another process that writes to the ledger is waited for: the store's own work waits meanwhile."""

_ERRORS = (sqlite3.Error, OSError, PlaceRefused)


class Book:
    """One database, opened on first use in each process: by one connection to write, and by one to read.

    `schema` are the statements that make what is not there, `version` is theirs: one of another version is refused. Another
    process, or thread, that uses it is waited for up to `patience` seconds; who reads waits for nobody who writes.
    """

    def __init__(self, path: Path, schema: Sequence[str], version: int, *, patience: float) -> None:
        self.path = path
        self._writer = _Connected(path, schema, version, patience)
        self._reader = _Connected(path, schema, version, patience)
        on_fork(self)

    @contextmanager
    def transact(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a transaction that writes, and is rolled back where anything is raised. Raises `BookError`."""
        with _translated(), self._writer.held() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                    connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return what a query finds; nothing where there is no such file. Raises `BookError`."""
        if not self.path.exists():
            return []
        with _translated(), self._reader.held() as connection:
            return connection.execute(query, values).fetchall()

    def let_go(self) -> None:
        """Close the connections; the next use opens them again."""
        self._writer.let_go()
        self._reader.let_go()

    def close(self) -> None:
        """Close the connections. May be called twice, and before first use; nothing is opened after."""
        self._writer.close()
        self._reader.close()

    def before_fork(self) -> None:
        """Close them, and let nobody open them: SQLite forbids carrying connections over a fork."""
        self._writer.before_fork()
        self._reader.before_fork()

    def after_fork(self) -> None:
        """Let them be opened again, in either process."""
        self._reader.after_fork()
        self._writer.after_fork()


def book_of(directory: Path) -> Book:
    """Return the book in which the ledger of the store in this directory is."""
    return Book(directory / LEDGER_FILE, LEDGER_SCHEMA, LEDGER_VERSION, patience=LEDGER_PATIENCE)


class _Connected:
    """One connection to a database, which one thread uses at a time."""

    def __init__(self, path: Path, schema: Sequence[str], version: int, patience: float) -> None:
        self._path, self._schema, self._version, self._patience = path, schema, version, patience
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened: Identity | None = None
        self._is_closed = False

    @contextmanager
    def held(self) -> Iterator[sqlite3.Connection]:
        """Hold it; who forks holds it, too, while others end what they do, and would wait for who waits for it."""
        if not self._lock.acquire(timeout=self._patience):
            raise TimeoutError("another thread is using it")
        try:
            yield self._open()
        finally:
            self._lock.release()

    def let_go(self) -> None:
        with self._lock:
            self._let_go()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._let_go()

    def before_fork(self) -> None:
        self._lock.acquire()
        self._let_go()

    def after_fork(self) -> None:
        self._lock.release()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._is_closed:
            raise OSError("it is closed")
        if self._connection is not None and identity(self._path) == self._opened:
            return self._connection
        self._let_go()  # it was taken away
        refuse_network(self._path.parent)
        prepare_directory(self._path.parent)
        touch(self._path)
        connection = sqlite3.connect(self._path, timeout=self._patience, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._opened = connection, identity(self._path)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        tune(connection)
        with locked(self._path.with_name(LOCK_FILE), self._patience):  # to begin a log, nobody else may be there
            connection.execute("PRAGMA journal_mode = WAL")
            ((version,),) = connection.execute("PRAGMA user_version")
            if version != self._version:
                self._make(connection, version)

    def _make(self, connection: sqlite3.Connection, version: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if version != 0 or connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise sqlite3.DatabaseError("it is another program's, or another version's")
        for statement in self._schema:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {self._version}")
        connection.execute("COMMIT")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _ERRORS as exc:
        raise BookError(f"it cannot be read or written: {exc}") from exc
