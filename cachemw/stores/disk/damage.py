"""Damaged databases: recognise one, and set it aside."""

import os
import re
import sqlite3
import time
from pathlib import Path

from diskcache.core import DBNAME

ASIDE = ".corrupt-"
"""The text between the name of a database that was set aside, and when that was."""

Identity = tuple[int, int]
"""The identity of a file, whatever its name: device and inode."""

_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_CONSTRAINT,  # no statement of ours breaks one of ours
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,  # nor do we write such a row
}
_OTHER_SCHEMA = re.compile(r"\bno (such|column)\b|\bviews?\b")


def is_damage(exc: Exception) -> bool:
    """Say whether an error means that the database is broken or another program's; a full disk or a lock does not."""
    code: int = getattr(exc, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_ERROR:  # which is also a rollback where SQLite has rolled back by itself
        return _OTHER_SCHEMA.search(str(exc)) is not None
    return code & 0xFF in _DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ


def identity(database: Path) -> Identity | None:
    """Return which file is there; `None` where there is none."""
    try:
        found = os.stat(database)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def set_aside(directory: Path) -> Path:
    """Rename a database and its log, and return where it is now; of earlier ones none is kept. Raises `OSError`.

    Who has it open goes on in what it has, and finds out by `identity`. The log goes first: beside an empty database
    SQLite ignores one, and in no case may it be taken for the next one's.
    """
    discard(directory)
    aside = directory / f"{DBNAME}{ASIDE}{time.time_ns() // 10**6}"
    for suffix in ("-wal", "-shm", ""):
        database = directory / f"{DBNAME}{suffix}"
        if database.exists():
            database.rename(f"{aside}{suffix}")
    return aside


def discard(directory: Path) -> None:
    """Remove what was set aside. Raises `OSError`."""
    for aside in directory.glob(f"{DBNAME}{ASIDE}*"):
        aside.unlink()
