"""Stale answers: at once while one flight fetches anew, and in the place of an upstream that cannot answer."""

from typing import Any

import anyio
import pytest

from tests.flights.bots import EVENTS, RETRY, WHOLE, Bot, streaming
from tests.flights.callers import JSON, STREAM, Caller
from tests.flights.conftest import House, until
from tests.upstream import JSON as JSON_HEAD
from tests.upstream import Told, completion, stream_events

pytestmark = pytest.mark.anyio

TTL = "on, ttl=10"
NEW = stream_events("something new")
STALE = "hit; ttl=-10; detail=stale-while-revalidate"
BUSY = Told([b"slow down"], status=429, headers=(*JSON_HEAD, RETRY))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def stale(house: House, bot: Bot, body: bytes = STREAM, **policy: Any) -> Clock:
    """Store an answer, and let it go stale."""
    house.mount(bot, **policy)
    clock = house.app.driver.clock = Clock()
    await house.ask(Caller(body, TTL))
    house.reports.clear()
    clock.now += 20
    return clock


@pytest.mark.parametrize("body", [STREAM, JSON])
async def test_a_stale_hit_is_out_before_the_upstream_answers_and_the_next_is_fresh(body: bytes, house: House) -> None:
    """H1: the flight goes with the request that triggered it."""
    answers = [streaming(), streaming(*NEW)] if body == STREAM else [completion("old"), completion("new")]
    bot = Bot(*answers)
    await stale(house, bot, body, stale_while_revalidate=60)
    bot.gate = anyio.Event()
    hit = Caller(body, TTL)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hit.call, house.app)
        await until(lambda: hit.is_complete)
        await until(lambda: bot.calls == 2)
        assert not hit.returned.is_set()
        assert house.table.detached == 1
        bot.gate.set()
    fresh = await house.ask(Caller(body, TTL))

    assert hit.said == STALE
    assert fresh.said == "hit; ttl=10"
    assert fresh.body != hit.body
    assert bot.calls == 2
    assert [(report.abandoned, report.attempts) for report in house.reports] == [(None, 1), (None, 0)]


async def test_twenty_stale_hits_make_one_call(house: House) -> None:
    """P1."""
    bot = Bot(streaming(), streaming(*NEW))
    await stale(house, bot, stale_while_revalidate=60)
    bot.gate = anyio.Event()
    callers = [Caller(control=TTL) for _ in range(20)]

    async with anyio.create_task_group() as tasks:
        for caller in callers:
            tasks.start_soon(caller.call, house.app)
        await until(lambda: all(caller.is_complete for caller in callers))
        await until(lambda: sum(caller.returned.is_set() for caller in callers) == 19)
        bot.gate.set()

    assert bot.calls == 2
    assert sum(report.attempts for report in house.reports) == 1
    assert {caller.said for caller in callers} == {STALE}
    assert (await house.ask(Caller(control=TTL))).body == b"".join(NEW)


async def test_who_may_not_have_it_stale_follows_the_flight(house: House) -> None:
    """P1: and continues live."""
    bot = Bot(streaming(), streaming(*NEW))
    await stale(house, bot, stale_while_revalidate=60)
    bot.gate = anyio.Event()
    hit, strict = Caller(control=TTL), Caller(control=TTL, headers=((b"cache-control", b"max-stale=0, max-age=5"),))

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, hit)
        await until(lambda: house.table.detached == 1)
        await house.join(tasks, strict)
        assert house.table.detached == 0
        bot.gate.set()

    assert strict.body == b"".join(NEW)
    assert "collapsed" in strict.said
    assert bot.calls == 2


async def test_a_client_that_leaves_a_stale_hit_does_not_stop_the_flight(house: House) -> None:
    """H3: it is the house's, not the client's."""
    bot = Bot(streaming(), streaming(*NEW))
    await stale(house, bot, stale_while_revalidate=60)

    await house.ask(Caller(control=TTL + ", abandon=cancel", leaves_after=1))

    assert house.records == [b"".join(NEW)]


async def test_what_is_fetched_anew_has_a_bound(house: House) -> None:
    """H3: as whatever goes on without readers."""
    house.limit(abandon_grace=0.03, stop_notice=0.01)
    bot = Bot(streaming(), streaming(EVENTS[0], anyio.Event()))
    await stale(house, bot, stale_while_revalidate=60)

    hit = await house.ask(Caller(control=TTL))

    assert hit.body == WHOLE
    assert bot.calls == 2
    assert bot.was_cancelled
    assert house.records == [WHOLE]


async def test_where_no_more_may_fly_without_readers_nothing_is_fetched_anew(house: House) -> None:
    """H3, P3: and the stale record answers all the same."""
    house.limit(detached=0)
    bot = Bot(streaming(), streaming(*NEW))
    await stale(house, bot, stale_while_revalidate=60)

    hit = await house.ask(Caller(control=TTL))

    assert (hit.body, hit.said) == (WHOLE, STALE)
    assert bot.calls == 1
    assert [report.attempts for report in house.reports] == [0]
    assert house.records == [WHOLE]


async def test_what_fails_to_be_fetched_anew_leaves_the_stale_record(house: House) -> None:
    """P5: the hit was served; what the app raised is its server's to hear."""
    bot = Bot(streaming(), ValueError("no"), BUSY, streaming(*EVENTS[:2], ends=False), streaming(*NEW))
    await stale(house, bot, stale_while_revalidate=60)

    hits = [await house.ask(Caller(control=TTL)) for _ in range(4)]

    assert [hit.body for hit in hits] == [WHOLE] * 4
    assert [repr(hit.raised) for hit in hits] == ["ValueError('no')", "None", "None", "None"]
    assert all(hit.is_complete for hit in hits)
    assert bot.calls == 5
    assert house.records == [b"".join(NEW)]


@pytest.mark.parametrize("body", [STREAM, JSON])
async def test_a_stale_record_stands_in_for_a_429_for_leader_and_followers(body: bytes, house: House) -> None:
    """P1, R2: one call."""
    bot = Bot(streaming() if body == STREAM else completion(), BUSY)
    await stale(house, bot, body)
    bot.gate = anyio.Event()
    callers = [Caller(body, TTL) for _ in range(5)]

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, *callers)
        bot.gate.set()

    assert bot.calls == 2
    assert {caller.status for caller in callers} == {200}
    assert all(caller.is_complete for caller in callers)
    assert [caller.said for caller in callers] == [
        "fwd=stale; fwd-status=429; ttl=-10; detail=stale-if-error",
        *["fwd=stale; fwd-status=429; ttl=-10; collapsed; detail=stale-if-error"] * 4,
    ]


async def test_an_upstream_a_stale_record_stands_in_for_is_not_waited_for(house: House) -> None:
    """H3: nobody wants the rest of its 429."""
    house.limit(stop_notice=0.01)
    bot = Bot(streaming(), Told([b"slow", anyio.Event()], status=429))
    await stale(house, bot)

    caller = await house.ask(Caller(control=TTL + ", abandon=finish"))

    assert caller.body == WHOLE
    assert bot.was_cancelled


async def test_a_stale_record_stands_in_for_an_app_that_raises(house: House) -> None:
    """P1, P5: two calls at most; everybody is served, and the leaders' server hears of it."""
    bot = Bot(streaming(), ValueError("first"), ValueError("second"))
    await stale(house, bot)
    bot.gate = anyio.Event()
    callers = [Caller(control=TTL) for _ in range(5)]

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, *callers)
        bot.gate.set()

    assert bot.calls <= 3
    assert all(caller.body == WHOLE and caller.is_complete for caller in callers)
    assert repr(callers[0].raised) == "ValueError('first')"
    assert {report.details[0] for report in house.reports} == {"stale-if-error"}
