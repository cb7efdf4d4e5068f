"""Replays at a pace."""

from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from tests.flights.bots import EVENTS, WHOLE, Bot, streaming
from tests.flights.callers import Caller
from tests.flights.conftest import House, tasks_here, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every time until which somebody sleeps."""
    naps: list[float] = []
    sleep_until = anyio.sleep_until

    async def noted(deadline: float) -> None:
        naps.append(deadline - anyio.current_time())
        await sleep_until(deadline)

    monkeypatch.setattr(anyio, "sleep_until", noted)
    return naps


async def record(house: House, gaps: Callable[[int], float]) -> None:
    """Store a stream whose events came with so many seconds before each."""
    now = 1_000_000.0
    house.mount(Bot(streaming()))

    def clock() -> float:
        return now

    house.app.driver.clock = clock
    caller = Caller()

    def tick(_: object) -> None:
        nonlocal now
        now += gaps(len(caller.messages))

    caller.on_message = tick
    await house.ask(caller)
    house.reports.clear()


async def test_no_sleep_at_speed_0(house: House, naps: list[float]) -> None:
    """S7."""
    await record(house, lambda _: 10.0)

    hits = [await house.ask(Caller(control=control)) for control in ("on", "on, speed=0", "on, speed=0.0")]

    assert [hit.body for hit in hits] == [WHOLE] * 3
    assert naps == []


async def test_a_paced_replay_sends_the_events_one_by_one(house: House, naps: list[float]) -> None:
    """S7: as they were recorded, a thousand times as fast."""
    await record(house, lambda _: 10.0)

    hit = await house.ask(Caller(control="on, speed=1000"))

    assert hit.body == WHOLE
    assert hit.is_complete
    assert hit.chunks[: len(EVENTS) - 2] == EVENTS[:-2]
    assert len(naps) == len(hit.chunks)
    assert hit.said.startswith("hit")


async def test_a_paced_replay_ends_at_once_when_its_client_leaves(house: House, naps: list[float]) -> None:
    """H3, S7: by disconnect; it would have taken an hour."""
    await record(house, lambda _: 900.0)
    before = tasks_here()
    caller = Caller(control="on, speed=1")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller.call, house.app)
        await until(lambda: bool(naps))
        caller.leave()
        await caller.returns()
        assert tasks_here() == before

    assert not caller.is_complete
    assert caller.raised is None
    assert [report.details for report in house.reports] == [("client-left",)]
    assert [report.abandoned for report in house.reports] == [None]


async def test_a_paced_replay_ends_when_its_clients_send_fails(house: House) -> None:
    """H3: as ASGI 2.4 says it."""
    await record(house, lambda _: 0.001)

    caller = await house.ask(Caller(control="on, speed=1", by="oserror", leaves_after=1))

    assert caller.raised is None
    assert [report.details for report in house.reports] == [("client-left",)]


async def test_a_paced_replay_can_be_cancelled_from_outside(house: House) -> None:
    """P5."""
    await record(house, lambda _: 900.0)
    caller = Caller(control="on, speed=1")

    with anyio.fail_after(4), anyio.move_on_after(0.05) as timeout:
        await caller.call(house.app)

    assert timeout.cancelled_caught
    assert not caller.is_complete


async def test_a_paced_replay_may_take_no_longer_than_the_operator_says(house: House) -> None:
    """S7."""
    await record(house, lambda _: 900.0)
    house.mount(Bot(), max_replay=0.05)
    house.app.driver.clock = lambda: 1_005_000.0

    hit = await house.ask(Caller(control="on, speed=1"))

    assert hit.body == WHOLE
