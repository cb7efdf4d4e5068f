"""A store as an event loop uses it: whatever it does, nobody waits for it long."""

import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from cachemw import Limits
from cachemw.cache.live_response import Put
from cachemw.cache.order import ALONE, Order, Others
from cachemw.errors import StoreError, StoreTimeout
from cachemw.stores import DiskStore, Inline, MemoryStore
from cachemw.stores.guard import AsyncStore
from tests.patience import PATIENT
from tests.stores.planting import locked

pytestmark = pytest.mark.anyio

INDEX = bytes(16)
PUT = Put(INDEX, b"a record", None, Order(0, 0, 0), waits=True)
LIMITS = Limits()
SLACK = 1.0
"""What a busy machine may add to a deadline, in seconds."""


class SlowStore(MemoryStore):
    """Hangs in every call but `close` while its gate is shut."""

    inline: Inline = Inline.NONE

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

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, others: Others = ALONE) -> None:
        self._pass()
        super().put(index, record, keep, order, others)

    def delete(self, *indexes: bytes) -> bool:
        self._pass()
        return super().delete(*indexes)

    def discard(self, *indexes: bytes) -> None:
        self._pass()
        super().discard(*indexes)

    def order(self) -> Order:
        self._pass()
        return super().order()

    def _pass(self) -> None:
        self.asked += 1
        self.threads.add(threading.get_ident())
        self.gate.wait()


class RaisingStore(MemoryStore):
    """Raises in every call but `close`."""

    def __init__(self, inline: Inline) -> None:
        super().__init__()
        self.inline = inline

    def secret(self) -> bytes:
        raise StoreError("it is broken")

    def get(self, index: bytes) -> bytes | None:
        raise StoreError("it is broken")

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, others: Others = ALONE) -> None:
        raise StoreError("it is broken")

    def delete(self, *indexes: bytes) -> bool:
        raise StoreError("it is broken")

    def discard(self, *indexes: bytes) -> None:
        raise StoreError("it is broken")

    def order(self) -> Order:
        raise StoreError("it is broken")


@pytest.fixture
def slow() -> Iterator[SlowStore]:
    store = SlowStore()
    yield store
    store.gate.set()


CALLS: dict[str, Callable[[AsyncStore], Awaitable[object]]] = {
    "secret": lambda store: store.secret(),
    "get": lambda store: store.get(INDEX),
    "order": lambda store: store.order(),
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


async def _quiet(store: AsyncStore) -> bytes | None:
    with contextlib.suppress(StoreError):
        return await store.get(INDEX)
    return None


SLOW = {"secret": StoreTimeout, "get": StoreTimeout, "order": StoreTimeout, "put": "store-slow", "discard": None}
BROKEN = {"secret": StoreError, "get": StoreError, "order": StoreError, "put": "store-failed", "discard": None}


async def test_what_was_put_is_there() -> None:
    store = AsyncStore(MemoryStore())

    assert await store.put(PUT) is None
    assert await store.get(INDEX) == b"a record"
    await store.discard(INDEX)
    assert await store.get(INDEX) is None


@EITHER_CALL
async def test_a_store_that_hangs_is_not_waited_for_long_not_even_the_first_time(slow: SlowStore, name: str) -> None:
    """D1"""
    store = AsyncStore(slow)

    outcome, waited = await _outcome(store, name)

    assert outcome == SLOW[name]
    patience = LIMITS.store_opening if name == "secret" else LIMITS.store_patience
    assert patience * 0.9 < waited < patience + SLACK


async def test_a_put_that_is_given_up_on_goes_on(slow: SlowStore) -> None:
    store = AsyncStore(slow)
    fault = await store.put(PUT)

    slow.gate.set()
    await _until(lambda: _quiet(store), b"a record")

    assert fault == "store-slow"


async def test_a_put_that_nobody_waits_for_goes_on_too(slow: SlowStore) -> None:
    """D1: its request has waited for the store before."""
    store = AsyncStore(slow, Limits(store_patience=30.0))
    with anyio.fail_after(10):
        fault = await store.put(replace(PUT, waits=False))

    slow.gate.set()
    await _until(lambda: _quiet(store), b"a record")

    assert fault == "store-slow"


async def test_a_record_that_is_too_large_is_no_fault_of_the_store(tmp_path: Path) -> None:
    """F73, D7: it goes on being asked."""
    disk = DiskStore(tmp_path, size_limit=100_000)
    store = AsyncStore(disk, PATIENT)

    said = [await store.put(replace(PUT, record=bytes(150_000))) for _ in range(LIMITS.store_faults + 1)]

    assert set(said) == {"record-too-large"}
    assert await store.put(replace(PUT, order=disk.order())) is None
    disk.close()


async def test_a_store_that_hangs_takes_no_thread_for_every_request(slow: SlowStore) -> None:
    """D1: a thread that is given up on is still a thread."""
    store = AsyncStore(slow, Limits(store_faults=1000, store_calls=20))

    for _ in range(3):
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(_outcome, store, "get")
    asked, outcome = slow.asked, (await _outcome(store, "get"))[0]

    assert asked == 20
    assert outcome is StoreTimeout


async def test_a_store_that_hung_is_asked_again_when_it_hangs_no_more(slow: SlowStore) -> None:
    """D1"""
    store = AsyncStore(slow, Limits(store_rest=0.1))
    async with anyio.create_task_group() as tasks:
        for _ in range(2 * LIMITS.store_calls):
            tasks.start_soon(_outcome, store, "get")

    slow.gate.set()
    await _until(lambda: store.put(PUT), None)

    await _until(lambda: _quiet(store), b"a record")


@EITHER_CALL
@pytest.mark.parametrize("inline", Inline)
async def test_a_store_that_raises_gives_store_errors(name: str, inline: Inline) -> None:
    """D1"""
    outcome, _ = await _outcome(AsyncStore(RaisingStore(inline), PATIENT), name)

    assert outcome == BROKEN[name]


async def test_a_secret_is_asked_for_once(slow: SlowStore) -> None:
    slow.gate.set()
    store = AsyncStore(slow, PATIENT)

    assert await store.secret() == await store.secret()
    assert slow.asked == 1


@pytest.mark.parametrize("inline", Inline)
async def test_only_inline_calls_run_in_the_event_loops_thread(slow: SlowStore, inline: Inline) -> None:
    slow.gate.set()
    slow.inline = inline
    store = AsyncStore(slow, PATIENT)

    await store.get(INDEX)
    in_reads = slow.threads == {threading.get_ident()}
    slow.threads.clear()
    for name in ("secret", "put", "discard"):
        await _outcome(store, name)

    assert in_reads is (inline is not Inline.NONE)
    assert (threading.get_ident() in slow.threads) is (inline is Inline.ALL)


async def test_a_caller_that_is_cancelled_does_not_wait_for_the_store(slow: SlowStore) -> None:
    """P5"""
    store = AsyncStore(slow, PATIENT)

    began = time.monotonic()
    with anyio.move_on_after(0.05):
        await store.get(INDEX)

    assert time.monotonic() - began < SLACK


async def test_an_event_loop_goes_on_while_the_database_is_locked(tmp_path: Path) -> None:
    """D1, P4"""
    disk = DiskStore(tmp_path)
    disk.put(INDEX, b"a record", None)
    store, order = AsyncStore(disk), disk.order()
    outcomes = []

    async def put() -> None:
        outcomes.append(await store.put(replace(PUT, order=order)))

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
    assert took < 4 * LIMITS.store_patience + SLACK


def test_one_store_serves_one_event_loop_after_another() -> None:
    inner = SlowStore()
    inner.gate.set()
    store = AsyncStore(inner, PATIENT)

    for backend in ("asyncio", "trio", "asyncio"):
        assert anyio.run(store.put, PUT, backend=backend) is None
        assert anyio.run(store.get, INDEX, backend=backend) == b"a record"
