"""The default store as who only replays has it: no byte in its directory is changed, and none need be writable."""

import contextlib
import os
import shutil
import sqlite3
import stat
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from diskcache.core import DBNAME

from cachemw.cache.order import ALONE, Order, Others
from cachemw.errors import RecordRefused, StoreError
from cachemw.stores.base import Inline, Store
from cachemw.stores.disk.database import KEY_BYTES, MARGIN, SELECT_COUNT, STEPS, tune
from cachemw.stores.disk.files import SECRET_BYTES, SECRET_FILE
from cachemw.stores.disk.schema import SELECT_RECORD, SELECT_RECORDS, ForeignSchemaError, refuse_foreign_schema
from cachemw.stores.forks import on_fork

LOCK_SECONDS = 0.25
"""The seconds for which a read waits for a lock: only a database that others write to has any."""

STATEMENT_SECONDS = 5.0
"""The seconds that a statement runs before it is given up: a machine that runs tests may be busy."""

_SELECT_KEYS = (
    f"SELECT key FROM Cache WHERE raw = 1 AND typeof(key) = 'blob' AND length(key) <= {KEY_BYTES}"  # noqa: S608 - a constant
    " ORDER BY store_time, rowid"
)

Look = tuple[tuple[int, int, int], tuple[int, int, int] | None]
"""The database and its log as they were seen: device or file, size, time of change."""


class DiskReader(Store):
    """The records of a `DiskStore`, read where its process changes nothing.

    A database that nobody writes to is opened as one that does not change, so that SQLite makes no file beside it; it is
    opened anew when it or its log has changed all the same.
    """

    inline: Inline = Inline.READS

    def __init__(self, directory: Path, record_limit: int, secret: bytes) -> None:
        self._directory, self._database = directory, directory / DBNAME
        self._record_limit, self._given_secret = record_limit, secret
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._look: Look | None = None
        self._pid, self._until = 0, 0.0
        on_fork(self)

    @property
    def place(self) -> str:
        return str(self._directory)

    def read_only(self) -> "DiskReader":
        return self

    def secret(self) -> bytes:
        return self._given_secret or _read_secret(self._directory / SECRET_FILE)

    def get(self, index: bytes) -> bytes | None:
        found = self._select(SELECT_RECORD, (self._record_limit, index, time.time()))
        return bytes(found[0][0]) if found and found[0][0] is not None else None

    def get_many(self, indexes: Sequence[bytes]) -> list[bytes | None]:
        """Return the records; what is more than to read them is left to `get`, as where one is larger than it may be."""
        statement = SELECT_RECORDS.format(", ".join("?" * len(indexes)))
        try:
            found = dict(self._select(statement, (self._record_limit, *indexes, time.time())))
        except StoreError:
            return [self.get(index) for index in indexes]
        return [None if (record := found.get(index)) is None else bytes(record) for index in indexes]

    def order(self) -> Order:
        return Order(0, 0, time.monotonic_ns())

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, others: Others = ALONE) -> None:
        self._refuse()

    def delete(self, *indexes: bytes) -> bool:
        self._refuse()

    def purge(self, stored_before: float) -> int:
        self._refuse()

    def clear(self) -> int:
        self._refuse()

    def discard(self, *indexes: bytes) -> None:
        """Leave it: who only reads removes nothing."""

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        """Go through the records there are, oldest first."""
        for index in self.indexes():
            if (record := self.get(index)) is not None:
                yield index, record

    def indexes(self) -> list[bytes]:
        return [index for (index,) in self._select(_SELECT_KEYS)]

    def count(self) -> int:
        return int(self._select(SELECT_COUNT)[0][0])

    def size(self) -> int:
        """Return the bytes it takes on disk."""
        database, log = looked_at(self._database)
        return database[1] + (log[1] if log else 0)

    def close(self) -> None:
        with self._lock:
            self._close()

    def before_fork(self) -> None:
        """Let no other thread be in the middle of something: in the child there is nobody to end it."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Let the others go on; a child opens the database anew."""
        self._lock.release()

    def _refuse(self) -> NoReturn:
        raise RecordRefused(f"the store in {self._directory} is only replayed from")

    def _select(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        with self._lock:
            try:
                connection = self._opened()
                self._until = time.monotonic() + STATEMENT_SECONDS
                return connection.execute(statement, values).fetchall()
            except (sqlite3.Error, OSError, ForeignSchemaError) as exc:
                self._close()
                raise StoreError(f"cannot read {self._database}: {exc}") from exc

    def _opened(self) -> sqlite3.Connection:
        look = looked_at(self._database)
        if self._connection is None or look != self._look or self._pid != os.getpid():
            self._close()
            self._connection, self._look, self._pid = self._guarded(connected(self._database, look)), look, os.getpid()
        return self._connection

    def _guarded(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        try:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._record_limit + MARGIN)
            self._until = time.monotonic() + STATEMENT_SECONDS
            connection.set_progress_handler(lambda: time.monotonic() > self._until, STEPS)
            tune(connection)
            refuse_foreign_schema(connection.execute)
        except BaseException:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def looked_at(database: Path) -> Look:
    """Look at a database and its log; an empty log is none. Raises `StoreError`."""
    found, log = _look_at(database), _look_at(database.with_name(f"{database.name}-wal"))
    if found is None:
        raise StoreError(f"there is no {database}")
    return found, log if log and log[1] else None


def connected(database: Path, look: Look, wait: float = LOCK_SECONDS) -> sqlite3.Connection:
    """Open a database so that SQLite makes no file beside it. Raises `sqlite3.Error` and `OSError`.

    With a log it is being written to, or was when its process was killed. Without one it is read as it was seen, and is to be
    opened anew when it has changed. A lock is waited for so many seconds.
    """
    if look[1] is None:
        return _connect(database, "mode=ro&immutable=1", wait)
    connection = _connect(database, "mode=ro&readonly_shm=1", wait)
    try:
        connection.execute("PRAGMA user_version")
    except BaseException as exc:
        connection.close()
        if not isinstance(exc, sqlite3.OperationalError) or exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN:
            raise
        return _in_memory(database)  # SQLite would make a file beside it
    return connection


def follows(connection: sqlite3.Connection, look: Look) -> bool:
    """Say whether a connection that was opened at this look sees what is written later."""
    return look[1] is not None and bool(connection.execute("PRAGMA database_list").fetchone()[2])


def _connect(database: Path, how: str, wait: float = LOCK_SECONDS) -> sqlite3.Connection:
    where = f"{database.as_uri()}?{how}"
    return sqlite3.connect(where, wait, isolation_level=None, check_same_thread=False, uri=True)


def _in_memory(database: Path) -> sqlite3.Connection:
    """Return a copy of a database and of the log that a kill left beside it."""
    with tempfile.TemporaryDirectory(prefix="cachemw-") as directory:
        copy = Path(directory) / DBNAME
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{database}{suffix}", f"{copy}{suffix}", follow_symlinks=False)
        in_memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        with contextlib.closing(_connect(copy, "mode=rw")) as source:
            source.backup(in_memory)
    return in_memory


def _look_at(path: Path) -> tuple[int, int, int] | None:
    """Return what is seen of a file, `None` where there is none. Raises `StoreError` for a link, or what is no file."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StoreError(f"cannot read {path}: {exc.strerror}") from exc
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} is not a file, and is not followed")
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read_secret(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            secret = os.read(descriptor, SECRET_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise StoreError(f"cannot read {path}, without which no caller's records are found: {exc.strerror}") from exc
    if len(secret) != SECRET_BYTES:
        raise StoreError(f"{path} does not hold {SECRET_BYTES} bytes")
    return secret
