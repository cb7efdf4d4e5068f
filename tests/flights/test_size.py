"""What responses in progress take in memory, and who waits for whom."""

import anyio
import anyio.lowlevel
import pytest
from starlette.types import Message, Receive, Scope, Send

from cachemw.limits import PIECE_BYTES
from tests.flights.bots import Bot, say, streaming
from tests.flights.callers import JSON, STREAM, Caller
from tests.flights.conftest import House, until
from tests.upstream import DONE, EVENT_STREAM, Told, completion, event, prompt
from tests.upstream import JSON as JSON_HEAD

pytestmark = pytest.mark.anyio

CHUNK = event({"content": "x" * (PIECE_BYTES - len(event({"content": ""})))})
"""As large as what a reader takes at once, so that what it has taken can be counted."""

LIMIT = 5 * len(CHUNK)
LONG = [*[CHUNK] * 40, event({}, "stop"), DONE]
SHORT = [CHUNK, CHUNK, event({}, "stop"), DONE]


class Scales:
    """An app that streams, and weighs after each chunk what is held of it."""

    def __init__(self, house: House, events: list[bytes]) -> None:
        self.house, self.events = house, events
        self.sent, self.calls, self.heaviest = 0, 0, 0
        self.gate = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        await receive()
        await self.gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
        for chunk in self.events:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            self.sent += 1
            self.heaviest = max(self.heaviest, self.house.table.held)
        await send({"type": "http.response.body"})


async def test_within_the_limit_a_slow_reader_slows_nobody(house: House) -> None:
    """P1: neither the app nor the other reader."""
    app = Scales(house, SHORT)
    house.mount(app)
    slow, quick = Caller(), Caller()
    slow.stop_reading()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, slow, quick)
        app.gate.set()
        await quick.hears(b"".join(SHORT))
        await until(lambda: house.records == [b"".join(SHORT)])
        assert slow.messages == []
        slow.read_on()

    assert slow.body == b"".join(SHORT)


async def test_a_slow_leader_slows_nobody_either(house: House) -> None:
    """P1: and who comes meanwhile is served."""
    app = Scales(house, SHORT)
    house.mount(app)
    slow = Caller()
    slow.stop_reading()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, slow)
        app.gate.set()
        await until(lambda: house.records == [b"".join(SHORT)])
        hit = await house.ask()
        slow.read_on()

    assert hit.said.startswith("hit")
    assert slow.is_complete


async def test_beyond_the_limit_the_slowest_reader_sets_the_pace(house: House) -> None:
    """P3, S6: the recording is dropped, nobody else joins, and what both have had is forgotten."""
    app = Scales(house, LONG)
    house.mount(app, max_record_bytes=LIMIT)
    slow, quick = Caller(), Caller()
    slow.stop_reading()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, slow, quick)
        app.gate.set()
        await until(lambda: not len(house.table))
        await anyio.wait_all_tasks_blocked()
        stuck_at = app.sent
        assert stuck_at == LIMIT // len(CHUNK)
        assert quick.body == b"".join(LONG[: stuck_at + 1])
        slow.read_on()

    assert slow.body == quick.body == b"".join(LONG)
    assert slow.is_complete
    assert quick.is_complete
    assert app.heaviest + len(CHUNK) > LIMIT
    assert app.heaviest <= LIMIT + len(CHUNK)
    assert house.records == []
    assert sorted(report.details for report in house.reports) == [("record-too-large",)] * 2


async def test_the_pace_is_each_readers_in_turn(house: House) -> None:
    """P3: two slow readers, and a third that leaves without having read."""
    app = Scales(house, LONG)
    house.mount(app, max_record_bytes=LIMIT)
    first, second, third = Caller(), Caller(), Caller()
    for caller in (first, second, third):
        caller.stop_reading()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, first, second, third)
        app.gate.set()
        await until(lambda: not len(house.table))
        first.read_on()
        await anyio.wait_all_tasks_blocked()
        assert app.sent < len(LONG)
        third.leave()
        await third.returns()
        await anyio.wait_all_tasks_blocked()
        assert app.sent < len(LONG)
        second.read_on()

    assert first.body == second.body == b"".join(LONG)
    assert app.heaviest <= LIMIT + len(CHUNK)


@pytest.mark.parametrize("body", [STREAM, JSON])
async def test_nobody_joins_what_is_too_large_to_keep(body: bytes, house: House) -> None:
    """P3: the next makes a call of its own."""
    gate = anyio.Event()
    told = streaming(*LONG[:-2], gate, *LONG[-2:]) if body == STREAM else Told([b" " * (LIMIT + 1), gate, b"{}"])
    bot = Bot(told, streaming() if body == STREAM else completion())
    house.mount(bot, max_record_bytes=LIMIT)
    leader, late = Caller(body), Caller(body)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader)
        await until(lambda: not len(house.table))
        await house.ask(late)
        assert not leader.is_complete
        gate.set()

    assert late.is_complete
    assert bot.calls == 2
    assert leader.is_complete
    assert len(house.records) == 1


async def test_json_over_the_limit_leaves_as_it_comes(house: House) -> None:
    """P3, S6: its head says why it is not stored; a follower has it too."""
    gate = anyio.Event()
    house.mount(Bot(Told([b" " * LIMIT, b"[", gate, b"]"], headers=JSON_HEAD)), max_record_bytes=LIMIT)
    leader, follower = Caller(JSON), Caller(JSON)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader, follower)
        await leader.hears(b" " * LIMIT + b"[")
        await follower.hears(b" " * LIMIT + b"[")
        assert leader.said == "fwd=miss; fwd-status=200; detail=record-too-large"
        gate.set()

    assert leader.body == follower.body == b" " * LIMIT + b"[]"


async def test_one_chunk_may_be_larger_than_everything(house: House) -> None:
    """P3: at most the limit and one chunk."""
    huge = event({"content": "x" * 4 * LIMIT})
    house.mount(Bot(streaming(CHUNK, huge, *SHORT)), max_record_bytes=LIMIT)
    callers = [Caller(), Caller()]

    await house.ask_at_once(callers)

    assert {caller.body for caller in callers} == {b"".join([CHUNK, huge, *SHORT])}


async def test_a_miss_beyond_what_all_may_hold_is_relayed_unrecorded(house: House) -> None:
    """P3: `detail=busy`; with room again the next is stored."""
    house.limit(flight_bytes=2 * len(CHUNK))
    gate = anyio.Event()
    first, second, third = (Caller(prompt(str(number), stream=True)) for number in range(3))
    bot = Bot(streaming(b"".join(SHORT[:2]) + b": x\n\n", gate, *SHORT[2:]), streaming(*LONG), streaming())
    house.mount(bot)
    first.stop_reading()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, first)
        await until(lambda: house.table.is_full)
        await house.ask(second)
        assert house.table.held <= house.limits.flight_bytes + 2 * len(CHUNK)
        first.read_on()
        gate.set()
    await house.ask(third)

    assert second.body == b"".join(LONG)
    assert second.is_complete
    assert second.said == "fwd=miss; fwd-status=200; detail=busy"
    assert first.is_complete
    assert third.is_complete
    assert len(house.records) == 1


async def test_what_is_not_recorded_is_not_held(house: House) -> None:
    """S6, P3: what `mode=read` forwards alone passes through."""
    held: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def weighing(message: Message) -> None:
            await send(message)
            held.append(house.table.held)

        await receive()
        await say(streaming(*LONG), weighing)

    house.mount(app)
    caller = await house.ask(Caller(control="on, mode=read"))

    assert caller.body == b"".join(LONG)
    assert set(held) == {0}


async def test_a_reader_that_leaves_makes_room(house: House) -> None:
    """P3, H3: the app does not wait for one that is gone."""
    app = Scales(house, LONG)
    house.mount(app, max_record_bytes=LIMIT)
    stuck, reader = Caller(), Caller()
    stuck.stop_reading()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, stuck, reader)
        app.gate.set()
        await until(lambda: not len(house.table))
        await anyio.wait_all_tasks_blocked()
        assert app.sent < len(LONG)
        stuck.leave()
        await reader.hears(b"".join(LONG))

    assert reader.is_complete
    assert stuck.messages == []
