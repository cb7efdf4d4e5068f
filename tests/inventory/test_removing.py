"""Records are removed by whole keys, what is planned is what goes, and to plan it changes nothing."""

from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachemw.cache import record as codec
from cachemw.cache.key import index_beside, index_of_batch
from cachemw.errors import Purged
from cachemw.inventory.entries import read_entries
from cachemw.inventory.filters import EVERYTHING, Filter
from cachemw.inventory.removing import planned, remove
from cachemw.messages import Kind
from cachemw.stores import DiskStore, FileStore, MemoryStore, Store
from tests.inventory.records import INDEX, NOW, RECORDS, WITH_PARTS, completion
from tests.inventory.test_filters import FILTERS


def filled(store: Store) -> Store:
    for index, record in RECORDS.items():
        store.put(index, record, None)
    return store


def content(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory, with its bytes."""
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


ALONE = [b"stale ----------", b"cut short ------", b"damaged --------"]
OF_INDEX = [INDEX, index_beside(INDEX, Kind(True))]
OF_PARTS = [WITH_PARTS, index_of_batch(WITH_PARTS), b"part one -------", b"part two -------"]


@pytest.mark.parametrize(
    ("meant", "gone"),
    [
        (Filter(model="llama*"), ALONE[:1]),
        (Filter(stale=True), [ALONE[0], *OF_PARTS]),
        (Filter(finish="length"), ALONE[1:2]),
        (Filter(damaged=True), ALONE[2:]),
        (Filter(key=INDEX.hex()), OF_INDEX),
        (Filter(key=INDEX.hex()[:8]), OF_INDEX),
        (Filter(key=index_beside(INDEX, Kind(True)).hex()[:8]), []),  # nobody is told of it under this
        (Filter(key=WITH_PARTS.hex()[:8]), OF_PARTS[:2]),
        (Filter(endpoint="embeddings"), OF_PARTS),
        (Filter(larger_than=2000), ALONE[:1]),
        (Filter(model="m", provider="groq"), []),
        (Filter(key=WITH_PARTS.hex()), OF_PARTS[:2]),  # without what they have in common no part is of use
        (Filter(newer_than=60.0), [*OF_INDEX, ALONE[1], *OF_PARTS]),
    ],
    ids=lambda value: value.words if isinstance(value, Filter) else "",
)
def test_a_key_is_removed_with_all_that_is_stored_under_it(meant: Filter, gone: list[bytes]) -> None:
    store = filled(MemoryStore())

    removal = planned(store, meant, NOW)
    removed = remove(store, removal, NOW)

    assert {index for index, _ in store.scan()} == set(RECORDS) - set(gone)
    assert removed == removal.records == len(gone)
    assert removal.size == sum(len(RECORDS[index]) for index in gone)


def test_a_plan_says_when_the_oldest_was_stored() -> None:
    assert planned(filled(MemoryStore()), Filter(model="?"), NOW).oldest == NOW - 7200
    assert planned(filled(MemoryStore()), Filter(damaged=True), NOW).oldest is None


@pytest.mark.parametrize("make", [DiskStore, FileStore])
def test_to_plan_a_removal_changes_no_byte(tmp_path: Path, make: Callable[[Path], Store]) -> None:
    """O6."""
    with closing(filled(make(tmp_path))):
        pass
    before = content(tmp_path)

    with closing(make(tmp_path)) as store:
        plans = [planned(store.read_only(), meant, NOW) for meant in (EVERYTHING, Filter(model="m"), Filter(stale=True))]
        during = content(tmp_path)

    assert [plan.records > 0 for plan in plans] == [True] * 3
    assert before == during == content(tmp_path)


FITTING: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(["m", "e", "llama*", "?", "*"]),
    "provider": st.sampled_from(["cerebras", "groq"]),
    "endpoint": st.sampled_from(["chat", "embeddings"]),
    "key": st.sampled_from([INDEX.hex(), INDEX.hex()[:2], WITH_PARTS.hex(), "6"]),
    "older_than": st.sampled_from([0.0, 3600.0]),
    "newer_than": st.sampled_from([60.0, 1e9]),
    "larger_than": st.sampled_from([0, 300, 2000]),
    "finish": st.sampled_from(["stop", "length"]),
    **dict.fromkeys(("stale", "damaged"), st.just(True)),
}
numbers = count()


@settings(max_examples=60, deadline=None)
@given(FILTERS | st.fixed_dictionaries({}, optional=FITTING).map(lambda given: Filter(**given)), st.booleans())
def test_what_is_planned_is_what_is_removed(tmp_path_factory: pytest.TempPathFactory, meant: Filter, of_files: bool) -> None:
    """O6: for any filter, and none, what a reader plans is what the store then loses, and nothing else of a kind that fits."""
    make = FileStore if of_files else DiskStore
    directory = tmp_path_factory.getbasetemp() / f"planned-{next(numbers)}"
    with closing(filled(make(directory))) as store:
        store.close()
        plan = planned(make(directory).read_only(), meant, NOW)
        there = len(list(store.scan()))

        removed = remove(store, planned(store, meant, NOW), NOW)

        left = list(store.scan())
        assert plan.records == removed == there - len(left)
        assert not any(meant.fits(entry, NOW) for entry in read_entries(store, NOW, meant))


def test_a_plan_of_everything_counts_what_nobody_can_read(tmp_path: Path) -> None:
    with closing(filled(DiskStore(tmp_path))) as store:
        store.put(b"over", b"long ago", 0.0)

        plan = planned(store.read_only(), EVERYTHING, NOW)

        assert plan.records == len(RECORDS) + 1
        assert remove(store, plan, NOW) == len(RECORDS) + 1


@pytest.mark.parametrize("make", [lambda _: MemoryStore(), DiskStore, FileStore], ids=["memory", "disk", "files"])
@pytest.mark.parametrize("meant", [Filter(model="llama*"), Filter(key="ff" * 16), EVERYTHING], ids=["some", "none", "all"])
def test_what_was_asked_for_before_a_removal_is_not_kept(tmp_path: Path, make: Callable[[Path], Store], meant: Filter) -> None:
    """A1: be it of another key, and be there nothing to remove."""
    store = filled(make(tmp_path))
    order = store.order()

    remove(store, planned(store, meant, NOW), NOW)

    with pytest.raises(Purged):
        store.put(INDEX, RECORDS[INDEX], None, order)
    store.close()


def test_many_are_removed_a_hundred_keys_at_a_time_and_that_is_told() -> None:
    store, told = MemoryStore(), list[tuple[int, int]]()
    for number in range(250):
        store.put(b"%016d" % number, codec.encode(completion()), None)

    removed = remove(store, planned(store, Filter(model="m"), NOW), NOW, progress=lambda *done: told.append(done))

    assert (removed, store.count()) == (250, 0)
    assert told == [(100, 250), (200, 250), (250, 250)]
