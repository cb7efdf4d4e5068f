"""The version of a store on disk: another one after every change, whoever made it, and in every opening."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cachemw import DiskStore, StoreError
from cachemw.stores.disk import database
from tests.stores.planting import locked, rows
from tests.stores.scripts import run

INDEX, OTHER = bytes(16), bytes([1]) * 16


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    with closing(DiskStore(tmp_path / "store")) as store:
        store.put(INDEX, b"a record", None)
        yield store


def asked_anew(store: DiskStore) -> object:
    """Return the version when what was noted of it counts no more."""
    time.sleep(2 * database.NOTED)
    return store.version()


def _by_another_store(path: Path) -> None:
    with closing(DiskStore(path, count_limit=1)) as other:
        other.put(OTHER, b"another", None)


def _by_another_process(path: Path) -> None:
    run(
        "import sys; from cachemw import DiskStore; store = DiskStore(sys.argv[1]); store.discard(bytes(16)); store.close()",
        path,
    )


def _by_another_program(path: Path) -> None:
    rows(path, "DELETE FROM Cache")


@pytest.mark.parametrize("change", [_by_another_store, _by_another_process, _by_another_program])
def test_a_version_changes_with_what_others_do(change: Callable[[Path], None], store: DiskStore) -> None:
    """V2"""
    before = store.version()

    change(store.path)

    assert store.get(INDEX) is None
    assert asked_anew(store) != before
    assert asked_anew(store) == store.version()


def test_no_two_openings_have_a_version_in_common(store: DiskStore) -> None:
    """V2: after a directory was removed, a new database may have come as far as the one before it."""
    seen = [store.version()]

    for _ in range(3):
        store.close()
        shutil.rmtree(store.path)
        store.put(INDEX, b"a record", None)
        seen.append(store.version())
    with closing(DiskStore(store.path)) as other:
        seen.append(other.version())

    assert len(set(seen)) == len(seen)


def test_a_store_that_was_taken_away_has_no_version_until_it_is_opened_anew(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V2, D5"""
    monkeypatch.setattr(database, "SEEN", 0.0)
    before = store.version()
    shutil.rmtree(store.path)

    with pytest.raises(StoreError, match="taken away"):
        store.version()

    assert store.version() != before
    assert store.get(INDEX) is None


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_version_is_told_under_another_writers_lock(how: str, store: DiskStore) -> None:
    """V2, D1"""
    before = store.version()

    with locked(store.path, how):
        assert asked_anew(store) == before


SETTINGS = {"mmap_size": 0, "synchronous": 1, "cache_size": 8192, "trusted_schema": 0}
"""Of a file that is mapped, one that is cut short is a SIGBUS."""


@pytest.mark.parametrize(("connection", "timeout_ms"), [("_con", 10), ("_reader", 20), ("_watcher", 0)])
def test_every_connection_has_the_settings_that_are_its_own(connection: str, timeout_ms: int, tmp_path: Path) -> None:
    """D5, P4: an event loop that asks for the version waits for no lock."""
    with closing(database.Database(tmp_path, lambda: False)) as opened:
        ask = getattr(opened, connection).execute
        has = {name: ask(f"PRAGMA {name}").fetchone()[0] for name in (*SETTINGS, "busy_timeout")}

    assert has == SETTINGS | {"busy_timeout": timeout_ms}
