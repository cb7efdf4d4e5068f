"""Where the simulator answers, and what it refuses."""

import json
from typing import Any

import pytest
from starlette.types import Message

from cachemw.simulator import Simulator
from cachemw.simulator.app import REQUEST_LIMIT_BYTES
from tests.asgi_driver import call, call_and_leave
from tests.simulator.requests import CHAT, ask, nothing_more, post

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("prefix", ["", "/v1", "/v1/v1"])
async def test_paths_have_a_version_segment_or_two_or_none(prefix: str) -> None:
    app = Simulator()

    chat = await call(app, "POST", f"{prefix}/chat/completions", ask())
    models = await call(app, "GET", f"{prefix}/models")
    warming = await call(app, "GET", f"{prefix}/tcp_warming")
    health = await call(app, "GET", f"{prefix}/healthz")
    calls = await call(app, "GET", f"{prefix}/calls")

    assert {reply.status for reply in (chat, models, warming, health, calls)} == {200}
    assert "llama3.1-8b" in [model["id"] for model in json.loads(models.body)["data"]]
    assert json.loads(warming.body) == {}
    assert json.loads(health.body) == {"status": "ok"}
    assert json.loads(calls.body) == {"calls": 1}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", CHAT),
        ("POST", "/v1/models"),
        ("GET", "/v1/v1/v1/models"),
        ("POST", "/v2/chat/completions"),
        ("GET", "/"),
    ],
)
async def test_anything_else_is_not_found(method: str, path: str) -> None:
    reply = await call(Simulator(), method, path)

    assert reply.status == 404
    assert json.loads(reply.body)["error"].keys() == {"message", "type", "param", "code"}


async def test_the_path_is_read_below_the_mount_point() -> None:
    app, replies = Simulator(), list[Message]()

    async def send(message: Message) -> None:
        replies.append(message)

    scope = {"type": "http", "method": "GET", "path": "/fake/v1/healthz", "root_path": "/fake", "headers": []}
    await app(scope, nothing_more, send)

    assert replies[0]["status"] == 200


async def test_every_chat_request_is_counted_the_failing_ones_too() -> None:
    app = Simulator()

    await post(app)
    await post(app, simulate={"status": 500})
    await call(app, "POST", CHAT, b"nonsense")

    assert app.calls == 3


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[" * 100_000, None),
        (b"[]", None),
        (b"{}", "messages"),
        (ask(messages=[]), "messages"),
        (ask(messages="hello"), "messages"),
        (ask(messages=["hello"]), "messages"),
        (ask(n=0), "n"),
        (ask(max_tokens="many"), "max_tokens"),
        (ask(simulate=None), "simulate"),
        (ask(simulate={"status": 200}), "simulate"),
        (ask(simulate={"cut_after": -1}), "simulate"),
        (ask(simulate={"explode": True}), "simulate"),
    ],
)
async def test_what_cannot_be_read_is_refused_in_the_words_of_the_provider(body: bytes, param: str | None) -> None:
    openai = await call(Simulator(dialect="openai"), "POST", CHAT, body)
    cerebras = await call(Simulator(dialect="cerebras"), "POST", CHAT, body)

    wrapped, flat = json.loads(openai.body)["error"], json.loads(cerebras.body)
    assert (openai.status, cerebras.status) == (400, 400)
    assert (wrapped["type"], wrapped["param"]) == ("invalid_request_error", param)
    assert flat == {
        "message": wrapped["message"],
        "type": "invalid_request_error",
        "param": "validation_error",
        "code": "wrong_api_format",
    }


async def test_a_body_over_the_limit_is_refused() -> None:
    reply = await call(Simulator(), "POST", CHAT, bytes(REQUEST_LIMIT_BYTES + 1))

    assert reply.status == 413


async def test_a_client_that_leaves_while_it_asks_gets_nothing() -> None:
    app, sent = Simulator(), list[Message]()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http", "method": "POST", "path": CHAT, "headers": []}, receive, send)

    assert (sent, app.calls) == ([], 1)


@pytest.mark.parametrize(("usage", "name"), [("cerebras", b"inference-id"), ("openai", b"x-request-id")])
@pytest.mark.parametrize("stream", [False, True])
async def test_answers_carry_the_headers_of_the_provider(usage: Any, name: bytes, stream: bool) -> None:
    reply = await post(Simulator(dialect=usage), stream=stream)

    kind = b"text/event-stream; charset=utf-8" if stream else b"application/json"
    assert reply.headers[b"content-type"] == kind
    assert reply.headers[name]
    assert any(header.startswith(b"x-ratelimit-remaining-") for header in reply.headers)


async def test_lifespan_is_started_and_shut_down() -> None:
    phases = iter(["lifespan.startup", "lifespan.shutdown"])
    sent: list[str] = []

    async def receive() -> Message:
        return {"type": next(phases)}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await Simulator()({"type": "lifespan"}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_websocket_is_closed() -> None:
    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await Simulator()({"type": "websocket"}, nothing_more, send)

    assert sent == ["websocket.close"]


async def test_leaving_at_once_is_seen_before_anything_is_said() -> None:
    reply = await call_and_leave(Simulator(first_token_seconds=3600.0), "POST", CHAT, ask(), after=0)

    assert (reply.status, reply.complete) == (None, False)
