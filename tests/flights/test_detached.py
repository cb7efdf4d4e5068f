"""Responses in progress that nobody reads any more: how long they go on, how many, and who comes back to them."""

import time

import anyio
import pytest

from tests.flights.bots import EVENTS, WHOLE, Bot, held_at, streaming
from tests.flights.callers import JSON, Caller
from tests.flights.conftest import House, until
from tests.upstream import EVENT_STREAM, Told, completion, prompt

pytestmark = pytest.mark.anyio

FINISH = "on, abandon=finish"


@pytest.fixture(autouse=True)
def _soon(house: House) -> None:
    house.limit(stop_notice=0.01)


async def test_what_is_left_is_stopped_when_its_grace_is_over(house: House) -> None:
    """H3."""
    house.limit(abandon_grace=0.03)
    bot = Bot(held_at(1, anyio.Event()))
    house.mount(bot)

    await house.ask(Caller(control=FINISH, leaves_after=2))

    assert bot.was_cancelled
    assert house.records == []
    (report,) = house.reports
    assert (report.stored, report.abandoned) == (False, "finish")


async def test_what_is_being_stopped_takes_no_place_though_it_takes_its_time(house: House) -> None:
    """H3, P3: nor does who waits for its end keep the event loop busy."""
    house.limit(abandon_grace=0.03, stop_notice=5)
    gate = anyio.Event()
    house.mount(Bot(held_at(1, gate)))
    caller = Caller(control=FINISH, leaves_after=2)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, caller)
        await until(lambda: not len(house.table))
        assert house.table.detached == 0
        before = time.thread_time()
        await anyio.sleep(0.2)
        assert time.thread_time() - before < 0.02
        gate.set()

    (report,) = house.reports
    assert report.abandoned == "finish"


async def test_who_joins_what_was_left_gets_it_whole_and_its_grace_is_off(house: House) -> None:
    """H3, P1: from the beginning, then live."""
    house.limit(abandon_grace=0.2)
    gate = anyio.Event()
    bot = Bot(held_at(2, gate))
    house.mount(bot)
    leader, late = Caller(control=FINISH), Caller(control=FINISH)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader)
        await leader.hears(b"".join(EVENTS[:2]))
        leader.leave()
        await until(lambda: house.table.detached == 1)
        await house.join(tasks, late)
        assert house.table.detached == 0
        await late.hears(b"".join(EVENTS[:2]))
        await anyio.sleep(1.5 * house.limits.abandon_grace)
        gate.set()

    assert late.body == WHOLE
    assert house.records == [WHOLE]
    assert bot.calls == 1


async def test_it_can_be_left_again_and_has_a_new_grace(house: House) -> None:
    """H3: each abandonment is reported once."""
    house.limit(abandon_grace=0.2)
    bot = Bot(held_at(1, anyio.Event()))
    house.mount(bot)
    leader, late = Caller(control=FINISH), Caller(control=FINISH)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader)
        await leader.hears(EVENTS[0])
        leader.leave()
        await until(lambda: house.table.detached == 1)
        await house.join(tasks, late)
        await late.hears(EVENTS[0])
        late.leave()
        await late.returns()
        assert house.table.detached == 1
        await leader.returns()

    assert bot.was_cancelled
    assert sorted((report.collapsed, report.abandoned) for report in house.reports) == [(False, "finish"), (True, "finish")]


async def test_beyond_the_limit_what_is_left_is_stopped(house: House) -> None:
    """H3, P3: and what goes on meanwhile is not disturbed."""
    house.limit(detached=2)
    gate = anyio.Event()
    house.mount(Bot(held_at(1, gate)))
    callers = [Caller(prompt(f"{number}", stream=True), FINISH) for number in range(4)]

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, *callers)
        for caller in callers:
            await caller.hears(EVENTS[0])
            caller.leave()
            await until(lambda: house.table.detached == min(2, callers.index(caller) + 1))  # noqa: B023 - waited for here
        await callers[2].returns()
        await callers[3].returns()
        gate.set()

    assert house.records == [WHOLE, WHOLE]
    assert sorted(report.abandoned or "" for report in house.reports) == ["cancel", "cancel", "finish", "finish"]


async def test_nobody_joins_what_is_being_stopped(house: House) -> None:
    """P1: the race the sweep of the reference found."""
    house.limit(stop_notice=5)
    gate = anyio.Event()
    bot = Bot(held_at(1, gate), streaming())
    house.mount(bot)
    leader, late = Caller(control="on, abandon=cancel"), Caller()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader)
        await leader.hears(EVENTS[0])
        leader.leave()
        await until(lambda: not len(house.table))
        await house.ask(late)
        assert not leader.returned.is_set()
        gate.set()

    assert late.body == WHOLE
    assert bot.calls == 2


async def test_nobody_waits_for_what_is_being_stopped(house: House) -> None:
    """P1: one of another kind claims again at once."""
    house.limit(stop_notice=5)
    gate = anyio.Event()
    bot = Bot(held_at(1, gate), completion())
    house.mount(bot)
    leader, other = Caller(control="on, abandon=cancel"), Caller(JSON)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader, other)
        await leader.hears(EVENTS[0])
        leader.leave()
        await other.returns()
        assert not leader.returned.is_set()
        gate.set()

    assert other.said == "fwd=miss; fwd-status=200; stored"


@pytest.mark.parametrize("status", [400, 500])
async def test_what_turns_out_to_be_no_answer_to_keep_while_nobody_reads_it_is_stopped(house: House, status: int) -> None:
    """H3, P3: it was left before its head came, to be finished for its record."""
    never = anyio.Event()
    bot = Bot(Told((b"{}", never), status, headers=EVENT_STREAM), gate=anyio.Event())
    house.mount(bot)

    async with anyio.create_task_group() as tasks:
        caller = Caller(control=FINISH)
        await house.join(tasks, caller)
        caller.leave()
        await until(lambda: house.table.detached == 1)
        assert bot.gate is not None
        bot.gate.set()
        await caller.returns(within=house.limits.abandon_grace / 2)

    assert bot.was_cancelled
    assert house.records == []


async def test_what_turns_out_too_large_while_nobody_reads_it_is_stopped(house: House) -> None:
    """H3, P3: it is finished for its record, and there will be none."""
    gate, never = anyio.Event(), anyio.Event()
    bot = Bot(streaming(EVENTS[0], gate, *EVENTS[1:], never))
    house.mount(bot, max_record_bytes=len(WHOLE) // 2)

    async with anyio.create_task_group() as tasks:
        caller = Caller(control=FINISH)
        await house.join(tasks, caller)
        await caller.hears(EVENTS[0])
        caller.leave()
        await until(lambda: house.table.detached == 1)
        gate.set()
        await caller.returns(within=house.limits.abandon_grace / 2)

    assert bot.was_cancelled
    assert house.records == []
    (report,) = house.reports
    assert report.abandoned == "finish"
    assert {"client-left", "record-too-large"} <= set(report.details)
