"""Between a claim and its flight, and when patience is over: who leads, who follows, and whom that concerns."""

import threading
from typing import Any

import anyio
import pytest
from starlette.types import Receive, Scope, Send

from cachemw import MemoryStore
from cachemw.stores import Inline
from tests.flights.bots import RETRY, WHOLE, Bot, held_at, say, streaming
from tests.flights.callers import JSON, STREAM, Caller
from tests.flights.conftest import House, until
from tests.upstream import EVENT_STREAM, Told, completion, stream_events
from tests.upstream import JSON as JSON_HEAD

pytestmark = pytest.mark.anyio


class GatedStore(MemoryStore):
    """Its reads wait, in their thread, at a gate; `on_read` is told how many have begun, and may plant a record."""

    inline = Inline.NONE

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[int, threading.Event] = {}
        self.reads = 0
        self.planted: dict[int, bytes] = {}

    def get(self, index: bytes) -> bytes | None:
        self.reads += 1
        number = self.reads
        if number in self.gates:
            self.gates[number].wait(5)
        return self.planted.get(number) or super().get(index)


@pytest.mark.parametrize("body", [STREAM, JSON])
@pytest.mark.parametrize("abandon", ["finish", "cancel"])
async def test_a_follower_that_leaves_before_the_leader_has_begun_changes_nothing(
    house: House, body: bytes, abandon: str
) -> None:
    """H3, P1: the flight is the leader's, who is yet to join."""
    store = GatedStore()
    store.gates = {2: threading.Event()}  # the leader's second look
    house.store = store
    house.mount(Bot(), on_abandon=abandon)
    leader, follower = Caller(body), Caller(body)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leader.call, house.app)
        await until(lambda: store.reads == 2)
        await house.join(tasks, follower)
        await until(lambda: len(house.flight.readers) == 1)
        follower.leave()
        await follower.returns()
        store.gates[2].set()

    assert (leader.status, leader.is_complete) == (200, True)
    assert len(house.records) == 1
    assert [report.abandoned for report in house.reports] == [None, None]


async def test_when_patience_is_over_one_leads_for_each_kind_and_the_others_follow_it(house: House) -> None:
    """P1: a long stream costs those who want JSON one call, not one each."""
    gate, slowly = anyio.Event(), anyio.Event()
    bot = Bot(held_at(2, gate), Told([slowly, *completion().parts]))
    house.mount(bot, patience=0.05)
    stream, late = Caller(STREAM), Caller(STREAM)
    others = [Caller(JSON) for _ in range(20)]

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, stream, *others)
        await until(lambda: house.readers == 21)  # patience is over for all of them
        await house.join(tasks, late)
        slowly.set()
        for other in others:
            await other.returns()
        gate.set()

    assert bot.calls == 2
    assert {other.body for other in others} == set(completion().parts)
    assert sum("collapsed" in other.said for other in others) == 19
    assert (stream.body, late.body) == (WHOLE, WHOLE)
    assert "collapsed" in late.said


async def test_who_answers_only_to_be_sent_to_does_not_stop_the_loop(house: House) -> None:
    """§6: it is told, and cancelled a second later, though it awaits nothing else."""
    house.limit(stop_notice=0.05)
    was_cancelled = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
        try:
            while True:
                await send({"type": "http.response.body", "body": b": busy\n\n", "more_body": True})
        except anyio.get_cancelled_exc_class():
            was_cancelled.set()
            raise

    house.mount(app, max_record_bytes=2**30)

    with anyio.fail_after(3):
        await house.ask(Caller(leaves_after=3))
        await was_cancelled.wait()


async def test_who_is_answered_in_the_end_is_not_told_what_was_raised_before(house: House) -> None:
    """P1, P5: the failure of a flight is for who led it, and for whom it is the last word."""
    gate = anyio.Event()
    bot = Bot(ValueError("boom"), streaming(), gate=gate)
    house.mount(bot)
    leader, follower, fresh = Caller(), Caller(), Caller(control="on, mode=refresh")

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader, follower)
        bot.gate = None
        await house.ask(fresh)
        gate.set()

    assert repr(leader.raised) == "ValueError('boom')"
    assert (follower.said[:3], follower.body, follower.raised) == ("hit", WHOLE, None)


async def test_a_claim_that_came_to_nothing_is_nobodys_forward(house: House) -> None:
    """E1: the leader found it in the store; so does who waited, and says so."""
    store = GatedStore()
    house.store = store
    house.mount(Bot())
    await house.ask()
    ((index, record),) = store.scan()
    store.delete(index)
    store.reads, store.gates, store.planted = 0, {2: threading.Event()}, {2: record, 4: record}
    leader, follower = Caller(), Caller()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leader.call, house.app)
        await until(lambda: store.reads == 2)
        await house.join(tasks, follower)
        await until(lambda: len(house.flight.readers) == 1)
        store.gates[2].set()

    assert [caller.said[:3] for caller in (leader, follower)] == ["hit", "hit"]
    assert b"age" in follower.headers


@pytest.mark.parametrize("control", ["on, mode=read", "on"])
async def test_an_error_that_is_not_shown_is_not_waited_for(house: House, control: str) -> None:
    """RFC 5861 §4: its status is enough."""
    house.limit(stop_notice=0.05)
    never, was_ended = anyio.Event(), anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if failing:
            try:
                await say(Told([b"{", never], status=503, headers=(*JSON_HEAD, RETRY)), send)
            finally:
                was_ended.set()
        else:
            await say(streaming(*stream_events("old")), send)

    failing: list[Any] = []
    house.mount(app)
    await house.ask(Caller(control="on, ttl=0"))
    failing.append(True)
    caller = await house.ask(Caller(control=control))

    assert caller.said.startswith("fwd=stale; fwd-status=503; ttl=")
    assert caller.body == b"".join(stream_events("old"))
    assert was_ended.is_set()
