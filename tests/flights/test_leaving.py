"""Clients that leave: at any time, in either way, under `finish` and under `cancel`."""

from typing import Any

import anyio
import pytest
from starlette.types import Receive, Scope, Send

from tests.flights.bots import EVENTS, RETRY, WHOLE, Bot, held_at, say, streaming
from tests.flights.callers import JSON, PATH, STREAM, Caller, Way
from tests.flights.conftest import House, until
from tests.upstream import JSON as JSON_HEAD
from tests.upstream import Told, completion

pytestmark = pytest.mark.anyio

(ANSWER,) = [part for part in completion().parts if isinstance(part, bytes)]
SECRET_PROMPT = b"hi"

each_way = pytest.mark.parametrize("by", ["disconnect", "oserror"])


class Listening:
    """An app that sees what the server tells it: it ends early when it is told of a disconnect, if it `heeds` that."""

    def __init__(self, *, heeds: bool) -> None:
        self.heeds, self.seen, self.was_cancelled = heeds, list[str](), False
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        self.seen.append((await receive())["type"])
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(say, streaming(EVENTS[0], anyio.Event()), send)
                self.seen.append((await receive())["type"])
                if self.heeds:
                    tasks.cancel_scope.cancel()
        except anyio.get_cancelled_exc_class():
            self.was_cancelled = True
            raise


@pytest.fixture(autouse=True)
def _soon(house: House) -> None:
    house.limit(stop_notice=0.02)


async def leave_at(point: str, house: House, abandon: str, by: Way) -> tuple[Bot, Caller]:
    """Let the only caller leave somewhere, and the app go on when it has."""
    gate = anyio.Event()
    body = JSON if "JSON" in point else STREAM
    answers = {
        "before the head": streaming(),
        "at the head": streaming(gate, *EVENTS),
        "amid the stream": held_at(2, gate),
        "waiting for JSON": Told([ANSWER[:9], gate, ANSWER[9:]]),
    }
    bot = Bot(answers[point], gate=gate if point == "before the head" else None)
    house.mount(bot)
    caller = Caller(body, f"on, abandon={abandon}", by=by, leaves_after=1 if point == "at the head" else None)
    async with anyio.create_task_group() as tasks:
        await house.join(tasks, caller)
        await until(lambda: bot.calls == 1)
        if point == "amid the stream":
            await caller.hears(b"".join(EVENTS[:2]))
        caller.leave()
        if by == "disconnect":
            await until(lambda: not house.table._flights or not house.flight.readers)
        if abandon == "finish" or by == "oserror":
            gate.set()
    return bot, caller


POINTS = ["before the head", "at the head", "amid the stream", "waiting for JSON"]


@pytest.mark.parametrize("point", POINTS)
@each_way
async def test_under_finish_a_complete_record_is_kept_of_one_call(point: str, by: Way, house: House) -> None:
    """H3."""
    bot, caller = await leave_at(point, house, "finish", by)

    assert house.records == [ANSWER if "JSON" in point else WHOLE]
    assert bot.calls == 1
    assert not bot.was_cancelled
    assert not caller.is_complete
    (report,) = house.reports
    assert report.details == ("client-left",)
    assert report.stored


@pytest.mark.parametrize("point", POINTS)
async def test_under_cancel_the_app_is_stopped_and_nothing_is_kept(point: str, house: House) -> None:
    """H3: within a second and its notice."""
    bot, caller = await leave_at(point, house, "cancel", "disconnect")

    assert bot.was_cancelled
    assert house.records == []
    assert not caller.is_complete
    assert caller.raised is None
    (report,) = house.reports
    assert (report.stored, report.details, report.abandoned) == (False, ("client-left",), "cancel")


async def test_under_cancel_a_client_whose_send_fails_stops_the_app(house: House) -> None:
    """H3: as ASGI 2.4 says that it left."""
    bot = Bot(held_at(1, anyio.Event()))
    house.mount(bot)

    caller = await house.ask(Caller(by="oserror", leaves_after=1))

    assert bot.was_cancelled
    assert caller.raised is None
    assert [report.abandoned for report in house.reports] == ["cancel"]


@pytest.mark.parametrize(
    ("policy", "control", "abandoned"),
    [
        ({}, "on", "cancel"),  # around an app, as without us
        ({"on_abandon": "finish"}, "on", "finish"),
        ({"on_abandon": "cancel"}, "on, abandon=finish", "finish"),
        ({"on_abandon": "finish"}, "on, abandon=cancel", "cancel"),
        ({"default": "on, abandon=finish"}, "on", "finish"),
    ],
)
async def test_the_client_says_what_becomes_of_it_and_then_the_operator(
    policy: Any, control: str, abandoned: str, house: House
) -> None:
    """H3: and the report says which it was."""
    gate = anyio.Event()
    house.mount(Bot(held_at(1, gate)), **policy)
    caller = Caller(control=control)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, caller)
        await caller.hears(EVENTS[0])
        caller.leave()
        await until(lambda: not house.table._flights or not house.flight.readers)
        await until(lambda: abandoned == "finish" or caller.returned.is_set())
        gate.set()

    assert [report.abandoned for report in house.reports] == [abandoned]
    assert house.records == ([WHOLE] if abandoned == "finish" else [])


@pytest.mark.parametrize("heeds", [True, False])
async def test_a_stopped_app_is_told_of_a_disconnect_and_cancelled_later(heeds: bool, house: House) -> None:
    """H2, H3: one that heeds it is not cancelled at all."""
    if heeds:
        house.limit(stop_notice=60)
    app = Listening(heeds=heeds)
    house.mount(app)
    caller = Caller()

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, caller)
        await caller.hears(EVENTS[0])
        assert app.seen == ["http.request"]
        caller.leave()
        await caller.returns()

    assert app.seen == ["http.request", "http.disconnect"]
    assert app.was_cancelled is not heeds


async def test_a_stopped_app_that_ends_in_time_works_on_and_is_not_cancelled(house: House) -> None:
    """H1, H3: what it said is whole, so it is kept; its background tasks have no deadline."""
    house.limit(stop_notice=0.2)
    worked: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await say(streaming(*EVENTS[:2], ends=False), send)
        assert (await receive())["type"] == "http.disconnect"
        for event in EVENTS[2:]:
            await send({"type": "http.response.body", "body": event, "more_body": event is not EVENTS[-1]})
        await anyio.sleep(1.5 * house.limits.stop_notice)
        worked.append(True)

    house.mount(app)
    await house.ask(Caller(leaves_after=2))

    assert worked == [True]
    assert house.records == [WHOLE]


@pytest.mark.parametrize("body", [STREAM, JSON])
@pytest.mark.parametrize("abandon", ["finish", "cancel"])
@each_way
async def test_a_leader_that_leaves_changes_nothing_for_its_follower(abandon: str, body: bytes, by: Way, house: House) -> None:
    """P1, H3."""
    gate = anyio.Event()
    bot = Bot(held_at(2, gate) if body == STREAM else Told([ANSWER[:9], gate, ANSWER[9:]]))
    house.mount(bot)
    leader = Caller(body, f"on, abandon={abandon}", by=by)
    follower = Caller(body, f"on, abandon={abandon}")

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader, follower)
        if body == STREAM:
            await follower.hears(b"".join(EVENTS[:2]))
        leader.leave()
        if by == "disconnect":
            await until(lambda: len(house.flight.readers) == 1)
        gate.set()

    assert follower.is_complete
    assert house.records == [follower.body] == [WHOLE if body == STREAM else ANSWER]
    assert not leader.is_complete
    assert bot.calls == 1
    assert [report.abandoned for report in house.reports] == [None, None]


@pytest.mark.parametrize("abandon", ["finish", "cancel"])
@each_way
async def test_a_follower_that_leaves_changes_nothing_for_its_leader(abandon: str, by: Way, house: House) -> None:
    """P1, H3."""
    gate = anyio.Event()
    house.mount(Bot(held_at(2, gate)))
    leader, follower = Caller(), Caller(control=f"on, abandon={abandon}", by=by)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader, follower)
        await follower.hears(b"".join(EVENTS[:2]))
        follower.leave()
        if by == "disconnect":
            await follower.returns()
        gate.set()

    assert leader.body == WHOLE
    assert leader.is_complete
    assert not follower.is_complete
    assert house.records == [WHOLE]
    assert sorted((report.collapsed, report.details, report.abandoned) for report in house.reports) == [
        (False, (), None),
        (True, ("client-left",), None),
    ]


@pytest.mark.parametrize(("last", "abandoned"), [("finish", "finish"), ("cancel", "cancel")])
async def test_the_last_one_to_leave_decides_and_says_so(last: str, abandoned: str, house: House) -> None:
    """H3: the leader left before, with another wish."""
    gate = anyio.Event()
    bot = Bot(held_at(1, gate))
    house.mount(bot)
    leader = Caller(control="on, abandon=" + ("cancel" if last == "finish" else "finish"))
    follower = Caller(control=f"on, abandon={last}")

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader, follower)
        await follower.hears(EVENTS[0])
        leader.leave()
        await until(lambda: len(house.flight.readers) == 1)
        follower.leave()
        await follower.returns()
        if last == "finish":
            gate.set()

    assert house.records == ([WHOLE] if last == "finish" else [])
    assert sorted((report.collapsed, report.abandoned) for report in house.reports) == [(False, None), (True, abandoned)]
    assert bot.was_cancelled == (last == "cancel")


@pytest.mark.parametrize("abandon", ["finish", "cancel"])
async def test_what_will_not_be_stored_is_stopped_when_all_have_left(abandon: str, house: House) -> None:
    """H3: there is nothing to finish for."""
    bot = Bot(Told([b"wait", anyio.Event()], status=429, headers=(*JSON_HEAD, RETRY)))
    house.mount(bot)
    caller = Caller(control=f"on, abandon={abandon}")

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, caller)
        await caller.hears(b"wait")
        caller.leave()

    assert bot.was_cancelled
    assert [(report.abandoned, report.stored) for report in house.reports] == [("cancel", False)]


async def test_a_client_that_is_gone_from_the_start_leaves_nothing(house: House) -> None:
    """H3."""
    bot = Bot(gate=anyio.Event())
    house.mount(bot)
    caller = Caller()
    caller.leave()

    await house.ask(caller)

    assert caller.messages == []
    assert [report.details for report in house.reports] == [("client-left",)]
    assert house.records == []


async def test_one_line_is_logged_of_what_is_finished_and_no_prompt_in_it(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """H3, I: `finish` spends the caller's money."""
    caplog.set_level("DEBUG")
    await leave_at("amid the stream", house, "finish", "disconnect")

    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("cachemw")]

    assert "left" in line
    assert SECRET_PROMPT.decode() not in line.split()
    assert "one" not in line.split()
    assert PATH not in line
    assert [report.abandoned for report in house.reports] == ["finish"]
