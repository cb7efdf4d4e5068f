"""The app in a flight: what it is given, what it sees, and what becomes of what it does after its answer."""

import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from tests.flights.bots import EVENTS, WHOLE, say, streaming
from tests.flights.callers import STREAM, Caller
from tests.flights.conftest import House, until

pytestmark = pytest.mark.anyio

Afterwards = Callable[[], Awaitable[None]]


def answering(before: Callable[[Scope, Receive], Awaitable[None]] | None = None, after: Afterwards | None = None) -> Any:
    """Return an app that streams a whole answer, and does more before and after it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if before is None:
            await receive()
        else:
            await before(scope, receive)
        await say(streaming(), send)
        if after is not None:
            await after()

    return app


async def test_it_gets_the_whole_body_in_one_message_and_can_read_it_twice(house: House) -> None:
    """H2: as Starlette reads it."""
    seen: list[Any] = []

    async def read(scope: Scope, receive: Receive) -> None:
        request = Request(scope, receive)
        seen.extend([await request.body(), await request.body(), await request.json()])

    house.mount(answering(read))
    await house.ask()

    assert seen[:2] == [STREAM, STREAM]
    assert seen[2]["stream"] is True


async def test_a_body_in_pieces_arrives_in_one(house: House) -> None:
    """H2."""
    seen: list[Message] = []

    async def read(scope: Scope, receive: Receive) -> None:
        seen.append(await receive())

    pieces = [STREAM[:9], b"", STREAM[9:]]

    class InPieces(Caller):
        async def _receive(self) -> Message:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}
            self._asked = None
            return await super()._receive()

    house.mount(answering(read))
    await house.ask(InPieces())

    assert seen == [{"type": "http.request", "body": STREAM, "more_body": False}]


async def test_it_is_told_of_a_disconnect_when_its_answer_is_over_and_not_before(house: House) -> None:
    """H2: though its client, and another, have left."""
    seen: list[str] = []
    gate = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            seen.append((await receive())["type"])

        await receive()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await say(streaming(EVENTS[0], gate, *EVENTS[1:-1], ends=False), send)
            seen.append("about to end")
            await send({"type": "http.response.body", "body": EVENTS[-1]})
            seen.append("has ended")

    house.mount(app)
    leader, follower = Caller(control="on, abandon=finish"), Caller(control="on, abandon=finish")
    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader, follower)
        await follower.hears(EVENTS[0])
        leader.leave()
        follower.leave()
        await follower.returns()
        gate.set()

    assert sorted(seen) == ["about to end", "has ended", "http.disconnect"]
    assert seen[0] == "about to end"
    assert house.records == [WHOLE]


async def test_what_it_sends_never_fails_and_nothing_is_heard_after_its_end(house: House) -> None:
    """H2, S6: neither a head twice, nor more after the last of the body."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await say(streaming(*EVENTS[:2], ends=False), send)
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await say_on(send, [*EVENTS[2:-1]])
        await send({"type": "http.response.body", "body": EVENTS[-1]})
        await send({"type": "http.response.body", "body": b"more", "more_body": True})
        await send({"type": "http.response.body", "body": b"and more"})
        await send({"type": "http.response.start", "status": 500, "headers": []})

    async def say_on(send: Send, events: list[bytes]) -> None:
        for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})

    house.mount(app)
    leader, follower = Caller(leaves_after=2, control="on, abandon=finish"), Caller()
    await house.ask_at_once([leader, follower])

    assert follower.body == WHOLE
    assert follower.status == 200
    assert [message["type"] for message in follower.messages].count("http.response.start") == 1
    assert house.records == [WHOLE]


async def test_its_scope_is_the_servers_but_for_extensions_coding_and_our_header(house: House) -> None:
    """H2, H9: what the server offers beside `send` would get past us."""
    scopes: list[Scope] = []

    async def look(scope: Scope, receive: Receive) -> None:
        scopes.append(scope)
        await receive()

    house.mount(answering(look))
    await house.ask(Caller(headers=((b"accept-encoding", b"gzip, br"), (b"x-mine", b"1"), (b"cachemw", b"ttl=5"))))

    (scope,) = scopes
    assert scope["extensions"] == {}
    assert scope["method"] == "POST"
    assert scope["client"] == ("127.0.0.1", 50000)
    assert scope["headers"] == [
        (b"content-type", b"application/json"),
        (b"x-mine", b"1"),
        (b"accept-encoding", b"identity"),
    ]


async def test_context_variables_flow_in_and_not_out(house: House) -> None:
    """Design §6: it runs in a task of its own."""
    who = contextvars.ContextVar("who", default="nobody")
    seen: list[str] = []

    async def look(scope: Scope, receive: Receive) -> None:
        await receive()
        seen.append(who.get())
        who.set("the app")

    house.mount(answering(look))
    who.set("the middleware before us")
    await house.ask()

    assert seen == ["the middleware before us"]
    assert who.get() == "the middleware before us"


@pytest.mark.parametrize("leaves", [False, True])
async def test_background_tasks_run_on_to_their_end_outside_every_deadline(leaves: bool, house: House) -> None:
    """H1: longer than the grace and the notice, and nobody waits for them; the request returns when they have."""
    house.limit(abandon_grace=0.2, stop_notice=0.0)
    done = anyio.Event()
    work = anyio.Event()

    async def works() -> None:
        await work.wait()
        done.set()

    house.mount(answering(after=works))
    leader = Caller(control="on, abandon=finish", leaves_after=2 if leaves else None)
    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader)
        await until(lambda: house.records == [WHOLE])
        again = await house.ask()
        if leaves:
            await anyio.sleep(1.5 * house.limits.abandon_grace)
        await until(house.is_tidy)
        assert not leader.returned.is_set()
        work.set()

    assert done.is_set()
    assert leader.is_complete is not leaves
    assert again.said.startswith("hit")


async def test_a_background_task_that_raises_is_heard_outside_after_all_were_served(house: House) -> None:
    """H1, P5: as itself, by the leader's server only."""

    async def fails() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("afterwards")

    house.mount(answering(after=fails))
    leader, follower = Caller(), Caller()
    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader, follower)

    assert repr(leader.raised) == "ValueError('afterwards')"
    assert follower.raised is None
    assert leader.body == follower.body == WHOLE
    assert leader.is_complete
    assert house.records == [WHOLE]
    assert [report.details for report in house.reports] == [(), ()]


@pytest.mark.parametrize("control", ["on, mode=read", "on, mode=replay", "on"])
async def test_outside_a_flight_it_sees_a_real_disconnect(control: str, house: House) -> None:
    """H2: `mode=read` and a bypass forward alone; what is in the store, or cannot be, does not get there at all."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((await receive())["type"])
        seen.append((await receive())["type"])

    house.mount(app)
    body = b'{"model": "m", "model": "n"}' if control == "on" else STREAM  # ambiguous JSON: a bypass
    caller = Caller(body, control)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller.call, house.app)
        await until(lambda: seen == ["http.request"] or caller.returned.is_set())
        assert seen in (["http.request"], [])
        caller.leave()

    assert seen == ([] if control == "on, mode=replay" else ["http.request", "http.disconnect"])
    assert caller.raised is None


async def test_an_app_that_says_nothing_is_an_upstream_that_cannot_be_reached(house: House) -> None:
    """H10: it returned without a head."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    house.mount(app)
    caller = await house.ask()

    assert caller.status == 502
    assert caller.is_complete
    assert caller.raised is None


async def test_an_app_that_begins_with_its_body_breaks_the_transfer(house: House) -> None:
    """H10: it is told so, as by a server."""
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await send({"type": "http.response.body", "body": b"x"})
        except Exception as exc:  # noqa: BLE001 - whatever it is
            told.append(type(exc).__name__)

    house.mount(app)
    caller = await house.ask()

    assert caller.status == 502
    assert told == ["TruncatedResponse"]
