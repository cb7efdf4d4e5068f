"""A store around any store: what it does to its callers, with and without an event loop, whatever that store does."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from cachemw import DiskStore, Limits, MemoryStore
from cachemw.cache.live_response import Put
from cachemw.cache.order import Order
from cachemw.errors import StoreError, StoreTimeout
from cachemw.stores import Inline
from cachemw.stores.guard import AsyncStore, GuardedStore
from tests.patience import PATIENT
from tests.stores.moody import Moody, raising
from tests.stores.planting import locked
from tests.stores.scripts import run

INDEX = bytes(16)
PUT = Put(INDEX, b"a record", None, Order(0, 0, 0), waits=True)
LIMITS = Limits()
SLACK = 1.0
"""What a busy machine may add to a deadline, in seconds."""

CALLS: dict[str, Callable[[GuardedStore], object]] = {
    "secret": lambda store: store.secret(),
    "get": lambda store: store.get(INDEX),
    "order": lambda store: store.order(),
    "put": lambda store: store.put(INDEX, b"a record", None),
    "discard": lambda store: store.discard(INDEX),
}
AWAITED: dict[str, Callable[[AsyncStore], Awaitable[object]]] = {
    "secret": lambda store: store.secret(),
    "get": lambda store: store.get(INDEX),
    "order": lambda store: store.order(),
    "put": lambda store: store.put(PUT),
    "discard": lambda store: store.discard(INDEX),
}
EVERY_CALL = pytest.mark.parametrize("name", CALLS)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def failures(store: GuardedStore, name: str, times: int) -> int:
    failed = 0
    for _ in range(times):
        try:
            CALLS[name](store)
        except StoreError:
            failed += 1
    return failed


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


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
@pytest.mark.parametrize("backend", [None, "asyncio", "trio"])
def test_nobody_waits_for_a_store_that_hangs(name: str, backend: str | None, gate: threading.Event) -> None:
    """D1: not even the one that asks it first; an event loop is told why a put cannot be relied on."""
    patience = LIMITS.store_opening if name == "secret" else LIMITS.store_patience

    began = time.monotonic()
    outcome = outcome_of(Moody(gate.wait), name, backend, LIMITS)

    assert outcome == ({"put": "store-slow", "discard": None}.get(name, StoreTimeout) if backend else StoreTimeout)
    assert patience * 0.9 < time.monotonic() - began < patience + SLACK


def outcome_of(moody: Moody, name: str, backend: str | None, limits: Limits) -> object:
    """Return what a call returns, or the class that it raises; `backend`: in which event loop, if in one."""
    try:
        return (
            anyio.run(AWAITED[name], AsyncStore(moody, limits), backend=backend)
            if backend
            else CALLS[name](GuardedStore(moody, limits))
        )
    except StoreError as error:
        return type(error)


@EVERY_CALL
@pytest.mark.parametrize("error", [StoreError("broken"), OSError("no route"), ValueError("a bug"), TimeoutError("slow")])
@pytest.mark.parametrize("inline", Inline)
def test_whatever_a_store_raises_is_a_store_error(name: str, error: Exception, inline: Inline) -> None:
    """D1: it may be anybody's."""
    moody = Moody(raising(error), inline)

    with pytest.raises(StoreError) as raised:
        CALLS[name](GuardedStore(moody, PATIENT))

    assert error in (raised.value, raised.value.__cause__)
    in_a_loop = outcome_of(moody, name, "asyncio", PATIENT)
    assert in_a_loop == {"put": "store-failed", "discard": None}.get(name, StoreError)


@EVERY_CALL
@pytest.mark.parametrize("inline", Inline)
def test_a_store_that_fails_is_left_alone_tried_and_used_again(
    name: str, inline: Inline, caplog: pytest.LogCaptureFixture
) -> None:
    """D1: and for each change there is one line."""
    left_alone, moody = (Moody(raising(StoreError("it is broken")), inline) for _ in range(2))
    at_rest = GuardedStore(left_alone, Limits(store_first_rest=3600.0, store_patience=5.0))
    tried = GuardedStore(moody, Limits(store_first_rest=0.0, store_rest=0.0, store_patience=5.0))

    assert failures(at_rest, name, 50) == failures(tried, name, 50) == 50
    left_alone.mood = moody.mood = lambda: None

    assert len(left_alone.asked) == LIMITS.store_faults
    assert len(moody.asked) > LIMITS.store_faults  # all 50, but where a trial was still being counted when the next came
    assert (failures(at_rest, name, 10), failures(tried, name, 10)) == (10, 0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    assert ["again" in record.message for record in caplog.records] == [False, False, True]


@pytest.mark.parametrize("failing", ["put", "get"])
def test_a_store_that_cannot_be_written_to_is_read_from_and_the_reverse(failing: str) -> None:
    """D6: a disk that is full is no reason to forget what is on it."""
    moody = Moody()
    store = GuardedStore(moody, PATIENT)
    other = {"put": "get", "get": "put"}[failing]

    moody.mood = raising(StoreError("it is broken"))
    assert failures(store, failing, 20) == 20
    moody.mood = lambda: None

    assert failures(store, failing, 1) == 1
    assert failures(store, other, 10) == 0


def test_a_put_that_nobody_waits_for_goes_on_and_is_no_fault(gate: threading.Event) -> None:
    """F28, P2"""
    limits = Limits(store_patience=0.25)
    moody = Moody(gate.wait)
    store = GuardedStore(moody, limits)

    began = time.monotonic()
    assert failures(store, "put", limits.store_faults * 2) == limits.store_faults * 2
    assert time.monotonic() - began < limits.store_patience + SLACK  # behind one that hangs nobody waits
    gate.set()
    until(lambda: moody.get(INDEX))

    assert store.get(INDEX) == b"a record"


def test_who_has_waited_for_a_read_in_vain_does_not_wait_for_a_put(gate: threading.Event) -> None:
    """F29, D1: a request waits 50 ms in all."""
    assert LIMITS.store_patience == 0.05
    moody = Moody(gate.wait)
    store = GuardedStore(moody)
    failures(store, "get", 1)

    assert store.begin_put(INDEX, b"a record", None, waits=True).patience == 0
    until(lambda: moody.asked == ["get", "put"])


def test_puts_that_take_too_long_in_all_are_faults(gate: threading.Event) -> None:
    """D1"""
    moody = Moody(gate.wait)
    store = GuardedStore(moody, Limits(store_patience=0.01, store_call=0.02))

    for _ in range(30):
        failures(store, "put", 1)
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
        assert failures(store, "put", 4) == 4
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
    puts = [store.begin_put(bytes([number]) * 16, b"a record", None, waits=True) for number in range(1, 5)]

    threading.Timer(0.1, gate.set).start()
    disk.close()

    assert [put.done.exception() for put in puts] == [None] * 4
    assert disk.inline is Inline.NONE
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("cachemw-store_")] == []


class Enduring(DiskStore):
    """One that waits for a lock longer than a busy machine makes anybody wait."""

    write_timeout = 20.0


def test_a_store_that_is_closed_waits_for_no_lock(tmp_path: Path) -> None:
    """F71, P4: an event loop may be what closes it."""
    disk = Enduring(tmp_path)
    store = GuardedStore(disk)
    disk.put(INDEX, b"a record", None)

    with locked(tmp_path, "IMMEDIATE"):
        puts = [store.begin_put(bytes([number]) * 16, b"a record", None, waits=True) for number in range(1, 5)]
        time.sleep(0.1)
        began = time.monotonic()
        disk.close()
        seconds = time.monotonic() - began

    assert seconds < Enduring.write_timeout / 2
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

    assert failures(store, "get", 1) == (given != b"")
    assert failures(store, "secret", 2) == 2
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
    disk, limits = DiskStore(tmp_path), Limits(store_call=0.3)
    store = GuardedStore(disk, limits)

    disk.submit(lambda: time.sleep(limits.store_call * 1.1))  # none begins before one that hung would be given up on
    attempts = [store.begin_put(number.to_bytes(16), bytes(20_000), None, waits=True) for number in range(1000)]
    for attempt in attempts:
        attempt.done.result()

    assert len(list(disk.scan())) == 1000
    disk.close()


def test_more_calls_than_there_are_threads_for_come_in_their_turn() -> None:
    """F21, D1"""
    moody = Moody(lambda: time.sleep(0.005))
    store = GuardedStore(moody)

    attempts = [store.begin_put(number.to_bytes(16), b"a record", None, waits=True) for number in range(LIMITS.store_calls * 3)]
    for attempt in attempts:
        attempt.done.result()
    moody.mood = lambda: None

    assert len(list(moody.scan())) == LIMITS.store_calls * 3


def test_what_waits_to_be_stored_is_bounded(gate: threading.Event) -> None:
    """F22, P3"""
    moody = Moody(gate.wait)
    store = GuardedStore(moody, Limits(store_queue_bytes=1000))

    for number in range(2):
        store.begin_put(bytes([number]) * 16, bytes(500), None, waits=True)
    with pytest.raises(StoreTimeout, match="keep up"):
        store.begin_put(INDEX, bytes(1), None, waits=True)
    gate.set()
    until(lambda: moody.get(bytes([1]) * 16))

    store.begin_put(INDEX, bytes(500), None, waits=True).done.result()


def test_a_newer_put_is_not_overtaken_by_one_that_was_given_up_on(gate: threading.Event) -> None:
    """F23, R5"""
    moody = Moody(gate.wait)
    store = GuardedStore(moody)
    older = store.begin_put(INDEX, b"older", None, waits=True)
    with pytest.raises(StoreTimeout):
        older.wait()

    moody.mood = lambda: None
    newer = store.begin_put(INDEX, b"newer", None, waits=True)
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
        assert failures(store, "get", LIMITS.store_calls * 2) == LIMITS.store_calls * 2

    assert store.get(INDEX) is None


def test_a_store_that_raises_what_is_no_exception_is_one_that_fails() -> None:
    """F25, D1: a cancellation from somebody's event loop, say."""
    moody = Moody(raising(asyncio.CancelledError()))
    store = GuardedStore(moody, Limits(store_first_rest=0.0, store_patience=5.0))

    assert failures(store, "get", LIMITS.store_calls * 2) == LIMITS.store_calls * 2
    moody.mood = lambda: None
    assert store.get(INDEX) is None


def test_all_who_ask_for_the_secret_at_once_share_one_call(gate: threading.Event) -> None:
    """F35, D1: a cold start has hundreds of them."""
    moody = Moody(gate.wait)
    store, said = GuardedStore(moody, Limits(store_opening=5.0)), []
    threads = [threading.Thread(target=lambda: said.append(store.secret())) for _ in range(20)]

    for thread in threads:
        thread.start()
    until(lambda: moody.asked)
    gate.set()
    for thread in threads:
        thread.join()

    assert len(set(said)) == 1
    assert len(said) == 20
    assert moody.asked == ["secret"]


def test_a_secret_that_comes_late_is_kept(gate: threading.Event) -> None:
    """F36"""
    moody = Moody(gate.wait)
    store = GuardedStore(moody)
    with pytest.raises(StoreTimeout):
        store.secret()

    gate.set()
    until(lambda: store.known_secret)

    assert store.secret() == moody._secret
    assert moody.asked == ["secret"]


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
        store.begin_put(bytes(16), b"a record", None, waits=True).done.result(5.0)  # a busy machine is no store that hangs
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""


def test_what_hangs_in_a_process_does_not_in_its_forks() -> None:
    """F33, D3"""
    assert run(FORKED) == "0\n"


# In an event loop.


@pytest.mark.parametrize("waits", [True, False])
def test_a_put_that_nobody_waits_for_any_more_goes_on(waits: bool, gate: threading.Event) -> None:
    """D1: as one that was never waited for, because its request has waited for the store before."""
    moody = Moody(gate.wait)
    store = AsyncStore(moody, LIMITS if waits else Limits(store_patience=30.0))

    fault = anyio.run(store.put, replace(PUT, waits=waits))
    gate.set()
    until(lambda: moody.get(INDEX))

    assert fault == "store-slow"


def test_a_record_that_is_too_large_is_no_fault_of_the_store(tmp_path: Path) -> None:
    """F73, D7: it goes on being asked."""
    disk = DiskStore(tmp_path, size_limit=100_000)
    store = AsyncStore(disk, PATIENT)

    said = [anyio.run(store.put, replace(PUT, record=bytes(150_000))) for _ in range(LIMITS.store_faults + 1)]

    assert set(said) == {"record-too-large"}
    assert anyio.run(store.put, replace(PUT, order=disk.order())) is None
    disk.close()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_store_that_hangs_takes_no_thread_for_every_request_and_is_asked_again_later(
    backend: str, gate: threading.Event
) -> None:
    """D1: a thread that is given up on is still a thread."""
    moody = Moody(gate.wait)
    store = AsyncStore(moody, Limits(store_faults=1000, store_calls=20))

    async def ask() -> None:
        with contextlib.suppress(StoreError):
            await store.get(INDEX)

    async def ask_at_once() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(ask)

    for _ in range(3):
        anyio.run(ask_at_once, backend=backend)
    asked = len(moody.asked)
    gate.set()
    until(lambda: anyio.run(store.put, PUT, backend=backend) is None)

    assert asked == 20
    assert moody.get(INDEX) == b"a record"


@pytest.mark.parametrize("inline", Inline)
def test_only_inline_calls_run_in_the_event_loops_thread(inline: Inline) -> None:
    """P4: one store serves one event loop after another, and its secret is asked for once."""
    moody = Moody(inline=inline)
    store = AsyncStore(moody, PATIENT)

    for backend in ("asyncio", "trio", "asyncio"):
        assert anyio.run(store.get, INDEX, backend=backend) is None
    in_reads, moody.threads = moody.threads == {threading.get_ident()}, set()
    for call in ("secret", "put", "discard", "secret"):
        anyio.run(AWAITED[call], store, backend="trio")

    assert in_reads is (inline is not Inline.NONE)
    assert (threading.get_ident() in moody.threads) is (inline is Inline.ALL)
    assert moody.asked.count("secret") == 1 or inline is Inline.ALL


def test_a_caller_that_is_cancelled_does_not_wait_for_the_store(gate: threading.Event) -> None:
    """P5"""
    store = AsyncStore(Moody(gate.wait), Limits(store_patience=60.0))

    async def ask() -> bool:
        with anyio.move_on_after(0.05) as scope:
            await store.get(INDEX)
        return scope.cancelled_caught

    assert anyio.run(ask)


def test_an_event_loop_goes_on_while_the_database_is_locked(tmp_path: Path) -> None:
    """D1, P4"""
    disk = DiskStore(tmp_path)
    disk.put(INDEX, b"a record", None)
    store, put = AsyncStore(disk), replace(PUT, order=disk.order())
    outcomes, reads = list[str | None](), list[bytes | None]()

    async def one() -> None:
        outcomes.append(await store.put(put))

    async def all_of_them() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(one)
            reads.extend([await store.get(INDEX) for _ in range(20)])

    with locked(tmp_path, "IMMEDIATE"):
        began = time.monotonic()
        anyio.run(all_of_them)
        took = time.monotonic() - began
    disk.close()

    assert outcomes == ["store-slow"] * 20
    assert reads == [b"a record"] * 20
    assert took < 4 * LIMITS.store_patience + SLACK


# What people are told.


@pytest.mark.anyio
@pytest.mark.parametrize("inline", [Inline.NONE, Inline.ALL], ids=["elsewhere", "here"])
@pytest.mark.parametrize(
    ("mood", "told"),
    [
        (lambda: None, "the store in Moody holds 1 record, and none answers this request"),
        (raising(StoreError("it is locked")), "the store in Moody cannot be read: it is locked"),
        (
            raising(ZeroDivisionError()),
            "the store does not say what it holds: the store raised ZeroDivisionError, which it may not",
        ),
    ],
    ids=["well", "failing", "a bug"],
)
async def test_people_are_told_of_a_store_whatever_it_raises(mood: Any, told: str, inline: Inline) -> None:
    """F3, D1: nobody waits for it, and nothing is raised."""

    class Counted(Moody):
        def count(self) -> int:
            self.mood()
            return super().count()

        @property
        def place(self) -> str:
            return "Moody"

    store = Counted(inline=inline)
    store.put(INDEX, b"a record", None)
    store.mood = mood

    assert await AsyncStore(store, PATIENT).account() == told
    assert GuardedStore(store, PATIENT).account() == told


@pytest.mark.anyio
async def test_who_asks_a_store_that_hangs_what_it_holds_is_told_that_it_does() -> None:
    """D1."""
    gate = threading.Event()

    class Hanging(Moody):
        def count(self) -> int:
            gate.wait(5)
            return 0

    try:
        told = await AsyncStore(Hanging(), Limits(store_patience=0.01)).account()
    finally:
        gate.set()

    assert told == "the store does not say what it holds: the store did not answer in time"
