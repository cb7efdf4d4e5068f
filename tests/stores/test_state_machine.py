"""R14: whatever is done to a store, in whatever order, a get gives what was last put, or nothing. A model says which."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import diskcache.core
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import cachemw.stores.disk.database
from cachemw.stores import DiskStore, MemoryStore, Store
from cachemw.stores.disk.database import NOTED
from tests.stores.dictionary import DictionaryStore
from tests.thorough import THOROUGH

pytestmark = pytest.mark.faults

START = 1_800_000_000.0
TICK = 0.001
"""How many seconds each call takes on the clock of a test, so that no two records are of one age."""

INDEXES = [bytes([number]) * 16 for number in range(8)]
indexes = st.sampled_from(INDEXES)
keeps = st.none() | st.sampled_from([0.0, 1.0, 30.0, 3600.0])
records = st.builds(lambda pattern, size: (pattern * size)[:size], st.binary(min_size=1, max_size=9), st.integers(0, 3000))


@dataclass(slots=True)
class Row:
    """What was last put under an index. `is_certain`: nothing but its time, and who deletes it, can have taken it away."""

    record: bytes
    expires: float
    put_at: float
    is_certain: bool = True


class Clock:
    """The time for stores and model alike; it can be set back."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        self.now += TICK
        return self.now


def _has_changed(store: Store, was: object, at_once: bool) -> bool:
    """Say whether a store that can say tells of a change: of one of another process, a millisecond later."""
    if was is not None and store.version() == was and not at_once:
        time.sleep(2 * NOTED)
    return was is None or store.version() != was


class StoreMachine(RuleBasedStateMachine):
    """What can happen to a store. Subclasses say what kind it is."""

    count_limit: ClassVar[int] = 1000
    size_limit: ClassVar[int] = 50_000_000
    is_ordered_by_time: ClassVar[bool]
    is_shrunk: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.rows: dict[bytes, Row] = {}
        self.puts = 0
        self.stores = [self.opened()]

    def opened(self) -> Store:
        raise NotImplementedError

    @rule(index=indexes, record=records, keep=keeps, which=st.integers(0, 1))
    def put(self, index: bytes, record: bytes, keep: float | None, which: int) -> None:
        earliest, versions = self.clock.now, [store.version() for store in self.stores]
        changed = self._store(which)
        changed.put(index, record, keep)
        assert all(_has_changed(store, was, store is changed) for store, was in zip(self.stores, versions, strict=True))
        expires = float("inf") if keep is None else earliest + keep
        self.rows.pop(index, None)
        self.rows[index] = Row(record, expires, self.clock.now)
        self._age_out(index)

    @rule(together=st.lists(indexes, min_size=2, max_size=8, unique=True), record=records, which=st.integers(0, 1))
    def put_many(self, together: list[bytes], record: bytes, which: int) -> None:
        for index in together:
            self.put(index, record + index, None, which)

    @rule(index=indexes, which=st.integers(0, 1))
    def get(self, index: bytes, which: int) -> None:
        self._check(index, self._store(which).get(index))

    @rule(index=indexes, which=st.integers(0, 1))
    def delete(self, index: bytes, which: int) -> None:
        row, is_there = self.rows.get(index), self._store(which).delete(index)
        self._taken_away(index)

        assert type(is_there) is bool
        if row is None or self._is_over(row):
            assert not is_there
        elif row.is_certain and not self._may_be_over(row):
            assert is_there

    @rule(which=st.integers(0, 1))
    def scan(self, which: int) -> None:
        seen = list(self._store(which).scan())

        assert len({index for index, _ in seen}) == len(seen) <= self.count_limit
        for index, record in seen:
            self._check(index, record)
        for index in self.rows.keys() - {index for index, _ in seen}:
            self._check(index, None)

    @rule(which=st.integers(0, 1))
    def clear(self, which: int) -> None:
        store = self._store(which)
        store.clear()
        self.rows = {}

        assert list(store.scan()) == []

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        self._store(which).close()

    @precondition(lambda self: isinstance(self.stores[0], DiskStore) and len(self.stores) == 1)
    @rule()
    def open_as_another_process_does(self) -> None:
        self.stores.append(self.opened())

    @rule(seconds=st.sampled_from([0.5, 1.0, 29.0, 31.0, 3600.0, 1e7]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(seconds=st.sampled_from([1.0, 60.0, 1e6]))
    def set_the_clock_back(self, seconds: float) -> None:
        """What is over then is not any more, unless somebody has tidied up."""
        for row in self.rows.values():
            row.is_certain = row.is_certain and not self._may_be_over(row)
        self.clock.now -= seconds

    @invariant()
    def a_secret_stays_the_same(self) -> None:
        if not hasattr(self, "secret"):
            self.secret = self.stores[0].secret()
        assert all(store.secret() == self.secret for store in self.stores)

    def teardown(self) -> None:
        for store in self.stores:
            store.close()

    def _store(self, which: int) -> Store:
        return self.stores[which % len(self.stores)]

    def _taken_away(self, index: bytes) -> None:
        """What is over cannot be deleted; it may come back where the clock is set back."""
        row = self.rows.get(index)
        if row is not None and self._may_be_over(row):
            row.is_certain = False
        else:
            self.rows.pop(index, None)

    def _check(self, index: bytes, got: bytes | None) -> None:
        row = self.rows.get(index)
        if got is not None:
            assert row is not None, "it was deleted, or never put"
            assert got == row.record, "something else was put"
            assert not self._is_over(row), "its time is over"
        elif row is not None:
            assert not row.is_certain or self._may_be_over(row), "nobody took it away"

    def _is_over(self, row: Row) -> bool:
        """Say whether its time is over for sure: a put reads the clock some ticks after it began."""
        return row.expires + 10 * TICK < self.clock.now

    def _may_be_over(self, row: Row) -> bool:
        return row.expires <= self.clock.now + 10 * TICK

    def _age_out(self, newest: bytes) -> None:
        """The oldest may go where there are too many, or they are too large together."""
        order = list(self.rows.values())
        if self.is_ordered_by_time:
            order.sort(key=lambda row: row.put_at)
        for row in order[: max(0, len(order) - self.count_limit)]:
            row.is_certain = False
        if self.size_limit < 50_000_000:
            for row in order:
                row.is_certain = False


class MemoryMachine(StoreMachine):
    is_ordered_by_time = False

    def opened(self) -> Store:
        return MemoryStore(size_limit=self.size_limit, count_limit=self.count_limit, clock=self.clock)


class SmallMemoryMachine(MemoryMachine):
    count_limit = 3


class TightMemoryMachine(MemoryMachine):
    size_limit = 4000

    @invariant()
    def it_is_never_larger_than_its_limit(self) -> None:
        assert sum(len(record) for _, record in self.stores[0].scan()) <= self.size_limit


class DictionaryMachine(StoreMachine):
    is_ordered_by_time = False

    def opened(self) -> Store:
        return DictionaryStore(self.clock)


class DiskMachine(StoreMachine):
    is_ordered_by_time = True
    is_shrunk = False  # that would take minutes

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.patched = pytest.MonkeyPatch()
        super().__init__()
        clock = SimpleNamespace(**{**vars(time), "time": self.clock})
        for module in (cachemw.stores.disk.database, diskcache.core):
            self.patched.setattr(module, "time", clock)

    def opened(self) -> Store:
        return DiskStore(Path(self.directory.name), size_limit=self.size_limit, count_limit=self.count_limit)

    def teardown(self) -> None:
        super().teardown()
        self.patched.undo()
        self.directory.cleanup()


class SmallDiskMachine(DiskMachine):
    count_limit = 3


class TightDiskMachine(DiskMachine):
    size_limit = 60_000


MACHINES: list[tuple[type[StoreMachine], int]] = [
    (MemoryMachine, 30),
    (SmallMemoryMachine, 30),
    (TightMemoryMachine, 30),
    (DictionaryMachine, 30),
    (DiskMachine, 8),
    (SmallDiskMachine, 8),
    (TightDiskMachine, 5),
]


@pytest.mark.parametrize(("machine", "examples"), MACHINES)
def test_a_store_gives_what_was_last_put_or_nothing_whatever_happens_to_it(machine: type[StoreMachine], examples: int) -> None:
    """R14, D7, D8"""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples * (10 if THOROUGH else 1),
            stateful_step_count=50,
            deadline=None,
            phases=[phase for phase in Phase if machine.is_shrunk or phase in (Phase.reuse, Phase.generate)],
            suppress_health_check=list(HealthCheck),
        ),
    )
