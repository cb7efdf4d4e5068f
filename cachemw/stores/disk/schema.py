"""The schema of the database, as diskcache makes it: anything else in there is another program's."""

from collections.abc import Callable, Iterable

_COUNTED = (
    "CREATE TRIGGER {name} AFTER {event} ON Cache FOR EACH ROW BEGIN UPDATE Settings SET value = {value} WHERE key = {key}; END"
)
_SETTINGS = "CREATE TABLE Settings ( key TEXT NOT NULL UNIQUE, value)"
_CACHE = (
    "CREATE TABLE Cache ( rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL, expire_time REAL,"
    " access_time REAL, access_count INTEGER DEFAULT 0, tag BLOB, size INTEGER DEFAULT 0, mode INTEGER DEFAULT 0,"
    " filename TEXT, value BLOB)"
)

# What is compared first is the kind of a value: to learn the length of a text, or to compare one, SQLite reads all of it.
IS_OURS = "mode IS 1 AND filename IS NULL AND typeof(value) = 'blob' AND length(value) <= ?"
SELECT_RECORD = (
    f"SELECT CASE WHEN typeof(mode) = 'integer' AND {IS_OURS} THEN value END FROM Cache"  # noqa: S608 - of constants
    " WHERE key = ? AND raw = 1 AND (expire_time IS NULL OR expire_time > ?)"
)
SELECT_RECORDS = SELECT_RECORD.replace("SELECT CASE", "SELECT key, CASE").replace("key = ?", "key IN ({})")


class ForeignSchemaError(Exception):
    """A database that another program made, or changed."""


def _trigger(event: str, key: str, value: str) -> tuple[str, str, str]:
    name = f"Settings_{key}_{event.lower()}"
    return "trigger", name, _COUNTED.format(name=name, event=event, value=value, key=f'"{key}"')


SCHEMA = frozenset(
    {
        ("table", "Settings", _SETTINGS),
        ("index", "sqlite_autoindex_Settings_1", None),
        ("table", "Cache", _CACHE),
        ("index", "Cache_key_raw", "CREATE UNIQUE INDEX Cache_key_raw ON Cache(key, raw)"),
        ("index", "Cache_expire_time", "CREATE INDEX Cache_expire_time ON Cache (expire_time)"),
        ("index", "Cache_store_time", "CREATE INDEX Cache_store_time ON Cache (store_time)"),
        _trigger("INSERT", "count", "value + 1"),
        _trigger("DELETE", "count", "value - 1"),
        _trigger("INSERT", "size", "value + NEW.size"),
        _trigger("UPDATE", "size", "value + NEW.size - OLD.size"),
        _trigger("DELETE", "size", "value - OLD.size"),
    }
)
"""Type, name and statement of everything in a database of ours."""

_FOUND = "SELECT type, name, sql FROM sqlite_master"


def refuse_foreign_schema(execute: Callable[[str], Iterable[tuple[object, ...]]]) -> None:
    """Raise `ForeignSchemaError` where there is anything that is not ours.

    Less than all of it is what a process leaves that was killed while it made the database: diskcache makes the rest.
    """
    if any(row not in SCHEMA for row in execute(_FOUND)):
        raise ForeignSchemaError("the database is another program's")
