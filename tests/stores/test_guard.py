"""A store around any store: what it does to its callers, whatever that store does."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemw import DiskStore, Limits, MemoryStore
from cachemw.cache.order import ALONE, Order, Others
from cachemw.errors import StoreError, StoreTimeout
from cachemw.stores import Inline
from cachemw.stores.guard import GuardedStore
from tests.patience import PATIENT
from tests.stores.planting import locked
from tests.stores.scripts import run

INDEX = bytes(16)
LIMITS = Limits()
SLACK = 1.0
"""What a busy machine may add to a deadline, in seconds."""

CALLS: dict[str, Callable[[GuardedStore], object]] = {
    "secret": lambda store: store.secret(),
    "get": lambda store: store.get(INDEX),
    "put": lambda store: store.put(INDEX, b"a record", None),
    "discard": lambda store: store.discard(INDEX),
}
EVERY_CALL = pytest.mark.parametrize("name", CALLS)


class Moody(MemoryStore):
    """Does in every call what it is told to."""

    def __init__(self, *, inline: Inline = Inline.NONE) -> None:
        super().__init__()
        self.inline = inline
        self.mood: Callable[[], None] = lambda: None
        self.asked: list[str] = []

    def secret(self) -> bytes:
        self._do("secret")
        return super().secret()

    def get(self, index: bytes) -> bytes | None:
        self._do("get")
        return super().get(index)

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, others: Others = ALONE) -> None:
        self._do("put")
        super().put(index, record, keep, order, others)

    def delete(self, *indexes: bytes) -> bool:
        self._do("delete")
        return super().delete(*indexes)

    def discard(self, *indexes: bytes) -> None:
        self._do("discard")
        super().discard(*indexes)

    def order(self) -> Order:
        self._do("order")
        return super().order()

    def _do(self, name: str) -> None:
        self.asked.append(name)
        self.mood()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def fail() -> None:
    raise StoreError("it is broken")


def hang(gate: threading.Event) -> None:
    gate.wait()


def _failures(store: GuardedStore, name: str, times: int) -> int:
    failed = 0
    for _ in range(times):
        try:
            CALLS[name](store)
        except StoreError:
            failed += 1
    return failed


@pytest.mark.parametrize("inline", Inline)
def test_a_store_that_works_is_itself(inline: Inline) -> None:
    moody = Moody(inline=inline)
    store = GuardedStore(moody, PATIENT)

    store.put(INDEX, b"a record", None)

    assert store.get(INDEX) == b"a record"
    assert list(moody.scan()) == [(INDEX, b"a record")]
    assert store.secret() == store.secret() == moody._secret
    store.discard(INDEX)
    assert store.get(INDEX) is None


class Unsure(MemoryStore):
    """Cannot say which calls never wait."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    @property
    def inline(self) -> Inline:  # type: ignore[override]
        raise OSError("no route")

    def get(self, index: bytes) -> bytes | None:
        self.threads.append(threading.get_ident())
        return super().get(index)


def test_a_store_that_cannot_say_which_calls_never_wait_is_called_in_another_thread() -> None:
    """D1, D9: and nothing is raised."""
    unsure = Unsure()

    assert GuardedStore(unsure).get(INDEX) is None
    assert len(unsure.threads) == 1
    assert threading.get_ident() not in unsure.threads


@pytest.mark.parametrize("inline", Inline)
def test_a_secret_that_was_told_is_known_and_asked_for_no_more(inline: Inline) -> None:
    """P2."""
    moody = Moody(inline=inline)
    store = GuardedStore(moody)
    assert store.known_secret == b""

    told = store.secret()

    assert told == store.known_secret == store.secret() == moody._secret
    assert moody.asked == ["secret"]


@EVERY_CALL
def test_nobody_waits_for_a_store_that_hangs(name: str, gate: threading.Event) -> None:
    """D1: nor does it hang the one that asks it first."""
    moody = Moody()
    moody.mood = lambda: hang(gate)
    store = GuardedStore(moody)

    began = time.monotonic()
    with pytest.raises(StoreTimeout):
        CALLS[name](store)

    patience = LIMITS.store_opening if name == "secret" else LIMITS.store_patience
    assert patience * 0.9 < time.monotonic() - began < patience + SLACK


@EVERY_CALL
@pytest.mark.parametrize("error", [StoreError("broken"), OSError("no route"), ValueError("a bug"), TimeoutError("slow")])
@pytest.mark.parametrize("inline", Inline)
def test_whatever_a_store_raises_is_a_store_error(name: str, error: Exception, inline: Inline) -> None:
    """D1: it may be anybody's."""

    def raise_it() -> None:
        raise error

    moody = Moody(inline=inline)
    moody.mood = raise_it

    with pytest.raises(StoreError) as raised:
        CALLS[name](GuardedStore(moody, PATIENT))

    assert error in (raised.value, raised.value.__cause__)


@EVERY_CALL
@pytest.mark.parametrize("inline", Inline)
def test_a_store_that_fails_is_left_alone_tried_and_used_again(
    name: str, inline: Inline, caplog: pytest.LogCaptureFixture
) -> None:
    """D1: and for each change there is one line."""
    moody = Moody(inline=inline)
    moody.mood = fail
    store = GuardedStore(moody, Limits(store_first_rest=0.05, store_rest=0.05, store_patience=5.0))

    assert _failures(store, name, 50) == 50
    asked = len(moody.asked)
    time.sleep(0.06)
    assert _failures(store, name, 50) == 50
    tried = len(moody.asked) - asked
    moody.mood = lambda: None
    time.sleep(0.06)
    CALLS[name](store)

    assert asked < 15  # five, and some after rests on a busy machine
    assert 1 <= tried < 10
    assert _failures(store, name, 10) == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "again" in caplog.records[1].message


@pytest.mark.parametrize("failing", ["put", "get"])
def test_a_store_that_cannot_be_written_to_is_read_from_and_the_reverse(failing: str) -> None:
    """D6: a disk that is full is no reason to forget what is on it."""
    moody = Moody()
    store = GuardedStore(moody, PATIENT)
    other = {"put": "get", "get": "put"}[failing]

    moody.mood = fail
    assert _failures(store, failing, 20) == 20
    moody.mood = lambda: None

    assert _failures(store, failing, 1) == 1
    assert _failures(store, other, 10) == 0


def test_a_put_that_nobody_waits_for_goes_on_and_is_no_fault(gate: threading.Event) -> None:
    """F28, P2"""
    limits = Limits(store_patience=0.25)
    moody = Moody()
    moody.mood = lambda: hang(gate)
    store = GuardedStore(moody, limits)

    began = time.monotonic()
    assert _failures(store, "put", limits.store_faults * 2) == limits.store_faults * 2
    assert time.monotonic() - began < limits.store_patience + SLACK  # behind one that hangs nobody waits
    gate.set()
    while moody.get(INDEX) is None:
        time.sleep(0.001)

    assert store.get(INDEX) == b"a record"


def test_who_has_waited_for_a_read_in_vain_does_not_wait_for_a_put(gate: threading.Event) -> None:
    """F29, D1: a request waits 50 ms in all."""
    assert LIMITS.store_patience == 0.05
    limits = Limits(store_patience=0.5)  # to tell from what a busy machine takes
    moody = Moody()
    moody.mood = lambda: hang(gate)
    store = GuardedStore(moody, limits)
    _failures(store, "get", 1)

    began = time.monotonic()
    with pytest.raises(StoreTimeout):
        store.put(INDEX, b"a record", None)

    assert time.monotonic() - began < limits.store_patience * 0.8
    assert moody.asked == ["get", "put"]


def test_puts_that_take_too_long_in_all_are_faults(gate: threading.Event) -> None:
    """D1"""
    moody = Moody()
    moody.mood = lambda: hang(gate)
    store = GuardedStore(moody, Limits(store_patience=0.01, store_call=0.02))

    for _ in range(30):
        _failures(store, "put", 1)
        time.sleep(0.02)

    assert len(moody.asked) < 12


def test_what_could_not_be_begun_in_time_is_not_done(tmp_path: Path) -> None:
    """F31, D1: behind a lock puts would queue, and the process wait for all of them when it ends."""

    class Hasty(DiskStore):
        write_timeout = 0.6

    limits = Limits(store_call=0.1)
    disk = Hasty(tmp_path)
    disk.put(INDEX, b"a record", None)
    store = GuardedStore(disk, limits)

    with locked(tmp_path, "IMMEDIATE"):
        began = time.monotonic()
        assert _failures(store, "put", 4) == 4
        waited = time.monotonic() - began
        disk.submit(lambda: None).result()
        ended = time.monotonic() - began

    assert waited < 4 * limits.store_patience + SLACK
    assert ended < Hasty.write_timeout + SLACK  # all four would take longer than that
    disk.close()


def test_what_is_queued_when_a_store_is_closed_is_done_and_opens_nothing(tmp_path: Path, gate: threading.Event) -> None:
    """F70, D4"""
    disk = DiskStore(tmp_path)
    store = GuardedStore(disk)
    disk.put(INDEX, b"a record", None)
    disk.submit(gate.wait)
    puts = [store.begin_put(bytes([number]) * 16, b"a record", None) for number in range(1, 5)]

    threading.Timer(0.1, gate.set).start()
    disk.close()

    assert [put.done.exception() for put in puts] == [None] * 4
    assert disk.inline is Inline.NONE
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("cachemw-store_")] == []


def test_a_store_that_is_closed_waits_for_no_lock(tmp_path: Path) -> None:
    """F71, P4: an event loop may be what closes it."""
    disk = DiskStore(tmp_path)
    store = GuardedStore(disk)
    disk.put(INDEX, b"a record", None)

    with locked(tmp_path, "IMMEDIATE"):
        puts = [store.begin_put(bytes([number]) * 16, b"a record", None) for number in range(1, 5)]
        time.sleep(0.1)
        began = time.monotonic()
        disk.close()
        seconds = time.monotonic() - began

    assert seconds < DiskStore.write_timeout / 2
    assert [type(put.done.exception()) for put in puts] == [StoreError] * 4


@pytest.mark.parametrize("given", [5, True, "text", bytearray(b"a record"), b""])
@pytest.mark.parametrize("inline", Inline)
def test_what_is_no_record_or_no_secret_is_a_store_error(given: Any, inline: Inline) -> None:
    """F26, D1"""

    class Odd(Moody):
        def get(self, index: bytes) -> Any:
            return given

        def secret(self) -> Any:
            return given

    odd = Odd(inline=inline)
    store = GuardedStore(odd, PATIENT)

    assert _failures(store, "get", 1) == (given != b"")
    assert _failures(store, "secret", 2) == 2
    odd.secret = lambda: b"a secret"  # type: ignore[method-assign]
    assert store.secret() == b"a secret"


def test_a_store_that_cannot_even_say_whether_it_waits_is_asked_elsewhere() -> None:
    """F27, D1"""

    class Odd(MemoryStore):
        @property
        def inline(self) -> Inline:  # type: ignore[override]
            raise OSError("gone")

    store = GuardedStore(Odd(), PATIENT)

    store.put(INDEX, b"a record", None)
    assert store.get(INDEX) == b"a record"


def test_a_burst_of_puts_is_kept_though_they_wait_for_each_other(tmp_path: Path) -> None:
    """F20, P2: who is slow because much is asked of it is not broken."""
    disk = DiskStore(tmp_path)
    store = GuardedStore(disk)

    disk.submit(lambda: time.sleep(LIMITS.store_call * 1.1))  # none begins before one that hung would be given up on
    attempts = [store.begin_put(number.to_bytes(16), bytes(20_000), None) for number in range(1000)]
    for attempt in attempts:
        attempt.done.result()

    assert len(list(disk.scan())) == 1000
    disk.close()


def test_more_calls_than_there_are_threads_for_come_in_their_turn() -> None:
    """F21, D1"""
    moody = Moody()
    moody.mood = lambda: time.sleep(0.005)
    store = GuardedStore(moody)

    attempts = [store.begin_put(number.to_bytes(16), b"a record", None) for number in range(LIMITS.store_calls * 3)]
    for attempt in attempts:
        attempt.done.result()
    moody.mood = lambda: None

    assert len(list(moody.scan())) == LIMITS.store_calls * 3


def test_what_waits_to_be_stored_is_bounded(gate: threading.Event) -> None:
    """F22, P3"""
    moody = Moody()
    moody.mood = lambda: hang(gate)
    store = GuardedStore(moody, Limits(store_queue_bytes=1000))

    for number in range(2):
        store.begin_put(bytes([number]) * 16, bytes(500), None)
    with pytest.raises(StoreTimeout, match="keep up"):
        store.begin_put(INDEX, bytes(1), None)
    gate.set()
    while moody.get(bytes([1]) * 16) is None:
        time.sleep(0.001)

    store.begin_put(INDEX, bytes(500), None).done.result()


def test_a_newer_put_is_not_overtaken_by_one_that_was_given_up_on(gate: threading.Event) -> None:
    """F23, R5"""
    moody = Moody()
    moody.mood = lambda: hang(gate)
    store = GuardedStore(moody)
    older = store.begin_put(INDEX, b"older", None)
    with pytest.raises(StoreTimeout):
        older.wait()

    moody.mood = lambda: None
    newer = store.begin_put(INDEX, b"newer", None)
    gate.set()
    older.done.result()
    newer.done.result()

    assert moody.get(INDEX) == b"newer"


def test_where_no_thread_can_be_started_nothing_is_taken_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """F24, D1"""
    store = GuardedStore(Moody(), Limits(store_first_rest=0.0, store_patience=5.0))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert _failures(store, "get", LIMITS.store_calls * 2) == LIMITS.store_calls * 2

    assert store.get(INDEX) is None


def test_a_store_that_raises_what_is_no_exception_is_one_that_fails() -> None:
    """F25, D1: a cancellation from somebody's event loop, say."""
    moody = Moody()

    def give_up() -> None:
        raise asyncio.CancelledError

    moody.mood = give_up
    store = GuardedStore(moody, Limits(store_first_rest=0.0, store_patience=5.0))

    assert _failures(store, "get", LIMITS.store_calls * 2) == LIMITS.store_calls * 2
    moody.mood = lambda: None
    assert store.get(INDEX) is None


def test_all_who_ask_for_the_secret_at_once_share_one_call(gate: threading.Event) -> None:
    """F35, D1: a cold start has hundreds of them."""
    moody = Moody()
    moody.mood = lambda: hang(gate)
    store, said = GuardedStore(moody, Limits(store_opening=5.0)), []
    threads = [threading.Thread(target=lambda: said.append(store.secret())) for _ in range(20)]

    for thread in threads:
        thread.start()
    time.sleep(0.05)
    gate.set()
    for thread in threads:
        thread.join()

    assert len(set(said)) == 1
    assert len(said) == 20
    assert moody.asked == ["secret"]


def test_a_secret_that_comes_late_is_kept(gate: threading.Event) -> None:
    """F36"""
    moody = Moody()
    moody.mood = lambda: hang(gate)
    store = GuardedStore(moody)
    with pytest.raises(StoreTimeout):
        store.secret()

    gate.set()
    deadline = time.monotonic() + SLACK
    while not store.known_secret and time.monotonic() < deadline:
        time.sleep(0.001)

    assert store.secret() == moody._secret
    assert moody.asked == ["secret"]


def test_a_store_in_memory_is_asked_in_the_callers_thread() -> None:
    store = GuardedStore(MemoryStore())
    threads = threading.active_count()

    store.put(INDEX, b"a record", None)
    seen = store.get(INDEX), store.secret() == store.secret()
    store.discard(INDEX)

    assert seen == (b"a record", True)
    assert store.get(INDEX) is None
    assert threading.active_count() == threads


HANGING = """
import threading, time
from cachemw import MemoryStore
from cachemw.errors import StoreError
from cachemw.stores import Inline
from cachemw.stores.guard import GuardedStore

class Hanging(MemoryStore):
    inline = Inline.NONE
    def get(self, index):
        threading.Event().wait()

try:
    GuardedStore(Hanging()).get(bytes(16))
except StoreError:
    print("went on")
"""


def test_a_process_ends_though_a_store_hangs() -> None:
    """F32, D1"""
    assert run(HANGING) == "went on\n"


FORKED = """
import os, threading
from cachemw import Limits, MemoryStore
from cachemw.errors import StoreError
from cachemw.stores import Inline
from cachemw.stores.guard import GuardedStore

parent = os.getpid()

class HangingHere(MemoryStore):
    inline = Inline.NONE
    def put(self, index, record, keep, *order):
        if os.getpid() == parent:
            threading.Event().wait()
        super().put(index, record, keep, *order)

store = GuardedStore(HangingHere(), Limits(store_calls=1))
try:
    store.put(bytes(16), b"a record", None)
except StoreError:
    child = os.fork()
    if not child:
        store.begin_put(bytes(16), b"a record", None).done.result(5.0)  # a busy machine is no store that hangs
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""


def test_what_hangs_in_a_process_does_not_in_its_forks() -> None:
    """F33, D3"""
    assert run(FORKED) == "0\n"
