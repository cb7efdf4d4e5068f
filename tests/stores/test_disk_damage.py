"""A database that is broken, or another program's, or not there any more: set aside, and the next one serves."""

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import diskcache
import pytest

from cachemw import DiskStore
from cachemw.errors import StoreError
from cachemw.stores.disk.database import SEEN, Database
from cachemw.stores.disk.files import locked
from tests.stores.planting import rows
from tests.stores.scripts import run

INDEX, OTHER = bytes(16), bytes([1]) * 16


def _no_database(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "cache.db").write_bytes(b"this is no database" * 1000)


def _other_schema(path: Path) -> None:
    path.mkdir(mode=0o700)
    rows(path, "CREATE TABLE Cache (key, value)")


def _settings_of_another(path: Path) -> None:
    path.mkdir(mode=0o700)
    diskcache.Cache(str(path), disk=diskcache.JSONDisk, disk_compress_level=6).close()


def _settings_without_names(path: Path) -> None:
    path.mkdir(mode=0o700)
    rows(path, "CREATE TABLE Settings (key TEXT UNIQUE, value)")
    rows(path, "INSERT INTO Settings VALUES (NULL, 1)")


def _zeros(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "cache.db").write_bytes(bytes(100_000))


def _half(path: Path) -> None:
    _filled(path)
    os.truncate(path / "cache.db", os.path.getsize(path / "cache.db") // 2 + 100)


def _scribbled(path: Path) -> None:
    _filled(path)
    with (path / "cache.db").open("r+b") as file:
        file.write(os.urandom(50_000))


def _filled(path: Path) -> None:
    store = DiskStore(path)
    for number in range(50):
        store.put(number.to_bytes(16), bytes(5_000), None)
    store.close()
    rows(path, "PRAGMA wal_checkpoint(TRUNCATE)")


DAMAGED = [_no_database, _zeros, _half, _scribbled, _other_schema, _settings_of_another, _settings_without_names]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_database_is_set_aside_and_a_new_one_serves(damage: Callable[[Path], None], store: DiskStore) -> None:
    """D5"""
    damage(store.path)

    began = time.monotonic()
    for number in range(50):
        _quietly(lambda number=number: store.get(number.to_bytes(16)))  # type: ignore[misc]
    store.put(INDEX, b"a record", None)

    assert store.get(INDEX) == b"a record"
    assert time.monotonic() - began < 5  # a second, where the machine has the time
    assert rows(store.path, "PRAGMA integrity_check") == [("ok",)]
    assert len(_aside(store.path)) == 1
    assert (store.path / "cache.db").stat().st_mode & 0o777 == 0o600


def test_only_one_is_kept_of_what_is_set_aside(store: DiskStore) -> None:
    """D5"""
    for number in range(3):
        store.path.mkdir(mode=0o700, exist_ok=True)
        for name in {"cache.db", "cache.db-wal", "cache.db-shm"} & set(os.listdir(store.path)):
            (store.path / name).unlink()
        (store.path / "cache.db").write_bytes(b"no database %d" % number * 1000)
        time.sleep(0.002)
        store.put(INDEX, b"a record", None)

    assert [path.read_bytes()[:13] for path in _aside(store.path)] == [b"no database 2"]


@pytest.mark.parametrize("call", ["get", "put"])
def test_a_database_that_is_damaged_while_it_is_open_is_set_aside(store: DiskStore, call: str) -> None:
    """D5"""
    for number in range(100):
        store.put(number.to_bytes(16), bytes(50_000), None)
    rows(store.path, "PRAGMA wal_checkpoint(TRUNCATE)")

    with (store.path / "cache.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(2_000_000))
    faults = 0
    for number in range(100):
        if call == "get":
            faults += _quietly(lambda number=number: store.get(number.to_bytes(16)))  # type: ignore[misc]
        else:
            faults += _quietly(lambda number=number: store.put(number.to_bytes(16), bytes(50_000), None))  # type: ignore[misc]
    store.put(INDEX, b"a record", None)

    assert faults <= 2
    assert store.get(INDEX) == b"a record"
    assert len(_aside(store.path)) == 1


def test_damage_that_only_a_read_finds_is_set_aside_too(store: DiskStore) -> None:
    """D5: such a database opens well, each time."""
    for number in range(300):
        store.put(number.to_bytes(16), bytes(1_500), None)
    store.close()
    with (store.path / "cache.db").open("r+b") as file:
        for page in range(20, os.path.getsize(store.path / "cache.db") // 4096):
            file.seek(4096 * page)
            file.write(b"\xff" * 64)

    faults = sum(_quietly(lambda number=number: store.get(number.to_bytes(16))) for number in range(300))  # type: ignore[misc]
    store.put(INDEX, b"a record", None)

    assert 0 < faults <= 2
    assert store.get(INDEX) == b"a record"
    assert len(_aside(store.path)) == 1


TRUNCATED = """
import os, sys
from cachemw.errors import StoreError
from cachemw.stores.disk.database import Database
from cachemw.stores import DiskStore

store = DiskStore(sys.argv[1])
for number in range(100):
    store.put(number.to_bytes(16), bytes(50_000), None)
os.truncate(store.path / "cache.db", 0)
os.truncate(store.path / "cache.db-wal", 0)
for number in range(100):
    for call in (store.get, store.delete, lambda index: store.put(index, bytes(50_000), None)):
        try:
            call(number.to_bytes(16))
        except StoreError:
            pass
assert store.get(bytes(16)) == bytes(50_000)
store.close()
print("alive")
"""


def test_a_database_that_is_truncated_while_it_is_open_does_not_end_the_process(tmp_path: Path) -> None:
    """D5"""
    assert run(TRUNCATED, tmp_path, expected=("the store's database is damaged",)) == "alive\n"


@pytest.mark.parametrize("take_away", [shutil.rmtree, lambda path: (path / "cache.db").unlink()], ids=["all", "database"])
def test_a_store_that_is_taken_away_is_made_anew(store: DiskStore, take_away: Callable[[Path], None]) -> None:
    """D5"""
    store.put(INDEX, b"a record", None)

    take_away(store.path)
    assert store.get(OTHER) is None  # the miss that finds it out
    store.put(INDEX, b"another", None)
    elsewhere = DiskStore(store.path)
    seen = elsewhere.get(INDEX), store.get(INDEX)
    elsewhere.close()

    assert seen == (b"another", b"another")


def test_a_store_that_is_asked_for_what_it_has_notices_too_that_it_was_taken_away(
    store: DiskStore,
) -> None:
    """F74, D5: whoever removes the directory wants its answers gone."""
    store.put(INDEX, b"a record", None)
    assert store.get(INDEX) == b"a record"

    shutil.rmtree(store.path)
    time.sleep(SEEN)

    assert store.get(INDEX) is None


def test_a_store_that_was_taken_away_is_made_anew_with_the_secret_it_had(store: DiskStore) -> None:
    """F75, E5: what runs goes on with the old one, and what starts later finds it."""
    secret = store.secret()
    store.put(INDEX, b"a record", None)
    shutil.rmtree(store.path)

    store.put(INDEX, b"a record", None)

    assert DiskStore(store.path).secret() == secret


@pytest.mark.parametrize("name", ["", "cache.db"])
def test_a_store_that_is_moved_away_and_back_is_not_damaged(name: str, store: DiskStore, tmp_path: Path) -> None:
    """F1, D5"""
    store.put(INDEX, b"a record", None)
    rows(store.path, "PRAGMA wal_checkpoint(TRUNCATE)")

    (store.path / name).rename(tmp_path / "away")
    assert store.get(OTHER) is None
    (tmp_path / "away").rename(store.path / name)
    found = [_found(store) for _ in range(2)]

    assert b"a record" in found
    assert _aside(store.path) == []


def test_a_database_that_fails_once_is_opened_again_and_not_set_aside(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F2, D5: a disk that cannot be read for once looks like damage too."""
    store.put(INDEX, b"a record", None)
    read, fails = Database.read, [True]

    def fail_once(cache: Database, index: bytes) -> bytes | None:
        if fails:
            fails.clear()
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        return read(cache, index)

    monkeypatch.setattr(Database, "read", fail_once)
    with pytest.raises(StoreError):
        store.get(INDEX)

    assert store.get(INDEX) == b"a record"
    assert _aside(store.path) == []


def test_what_was_set_aside_goes_before_space_runs_out_and_with_everything_else(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F4, D6"""
    _zeros(store.path)
    store.put(INDEX, b"a record", None)
    assert len(_aside(store.path)) == 1

    with monkeypatch.context() as patched:
        patched.setattr("cachemw.stores.disk.store.has_room", lambda *_: False)
        with pytest.raises(StoreError, match="space"):
            store.put(INDEX, b"a record", None)
    assert _aside(store.path) == []

    store.close()
    _half(store.path)
    store.put(INDEX, b"a record", None)
    store.clear()
    assert _aside(store.path) == []


def test_a_database_is_closed_under_the_lock_under_which_others_open_it(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F3, D5: SQLite removes the log by its name then, and it may be the next database's."""
    store.put(INDEX, b"a record", None)
    close, was_locked = Database.close, []

    def note(cache: Database) -> None:
        was_locked.append(_is_locked(store.path / "lock"))
        close(cache)

    monkeypatch.setattr(Database, "close", note)
    store.close()

    assert was_locked == [True]


def test_who_had_the_database_open_follows_who_set_it_aside(store: DiskStore) -> None:
    """D5, E5"""
    store.put(INDEX, b"a record", None)
    _filled(store.path)
    follower = DiskStore(store.path)
    assert follower.get(INDEX) is not None

    with (store.path / "cache.db").open("r+b") as file:
        file.write(os.urandom(200_000))
    for number in range(50):
        _quietly(lambda number=number: store.put(number.to_bytes(16), b"new", None))  # type: ignore[misc]
    for number in range(3):
        _quietly(lambda number=number: follower.get(bytes([9, number]) * 8))  # type: ignore[misc]
    follower.put(OTHER, b"from the follower", None)

    assert store.get(OTHER) == b"from the follower"
    assert follower.get(INDEX) == b"new"
    assert len(_aside(store.path)) == 1
    follower.close()


def test_a_database_is_set_aside_under_load_and_nothing_but_store_errors_is_seen(store: DiskStore) -> None:
    """D5"""
    _filled(store.path)
    stop, seen = threading.Event(), set()

    def ask() -> None:
        while not stop.is_set():
            for number in range(50):
                try:
                    seen.add(store.get(number.to_bytes(16)))
                except StoreError:
                    seen.add(b"-")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    with (store.path / "cache.db").open("r+b") as file:
        file.write(os.urandom(200_000))
    deadline = time.monotonic() + 5
    while not _aside(store.path) and time.monotonic() < deadline:
        _quietly(lambda: store.put(OTHER, b"a record", None))
    stop.set()
    for thread in threads:
        thread.join()

    assert None in seen
    assert store.get(OTHER) == b"a record"


def _aside(path: Path) -> list[Path]:
    return [found for found in path.glob("*.corrupt-*") if not found.name.endswith(("-wal", "-shm"))]


def _is_locked(path: Path) -> bool:
    try:
        with locked(path, 0.0):
            return False
    except TimeoutError:
        return True


def _found(store: DiskStore) -> bytes | None:
    try:
        return store.get(INDEX)
    except StoreError:
        return None


def _quietly(call: Callable[[], object]) -> bool:
    try:
        call()
    except StoreError:
        return True
    return False


@pytest.mark.parametrize("name", ["cache.db", "lock"])
def test_a_link_to_another_file_is_not_followed(name: str, store: DiskStore, tmp_path: Path) -> None:
    """F7, I7"""
    (tmp_path / "mine").write_bytes(b"")
    (tmp_path / "mine").chmod(0o644)
    store.path.mkdir(mode=0o700)
    (store.path / name).symlink_to(tmp_path / "mine")

    with pytest.raises(StoreError):
        store.put(INDEX, b"a record", None)

    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "mine").read_bytes() == b""


@pytest.mark.parametrize("value", ["NULL", "9e999", "-1", "'many'", "9223372036854775807"])
@pytest.mark.parametrize("name", ["count", "size"])
def test_a_database_that_does_not_know_what_it_holds_is_set_aside(name: str, value: str, store: DiskStore) -> None:
    """F5, D5"""
    store.put(OTHER, b"a record", None)
    store.close()
    rows(store.path, f"UPDATE Settings SET value = {value} WHERE key = '{name}'")

    store.put(INDEX, b"a record", None)

    assert store.get(INDEX) == b"a record"
    assert store.size() > 0
    assert len(_aside(store.path)) == 1


@pytest.mark.parametrize("value", ["NULL", "9e999"])
def test_of_a_database_that_does_not_know_what_it_holds_nobody_is_told_a_size(value: str, store: DiskStore) -> None:
    """F6, D1: it has lost count while it was open."""
    store.put(INDEX, b"a record", None)
    rows(store.path, f"UPDATE Settings SET value = {value} WHERE key = 'size'")

    with pytest.raises(StoreError):
        store.size()
