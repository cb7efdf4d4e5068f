"""Every store does this, and what else it promises."""

import contextlib
import inspect
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachemw.cache import record as codec
from cachemw.cache.order import Others
from cachemw.errors import ConfigurationError, Purged, RecordTooLarge, Superseded
from cachemw.limits import MEMORY_STORE_BYTES, STORE_BYTES, STORE_RECORDS
from cachemw.messages import Kind as AnswerKind
from cachemw.messages import StoredResponse
from cachemw.stores import DiskStore, MemoryStore, Store
from tests.stores.kinds import PROMISES, Kind, kind_named, those_that_promise

ONE, TWO, THREE, FOUR, FIVE, SIX = (bytes([number]) * 16 for number in range(1, 7))
NOTHING: list[tuple[bytes, bytes]] = []


@pytest.fixture(params=PROMISES)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kind]:
    with kind_named(request.param, tmp_path) as kind:
        yield kind


@pytest.fixture
def store(kind: Kind) -> Store:
    return kind.make()


def test_what_was_put_is_there(store: Store) -> None:
    store.put(ONE, b"first", None)

    assert store.get(ONE) == b"first"


def test_what_was_not_put_is_not_there(store: Store) -> None:
    store.put(ONE, b"first", None)

    assert store.get(TWO) is None


def test_a_record_takes_the_place_of_an_earlier_one(store: Store) -> None:
    store.put(ONE, b"first", None)
    store.put(ONE, b"second", None)

    assert store.get(ONE) == b"second"
    assert list(store.scan()) == [(ONE, b"second")]


def test_a_record_is_deleted_and_that_is_said_once(store: Store) -> None:
    store.put(ONE, b"first", None)

    assert [store.delete(ONE), store.delete(ONE), store.delete(TWO)] == [True, False, False]
    assert store.get(ONE) is None


def test_an_empty_record_is_a_record(store: Store) -> None:
    store.put(ONE, b"", None)

    assert store.get(ONE) == b""
    assert list(store.scan()) == [(ONE, b"")]
    assert store.delete(ONE)


@those_that_promise("oldest first")
def test_a_scan_goes_from_the_oldest_to_the_newest(store: Store) -> None:
    for index in (THREE, ONE, TWO):
        store.put(index, b"as it was", None)
    store.put(THREE, b"put anew", None)

    assert list(store.scan()) == [(ONE, b"as it was"), (TWO, b"as it was"), (THREE, b"put anew")]


def test_a_scan_can_be_given_up_and_what_goes_meanwhile_is_left_out(store: Store) -> None:
    for index in (ONE, TWO, THREE):
        store.put(index, b"a record", None)

    scan = store.scan()
    first = next(scan)
    gone = TWO if first[0] != TWO else ONE
    store.delete(gone)

    assert {first[0], *dict(scan)} == {ONE, TWO, THREE} - {gone}
    assert len(list(islice(store.scan(), 1))) == 1


def test_a_record_goes_when_its_time_is_over(kind: Kind) -> None:
    store = kind.make()
    store.put(ONE, b"short", 30.0)
    store.put(TWO, b"long", 90.0)
    store.put(THREE, b"for good", None)
    before = store.get(ONE)

    kind.wait(31.0)

    assert (before, store.get(ONE)) == (b"short", None)
    assert dict(store.scan()) == {TWO: b"long", THREE: b"for good"}
    assert not store.delete(ONE)


def test_a_record_kept_for_no_time_is_not_there(store: Store) -> None:
    store.put(ONE, b"first", None)
    store.put(ONE, b"second", 0.0)

    assert store.get(ONE) is None


def test_a_get_does_not_extend_the_time_of_a_record(kind: Kind) -> None:
    """R6"""
    store = kind.make()
    store.put(ONE, b"first", 30.0)
    seen = []

    for _ in range(3):
        seen.append(store.get(ONE))
        kind.wait(11.0)

    assert seen == [b"first"] * 3
    assert store.get(ONE) is None


def test_a_put_begins_the_time_of_a_record_anew(kind: Kind) -> None:
    store = kind.make()
    store.put(ONE, b"first", 20.0)
    store.put(ONE, b"second", None)

    kind.wait(30.0)

    assert store.get(ONE) == b"second"


def test_a_store_can_be_closed_before_it_is_used_and_twice(kind: Kind) -> None:
    unused, used = kind.make(), kind.make()
    used.put(ONE, b"first", None)

    for store in (unused, used):
        store.close()
        store.close()


def test_a_closed_store_opens_again_with_what_it_held(store: Store) -> None:
    store.put(ONE, b"first", None)

    store.close()

    assert store.get(ONE) == b"first"


@those_that_promise("secret")
def test_a_secret_is_long_and_stays_the_same(store: Store) -> None:
    secret = store.secret()

    store.close()

    assert type(secret) is bytes
    assert len(secret) >= 32
    assert store.secret() == secret


@those_that_promise("secret")
def test_two_stores_have_two_secrets(kind: Kind) -> None:
    """I1"""
    assert kind.make().secret() != kind.make().secret()


@those_that_promise("limits")
def test_the_oldest_go_when_there_are_too_many(kind: Kind) -> None:
    """D7"""
    store = kind.make(count_limit=3)
    for index in (ONE, TWO, THREE):
        store.put(index, b"a record", None)
    store.put(ONE, b"put anew", None)

    store.put(FOUR, b"a record", None)
    store.put(FIVE, b"a record", None)

    assert [index for index, _ in store.scan()] == [ONE, FOUR, FIVE]


@those_that_promise("limits")
def test_the_oldest_go_when_they_are_too_large_together(kind: Kind) -> None:
    """D7"""
    store = kind.make(size_limit=2_000_000)
    indexes = [number.to_bytes(16) for number in range(30)]

    for index in indexes:
        store.put(index, bytes(100_000), None)

    left = list(store.scan())
    assert 5 <= len(left) < 30
    assert [index for index, _ in left] == indexes[-len(left) :]
    assert sum(len(record) for _, record in left) <= 2_000_000


@those_that_promise("limits")
def test_a_record_larger_than_the_store_is_refused_and_no_other_goes_for_it(kind: Kind) -> None:
    """F73, D7"""
    store = kind.make(size_limit=1_000_000)
    store.put(ONE, b"a record", None)

    with pytest.raises(RecordTooLarge):
        store.put(TWO, bytes(1_500_000), None)

    assert list(store.scan()) == [(ONE, b"a record")]


def test_a_store_in_memory_holds_just_as_much_as_it_may() -> None:
    """D7"""
    store = MemoryStore(size_limit=20)

    store.put(ONE, bytes(20), None)
    assert store.get(ONE) == bytes(20)
    store.put(TWO, bytes(10), None)
    store.put(THREE, bytes(10), None)
    with pytest.raises(RecordTooLarge):
        store.put(FOUR, bytes(21), None)

    assert [index for index, _ in store.scan()] == [TWO, THREE]


@those_that_promise("limits")
@pytest.mark.parametrize("limit", ["size_limit", "count_limit"])
@pytest.mark.parametrize("number", [0, -1])
def test_a_store_that_could_hold_nothing_is_refused(kind: Kind, limit: str, number: int) -> None:
    """F73, D7: it would say `stored` each time."""
    with pytest.raises(ConfigurationError):
        kind.make(**{limit: number})


@pytest.mark.parametrize(("kind_of_store", "size_limit"), [(MemoryStore, MEMORY_STORE_BYTES), (DiskStore, STORE_BYTES)])
def test_the_limits_are_stated_in_one_place(kind_of_store: Callable[..., Store], size_limit: int) -> None:
    """D7"""
    options = inspect.signature(kind_of_store).parameters

    assert options["size_limit"].default == size_limit
    assert options["count_limit"].default == STORE_RECORDS


indexes = st.binary(min_size=1, max_size=32)
records = st.builds(lambda pattern, size: (pattern * size)[:size], st.binary(min_size=1, max_size=64), st.integers(0, 100_000))


@given(index=indexes, record=records)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_come_out_as_they_went_in(store: Store, index: bytes, record: bytes) -> None:
    """R7"""
    store.put(index, record, 60.0)

    got = store.get(index)
    assert type(got) is bytes
    assert got == record


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "delete", "get"]), st.sampled_from([ONE, TWO, THREE]), st.binary(max_size=8))
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_store_does_what_a_dictionary_does(store: Store, steps: list[tuple[str, bytes, bytes]]) -> None:
    model: dict[bytes, bytes] = {}
    store.clear()

    for step, index, record in steps:
        if step == "get":
            assert store.get(index) == model.get(index)
            continue
        was_there = model.pop(index, None) is not None
        if step == "put":
            model[index] = record
            store.put(index, record, None)
        else:
            assert store.delete(index) is was_there

    assert dict(store.scan()) == model


def test_many_threads_use_a_store_at_once(store: Store) -> None:
    def use(number: int) -> None:
        for turn in range(50):
            index = bytes([turn % 5]) * 16
            store.put(index, b"%d" % number, 60.0)
            assert store.get(index) is not None
            assert len(list(store.scan())) <= 5

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))

    assert len(list(store.scan())) == 5


def test_a_store_tells_its_size_and_its_place(store: Store) -> None:
    empty, none = store.size(), store.count()
    store.put(ONE, bytes(200_000), None)

    assert (none, store.count()) in ((0, 1), (None, None))
    assert store.size() - empty >= 190_000
    assert store.exists()
    assert store.place


# The version.

CHANGES: dict[str, Callable[[Store], object]] = {
    "a put": lambda store: store.put(TWO, b"a record", None),
    "a put in the place of another": lambda store: store.put(ONE, b"another", None),
    "a put of the same": lambda store: store.put(ONE, b"a record", None),
    "a delete": lambda store: store.delete(ONE),
    "a discard": lambda store: store.discard(ONE),
    "a purge by age": lambda store: store.purge(time.time() + 1),
    "a clear": lambda store: store.clear(),
}


@those_that_promise("version")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_version_changes_with_every_change_and_with_nothing_else(store: Store, change: Callable[[Store], object]) -> None:
    """V2"""
    store.put(ONE, b"a record", None)
    store.put(THREE, stored_at(time.time()), None)
    before = store.version()
    for _ in range(3):
        store.get(ONE), store.get(FIVE), store.order(), list(store.scan()), store.size(), store.secret()
    unchanged = store.version()

    change(store)

    assert before is not None
    assert unchanged == before
    assert store.version() != before


def test_a_store_that_does_not_promise_a_version_has_none(request: pytest.FixtureRequest, store: Store) -> None:
    name = request.node.callspec.params["kind"]

    assert (store.version() is not None) == ("version" in PROMISES[name])


# The order of puts.


def test_a_record_that_was_asked_for_before_one_that_is_there_is_not_kept(store: Store) -> None:
    """F82, A1: a slow miss begins, a refresh begins and lands, the miss lands."""
    slow, refresh = store.order(), store.order()
    store.put(ONE, b"new", None, refresh)

    with pytest.raises(Superseded):
        store.put(ONE, b"old", None, slow)

    assert store.get(ONE) == b"new"
    assert list(store.scan()) == [(ONE, b"new")]


def test_one_that_was_asked_for_later_takes_its_place(store: Store) -> None:
    """A1."""
    first, second = store.order(), store.order()
    store.put(ONE, b"old", None, first)
    store.put(ONE, b"new", None, second)
    store.put(TWO, b"another", None, first)

    assert (store.get(ONE), store.get(TWO)) == (b"new", b"another")


def test_what_comes_from_no_forward_is_in_no_order(store: Store) -> None:
    slow, refresh = store.order(), store.order()
    store.put(ONE, b"asked for", None, refresh)
    store.put(ONE, b"brought", None)
    store.put(ONE, b"old", None, slow)

    assert store.get(ONE) == b"old"


@pytest.mark.parametrize("purged", [ONE, TWO], ids=["its key", "another key"])
@pytest.mark.parametrize("there", [True, False], ids=["a record", "nothing"])
def test_what_was_asked_for_before_a_purge_is_not_kept(store: Store, purged: bytes, there: bool) -> None:
    """F83, A1, I24: whichever key was meant, and whether or not there was anything."""
    if there:
        store.put(purged, b"a record", None)
    under_way = store.order()
    store.delete(purged)

    with pytest.raises(Purged):
        store.put(ONE, b"old", None, under_way)
    store.put(ONE, b"new", None, store.order())

    assert store.get(ONE) == b"new"


@pytest.mark.parametrize("there", [True, False], ids=["a record", "nothing"])
def test_what_was_asked_for_before_everything_was_purged_is_not_kept(store: Store, there: bool) -> None:
    """F83, A1, I24."""
    if there:
        store.put(TWO, b"a record", None)
    under_way = store.order()

    assert store.clear() == int(there)
    with pytest.raises(Purged):
        store.put(ONE, b"old", None, under_way)
    assert list(store.scan()) == NOTHING


def stored_at(moment: float) -> bytes:
    head = ((b"content-type", b"application/json"),)
    return codec.encode(StoredResponse(200, head, b"{}", (), (), AnswerKind(False), b"p" * 32, moment, 60.0, "chat"))


def test_what_was_stored_before_a_time_is_purged_and_of_what_is_damaged_nobody_knows(kind: Kind) -> None:
    store, now = kind.make(), float(int(time.time()))  # a file tells whole seconds
    old, limit, damaged = stored_at(now - 51), stored_at(now - 50), stored_at(now - 100)[:-1] + b"?"
    for index, record in ((ONE, old), (TWO, limit), (THREE, stored_at(now)), (FOUR, damaged), (FIVE, b"no record")):
        store.put(index, record, None)
    store.put(SIX, old, 30.0)
    kind.wait(31.0)

    purged = [store.purge(moment) for moment in (math.nan, -1e300, 0.0, now - 51, now - 50, now - 50)]

    assert purged == [0, 0, 0, 0, 1, 0]
    assert dict(store.scan()) == {TWO: limit, THREE: stored_at(now), FOUR: damaged, FIVE: b"no record"}
    assert [store.purge(now + 1), sorted(index for index, _ in store.scan())] == [2, [FOUR, FIVE]]


def test_many_are_purged_by_their_age_and_what_takes_the_place_of_one_stays(store: Store) -> None:
    now = float(int(time.time()))
    for number in range(250):
        store.put(number.to_bytes(16), stored_at(now - 100), None, store.order())
    store.put(bytes(16), stored_at(now), None, store.order())

    assert store.purge(now - 50) == 249
    assert dict(store.scan()) == {bytes(16): stored_at(now)}


def test_what_was_asked_for_before_a_record_was_purged_for_its_age_is_not_kept(store: Store) -> None:
    """F83, A1, I24."""
    store.put(TWO, stored_at(time.time() - 100), None)
    under_way = store.order()

    assert store.purge(time.time() - 50) == 1
    with pytest.raises(Purged):
        store.put(ONE, b"old", None, under_way)


def test_a_record_that_lies_beside_one_that_was_asked_for_later_is_not_kept(store: Store) -> None:
    """A1, §0.3: a slow miss of one kind lands after a refresh of the other."""
    slow = store.order()
    store.put(ONE, b"fresh", None, store.order())

    with pytest.raises(Superseded):
        store.put(TWO, b"old", None, slow, Others(beside=(ONE,)))
    store.put(TWO, b"later", None, store.order(), Others(beside=(ONE,)))

    assert (store.get(ONE), store.get(TWO)) == (b"fresh", b"later")


def test_a_record_takes_the_place_of_others_too(store: Store) -> None:
    """R5, §0.3: at once; one that is refused takes the place of none."""
    slow = store.order()
    for index in (ONE, TWO, THREE):
        store.put(index, b"old", None, store.order())

    with pytest.raises(Superseded):
        store.put(ONE, b"slow", None, slow, Others(instead_of=(TWO,)))
    assert store.get(TWO) == b"old"
    store.put(ONE, b"fresh", None, store.order(), Others(instead_of=(TWO, FOUR)))

    assert [store.get(index) for index in (ONE, TWO, THREE)] == [b"fresh", None, b"old"]


def test_the_records_of_a_key_are_deleted_and_discarded_together(store: Store) -> None:
    """§0.3."""
    for index in (ONE, TWO, THREE, FOUR):
        store.put(index, b"one", None)

    assert store.delete(ONE, TWO, FIVE)
    assert not store.delete(ONE, TWO)
    store.discard(THREE, FIVE)

    assert [store.get(index) for index in (ONE, TWO, THREE, FOUR)] == [None, None, None, b"one"]


def test_to_remove_what_is_no_record_purges_nothing(store: Store) -> None:
    """A1: else whoever damages records could keep all others from being kept."""
    store.put(ONE, b"damaged", None)
    under_way = store.order()
    store.discard(ONE)
    store.discard(TWO)

    assert store.get(ONE) is None
    store.put(ONE, b"new", None, under_way)
    assert store.get(ONE) == b"new"


def test_neither_a_record_that_is_refused_nor_one_that_is_read_changes_the_order(store: Store) -> None:
    """R6."""
    slow, refresh = store.order(), store.order()
    store.put(ONE, b"new", None, refresh)
    before = store.order()
    with pytest.raises(Superseded):
        store.put(ONE, b"old", None, slow)
    store.get(ONE)

    after = store.order()

    assert (after.generation, after.puts) == (before.generation, before.puts)
    assert after.began >= before.began


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_order_of_landing_the_one_that_was_asked_for_last_stays(kind: Kind, data: st.DataObject) -> None:
    """A1: until there is a purge; then of those asked for since."""
    store = kind.make()
    store.delete(ONE)
    begun = [(number, store.order()) for number in range(5)]
    for number, order in data.draw(st.permutations(begun)):
        with contextlib.suppress(Superseded):
            store.put(ONE, b"%d" % number, None, order)

    assert store.get(ONE) == b"4"
