"""Tasks that are cancelled from outside, as by a timeout around us or by a server that shuts down."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
import pytest
from starlette.types import Message

from cachemw.flights.flight import Flight
from cachemw.flights.registry import FlightTable
from tests.flights.bots import EVENTS, WHOLE, Bot, held_at, streaming
from tests.flights.callers import JSON, STREAM, Caller
from tests.flights.conftest import House, tasks_here, until
from tests.stores.moody import Moody
from tests.upstream import DONE, prompt

pytestmark = pytest.mark.anyio

FINISH = "on, abandon=finish"
TYPICAL = 0.05
"""How long ending at once may take on a busy machine, in seconds; asserted is ten times that, a tenth of the notice."""


@pytest.fixture
def house(house: House) -> House:
    """A house in which nobody is cancelled soon after a notice."""
    house.limit(stop_notice=5)
    return house


class Timeout:
    """A scope around one caller, to be cancelled by the test."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()

    async def around(self, call: Callable[[], Awaitable[None]]) -> None:
        with self.scope:
            await call()
        self.ended.set()

    async def ends_at_once(self) -> None:
        self.scope.cancel()
        with anyio.fail_after(10 * TYPICAL):
            await self.ended.wait()


@pytest.mark.parametrize("body", [STREAM, JSON])
@pytest.mark.parametrize("abandon", ["finish", "cancel"])
@pytest.mark.parametrize("hears", [0, 2])
async def test_a_leader_alone_ends_at_once(abandon: str, body: bytes, hears: int, house: House) -> None:
    """P5: whatever it asked for, nothing is stored and no task left."""
    before, bot = tasks_here(), Bot(held_at(hears, anyio.Event()))
    house.mount(bot)
    caller, timeout = Caller(body, f"on, abandon={abandon}"), Timeout()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timeout.around, lambda: caller.call(house.app))
        await until(lambda: bot.calls == 1)
        if body == STREAM:
            await caller.hears(b"".join(EVENTS[:hears]))
        await timeout.ends_at_once()
        assert tasks_here() == before

    assert bot.was_cancelled
    assert house.is_tidy()
    assert house.records == []
    assert [report.abandoned for report in house.reports] == [None]


async def test_one_that_waits_for_the_store_ends_at_once_and_is_told_of(house: House) -> None:
    """P5, E1."""
    gate, bot = threading.Event(), Bot()
    house.store = moody = Moody(gate.wait)
    house.mount(bot)
    caller, timeout = Caller(), Timeout()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timeout.around, lambda: caller.call(house.app))
        await until(lambda: bool(moody.asked))
        await timeout.ends_at_once()
    gate.set()

    assert bot.calls == 0
    assert [(report.endpoint, report.target, report.fwd) for report in house.reports] == [("chat", "bot", None)]


async def test_a_timeout_around_us_is_in_time(house: House) -> None:
    """P5: as a middleware has it."""
    house.mount(Bot(held_at(1, anyio.Event())))
    timeout = anyio.CancelScope()

    def be_over(message: Message) -> None:
        if message.get("body"):
            timeout.deadline = anyio.current_time()

    caller = Caller(on_message=be_over)

    with anyio.fail_after(4), timeout:
        await caller.call(house.app)

    assert timeout.cancelled_caught
    assert caller.body == EVENTS[0]


@pytest.mark.parametrize("abandon", ["finish", "cancel"])
async def test_a_leader_with_a_follower_goes_on_for_it(abandon: str, house: House) -> None:
    """P5, P1: the follower is served whole, and nobody else joins."""
    gate = anyio.Event()
    bot = Bot(held_at(2, gate))
    house.mount(bot)
    leader, follower, timeout = Caller(control=f"on, abandon={abandon}"), Caller(), Timeout()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timeout.around, lambda: leader.call(house.app))
        await leader.listening.wait()
        await house.join(tasks, follower)
        await follower.hears(b"".join(EVENTS[:2]))
        timeout.scope.cancel()
        await until(lambda: not len(house.table))
        gate.set()

    assert leader.body == b"".join(EVENTS[:2])
    assert follower.body == WHOLE
    assert follower.is_complete
    assert house.records == [WHOLE]
    assert bot.calls == 1


async def test_a_leader_that_was_cancelled_ends_when_its_last_follower_leaves(house: House) -> None:
    """P5: at once, without notice, and under `finish` too."""
    bot = Bot(held_at(1, anyio.Event()))
    house.mount(bot)
    leader, follower, timeout = Caller(control=FINISH), Caller(control=FINISH), Timeout()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timeout.around, lambda: leader.call(house.app))
        await leader.listening.wait()
        await house.join(tasks, follower)
        await follower.hears(EVENTS[0])
        timeout.scope.cancel()
        await until(lambda: not len(house.table))
        assert not timeout.ended.is_set()
        follower.leave()
        await timeout.ends_at_once()

    assert bot.was_cancelled
    assert house.records == []
    assert follower.raised is None


async def test_a_leader_of_what_is_too_large_goes_on_for_its_slow_follower(house: House) -> None:
    """P5, P3: it waits for nobody but that one."""
    bot = Bot(streaming())
    house.mount(bot, max_record_bytes=len(EVENTS[0]))
    leader, follower, timeout = Caller(), Caller(), Timeout()
    leader.stop_reading()
    follower.stop_reading()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timeout.around, lambda: leader.call(house.app))
        await leader.listening.wait()
        await house.join(tasks, follower)
        await until(lambda: not len(house.table))
        await anyio.wait_all_tasks_blocked()
        timeout.scope.cancel()
        await anyio.wait_all_tasks_blocked()
        follower.read_on()

    assert leader.messages == []
    assert follower.body == WHOLE
    assert bot.calls == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("hears", [0, 2])
async def test_readers_are_freed_when_the_pump_itself_is_cancelled(hears: int, house: House) -> None:
    """P5: natively, as when a loop that shuts down cancels every task there is; trio has scopes only."""
    house.mount(Bot(held_at(hears, anyio.Event())))
    leader, follower = Caller(), Caller()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader, follower)
        await follower.hears(b"".join(EVENTS[:hears]))
        await leader.hears(b"".join(EVENTS[:hears]))
        (pump,) = [task for task in asyncio.all_tasks() if "Pump.run" in task.get_name()]
        pump.cancel()
        await follower.returns()
        await leader.returns()

    assert b"error" in follower.body[len(b"".join(EVENTS[:hears])) :]
    assert not follower.body.endswith(DONE)
    assert house.records == []


async def test_a_loop_that_shuts_down_waits_for_no_flight(anyio_backend: str) -> None:
    """P5: read, followed, detached, and stopping ones; in a loop of their own."""
    house = House()
    house.limit(stop_notice=5)
    tables: list[FlightTable[Flight]] = []

    async def serve_and_shut_down() -> None:
        house.mount(Bot(held_at(1, anyio.Event())))
        tables.append(house.table)
        callers = [Caller(prompt(f"{n}", stream=True), control) for n, control in enumerate(("on", FINISH) * 3)]
        async with anyio.create_task_group() as tasks:
            await house.join(tasks, *callers)
            for caller in callers:
                await caller.hears(EVENTS[0])
            await house.join(tasks, Caller(prompt("0", stream=True)), Caller(prompt("1", stream=True)))
            for caller in callers[2:4]:
                caller.leave()
            await until(lambda: house.table.detached == 1)
            tasks.cancel_scope.cancel()

    with anyio.fail_after(4):
        await anyio.to_thread.run_sync(lambda: anyio.run(serve_and_shut_down, backend=anyio_backend))

    (table,) = tables
    assert (len(table), table.held, table.detached) == (0, 0, 0)
    assert house.records == []


async def test_a_follower_alone_ends_at_once(house: House) -> None:
    """P5: the leader reads on."""
    gate = anyio.Event()
    house.mount(Bot(held_at(1, gate)))
    leader, follower, timeout = Caller(), Caller(), Timeout()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader)
        tasks.start_soon(timeout.around, lambda: follower.call(house.app))
        await follower.hears(EVENTS[0])
        await timeout.ends_at_once()
        assert len(house.flight.readers) == 1
        gate.set()

    assert leader.body == WHOLE
    assert house.records == [WHOLE]


async def test_a_follower_that_waits_for_another_kind_ends_at_once(house: House) -> None:
    """P5."""
    gate = anyio.Event()
    house.mount(Bot(held_at(1, gate)))
    leader, other, timeout = Caller(STREAM), Caller(JSON), Timeout()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader)
        tasks.start_soon(timeout.around, lambda: other.call(house.app))
        await other.listening.wait()
        await timeout.ends_at_once()
        gate.set()

    assert leader.body == WHOLE
    assert other.messages == []


async def test_a_leader_ends_at_once_while_its_flight_goes_on_for_nobody(house: House) -> None:
    """P5, H3: it was abandoned to be finished, and was not; that was counted once."""
    bot = Bot(held_at(1, anyio.Event()))
    house.mount(bot)
    leader, timeout = Caller(control=FINISH), Timeout()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timeout.around, lambda: leader.call(house.app))
        await leader.hears(EVENTS[0])
        leader.leave()
        await until(lambda: house.table.detached == 1)
        await timeout.ends_at_once()

    assert bot.was_cancelled
    assert house.is_tidy()
    assert house.records == []
    (report,) = house.reports
    assert report.details[0] == "client-left"
    assert report.abandoned == "finish"
    assert report.stored is False


async def test_a_leader_ends_at_once_while_its_app_has_notice(house: House) -> None:
    """P5: the notice is for clients that leave."""
    bot = Bot(held_at(1, anyio.Event()))
    house.mount(bot)
    leader, timeout = Caller(control="on, abandon=cancel"), Timeout()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timeout.around, lambda: leader.call(house.app))
        await leader.hears(EVENTS[0])
        leader.leave()
        await until(lambda: not len(house.table))
        await timeout.ends_at_once()

    assert bot.was_cancelled
    assert [report.abandoned for report in house.reports] == ["cancel"]


async def test_a_follower_is_not_served_less_where_the_leader_is_cancelled_before_the_head(house: House) -> None:
    """P5, P1."""
    bot = Bot(gate=anyio.Event())
    house.mount(bot)
    leader, follower, timeout = Caller(), Caller(), Timeout()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timeout.around, lambda: leader.call(house.app))
        await leader.listening.wait()
        await house.join(tasks, follower)
        timeout.scope.cancel()
        await until(lambda: not len(house.table))
        assert bot.gate is not None
        bot.gate.set()

    assert leader.messages == []
    assert follower.is_complete
    assert bot.calls == 1
