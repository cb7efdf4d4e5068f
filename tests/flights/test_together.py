"""Requests that want the same at the same time: one forward, read live by all of them."""

import anyio
import anyio.lowlevel
import pytest
from starlette.types import Receive, Scope, Send

from tests.flights.bots import EVENTS, WHOLE, Bot, held_at, streaming, with_usage
from tests.flights.callers import JSON, STREAM, Caller
from tests.flights.conftest import House, until
from tests.upstream import EVENT_STREAM, Told, completion, prompt, stream_events

pytestmark = pytest.mark.anyio

STREAM_WITH_USAGE = prompt(stream=True, stream_options={"include_usage": True})
COLLAPSED = "fwd=miss; fwd-status=200; collapsed"


@pytest.mark.parametrize(("body", "said"), [(STREAM, ""), (JSON, "; stored")])
async def test_a_miss_and_then_a_hit(body: bytes, said: str, house: House) -> None:
    """P1, S9."""
    bot = Bot()
    house.mount(bot)

    miss, hit = await house.ask(Caller(body)), await house.ask(Caller(body))

    assert miss.said == "fwd=miss; fwd-status=200" + said
    assert hit.said.startswith("hit; ttl=")
    assert miss.body == hit.body
    assert miss.is_complete
    assert hit.is_complete
    assert bot.calls == 1
    assert [report.stored for report in house.reports] == [True, None]


@pytest.mark.parametrize("body", [STREAM, JSON])
async def test_a_hundred_at_once_make_one_call(body: bytes, house: House) -> None:
    """P1."""
    bot = Bot()
    house.mount(bot)
    callers = [Caller(body) for _ in range(100)]

    await house.ask_at_once(callers)

    assert bot.calls == 1
    assert {caller.body for caller in callers} == {callers[0].body}
    assert all(caller.is_complete for caller in callers)
    assert sorted(report.collapsed for report in house.reports) == [False, *[True] * 99]
    assert sum(report.stored is True for report in house.reports) == 1


async def test_different_questions_do_not_wait_for_each_other(house: House) -> None:
    """P1, K: the second is answered while the first is held."""
    gate = anyio.Event()
    house.mount(Bot(held_at(1, gate), streaming()))
    first, second = Caller(), Caller(prompt("something else", stream=True))

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, first)
        await house.ask(second)
        assert not first.is_complete
        gate.set()

    assert first.body == second.body == WHOLE


async def test_a_late_joiner_starts_with_what_has_arrived_and_continues_live(house: House) -> None:
    """P1, S6: each part reaches both before the next is made."""
    gates = [anyio.Event() for _ in EVENTS]
    bot = Bot(streaming(*[part for pair in zip(EVENTS, gates, strict=True) for part in pair]))
    house.mount(bot)
    leader, late = Caller(), Caller()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader)
        gates[0].set()
        await leader.hears(b"".join(EVENTS[:2]))
        await house.join(tasks, late)
        await late.hears(b"".join(EVENTS[:2]))
        for number in range(1, len(EVENTS) - 2):
            gates[number].set()
            await leader.hears(b"".join(EVENTS[: number + 2]))
            await late.hears(b"".join(EVENTS[: number + 2]))
        for gate in gates:
            gate.set()

    assert leader.body == late.body == WHOLE
    assert leader.said == "fwd=miss; fwd-status=200"
    assert late.said == COLLAPSED
    assert bot.calls == 1


async def test_each_chunk_is_offered_to_every_reader_before_the_next_is_made(house: House) -> None:
    """S6: by an app that never waits for anything, and readers that never wait either."""
    callers = [Caller(ticks=0) for _ in range(3)]
    events = stream_events(" ".join("abcdefghijklmnopqrstuvwxyz"))
    unheard: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await until(lambda: len(house.flight.readers) == len(callers))
        await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
        for number, event in enumerate(events[:-1]):
            unheard.extend(number for caller in callers if caller.body != b"".join(events[:number]))
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": events[-1]})

    house.mount(app)
    await house.ask_at_once(callers)

    assert unheard == []
    assert all(caller.chunks == events for caller in callers)


async def test_no_cache_and_refresh_forward_alone_and_nobody_joins_them(house: House) -> None:
    """P1: each gets an answer of its own."""
    bot = Bot(gate=anyio.Event())
    house.mount(bot)
    callers = [Caller(control=control) for control in ("on", "on, mode=refresh", "on, mode=refresh", "on, mode=read")]
    fresh = Caller(headers=((b"cache-control", b"no-cache"),))

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, *callers[:3], fresh)
        tasks.start_soon(callers[3].call, house.app)
        await until(lambda: bot.calls == 4)
        assert bot.gate is not None
        bot.gate.set()

    assert callers[3].said == COLLAPSED + "; detail=mode-read"
    assert [caller.said for caller in (*callers[1:3], fresh)] == ["fwd=request; fwd-status=200"] * 3


async def test_a_follower_of_another_kind_waits_and_is_served_from_the_record(house: House) -> None:
    """P1, S4: the usage is in the answer, as JSON is due it."""
    gate = anyio.Event()
    bot = Bot(held_at(2, gate, [part for part in with_usage().parts if isinstance(part, bytes)]))
    house.mount(bot)
    leader, other = Caller(STREAM), Caller(JSON)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader, other)
        await leader.hears(b"".join(EVENTS[:2]))
        assert not other.messages
        gate.set()

    assert other.said == COLLAPSED + "; detail=transcoded"
    assert b"one two three" in other.body
    assert other.headers[b"content-type"] == b"application/json"
    assert b"age" not in other.headers
    assert bot.calls == 1


async def test_a_follower_of_another_kind_claims_again_where_nothing_was_stored(house: House) -> None:
    """P1: the answer was whole, and was none to keep."""
    bot = Bot(Told([b"{}"], status=404), completion(), gate=anyio.Event())
    house.mount(bot)
    leader, other = Caller(STREAM), Caller(JSON)

    await house.gather(bot, leader, other)

    assert leader.status == 404
    assert (other.status, other.said) == (200, "fwd=miss; fwd-status=200; stored")
    assert bot.calls == 2


async def test_a_follower_of_another_kind_waits_no_longer_than_its_patience(house: House) -> None:
    """P1: then it forwards for itself."""
    gate = anyio.Event()
    bot = Bot(held_at(1, gate), completion())
    house.mount(bot, patience=0.05)
    leader, other = Caller(STREAM), Caller(JSON)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader)
        await house.ask(other)
        gate.set()

    assert (other.status, other.said) == (200, "fwd=miss; fwd-status=200; stored")
    assert bot.calls == 2


async def test_other_stream_options_are_another_kind(house: House) -> None:
    """P1, S5: it is not shown what the leader is sent; the record has its usage, so it need not ask again."""
    gate = anyio.Event()
    bot = Bot(held_at(2, gate, [part for part in with_usage().parts if isinstance(part, bytes)]))
    house.mount(bot)
    leader, other = Caller(STREAM), Caller(STREAM_WITH_USAGE)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader, other)
        await leader.hears(b"".join(EVENTS[:2]))
        assert not other.messages
        gate.set()

    assert other.is_complete
    assert other.said.startswith(COLLAPSED)
    assert bot.calls == 1


async def test_callers_with_other_credentials_never_share(house: House) -> None:
    """I1, P1."""
    bot = Bot(gate=anyio.Event())
    house.mount(bot)
    callers = [Caller(headers=((b"authorization", b"Bearer " + name),)) for name in (b"alice", b"bob", b"alice")]

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, *callers)
        await until(lambda: bot.calls == 2)
        assert bot.gate is not None
        bot.gate.set()

    assert bot.calls == 2
    assert [caller.said for caller in callers] == ["fwd=miss; fwd-status=200"] * 2 + [COLLAPSED]
