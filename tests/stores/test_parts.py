"""Many records at once, behind the guard: read up to the first that is missing, and put behind the answer they are parts of."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from cachemw import Limits, MemoryStore
from cachemw.cache.live_response import Put
from cachemw.cache.order import ALONE, Order, Others
from cachemw.errors import StoreError, Superseded
from cachemw.stores import Inline, Store
from cachemw.stores.guard import PARTS_AT_ONCE, READ_AT_ONCE, GuardedStore
from tests.stores.dictionary import DictionaryStore

FIRST = Order(generation=0, puts=0, began=1)


class Slow(DictionaryStore):
    """A store that is asked elsewhere, and may refuse."""

    def __init__(self, refuses: Callable[[bytes], StoreError | None] = lambda index: None) -> None:
        super().__init__()
        self.refuses = refuses

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, others: Others = ALONE) -> None:
        if error := self.refuses(index):
            raise error
        super().put(index, record, keep, order, others)


def put(count: int, order: Order = FIRST) -> Put:
    """Return an answer's record that has so many parts."""

    def parts() -> Iterator[tuple[bytes, bytes]]:
        return ((b"%d" % number, b"part %d" % number) for number in range(count))

    return Put(b"whole", b"record", None, order, waits=True, parts=parts)


@pytest.mark.parametrize("make", [MemoryStore, Slow], ids=["here", "elsewhere"])
@pytest.mark.parametrize(
    ("indexes", "found"),
    [((), 0), ((b"0",), 1), ((b"1", b"0"), 2), ((b"0", b"none", b"1"), 1), ((b"none", b"0"), 0), ((b"0", b"0"), 2)],
)
def test_records_are_read_up_to_the_first_that_is_missing(
    make: Callable[[], Store], indexes: Sequence[bytes], found: int
) -> None:
    store = make()
    for number in range(2):
        store.put(b"%d" % number, b"record %d" % number, None)

    assert GuardedStore(store).get_many(indexes) == tuple(b"record " + index for index in indexes[:found])


@pytest.mark.parametrize("make", [MemoryStore, Slow], ids=["here", "elsewhere"])
@pytest.mark.parametrize("missing", [0, 1, READ_AT_ONCE - 1, READ_AT_ONCE, 2 * READ_AT_ONCE])
def test_records_are_read_to_the_end_where_that_is_asked_for(make: Callable[[], Store], missing: int) -> None:
    store, indexes = make(), [b"%d" % number for number in range(2 * READ_AT_ONCE + 1)]
    for index in indexes:
        if index != indexes[missing]:
            store.put(index, b"record " + index, None)
    guarded = GuardedStore(store)

    whole, first = guarded.get_many(indexes, to_the_end=True), guarded.get_many(indexes)

    assert whole == tuple(None if index == indexes[missing] else b"record " + index for index in indexes)
    assert first == whole[:missing]


def test_a_store_that_gives_no_record_fails() -> None:
    class Odd(MemoryStore):
        def get(self, index: bytes) -> Any:
            return "text"

    with pytest.raises(StoreError):
        GuardedStore(Odd()).get_many((b"0",))


@pytest.mark.parametrize("count", [0, 1, PARTS_AT_ONCE, PARTS_AT_ONCE + 1, 3 * PARTS_AT_ONCE])
@pytest.mark.parametrize("make", [MemoryStore, Slow], ids=["here", "elsewhere"])
def test_all_parts_are_put(make: Callable[[], Store], count: int) -> None:
    store = make()
    guarded = GuardedStore(store)

    guarded.put_parts(put(count))

    assert _settled(guarded, store, count) == {b"%d" % number: b"part %d" % number for number in range(count)}


def test_an_answer_of_megabytes_is_divided_where_nobody_else_waits_meanwhile() -> None:
    here, threads = threading.get_ident(), set[int]()

    class Watched(DictionaryStore):
        inline: Inline = Inline.ALL

        def put(self, index: bytes, record: bytes, *more: Any) -> None:
            threads.add(threading.get_ident())
            super().put(index, record, *more)

    store = Watched()
    guarded = GuardedStore(store)

    guarded.put_parts(replace(put(3), record=bytes(Limits().judged_bytes + 1)))

    assert len(_settled(guarded, store, 3)) == 3
    assert here not in threads


def test_a_part_that_is_older_than_what_is_there_is_left_out_and_no_other() -> None:
    store = Slow(lambda index: Superseded("older") if index == b"1" else None)
    guarded = GuardedStore(store)

    guarded.put_parts(put(3))

    assert set(_settled(guarded, store, 2)) == {b"0", b"2"}


def test_after_a_failure_no_more_parts_are_put() -> None:
    store = Slow(lambda index: StoreError("full") if index == b"1" else None)
    guarded = GuardedStore(store)

    guarded.put_parts(put(3 * PARTS_AT_ONCE))

    assert set(_settled(guarded, store, 1)) == {b"0"}


def test_parts_of_what_was_purged_meanwhile_are_not_put() -> None:
    """A1, T27: they were asked for before the purge."""
    store = MemoryStore()
    guarded, before = GuardedStore(store), store.order()
    store.delete(b"whole")

    guarded.put_parts(put(3, before))

    assert list(store.scan()) == []


def test_a_store_that_keeps_no_parts_is_given_none() -> None:
    class Whole(MemoryStore):
        keeps_parts = False

    store = Whole()

    GuardedStore(store).put_parts(put(3))

    assert list(store.scan()) == []


def _settled(guarded: GuardedStore, store: Store, count: int) -> dict[bytes, bytes]:
    """Return what a store holds when it has been given so many parts, and something else after them."""
    found: dict[bytes, bytes] = {}
    for _ in range(1000):
        guarded.begin_put(b"whole", b"record", None, waits=True).done.result(10)
        has_all = len(found) >= count
        found = {index: record for index, record in store.scan() if index != b"whole"}
        if has_all:
            return found
    return found
