"""The end of an answer: the record is there before a client can know that it is complete, and nobody waits for it long."""

import threading

import anyio
import pytest
from starlette.types import Message

from cachemw import MemoryStore
from cachemw.cache.order import ALONE, Order, Others
from cachemw.stores import Inline
from tests.flights.bots import EVENTS, WHOLE, Bot, streaming
from tests.flights.callers import JSON, STREAM, Caller
from tests.flights.conftest import House, until
from tests.upstream import DONE, Told, completion
from tests.upstream import JSON as JSON_HEAD

pytestmark = pytest.mark.anyio

(ANSWER,) = [part for part in completion().parts if isinstance(part, bytes)]


class SlowStore(MemoryStore):
    """Puts when its gate is open, and not before."""

    inline = Inline.READS

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, others: Others = ALONE) -> None:
        self.gate.wait(5)
        super().put(index, record, keep, order, others)


@pytest.mark.parametrize("how", ["in chunks of its own", "cut within", "with the end"])
async def test_the_record_is_there_before_done_leaves(how: str, house: House) -> None:
    """P2, R1b: clients hang up at it."""
    parts = {
        "in chunks of its own": EVENTS,
        "cut within": [WHOLE[:-9], WHOLE[-9:]],
        "with the end": [b"".join(EVENTS[:-2]), b"".join(EVENTS[-2:])],
    }[how]
    stored: list[tuple[bool, int]] = []

    def look(message: Message) -> None:
        stored.append((caller.body.endswith(DONE), len(house.records)))

    house.mount(Bot(streaming(*parts)))
    caller = Caller(on_message=look)
    await house.ask(caller)

    assert caller.body == WHOLE
    assert {count for is_done, count in stored if is_done} == {1}
    assert {count for is_done, count in stored if not is_done} == {0}


async def test_the_record_is_there_before_json_leaves(house: House) -> None:
    """P2: for followers too, and the leader's head says so."""
    stored: list[int] = []
    house.mount(Bot(completion()))
    callers = [Caller(JSON, on_message=lambda _: stored.append(len(house.records))) for _ in range(3)]

    await house.ask_at_once(callers)

    assert set(stored) == {1}
    assert sorted(caller.said for caller in callers) == [
        *["fwd=miss; fwd-status=200; collapsed"] * 2,
        "fwd=miss; fwd-status=200; stored",
    ]


async def test_a_client_that_hangs_up_at_done_has_its_answer_stored(house: House) -> None:
    """R1b."""
    house.mount(Bot(streaming()))

    await house.ask(Caller(control="on, abandon=cancel", leaves_after=1 + len(EVENTS)))

    assert house.records == [WHOLE]
    assert house.reports[0].stored
    assert house.reports[0].abandoned is None


async def test_done_is_held_for_the_end_and_then_let_go_unstored(house: House) -> None:
    """S6, P2: by leader and follower alike; the app has not ended then."""
    house.limit(done_hold=0.05)
    never = anyio.Event()
    house.mount(Bot(streaming(*EVENTS, never)))
    leader, follower = Caller(), Caller()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader, follower)
        await leader.hears(b"".join(EVENTS[:-1]))
        await leader.hears(WHOLE)
        await follower.hears(WHOLE)
        assert not leader.is_complete
        never.set()

    assert leader.is_complete
    assert follower.is_complete
    assert [(report.stored, report.details) for report in house.reports if not report.collapsed] == [(False, ("no-end",))]
    assert [report.stored for report in house.reports if report.collapsed] == [None]
    assert house.records == []


async def test_done_is_not_let_go_before_its_time(house: House) -> None:
    """S6: nothing of it leaves while the app is about to end."""
    gate = anyio.Event()
    house.mount(Bot(streaming(*EVENTS, gate)))
    caller = Caller()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, caller)
        await caller.hears(b"".join(EVENTS[:-1]))
        await anyio.sleep(0.05)
        assert caller.body == b"".join(EVENTS[:-1])
        gate.set()

    assert caller.body == WHOLE
    assert house.records == [WHOLE]


@pytest.mark.parametrize("body", [STREAM, JSON])
async def test_what_waits_for_its_put_is_not_overdue(body: bytes, house: House) -> None:
    """P2, S6: the upstream's end has come; what is waited for now is the store."""
    house.limit(done_hold=0.05, json_hold=0.05)
    store = house.store = SlowStore()
    house.mount(Bot())
    caller = Caller(body)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, caller)
        await anyio.sleep(0.15)
        assert not caller.body.endswith(DONE if body == STREAM else b"}")
        store.gate.set()

    assert caller.is_complete
    assert house.records == [caller.body]
    assert [(report.stored, report.details) for report in house.reports] == [(True, ())]


@pytest.mark.parametrize("body", [STREAM, JSON])
async def test_a_slow_put_holds_nobody_and_goes_on(body: bytes, house: House) -> None:
    """P2."""
    house.limit(store_patience=0.02)
    store = house.store = SlowStore()
    house.mount(Bot())

    caller = await house.ask(Caller(body))

    assert caller.is_complete
    assert [(report.stored, report.details) for report in house.reports] == [(False, ("store-slow",))]
    assert ("detail=store-slow" in caller.said) == (body == JSON)
    store.gate.set()
    await until(lambda: house.records == [caller.body])


async def test_json_is_held_no_longer_than_its_hold(house: House) -> None:
    """P1: then it leaves as it comes, for leader and follower, and is still stored."""
    house.limit(json_hold=0.05)
    gate = anyio.Event()
    house.mount(Bot(Told([b" ", b" ", gate, ANSWER], headers=JSON_HEAD)))
    leader, follower = Caller(JSON), Caller(JSON)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader, follower)
        await leader.hears(b"  ")
        await follower.hears(b"  ")
        gate.set()

    assert leader.body == follower.body == b"  " + ANSWER
    assert leader.said == "fwd=miss; fwd-status=200"
    assert house.records == [b"  " + ANSWER]
    assert [report.stored for report in house.reports if not report.collapsed] == [True]


async def test_who_joins_json_that_leaves_as_it_comes_starts_at_once(house: House) -> None:
    """P1."""
    house.limit(json_hold=0.02)
    gate = anyio.Event()
    house.mount(Bot(Told([b" ", gate, ANSWER], headers=JSON_HEAD)))
    leader, late = Caller(JSON), Caller(JSON)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader)
        await leader.hears(b" ")
        await house.join(tasks, late)
        await late.hears(b" ")
        gate.set()

    assert late.body == leader.body == b" " + ANSWER


@pytest.mark.parametrize("body", [STREAM, JSON])
async def test_an_answer_the_app_keeps_out_is_not_stored(body: bytes, house: House) -> None:
    """R2: and all who asked meanwhile share it."""
    told = streaming() if body == STREAM else completion()
    bot = Bot(Told(told.parts, headers=(*told.headers, (b"cachemw", b"off"))))
    house.mount(bot)
    callers = [Caller(body) for _ in range(5)]

    await house.ask_at_once(callers)

    assert all(caller.is_complete and b"cachemw" not in caller.headers for caller in callers)
    assert house.records == []
    assert bot.calls == 1
    assert {report.details for report in house.reports} == {("kept-out",)}
