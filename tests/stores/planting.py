"""The store's database, as somebody else opens it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

DATABASE = "cache.db"


def rows(directory: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Do one statement and return its rows."""
    with closing(sqlite3.connect(directory / DATABASE)) as connection, connection:
        return connection.execute(query, values).fetchall()


@contextmanager
def locked(directory: Path, how: str) -> Iterator[None]:
    """Hold the lock of a writer."""
    with closing(sqlite3.connect(directory / DATABASE, isolation_level=None)) as connection:
        connection.execute(f"BEGIN {how}")
        yield
        connection.execute("ROLLBACK")
