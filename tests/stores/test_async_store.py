"""A store as an event loop uses it: whatever it does, nobody waits for it long."""

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest

from cachemw.async_store import HANGING, THREADS, AsyncStore, SlowStoreError
from cachemw.core import limits
from cachemw.core.transfer import Put
from cachemw.errors import StoreError
from cachemw.stores import DiskStore, MemoryStore, Store
from tests.stores.planting import locked

pytestmark = pytest.mark.anyio

INDEX = bytes(16)
PUT = Put(INDEX, b"a record", None)
SLACK = 1.0
"""What a busy machine may add to a deadline, in seconds."""


@pytest.fixture(autouse=True)
def _a_store_opens_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE_OPENING", 0.3)


class SlowStore(MemoryStore):
    """Hangs in every call but `close` while its gate is shut."""

    inline_reads = False

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.asked = 0
        self.threads: set[int] = set()

    def secret(self) -> bytes:
        self._pass()
        return super().secret()

    def get(self, index: bytes) -> bytes | None:
        self._pass()
        return super().get(index)

    def put(self, index: bytes, record: bytes, keep: float | None) -> None:
        self._pass()
        super().put(index, record, keep)

    def delete(self, index: bytes) -> bool:
        self._pass()
        return super().delete(index)

    def _pass(self) -> None:
        self.asked += 1
        self.threads.add(threading.get_ident())
        self.gate.wait()


class RaisingStore(MemoryStore):
    """Raises in every call but `close`."""

    def __init__(self, inline_reads: bool) -> None:
        super().__init__()
        self.inline_reads = inline_reads

    def secret(self) -> bytes:
        raise StoreError("it is broken")

    def get(self, index: bytes) -> bytes | None:
        raise StoreError("it is broken")

    def put(self, index: bytes, record: bytes, keep: float | None) -> None:
        raise StoreError("it is broken")

    def delete(self, index: bytes) -> bool:
        raise StoreError("it is broken")


@pytest.fixture
def slow() -> Iterator[SlowStore]:
    store = SlowStore()
    yield store
    store.gate.set()


CALLS: dict[str, Callable[[AsyncStore], Awaitable[object]]] = {
    "secret": lambda store: store.secret(),
    "get": lambda store: store.get(INDEX),
    "put": lambda store: store.put(PUT),
    "discard": lambda store: store.discard(INDEX),
}
EITHER_CALL = pytest.mark.parametrize("name", CALLS)


async def _outcome(store: AsyncStore, name: str) -> tuple[object, float]:
    """Return what a call returns, or the class it raises, and how long it took."""
    began = time.monotonic()
    try:
        outcome = await CALLS[name](store)
    except StoreError as error:
        outcome = type(error)
    return outcome, time.monotonic() - began


async def _until(ask: Callable[[], Awaitable[object]], answer: object) -> None:
    with anyio.fail_after(10):
        while await ask() != answer:  # noqa: ASYNC110 - nobody tells us when
            await anyio.sleep(0.01)


SLOW = {"secret": SlowStoreError, "get": SlowStoreError, "put": "store-slow", "discard": None}
BROKEN = {"secret": StoreError, "get": StoreError, "put": "store-failed", "discard": None}


async def test_what_was_put_is_there() -> None:
    store = AsyncStore(MemoryStore())

    assert await store.put(PUT) is None
    assert await store.get(INDEX) == b"a record"
    await store.discard(INDEX)
    assert await store.get(INDEX) is None


async def test_a_store_that_hangs_is_given_its_time_to_open_once(slow: SlowStore) -> None:
    """D1"""
    store = AsyncStore(slow)
    outcomes: dict[str, list[object]] = {name: [] for name in CALLS}
    waits = []

    async def ask(name: str) -> None:
        outcome, waited = await _outcome(store, name)
        outcomes[name].append(outcome)
        waits.append(waited)

    for patience in (limits.STORE_OPENING, limits.STORE_PATIENCE):
        waits.clear()
        async with anyio.create_task_group() as tasks:
            for name in CALLS:
                tasks.start_soon(ask, name)
        assert patience * 0.9 < min(waits) < max(waits) < patience + SLACK

    assert outcomes == {name: [outcome] * 2 for name, outcome in SLOW.items()}


@EITHER_CALL
async def test_a_store_that_hangs_once_it_has_answered_is_not_waited_for_long(slow: SlowStore, name: str) -> None:
    """D1"""
    store = AsyncStore(slow)
    slow.gate.set()
    await store.get(INDEX)
    slow.gate.clear()

    outcome, waited = await _outcome(store, name)

    assert outcome == SLOW[name]
    assert limits.STORE_PATIENCE * 0.9 < waited < limits.STORE_PATIENCE + SLACK


async def test_a_put_that_is_given_up_on_goes_on(slow: SlowStore) -> None:
    store = AsyncStore(slow)
    fault = await store.put(PUT)

    slow.gate.set()
    await _until(lambda: store.get(INDEX), b"a record")

    assert fault == "store-slow"


async def test_a_store_that_hangs_takes_no_thread_for_every_request(slow: SlowStore) -> None:
    """D1: a thread that is given up on is still a thread."""
    store = AsyncStore(slow)
    await _outcome(store, "get")

    for _ in range(3):
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(_outcome, store, "get")
    asked, outcome = slow.asked, (await _outcome(store, "get"))[0]

    assert asked <= THREADS + HANGING
    assert outcome is SlowStoreError


async def test_a_store_that_hung_is_asked_again_when_it_hangs_no_more(slow: SlowStore) -> None:
    """D1"""
    store = AsyncStore(slow)
    async with anyio.create_task_group() as tasks:
        for _ in range(2 * (THREADS + HANGING)):
            tasks.start_soon(_outcome, store, "get")

    slow.gate.set()
    await _until(lambda: store.put(PUT), None)

    assert await store.get(INDEX) == b"a record"


@EITHER_CALL
@pytest.mark.parametrize("inline_reads", [True, False])
async def test_a_store_that_raises_gives_store_errors(name: str, inline_reads: bool) -> None:
    """D1"""
    outcome, _ = await _outcome(AsyncStore(RaisingStore(inline_reads)), name)

    assert outcome == BROKEN[name]


async def test_a_secret_is_asked_for_once(slow: SlowStore) -> None:
    slow.gate.set()
    store = AsyncStore(slow)

    assert await store.secret() == await store.secret()
    assert slow.asked == 1


@pytest.mark.parametrize("inline_reads", [True, False])
async def test_only_inline_reads_run_in_the_event_loops_thread(slow: SlowStore, inline_reads: bool) -> None:
    slow.gate.set()
    slow.inline_reads = inline_reads
    store = AsyncStore(slow)

    await store.get(INDEX)
    in_reads = slow.threads == {threading.get_ident()}
    slow.threads.clear()
    for name in ("secret", "put", "discard"):
        await _outcome(store, name)

    assert in_reads is inline_reads
    assert threading.get_ident() not in slow.threads


async def test_a_caller_that_is_cancelled_does_not_wait_for_the_store(slow: SlowStore) -> None:
    """P5"""
    store = AsyncStore(slow)

    began = time.monotonic()
    with anyio.move_on_after(0.05):
        await store.get(INDEX)

    assert time.monotonic() - began < SLACK


async def test_an_event_loop_goes_on_while_the_database_is_locked(tmp_path: Path) -> None:
    """D1, P4"""
    disk = DiskStore(tmp_path)
    store = AsyncStore(disk)
    assert await store.put(PUT) is None
    outcomes = []

    async def put() -> None:
        outcomes.append(await store.put(PUT))

    with locked(tmp_path, "IMMEDIATE"):
        began = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(put)
            reads = [await store.get(INDEX) for _ in range(20)]
        took = time.monotonic() - began
    await anyio.to_thread.run_sync(disk.close)

    assert outcomes == ["store-slow"] * 20
    assert reads == [b"a record"] * 20
    assert took < 4 * limits.STORE_PATIENCE + SLACK


def test_one_store_serves_one_event_loop_after_another() -> None:
    inner: Store = MemoryStore()
    store = AsyncStore(inner)

    for backend in ("asyncio", "trio", "asyncio"):
        assert anyio.run(store.put, PUT, backend=backend) is None
        assert anyio.run(store.get, INDEX, backend=backend) == b"a record"
