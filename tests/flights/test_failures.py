"""Upstreams that fail: one re-election before anything is shown, then everybody has the same; never a made-up end."""

import json

import anyio
import pytest

from tests.flights.bots import EVENTS, RETRY, WHOLE, Bot, streaming
from tests.flights.callers import JSON, STREAM, Caller
from tests.flights.conftest import House, until
from tests.upstream import DONE, Told, completion
from tests.upstream import JSON as JSON_HEAD

pytestmark = pytest.mark.anyio

BUSY = Told([b'{"error": "slow down"}'], status=429, headers=(*JSON_HEAD, RETRY))
BROKEN = Told([b'{"error": ', b'"oops"}'], status=500, headers=(*JSON_HEAD, RETRY))
NOT_CHAT = Told([b'{"hello": "there"}'])
HALF = Told([b'{"choices": [{"index"'], ends=False)


def events_after(caller: Caller, shown: bytes) -> list[bytes]:
    """Return which events, by the first member of their data, a caller was sent after what the upstream said."""
    assert caller.body.startswith(shown)
    lines = [line for line in caller.body[len(shown) :].split(b"\n") if line.startswith(b"data: ")]
    return [next(iter(json.loads(line[6:]))).encode() for line in lines]


@pytest.mark.parametrize("body", [STREAM, JSON])
async def test_what_the_app_raises_before_the_head_arrives_outside_as_itself(body: bytes, house: House) -> None:
    """P5: the leader's own server says what it says of such an app without us."""
    house.mount(Bot(ValueError("no")))

    caller = await house.ask(Caller(body))

    assert type(caller.raised) is ValueError
    assert caller.messages == []
    assert [(report.stored, report.details) for report in house.reports] == [(False, ("truncated",))]


@pytest.mark.parametrize("body", [STREAM, JSON])
async def test_an_app_that_always_raises_costs_twenty_callers_two_calls(body: bytes, house: House) -> None:
    """P1, P5: one re-election, then the failure is everybody's, as itself."""
    bot = Bot(ValueError("first"), ValueError("second"))
    house.mount(bot)
    callers = [Caller(body) for _ in range(20)]

    await house.gather(bot, *callers)

    assert bot.calls == 2
    assert str(callers[0].raised) == "first"
    assert [(type(caller.raised), str(caller.raised)) for caller in callers[1:]] == [(ValueError, "second")] * 19
    assert all(caller.messages == [] for caller in callers)


@pytest.mark.parametrize("body", [STREAM, JSON])
async def test_whom_the_second_call_serves_has_nothing_of_the_first(body: bytes, house: House) -> None:
    """P1, P5: only the leader of the call that failed sees it fail."""
    bot = Bot(ValueError("first"), streaming() if body == STREAM else completion())
    house.mount(bot)
    callers = [Caller(body) for _ in range(20)]

    await house.gather(bot, *callers)

    assert bot.calls == 2
    assert str(callers[0].raised) == "first"
    assert [caller.raised for caller in callers[1:]] == [None] * 19
    assert all(caller.is_complete for caller in callers[1:])
    assert [report.stored for report in house.reports].count(True) == 1


async def test_a_follower_of_a_failure_that_then_waits_for_another_kind_has_nothing_of_it(house: House) -> None:
    """P1, P5: it is served from the record, and that is all."""
    bot = Bot(ValueError("first"), completion())
    house.mount(bot)
    leader, follower, other = Caller(STREAM), Caller(STREAM), Caller(JSON)

    await house.gather(bot, leader, other, follower)

    assert str(leader.raised) == "first"
    assert follower.raised is None
    assert follower.is_complete
    assert other.is_complete


@pytest.mark.parametrize("body", [STREAM, JSON])
@pytest.mark.parametrize("answer", [BUSY, BROKEN, NOT_CHAT], ids=["429", "500", "no chat"])
async def test_a_hundred_callers_of_what_cannot_be_stored_make_at_most_two_calls(
    answer: Told, body: bytes, house: House
) -> None:
    """P1: same bytes, status and Retry-After."""
    bot = Bot(answer)
    house.mount(bot)
    callers = [Caller(body) for _ in range(100)]

    await house.ask_at_once(callers)

    assert bot.calls <= 2
    assert {caller.status for caller in callers} == {answer.status}
    assert {caller.body for caller in callers} == {b"".join(part for part in answer.parts if isinstance(part, bytes))}
    assert {caller.headers.get(b"retry-after") for caller in callers} == {dict(answer.headers).get(b"retry-after")}
    assert all(caller.is_complete and caller.raised is None for caller in callers)
    assert house.records == []


@pytest.mark.parametrize("breaks", ["raises", "returns"])
async def test_a_stream_that_breaks_is_told_broken_to_everybody_and_ended_to_nobody(breaks: str, house: House) -> None:
    """H10, R1, P5: one error event; what the app raised comes out of the leader's call only, and in no group."""
    bot = Bot(streaming(*EVENTS[:2], *([ValueError("amid")] if breaks == "raises" else []), ends=False))
    house.mount(bot)
    leader, follower = Caller(), Caller()

    await house.gather(bot, leader, follower)

    for caller in (leader, follower):
        assert events_after(caller, b"".join(EVENTS[:2])) == [b"error"]
        assert not caller.is_complete
        assert DONE not in caller.body
    assert repr(leader.raised) == ("ValueError('amid')" if breaks == "raises" else "None")
    assert follower.raised is None
    assert house.records == []
    detail = ("truncated",)
    assert {report.details for report in house.reports} == {detail}
    assert bot.calls == 1


async def test_a_stream_that_breaks_after_done_shows_no_done(house: House) -> None:
    """R1, P2: what was held back is never shown, for it was no end."""
    house.mount(Bot(streaming(*EVENTS, ends=False)))

    caller = await house.ask()

    assert caller.body.startswith(b"".join(EVENTS[:-1]))
    assert DONE not in caller.body
    assert not caller.is_complete
    assert house.records == []


async def test_a_stream_without_done_is_passed_on_and_not_stored(house: House) -> None:
    """R1."""
    house.mount(Bot(streaming(*EVENTS[:-1])))

    caller = await house.ask()

    assert caller.body == b"".join(EVENTS[:-1])
    assert caller.is_complete
    assert house.records == []
    assert house.reports[-1].stored is False


async def test_who_may_only_follow_forwards_alone_when_that_fails(house: House) -> None:
    """P1, P5: `mode=read` cannot be re-elected, and what the other call raised is not its own."""
    bot = Bot(ValueError("first"), streaming())
    house.mount(bot)
    leader, reader = Caller(), Caller(control="on, mode=read")

    await house.gather(bot, leader, reader)

    assert str(leader.raised) == "first"
    assert reader.raised is None
    assert reader.body == WHOLE
    assert reader.said == "fwd=miss; fwd-status=200; detail=mode-read"
    assert house.records == []


async def test_json_that_fails_half_way_is_shown_to_nobody_and_tried_again(house: House) -> None:
    """P1, R1: half a JSON is of no use; who followed has one more try, and shares the answer."""
    bot = Bot(HALF, completion())
    house.mount(bot)
    callers = [Caller(JSON) for _ in range(10)]

    await house.gather(bot, *callers)

    assert bot.calls == 2
    assert (callers[0].status, callers[0].is_complete) == (502, True)
    assert json.loads(callers[0].body)["error"]["code"] == "upstream_truncated"
    assert callers[0].said.endswith("detail=truncated")
    assert [caller.status for caller in callers[1:]] == [200] * 9
    assert len(house.records) == 1


async def test_json_that_always_fails_half_way_costs_two_calls(house: House) -> None:
    """P1: the second failure is everybody's."""
    bot = Bot(HALF)
    house.mount(bot)
    callers = [Caller(JSON) for _ in range(20)]

    await house.gather(bot, *callers)

    assert bot.calls == 2
    assert {(caller.status, caller.is_complete, caller.raised) for caller in callers} == {(502, True, None)}
    assert not any(b"choices" in caller.body for caller in callers)


async def test_what_the_second_call_fails_with_is_what_everybody_is_told(house: House) -> None:
    """P1: an app that raised, and then answered half: nothing of the first is left."""
    bot = Bot(ValueError("first"), HALF)
    house.mount(bot)
    callers = [Caller(JSON) for _ in range(5)]

    await house.gather(bot, *callers)

    assert str(callers[0].raised) == "first"
    assert [(caller.status, caller.raised) for caller in callers[1:]] == [(502, None)] * 4
    assert bot.calls == 2


async def test_who_joins_a_stream_that_then_breaks_is_told_too(house: House) -> None:
    """H10: it has had everything that was shown."""
    gate = anyio.Event()
    house.mount(Bot(streaming(*EVENTS[:3], gate, ends=False)))
    leader, late = Caller(), Caller()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader)
        await leader.hears(b"".join(EVENTS[:3]))
        await house.join(tasks, late)
        gate.set()

    assert events_after(late, b"".join(EVENTS[:3])) == [b"error"]
    assert not late.is_complete


async def test_after_a_failure_the_next_request_is_answered(house: House) -> None:
    """H4: a stream that broke, an app that raised and a 429 leave nothing in the way."""
    house.mount(Bot(streaming(EVENTS[0], ends=False), ValueError(), BUSY, streaming()))

    for _ in range(3):
        await house.ask()
    caller = await house.ask()

    assert caller.body == WHOLE
    assert house.records == [WHOLE]


async def test_an_error_in_sending_that_is_not_a_client_leaving_comes_out_as_itself(house: House) -> None:
    """P5: as from a server that finds fault with a message; others read on."""

    def complain(_: object) -> None:
        raise RuntimeError("unexpected message")

    gate = anyio.Event()
    bot = Bot(streaming(), gate=gate)
    house.mount(bot)
    strange, follower = Caller(on_message=complain), Caller()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, strange, follower)
        gate.set()

    assert repr(strange.raised) == "RuntimeError('unexpected message')"
    assert follower.body == WHOLE
    await until(house.is_tidy)
