"""A database that another program made or changed: none of its code runs, none of its large rows is read, nobody waits."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cachemw.errors import ConfigurationError, RecordTooLarge, StoreError
from cachemw.stores import DiskStore
from cachemw.stores.disk import database as inline
from cachemw.stores.disk.database import Database
from cachemw.stores.disk.schema import SCHEMA
from tests.stores.planting import locked, rows

INDEX, OTHER = bytes(16), bytes([1]) * 16
MIB = 2**20

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c WHERE x < 0"
TRIGGER = f"CREATE TRIGGER planted BEFORE INSERT ON Cache BEGIN INSERT INTO Settings SELECT 'k' || x, x FROM ({ENDLESS}); END"

FOREIGN = {
    "a view for the table": ("ALTER TABLE Cache RENAME TO Kept", "CREATE VIEW Cache AS SELECT * FROM Kept"),
    "an endless view": ("DROP TABLE Settings", f"CREATE VIEW Settings(key, value) AS SELECT 'k' || x, x FROM ({ENDLESS})"),
    "a trigger": ("CREATE TRIGGER planted BEFORE INSERT ON Cache BEGIN SELECT RAISE(IGNORE); END",),
    "an endless trigger": (TRIGGER,),
    "a table": ("CREATE TABLE planted (x)",),
    "an index": ("CREATE INDEX planted ON Cache (tag)",),
    "a generated column": ("ALTER TABLE Cache ADD COLUMN planted AS (zeroblob(900000000))",),
    "a column": ("ALTER TABLE Cache ADD COLUMN planted",),
    "another trigger": (
        "DROP TRIGGER Settings_count_insert",
        "CREATE TRIGGER Settings_count_insert AFTER INSERT ON Cache FOR EACH ROW BEGIN DELETE FROM Cache; END",
    ),
    "a large setting": ("INSERT INTO Settings VALUES ('planted', zeroblob(70000000))",),
}


def _plant(directory: Path, *statements: str) -> None:
    with closing(sqlite3.connect(directory / "cache.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def _is_set_aside(directory: Path) -> bool:
    return any(directory.glob("cache.db.corrupt-*"))


@pytest.mark.parametrize("statements", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_database_with_what_is_not_ours_is_set_aside_and_a_new_one_serves(
    statements: tuple[str, ...], store: DiskStore
) -> None:
    """F106, D5, I3: SQLite would run it for us, for ever if need be."""
    store.put(INDEX, b"a record", None)
    store.close()
    _plant(store.path, *statements)

    began = time.monotonic()
    store.put(OTHER, b"another", None)

    assert (store.get(INDEX), store.get(OTHER)) == (None, b"another")
    assert time.monotonic() - began < 5  # a second, where the machine has the time
    assert _is_set_aside(store.path)
    assert {row[1] for row in rows(store.path, "SELECT type, name, sql FROM sqlite_master")} == {name for _, name, _ in SCHEMA}


def test_what_is_ours_is_what_diskcache_makes(tmp_path: Path) -> None:
    """F106: should it make something else one day, every database would be set aside."""
    Database(tmp_path, lambda: False).close()

    assert set(rows(tmp_path, "SELECT type, name, sql FROM sqlite_master")) == SCHEMA


@pytest.mark.parametrize("left", range(1, len(SCHEMA)))
def test_a_database_that_was_only_begun_is_ours(left: int, store: DiskStore) -> None:
    """D6: of a process that was killed meanwhile."""
    store.put(INDEX, b"a record", None)
    store.close()
    made = rows(store.path, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
    (store.path / "cache.db").unlink()
    _plant(store.path, *(sql for (sql,) in made[:left]))

    store.put(INDEX, b"a record", None)

    assert store.get(INDEX) == b"a record"
    assert not _is_set_aside(store.path)


def test_more_settings_than_ours_are_no_other_programs(store: DiskStore) -> None:
    """D5: only what a schema says is."""
    store.put(INDEX, b"a record", None)
    store.close()
    rows(store.path, "INSERT INTO Settings VALUES ('of a later release', 7)")

    assert store.get(INDEX) == b"a record"


@pytest.mark.parametrize("call", ["get", "put"])
def test_a_schema_that_changes_while_the_store_is_open_holds_nobody_up(call: str, store: DiskStore) -> None:
    """F107, D1: a statement that takes too long ends, and the schema is looked at again."""
    store.put(INDEX, b"a record", None)
    columns = "zeroblob(x) AS key, 1 AS raw, x AS expire_time, 1 AS mode, NULL AS filename, x AS value"
    view = f"CREATE VIEW Cache AS SELECT {columns} FROM ({ENDLESS})"
    _plant(store.path, *(("ALTER TABLE Cache RENAME TO Kept", view) if call == "get" else (TRIGGER,)))

    began = time.monotonic()
    with pytest.raises(StoreError):
        store.get(INDEX) if call == "get" else store.put(OTHER, b"another", None)
    gave_up = time.monotonic() - began
    store.put(OTHER, b"another", None)

    assert gave_up < (0.5 if call == "get" else 3)
    assert store.get(OTHER) == b"another"
    assert _is_set_aside(store.path)


TEXT = "CAST(zeroblob(9000000) AS TEXT)"
LARGE = ("value = zeroblob(9000000)", f"value = {TEXT}", f"filename = {TEXT}", f"mode = {TEXT}")
READING: dict[str, tuple[Callable[[DiskStore], object], object]] = {
    "get": (lambda store: store.get(INDEX), None),
    "scan": (lambda store: list(store.scan()), [(OTHER, b"another")]),
    "clear": (lambda store: store.clear(), 2),
}


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[DiskStore]:
    """A store with two records, of which no row may be larger than a mebibyte."""
    with closing(DiskStore(tmp_path / "planted", record_limit=MIB)) as store:
        store.put(INDEX, b"a record", None)
        store.put(OTHER, b"another", None)
        yield store


@pytest.mark.parametrize("change", LARGE)
@pytest.mark.parametrize("call", READING)
def test_a_row_that_is_too_large_is_not_read_and_goes(change: str, call: str, planted: DiskStore) -> None:
    """F108, I3, R9: the event loop would stand still while SQLite reads it."""
    rows(planted.path, f"UPDATE Cache SET {change} WHERE key = ?", INDEX)
    do, expected = READING[call]

    assert do(planted) == expected
    planted.size()  # what was asked of the store's thread before is done then
    assert rows(planted.path, "SELECT key FROM Cache") == ([] if call == "clear" else [(OTHER,)])
    assert not _is_set_aside(planted.path)


@pytest.mark.parametrize("change", [*LARGE, f"expire_time = {TEXT}", f"store_time = {TEXT}", f"raw = {TEXT}", f"tag = {TEXT}"])
def test_a_row_that_is_too_large_keeps_nothing_from_being_stored(change: str, planted: DiskStore) -> None:
    """F108, D5: be it that the database is set aside."""
    rows(planted.path, f"UPDATE Cache SET {change} WHERE key = ?", INDEX)

    for index in (INDEX, OTHER):
        planted.put(index, b"new", None)

    assert (planted.get(INDEX), planted.get(OTHER)) == (b"new", b"new")


def test_a_record_of_another_process_that_may_be_larger_is_a_miss(tmp_path: Path) -> None:
    """F108, R9"""
    with closing(DiskStore(tmp_path, record_limit=4 * MIB)) as one, closing(DiskStore(tmp_path, record_limit=MIB)) as other:
        one.put(INDEX, bytes(MIB), None)
        one.put(OTHER, bytes(MIB + 1), None)

        assert other.get(INDEX) == bytes(MIB)
        assert other.get(OTHER) is None


def test_a_record_that_is_larger_than_one_may_be_is_refused(tmp_path: Path) -> None:
    """R9"""
    with closing(DiskStore(tmp_path, record_limit=MIB)) as store:
        with pytest.raises(RecordTooLarge):
            store.put(INDEX, bytes(MIB + 1), None)
        store.put(INDEX, bytes(MIB), None)

        assert store.get(INDEX) == bytes(MIB)


def test_a_store_for_records_of_no_size_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        DiskStore(record_limit=0)


@pytest.mark.parametrize("rowid", [-1, 0, 2**62])
def test_everything_goes_whatever_number_its_row_has(rowid: int, store: DiskStore) -> None:
    """F109: diskcache begins at one."""
    store.put(INDEX, b"a record", None)
    rows(store.path, "UPDATE Cache SET rowid = ?", rowid)

    assert store.clear() == 1
    assert store.get(INDEX) is None


def test_a_limit_that_was_lowered_is_reached_little_by_little(tmp_path: Path) -> None:
    """F115, D1: who deletes all at once has everybody wait."""
    with closing(DiskStore(tmp_path)) as store:
        for number in range(250):
            store.put(number.to_bytes(16), b"a record", None)

    with closing(DiskStore(tmp_path, count_limit=10)) as store:
        held = []
        for _ in range(4):
            store.put(INDEX, b"new", None)
            held.append(len(list(store.scan())))

    assert held == [150, 50, 10, 10]


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
@pytest.mark.parametrize("how", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_store_that_is_locked_is_given_up_after_a_second_and_opens_later(mode: str, how: str, store: DiskStore) -> None:
    """F105, D1: diskcache asks thirty times, and each time waited."""
    store.put(INDEX, b"a record", None)
    store.close()
    rows(store.path, f"PRAGMA journal_mode = {mode}")

    with locked(store.path, how):
        began = time.monotonic()
        with pytest.raises(StoreError, match="could not be opened within 1 s"):
            store.get(INDEX)
        gave_up = time.monotonic() - began

    assert inline.OPENING_TIME * 0.5 < gave_up < inline.OPENING_TIME + 0.5
    assert store.get(INDEX) == b"a record"
