"""The store on disk: its directory, its files and its settings."""

import contextlib
import gc
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cachemw.errors import StoreError
from cachemw.stores import DiskStore, Inline
from cachemw.stores.disk.files import locked
from tests.stores.planting import rows
from tests.stores.scripts import ROOT, run

INDEX, OTHER = bytes(16), bytes([1]) * 16


def test_a_store_of_many_records_is_opened_again_with_all_of_them(store: DiskStore) -> None:
    """D5: it is not taken for a damaged one."""
    indexes = [number.to_bytes(16) for number in range(200)]
    for index in indexes:
        store.put(index, b"a record", None)
    store.close()

    assert list(store.scan()) == [(index, b"a record") for index in indexes]
    assert not list(store.path.glob("*.corrupt-*"))


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """Every connection that is made from now on, by an SQLite that is built to map files."""
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noting(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made.append(connect(*arguments, **options))
        made[-1].execute("PRAGMA mmap_size = 1000000")
        return made[-1]

    monkeypatch.setattr(sqlite3, "connect", noting)
    return made


MODES = """
import json, os, sys
from pathlib import Path
from cachemw.errors import StoreError
from cachemw.stores import DiskStore

os.umask(int(sys.argv[1], 8))
store = DiskStore(sys.argv[2])
store.put(bytes(16), bytes(5_000_000), None)
store.get(bytes(16))
store.secret()
print(json.dumps({path.name: path.stat().st_mode & 0o777 for path in (store.path, *store.path.iterdir())}))
store.close()
"""


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_nobody_else_can_read_the_store_whatever_the_umask(umask: str, tmp_path: Path) -> None:
    """I7"""
    modes = json.loads(run(MODES, umask, tmp_path / "store"))

    assert modes.pop("store") == 0o700
    assert modes == dict.fromkeys(("cache.db", "cache.db-wal", "cache.db-shm", "lock", "secret"), 0o600)


def test_a_directory_others_could_read_is_made_private(tmp_path: Path) -> None:
    """I7"""
    tmp_path.chmod(0o755)
    store = DiskStore(tmp_path)
    store.put(INDEX, b"a record", None)
    store.close()
    before = tmp_path.stat().st_mode & 0o777
    tmp_path.chmod(0o755)
    (tmp_path / "cache.db").chmod(0o644)

    store.put(INDEX, b"a record", None)
    store.close()

    assert before == 0o700
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "cache.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("names", [{"something else"}, {"something else", "lock"}, {"something else", "cache.db"}], ids=sorted)
def test_a_directory_that_others_use_for_something_else_is_left_alone(names: set[str], tmp_path: Path) -> None:
    """F11, I7"""
    tmp_path.chmod(0o755)
    for name in names:
        (tmp_path / name).touch()
    store = DiskStore(tmp_path)

    with pytest.raises(StoreError):
        store.put(INDEX, b"a record", None)

    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_store_beside_which_others_left_their_files_is_ours(store: DiskStore) -> None:
    """F9, I7: and closed to them again."""
    store.put(INDEX, b"a record", None)
    store.close()
    (store.path / "something else").touch()
    store.path.chmod(0o755)

    assert store.get(INDEX) == b"a record"
    assert store.path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["cache.db", "cache.db-wal", "lock", "secret", ".secret"])
def test_a_directory_in_which_a_store_was_begun_is_ours(name: str, tmp_path: Path) -> None:
    """F9, I7, D6: else a start that was cut short would be the last one."""
    tmp_path.chmod(0o755)
    (tmp_path / name).touch()
    store = DiskStore(tmp_path)

    store.put(INDEX, b"a record", None)
    store.close()

    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_is_taken_away_while_it_is_opened_is_not_made_for_all_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F8, I7: diskcache would make it."""

    store = DiskStore(tmp_path / "store")
    with monkeypatch.context() as patched:
        patched.setattr("cachemw.stores.disk.database.refuse_foreign_schema", lambda _: shutil.rmtree(store.path))
        with pytest.raises(StoreError, match="taken away"):
            store.put(INDEX, b"a record", None)
    store.put(INDEX, b"a record", None)
    store.close()

    assert store.path.stat().st_mode & 0o777 == 0o700


OLD_SQLITE = """
import sqlite3, sys
sqlite3.sqlite_version_info = (3, 40, 1)
from cachemw.stores import DiskStore

store = DiskStore(sys.argv[1])
store.put(bytes(16), b"a record", None)
store.close()
"""


def test_nothing_is_said_where_a_store_is_opened(tmp_path: Path) -> None:
    """F2: of an SQLite that may damage it, `cachemw check` tells who asks."""
    command = [sys.executable, "-c", OLD_SQLITE, str(tmp_path / "store")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("", "")


IMPORTING = """
import threading
import cachemw, cachemw.asgi, cachemw.proxy, cachemw.stores

store = cachemw.stores.DiskStore()
cachemw.asgi.CacheMiddleware(lambda *_: None, name="app")
store.path, store.inline, store.close()
print(threading.active_count())
"""


def test_nothing_is_opened_at_import_or_construction(tmp_path: Path) -> None:
    """D6, D9"""
    threads = run(IMPORTING, environment={"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"})

    assert threads == "1\n"
    assert list(tmp_path.iterdir()) == []


def test_a_store_opens_on_first_use_and_reads_inline_from_then_on(tmp_path: Path) -> None:
    """D9"""
    store = DiskStore(tmp_path / "store")
    before = store.inline, store.path.exists()

    store.get(INDEX)

    assert before == (Inline.NONE, False)
    assert (store.inline, store.path.exists()) == (Inline.READS, True)
    store.close()
    assert store.inline is Inline.NONE


def test_the_default_directory_is_the_users_and_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert DiskStore().path == tmp_path / "cachemw"


def test_a_path_leads_to_one_directory_wherever_the_process_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """diskcache expands `~` and variables on its own: the private directory and the database must not part."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NAME", "named")
    monkeypatch.chdir(tmp_path)
    stores = [DiskStore("~/home"), DiskStore(f"{tmp_path}/$NAME"), DiskStore("relative")]

    monkeypatch.chdir("/")
    for store in stores:
        store.put(INDEX, b"a record", None)
        store.close()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "named", "relative"]
    assert all((tmp_path / name / "cache.db").is_file() for name in ("home", "named", "relative"))


def test_the_settings_are_those_that_neither_write_on_reads_nor_map_the_file(store: DiskStore) -> None:
    """D5, R6"""
    store.put(INDEX, bytes(1_000_000), None)
    store.get(INDEX)

    said = dict(rows(store.path, "SELECT key, value FROM Settings"))
    assert (said["eviction_policy"], said["statistics"], said["sqlite_mmap_size"]) == ("least-recently-stored", 0, 0)
    assert rows(store.path, "PRAGMA journal_mode") == [("wal",)]
    maps = Path("/proc/self/maps")
    if maps.exists():  # what is mapped is SQLite's shared memory, and nothing else
        assert {line.rsplit("/", 1)[-1] for line in maps.read_text().splitlines() if str(store.path) in line} <= {
            "cache.db-shm"
        }


def test_every_connection_has_the_settings_that_are_its_own(store: DiskStore, connections: list[sqlite3.Connection]) -> None:
    """D5, R6: else a truncated file is a SIGBUS, and every write waits for the disk."""
    store.put(INDEX, b"a record", None)
    store.get(INDEX)

    settings = [
        tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("mmap_size", "synchronous", "cache_size"))
        for connection in connections[-2:]  # one before these made the database, and was closed
    ]
    assert settings == [(0, 1, 8192)] * 2


def test_a_write_that_fails_for_good_is_not_tried_again(store: DiskStore, connections: list[sqlite3.Connection]) -> None:
    """D1, D6: only a lock is waited for."""
    store.put(INDEX, b"a record", None)
    tried: list[str] = []
    for connection in connections[-2:]:
        connection.execute("PRAGMA max_page_count = 1")  # as many as it has
        connection.set_trace_callback(tried.append)

    with pytest.raises(StoreError, match="full"):
        store.put(OTHER, bytes(1_000_000), None)

    assert len([statement for statement in tried if statement.startswith("INSERT INTO Cache")]) == 1


@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 32 * 1024 + 1, 4_000_000])
def test_no_record_has_a_file_of_its_own(store: DiskStore, size: int) -> None:
    """D10"""
    store.put(INDEX, bytes(size), None)

    assert {path.name for path in store.path.iterdir()} == {"cache.db", "cache.db-wal", "cache.db-shm", "lock"}


def test_a_get_writes_nothing(store: DiskStore) -> None:
    """R6"""
    store.put(INDEX, b"a record", 60.0)
    files = [store.path / name for name in ("cache.db", "cache.db-wal")]
    before = [file.read_bytes() for file in files], rows(store.path, "SELECT * FROM Cache")

    for _ in range(100):
        store.get(INDEX)
        store.get(OTHER)

    assert ([file.read_bytes() for file in files], rows(store.path, "SELECT * FROM Cache")) == before


def test_nothing_is_left_of_a_closed_store(tmp_path: Path) -> None:
    """D4"""
    threads = threading.active_count()
    store = DiskStore(tmp_path)
    store.put(INDEX, b"a record", None)

    store.close()

    assert threading.active_count() == threads
    assert {path.name for path in tmp_path.iterdir()} == {"cache.db", "lock"}  # SQLite takes its log back


def test_the_directories_on_the_way_are_private_too(tmp_path: Path) -> None:
    """F10, I7"""
    store = DiskStore(tmp_path / "a" / "b" / "store")
    was = os.umask(0)
    try:
        store.put(INDEX, b"a record", None)
    finally:
        os.umask(was)
        store.close()

    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b", "a/b/store")] == [0o700] * 3


def test_nothing_is_left_of_a_store_that_is_dropped(tmp_path: Path) -> None:
    """F13, D4"""
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for number in range(20):
            DiskStore(tmp_path / str(number)).put(INDEX, b"a record", None)
        gc.collect()
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    gc.collect()

    assert threading.active_count() <= threads
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_a_store_is_closed_soon_though_somebody_else_holds_its_lock(tmp_path: Path) -> None:
    """F12, P5"""
    store, began = DiskStore(tmp_path), time.monotonic()
    with locked(tmp_path / "lock"):
        opening = threading.Thread(target=lambda: _quietly(lambda: store.get(INDEX)))
        opening.start()
        time.sleep(0.05)
        store.close()
        opening.join()

    assert time.monotonic() - began < 5  # it was ten


def _quietly(call: Callable[[], object]) -> None:
    with contextlib.suppress(StoreError):
        call()
