"""An upstream's errors arrive in the SDKs as if we were not there, and a broken answer as an error."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from tests.cassettes import cassette
from tests.real.answers import numbered, request, to_chat
from tests.real.proxied import Servers
from tests.real.recordings import NOT_STORED, Recording
from tests.real.sdks import ASYNC_CEREBRAS, ASYNC_OPENAI, CEREBRAS, ON, OPENAI, Client, Sdk, some_sdks
from tests.upstream import DONE, EVENT_STREAM, JSON, Told, completion, stream_events

sdks_and_kinds = pytest.mark.parametrize(
    ("sdk", "stream"),
    [(OPENAI, True), (OPENAI, False), (ASYNC_OPENAI, True), (CEREBRAS, True), (ASYNC_CEREBRAS, True), (ASYNC_CEREBRAS, False)],
    ids=[
        "openai-stream",
        "openai-json",
        "async-openai-stream",
        "cerebras-stream",
        "async-cerebras-stream",
        "async-cerebras-json",
    ],
)

CEREBRAS_ERRORS = (
    "404-model-not-found",
    "429-requests-per-minute",
    "400-reasoning-content",
    "400-store",
    "401-wrong-key",
    "402-payment-required",
    "403-not-authenticated",
    "404-unrouted",
    "429-queue",
    "429-tokens-per-day",
)
OPENAI_ERRORS = tuple(
    recording for recording in NOT_STORED if recording.fault == "not-200" and recording.name.startswith("openai")
)


def cerebras_error(name: str) -> Told:
    """Return a verbatim error of Cerebras."""
    told = json.loads(cassette("cerebras_error_bodies.json"))[CEREBRAS_ERRORS.index(name)]
    assert str(told["status"]) == name[:3]
    headers = {"content-type": "application/json", **told.get("headers", {})}
    body = json.dumps(told["body"]).encode() if told["body"] else b""
    return Told([body] if body else [], told["status"], tuple((n.encode(), v.encode()) for n, v in headers.items()))


def raised(client: Client, sdk: Sdk, stream: bool) -> tuple[Any, ...]:
    """Return all that a caller can see of the exception."""
    with pytest.raises(sdk.module.APIStatusError) as caught:
        client.ask(request(stream=stream))
    error = caught.value
    told = [error.response.headers.get(name) for name in ("content-type", "retry-after", "x-should-retry", "x-request-id")]
    return type(error), error.status_code, error.body, str(error), error.response.content, told


def assert_passes(told: Told, sdk: Sdk, stream: bool, servers: Servers) -> None:
    with servers.proxied(to_chat(told)) as world:
        with sdk.open(world.direct) as client:
            expected = raised(client, sdk, stream)
        with sdk.open(world.proxy, ON) as client:
            errors = [raised(client, sdk, stream) for _ in range(2)]

        assert world.calls == 3
        assert world.records == 0
    assert errors == [expected, expected]


@sdks_and_kinds
@pytest.mark.parametrize("name", CEREBRAS_ERRORS)
def test_an_error_of_cerebras_is_the_same_exception(name: str, stream: bool, sdk: Sdk, servers: Servers) -> None:
    """H10: status, body, and what says when to try again; it is not stored."""
    assert_passes(cerebras_error(name), sdk, stream, servers)


@sdks_and_kinds
@pytest.mark.parametrize("recording", OPENAI_ERRORS, ids=lambda one: one.name)
def test_an_error_of_openai_is_the_same_exception(recording: Recording, stream: bool, sdk: Sdk, servers: Servers) -> None:
    """H10: its fields are on the exception, wherever the upstream puts them."""
    assert_passes(recording.told(), sdk, stream, servers)


EVENTS = stream_events("one two three")
CUTS = {
    "before-the-first-event": b"",
    "between-events": b"".join(EVENTS[:3]),
    "inside-an-event": b"".join(EVENTS[:3]) + EVENTS[3][:40],
    "inside-a-name": b"".join(EVENTS[:3]) + b"da",
    "before-done": b"".join(EVENTS[:-1]),
    "inside-done": b"".join(EVENTS[:-1]) + b"data: [DO",
    "before-done-is-whole": b"".join(EVENTS[:-1]) + DONE[:-2],
}
cuts = pytest.mark.parametrize("sent", CUTS.values(), ids=CUTS)


@some_sdks
@cuts
def test_a_broken_stream_raises_and_is_not_stored(sent: bytes, sdk: Sdk, servers: Servers) -> None:
    """H10, R1: never a silent clean end."""
    broken = Told([sent] if sent else [], headers=EVENT_STREAM, ends=False)

    with servers.proxied(to_chat(broken)) as world:
        with sdk.open(world.proxy, ON) as client:
            for _ in range(2):
                with pytest.raises((sdk.module.APIError, json.JSONDecodeError)):
                    client.ask(request(stream=True))

        assert world.calls == 2  # the second was a miss again
        assert world.records == 0


@some_sdks
def test_a_broken_stream_says_who_broke_it(sdk: Sdk, servers: Servers) -> None:
    """H10: our error event is read as an error of the API."""
    broken = Told([CUTS["between-events"]], headers=EVENT_STREAM, ends=False)

    with (
        servers.proxied(to_chat(broken)) as world,
        sdk.open(world.proxy, ON) as client,
        pytest.raises(sdk.module.APIError) as caught,
    ):
        client.ask(request(stream=True))

    body = caught.value.body
    assert body.get("error", body)["code"] == "upstream_truncated"


@some_sdks
def test_a_broken_json_answer_is_an_error_and_is_not_stored(sdk: Sdk, servers: Servers) -> None:
    """R1, H10: half of it is of no use, so it is a 502 instead."""
    broken = Told([completion().parts[0][:60]], headers=JSON, ends=False)  # type: ignore[index]

    with servers.proxied(to_chat(broken)) as world:
        with sdk.open(world.proxy, ON) as client:
            for _ in range(2):
                with pytest.raises(sdk.module.InternalServerError) as caught:
                    client.ask(request())

        assert world.calls == 2
        assert world.records == 0
    assert caught.value.status_code == 502


@asynccontextmanager
async def closing(body: bytes) -> AsyncIterator[str]:
    """Serve an upstream of the old kind: its body ends where it closes the connection. Gives its address."""

    async def answer(client: SocketStream) -> None:
        async with client:
            received = b""
            while not received.endswith(b"}"):
                received += await client.receive()
            await client.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + body)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


@some_sdks
@cuts
def test_a_cut_that_looks_like_an_end_raises_too(sent: bytes, sdk: Sdk, servers: Servers) -> None:
    """R1: a body that ends with its connection is complete only by its content."""
    with servers.beside(closing(sent)) as base_url, servers.proxied(numbered(), base_url=base_url) as world:
        with sdk.open(world.proxy, ON) as client, pytest.raises((sdk.module.APIError, json.JSONDecodeError)):
            client.ask(request(stream=True))

        assert world.records == 0
