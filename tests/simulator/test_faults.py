"""Failures on demand, and time."""

import json
from typing import Any

import anyio
import pytest
from starlette.types import Message

from cachemw.simulator import Simulator
from cachemw.simulator.asking import Ask, AskedBody, read
from cachemw.simulator.dialects import DIALECTS
from cachemw.simulator.endpoints.chat import ChatEndpoint
from cachemw.simulator.responding import script_for
from cachemw.simulator.script import Begin, Finish, Pace, ResponseScript, Wait, Write
from tests.asgi_driver import call_and_leave, scope_for
from tests.simulator.requests import CHAT, ask, chunks, completion, events_of, nothing_more, post

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, "invalid_request_error", "wrong_api_key"),
        (402, "payment_required_error", "payment_required"),
        (418, "invalid_request_error", None),
        (429, "too_many_requests_error", "request_quota_exceeded"),
        (500, "server_error", None),
    ],
)
async def test_an_error_status_is_answered_on_demand(stream: bool, status: int, kind: str, code: str | None) -> None:
    reply = await post(Simulator(), stream=stream, simulate={"status": status})

    body = json.loads(reply.body)
    assert reply.status == status
    assert reply.headers[b"content-type"] == b"application/json"
    assert (body["type"], body["code"]) == (kind, code)


async def test_too_many_requests_says_when_to_come_back() -> None:
    reply = await post(Simulator(dialect="openai"), simulate={"status": 429})

    assert reply.headers[b"retry-after"] == b"1"
    assert json.loads(reply.body)["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("after", [0, 1, 100, 333])
async def test_a_transfer_breaks_after_so_many_bytes(stream: bool, after: int) -> None:
    app = Simulator()

    sound = await post(app, stream=stream)
    broken = await post(app, stream=stream, simulate={"cut_after": after})

    assert (broken.status, broken.complete) == (200, False)
    assert broken.body == sound.body[:after]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_transfer_can_break_when_all_is_said_but_not_later(stream: bool) -> None:
    app = Simulator()
    sound = await post(app, stream=stream)

    at_the_end = await post(app, stream=stream, simulate={"cut_after": len(sound.body)})
    beyond = await post(app, stream=stream, simulate={"cut_after": len(sound.body) + 1})

    assert (at_the_end.body, at_the_end.complete) == (sound.body, False)
    assert (beyond.body, beyond.complete) == (sound.body, True)


@pytest.mark.parametrize("usage", ["cerebras", "openai"])
@pytest.mark.parametrize("after", [0, 1, 5])
async def test_a_stream_reports_a_failure_after_so_many_events(usage: Any, after: int) -> None:
    app = Simulator(dialect=usage)
    sound = events_of(await post(app, stream=True))

    reply = await post(app, stream=True, simulate={"error_after": after})

    *events, error = events_of(reply)
    assert reply.complete
    assert events == sound[:after]
    assert json.loads(error)["error"]["type"] == "server_error"


async def test_a_stream_that_fails_late_fails_before_its_end_mark() -> None:
    app = Simulator()
    sound = events_of(await post(app, stream=True))

    *events, error = events_of(await post(app, stream=True, simulate={"error_after": 10_000}))

    assert events == sound[:-1]
    assert "error" in json.loads(error)


async def test_failures_to_come_do_not_change_what_is_said() -> None:
    app = Simulator()

    assert await completion(app) == await completion(app, simulate={"tokens_per_second": 0})
    assert await chunks(app) == await chunks(app, simulate={"cut_after": 1_000_000})


def script(pace: Pace | None = None, **members: Any) -> ResponseScript:
    asked = read(ask(**members), AskedBody)
    assert isinstance(asked, Ask)
    return script_for(asked, ChatEndpoint(), DIALECTS["cerebras"], pace or Pace())


def waits(script: ResponseScript) -> list[float]:
    return [step.seconds for step in script if isinstance(step, Wait)]


def written(script: ResponseScript) -> bytes:
    return b"".join(step.chunk for step in script if isinstance(step, Write))


def test_a_stream_begins_at_once_and_speaks_after_the_first_token_time() -> None:
    head, pause, opening, first, second_pause, *_ = script(Pace(5.0, 10.0), stream=True)

    assert isinstance(head, Begin)
    assert (pause, second_pause) == (Wait(5.0), Wait(0.1))
    assert isinstance(opening, Write)
    assert isinstance(first, Write)


def test_json_waits_for_the_whole_before_it_begins() -> None:
    pause, head, body, end = script(Pace(5.0, 10.0), max_tokens=11)

    assert pause == Wait(6.0)
    assert isinstance(head, Begin)
    assert isinstance(body, Write)
    assert end == Finish()


@pytest.mark.parametrize("members", [{}, {"n": 3}, {"tools": [{"function": {"name": "f"}}]}, {"stop": "e"}])
def test_a_stream_takes_as_long_as_json(members: dict[str, Any]) -> None:
    pace = Pace(1.0, 8.0)

    assert sum(waits(script(pace, stream=True, **members))) == sum(waits(script(pace, **members)))


def test_as_fast_as_possible_is_without_a_pause() -> None:
    assert waits(script(stream=True)) == waits(script()) == []


def test_a_request_sets_its_own_pace() -> None:
    own = {"first_token_seconds": 2.0, "tokens_per_second": 1}

    assert waits(script(Pace(9.0, 9.0), max_tokens=3, simulate=own)) == [4.0]
    assert waits(script(Pace(9.0, 9.0), simulate={"first_token_seconds": 0, "tokens_per_second": 0})) == []


def test_an_error_takes_the_first_token_time() -> None:
    assert waits(script(Pace(2.0, 1.0), simulate={"status": 503})) == [2.0]


@pytest.mark.parametrize("after", [0, 100, 400])
def test_a_stalled_transfer_pauses_and_goes_on(after: int) -> None:
    stalled = script(stream=True, simulate={"stall_after": after, "stall_seconds": 7})

    place = stalled.index(Wait(7.0))
    assert len(written(stalled[:place])) == after
    assert written(stalled) == written(script(stream=True))
    assert stalled[-1] == Finish()


def test_a_stall_beyond_the_end_is_none() -> None:
    assert waits(script(simulate={"stall_after": 10**9})) == []


@pytest.mark.parametrize("pace", [{"first_token_seconds": -1.0}, {"tokens_per_second": -1.0}])
def test_time_does_not_run_backwards(pace: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="negative"):
        Simulator(
            first_token_seconds=pace.get("first_token_seconds", 0.0),
            tokens_per_second=pace.get("tokens_per_second", 0.0),
        )


async def test_tokens_take_their_time() -> None:
    reply = await post(Simulator(first_token_seconds=0.02, tokens_per_second=100.0), stream=True, max_tokens=5)

    assert reply.complete
    assert reply.arrivals[0] >= 0.02
    assert reply.arrivals[-1] >= 0.06


@pytest.mark.parametrize(
    ("members", "messages"),
    [
        ({"stream": True, "simulate": {"first_token_seconds": 3600}}, 1),
        ({"stream": True, "simulate": {"tokens_per_second": 0.001}}, 3),
        ({"stream": True, "simulate": {"stall_after": 10}}, 2),
        ({"simulate": {"stall_after": 10}}, 2),
    ],
)
async def test_a_client_that_leaves_is_not_waited_for(members: dict[str, Any], messages: int) -> None:
    with anyio.fail_after(10):
        reply = await call_and_leave(Simulator(), "POST", CHAT, ask(**members), after=messages)

    assert reply.status == 200
    assert not reply.complete
    assert len(reply.chunks) == messages - 1


async def test_a_server_that_cannot_send_any_more_is_not_a_failure() -> None:
    said: list[Message] = [{"type": "http.request", "body": ask()}]

    async def receive() -> Message:
        return said.pop() if said else await nothing_more()

    async def send(message: Message) -> None:
        raise ConnectionResetError

    await Simulator()(scope_for("POST", CHAT), receive, send)
