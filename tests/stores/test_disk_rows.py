"""The store on disk, where somebody else wrote into it: rows are checked, pickle is never called, no file is followed."""

import copy
from pathlib import Path

import pytest

from cachemw.stores import DiskStore
from cachemw.stores.disk.database import Database, ForeignRowError
from tests.stores.planting import rows

INDEX, OTHER, THIRD = bytes(16), bytes([1]) * 16, bytes([2]) * 16
OUTSIDE = b"what lies outside of the store"


FOREIGN = {
    "pickled": "mode = 4, value = x'80049526'",
    "in a file outside": "mode = 2, filename = '../outside', value = NULL",
    "in a text file outside": "mode = 3, filename = '../outside', value = NULL",
    "pickled in a file outside": "mode = 4, filename = '../outside', value = NULL",
    "with the name of a file": "filename = '../outside'",
    "text": "value = 'text'",
    "a number": "value = 1.5",
    "nothing": "value = NULL",
    "of no mode": "mode = 0",
    "of a mode that is no number": "mode = 'raw'",
}


def _plant(store: DiskStore, change: str) -> None:
    (store.path.parent / "outside").write_bytes(OUTSIDE)
    store.put(OTHER, b"sound", None)
    store.put(INDEX, b"a record", None)
    rows(store.path, f"UPDATE Cache SET {change} WHERE key = ?", INDEX)


def _keys(store: DiskStore) -> list[object]:
    store.size()  # what was asked of the store's thread before is done then
    return [key for (key,) in rows(store.path, "SELECT key FROM Cache")]


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_row_the_store_never_wrote_is_a_miss_and_deleted(store: DiskStore, change: str) -> None:
    """I3"""
    _plant(store, change)

    assert store.get(INDEX) is None
    assert _keys(store) == [OTHER]
    assert (store.path.parent / "outside").read_bytes() == OUTSIDE


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_row_the_store_never_wrote_is_replaced_and_its_file_left_alone(store: DiskStore, change: str) -> None:
    """I3"""
    _plant(store, change)

    store.put(INDEX, b"new", None)

    assert list(store.scan()) == [(OTHER, b"sound"), (INDEX, b"new")]
    assert (store.path.parent / "outside").read_bytes() == OUTSIDE


ROWS = [*FOREIGN.values(), "raw = 0", "raw = NULL", "key = 'text'", "key = NULL", "key = 7"]


@pytest.mark.parametrize("change", ROWS)
def test_a_scan_leaves_out_and_deletes_what_the_store_never_wrote(store: DiskStore, change: str) -> None:
    """I3"""
    _plant(store, change)

    assert list(store.scan()) == [(OTHER, b"sound")]
    assert _keys(store) == [OTHER]
    assert (store.path.parent / "outside").read_bytes() == OUTSIDE


@pytest.mark.parametrize("change", ROWS)
def test_what_the_store_never_wrote_is_evicted_like_the_rest(tmp_path: Path, change: str) -> None:
    """I3, D7"""
    store = DiskStore(tmp_path / "store", count_limit=2)
    _plant(store, change)

    for index in (OTHER, THIRD):
        store.put(index, b"new", None)

    assert list(store.scan()) == [(OTHER, b"new"), (THIRD, b"new")]
    store.close()


def test_a_setting_that_is_planted_is_not_obeyed(store: DiskStore) -> None:
    """I3: diskcache makes an attribute of every setting that a database holds."""
    store.put(INDEX, b"a record", None)
    store.close()
    rows(store.path, "INSERT INTO Settings VALUES ('get', 'planted'), ('_disk', 'planted'), ('sqlite_user_version', 7)")

    assert store.get(INDEX) == b"a record"
    assert rows(store.path, "PRAGMA user_version") == [(0,)]


def test_a_database_goes_nowhere_by_pickle(tmp_path: Path) -> None:
    """I3: diskcache's own could."""
    database = Database(tmp_path, lambda: False)

    with pytest.raises(TypeError, match="opened where it is used"):
        copy.copy(database)  # asks for what pickle would
    database.close()


@pytest.mark.parametrize("change", ["raw = 0, key = x'80049526'", "key = 'text'"])
def test_not_even_diskcache_itself_reads_a_key_the_store_never_wrote(store: DiskStore, change: str) -> None:
    """I3"""
    _plant(store, change)
    cache = Database(store.path, lambda: False)

    with pytest.raises(ForeignRowError):
        list(cache)
    cache.close()


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_row_is_none_among_many(tmp_path: Path, change: str) -> None:
    """Those beside it are read all the same, and it is removed as one that is read alone."""
    store = DiskStore(tmp_path / "store")
    _plant(store, change)

    found = store.get_many([OTHER, INDEX, THIRD, OTHER])

    assert list(found) == [b"sound", None, None, b"sound"]
    assert _keys(store) == [OTHER]
    store.close()


def test_a_row_that_is_larger_than_it_may_be_is_none_among_many(tmp_path: Path) -> None:
    with_room, store = (DiskStore(tmp_path, record_limit=limit) for limit in (2**20, 2**10))
    with_room.put(INDEX, bytes(2**19), None)
    with_room.put(OTHER, b"sound", None)
    with_room.close()

    assert list(store.get_many([INDEX, OTHER])) == [None, b"sound"]
    store.close()


def test_many_are_read_as_each_is(tmp_path: Path) -> None:
    """In the order that is asked for, whatever is not there, and what is over."""
    store = DiskStore(tmp_path)
    store.put(THIRD, b"third", None)
    store.put(INDEX, b"first", 1000.0)
    store.put(OTHER, b"over", 0.0)

    for asked in ([INDEX, THIRD], [THIRD, OTHER, INDEX, bytes([9]) * 16, THIRD], [OTHER], []):
        assert list(store.get_many(asked)) == [store.get(index) for index in asked]
    store.close()


def test_a_store_that_was_taken_away_is_looked_for_anew_where_one_of_many_is_not_there(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    store.put(INDEX, b"a record", None)
    for file in (tmp_path / "store").iterdir():
        file.unlink()

    store.get_many([OTHER, INDEX])
    store.size()  # the store's thread has opened it by then

    assert list(store.get_many([INDEX, OTHER])) == [None, None]
    store.close()
