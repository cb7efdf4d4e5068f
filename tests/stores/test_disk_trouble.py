"""The store on disk, where the disk or another program does not let it work: `StoreError`, soon, and nothing else."""

import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cachemw.errors import StoreError
from cachemw.stores import DiskStore, Inline
from tests.stores.planting import locked, rows
from tests.stores.scripts import run

INDEX, OTHER = bytes(16), bytes([1]) * 16

CALLS: dict[str, Callable[[DiskStore], object]] = {
    "get": lambda store: store.get(INDEX),
    "put": lambda store: store.put(INDEX, b"a record", None),
    "delete": lambda store: store.delete(INDEX),
    "scan": lambda store: list(store.scan()),
    "purge": lambda store: store.purge(0.0),
    "clear": lambda store: store.clear(),
    "version": lambda store: store.version(),
    "size": lambda store: store.size(),
    "secret": lambda store: store.secret(),
}


def _below_a_file(path: Path) -> None:
    path.touch()


def _lock_that_is_a_directory(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "lock").mkdir()


BROKEN = [(_below_a_file, CALLS), (_lock_that_is_a_directory, CALLS.keys() - {"secret"})]


@pytest.mark.parametrize(("make", "name"), [(make, name) for make, names in BROKEN for name in sorted(names)])
def test_a_store_that_cannot_be_opened_raises_a_store_error(make: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    """D1"""
    make(tmp_path / "store")
    store = DiskStore(tmp_path / "store")

    for _ in range(2):
        with pytest.raises(StoreError):
            CALLS[name](store)
    assert store.inline is Inline.NONE
    store.close()


def test_a_store_in_a_directory_of_somebody_else_raises_a_store_error(tmp_path: Path) -> None:
    """D6"""
    if os.geteuid() == 0:
        pytest.skip("for root there is no directory that is somebody else's")
    store = DiskStore("/cachemw")

    with pytest.raises(StoreError):
        store.get(INDEX)


def test_a_store_without_a_home_raises_a_store_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """D6"""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: "~/.cache/cachemw")  # what it says of a user with no home
    monkeypatch.chdir(tmp_path)
    store = DiskStore()

    with pytest.raises(StoreError, match="no home"):
        store.get(INDEX)
    assert list(tmp_path.iterdir()) == []


def test_a_store_opens_once_what_kept_it_from_opening_is_gone(tmp_path: Path) -> None:
    """D6"""
    _below_a_file(tmp_path / "store")
    store = DiskStore(tmp_path / "store")
    with pytest.raises(StoreError):
        store.put(INDEX, b"a record", None)

    (tmp_path / "store").unlink()
    store.put(INDEX, b"a record", None)

    assert store.get(INDEX) == b"a record"
    store.close()


class Hasty(DiskStore):
    """Does not wait for a lock for long."""

    write_timeout = 0.5


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
def test_reads_go_on_under_another_writers_lock_and_writes_give_up(how: str, tmp_path: Path) -> None:
    """F14, D1"""
    assert DiskStore.write_timeout == 2.0
    store = Hasty(tmp_path)
    store.put(INDEX, b"a record", None)

    with locked(store.path, how):
        began = time.monotonic()
        read = store.get(INDEX), store.get(OTHER), store.inline
        has_read = time.monotonic()
        with pytest.raises(StoreError):
            store.put(OTHER, b"a record", None)
        gave_up = time.monotonic()
        read_after = store.get(INDEX)
    store.put(OTHER, b"a record", None)

    assert read == (b"a record", None, Inline.READS)
    assert read_after == b"a record"
    assert has_read - began < 0.5
    assert Hasty.write_timeout * 0.5 < gave_up - has_read < Hasty.write_timeout + 3
    assert store.get(OTHER) == b"a record"
    store.close()


def test_a_store_that_is_locked_when_it_is_opened_gives_up_and_opens_later(
    tmp_path: Path,
) -> None:
    """D1: diskcache alone would wait for a minute."""
    store = Hasty(tmp_path)
    store.put(INDEX, b"a record", None)
    store.close()

    with locked(store.path, "IMMEDIATE"):
        began = time.monotonic()
        with pytest.raises(StoreError):
            store.get(INDEX)
        gave_up = time.monotonic()

    assert gave_up - began < Hasty.write_timeout + 3
    assert store.get(INDEX) == b"a record"
    store.close()


FULL = """
import resource, sys
from cachemw.errors import StoreError
from cachemw.stores import DiskStore

def fails(index):
    try:
        store.put(index, bytes(3_000_000), None)
    except StoreError:
        return True
    return False

small, large, other = (bytes([number]) * 16 for number in range(3))
store = DiskStore(sys.argv[1])
store.put(small, b"a record", None)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
assert fails(large) and fails(other)
assert store.get(small) == b"a record" and store.get(large) is None
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert not fails(large)
assert len(store.get(large)) == 3_000_000
store.close()
print("resumed")
"""


def test_a_store_without_space_reads_on_and_stores_again_when_there_is_some(tmp_path: Path) -> None:
    """D6"""
    assert run(FULL, tmp_path) == "resumed\n"
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def test_a_store_that_is_closed_while_it_is_used_raises_store_errors_at_most(store: DiskStore) -> None:
    """D4"""
    descriptors = Path("/proc/self/fd")
    baseline = len(list(descriptors.glob("*")))

    def use(number: int) -> None:
        for turn in range(60):
            with contextlib.suppress(StoreError):
                assert store.get(INDEX) in (None, b"a record")
                if turn % 10 == number:
                    store.put(INDEX, b"a record", None)

    with ThreadPoolExecutor(4) as threads:
        uses = [threads.submit(use, number) for number in range(4)]
        while not all(under_way.done() for under_way in uses):
            store.close()
            time.sleep(0.01)

    assert [under_way.result() for under_way in uses] == [None] * 4
    store.close()
    assert len(list(descriptors.glob("*"))) == baseline
