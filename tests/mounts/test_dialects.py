"""Two dialects before one upstream: what passes as it is, who shares what, and what is one question (rulings F1, F2, F4)."""

import json
from typing import Any

import anyio
import httpx
import pytest

from cachemw import MemoryStore, Policy
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests.asgi_driver import Reply, call
from tests.mounts.conftest import status_of
from tests.mounts.dialects import PATHS, SpokenTo
from tests.translation.talking_to_messages import message, text
from tests.upstream import JSON, Told, completion, stream_events

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hi"}]
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": HELLO},
    "/v1/messages": {"model": "m", "max_tokens": 9, "messages": HELLO},
    "/v1/responses": {"model": "m", "input": "hi"},
}


@pytest.mark.parametrize("path", ASKED)
async def test_at_a_url_everything_passes_as_it_is(path: str) -> None:
    """Ruling F1, G26: nobody knows what it speaks."""
    answer = json.dumps({"path": path}).encode()
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"path": request.url.path}))
    proxy = Proxy(HttpUpstream("https://api.example/v1", transport=lambda: transport), store=MemoryStore())

    reply = await call(proxy, "POST", path, json.dumps(ASKED[path]).encode(), ((b"content-type", b"application/json"),))

    assert json.loads(reply.body) == json.loads(answer)


class Passing:
    """A proxy that passes keys on to an upstream of one dialect, which holds its answers until it may go on."""

    def __init__(self, speaks: str, parts: list[bytes]) -> None:
        self.calls, self.go_on = 0, anyio.Event()
        self._parts = parts
        upstream = HttpUpstream(
            *("https://api.example/v1",),
            credentials="pass",
            speaks=[speaks],
            transport=lambda: httpx.MockTransport(self._answer),
        )
        self._proxy = Proxy(upstream, store=MemoryStore(), policy=Policy(default="on"))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        await self.go_on.wait()
        media_type = "text/event-stream" if json.loads(request.content).get("stream") else "application/json"
        return httpx.Response(200, headers={"content-type": media_type}, content=b"".join(self._parts))

    async def ask(self, path: str, body: dict[str, Any], *fields: tuple[bytes, bytes]) -> Reply:
        return await call(
            self._proxy, "POST", path, json.dumps(body).encode(), ((b"content-type", b"application/json"), *fields)
        )


BEARER, OWN = ((b"authorization", b"Bearer sk-1"), (b"x-api-key", b"sk-1"))
SENT = {"model": "m", "max_tokens": 9, "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}


def parts() -> list[bytes]:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    last = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
    *events, done = stream_events()
    return [*events, b"data: " + json.dumps(last).encode() + b"\n\n", done]


async def test_clients_of_both_dialects_share_one_call_under_way() -> None:
    """Ruling F2: the kind, like the key, is that of what is sent; each sees it in his own dialect."""
    there = Passing("chat", parts())
    replies: dict[str, Reply] = {}

    async def ask(name: str, path: str, body: dict[str, Any], field: tuple[bytes, bytes]) -> None:
        replies[name] = await there.ask(path, body, field)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "messages", PATHS["messages"], {**ASKED["/v1/messages"], "stream": True}, OWN)
        tasks.start_soon(ask, "chat", PATHS["chat"], SENT, BEARER)
        await anyio.wait_all_tasks_blocked()
        there.go_on.set()

    assert there.calls == 1
    assert replies["chat"].body == b"".join(parts())
    assert b"event: message_stop" in replies["messages"].body


@pytest.mark.parametrize(("other", "is_shared"), [(b"sk-1", True), (b"sk-2", False)])
async def test_one_key_is_one_caller_in_whichever_field_it_came(other: bytes, is_shared: bool) -> None:
    """Ruling F2, A3: the partition is that of the credential as it is sent upstream."""
    there = Passing("chat", parts())
    there.go_on.set()
    await there.ask(PATHS["messages"], {**ASKED["/v1/messages"], "stream": True}, OWN)

    reply = await there.ask(PATHS["chat"], SENT, (b"authorization", b"Bearer " + other))

    assert status_of(reply).startswith("hit") is is_shared
    assert there.calls == (1 if is_shared else 2)


LONG = "a" * 70
ALIKE: dict[str, dict[str, Any]] = {
    "messages": {"tools": [{"name": name, "input_schema": {"type": "object"}} for name in (LONG, LONG)]},
    "chat": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}] * 2},
}


@pytest.mark.parametrize(("asked", "members"), ALIKE.items())
async def test_two_tools_that_would_have_one_name_are_refused(asked: str, members: dict[str, Any]) -> None:
    """Ruling F4: nobody could say which one was called; nothing is sent."""
    answers = {"chat": completion(), "messages": Told([json.dumps(message(text())).encode()], headers=JSON)}
    spoken = "chat" if asked == "messages" else "messages"
    there = SpokenTo([spoken], lambda _: answers[spoken])

    reply = await there.ask(PATHS[asked], {**ASKED[PATHS[asked]], **members})

    assert (reply.status, there.calls) == (400, 0)
    assert "tools" in json.loads(reply.body)["error"]["message"]
