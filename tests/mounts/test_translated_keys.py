"""Whose key goes to an upstream of another dialect, and who is taken for whom by it."""

import json
from typing import Any

import httpx
import pytest

from cachemw import MemoryStore, Policy
from cachemw.messages import Headers
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from cachemw.upstreams.checking import Credentials
from tests.asgi_driver import Reply, call
from tests.mounts.conftest import status_of

pytestmark = pytest.mark.anyio

CHAT, MESSAGES, MODELS = "/v1/chat/completions", "/v1/messages", "/v1/models"
COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
ASKED = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
WAYS = {MESSAGES: ("chat", COMPLETION), CHAT: ("messages", MESSAGE)}


class Called:
    """A proxy before an upstream of one dialect; `sent` is what reached that."""

    def __init__(self, speaks: str, answer: Any, credentials: Credentials = "replace") -> None:
        self.sent: list[httpx.Request] = []
        self._answer = answer
        transport = httpx.MockTransport(self._respond)
        upstream = HttpUpstream(
            *("https://api.example/v1",),
            api_key="sk-ours",
            credentials=credentials,
            speaks={speaks},
            transport=lambda: transport,
            key_field="x-api-key" if speaks == "messages" else "authorization",
        )
        self._proxy = Proxy(upstream, store=MemoryStore(), policy=Policy(default="on"))

    async def ask(self, path: str, *fields: tuple[bytes, bytes], method: str = "POST", body: Any = ASKED) -> Reply:
        headers: Headers = ((b"content-type", b"application/json"), *fields)
        return await call(self._proxy, method, path, b"" if method == "GET" else json.dumps(body).encode(), headers)

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        return httpx.Response(200, json=self._answer)


@pytest.mark.parametrize(
    ("path", "other"), [(MESSAGES, b"x-api-key"), (CHAT, b"api-key")], ids=["messages of chat", "chat of messages"]
)
async def test_who_differs_in_a_credential_that_is_not_sent_on_has_answers_of_his_own(path: str, other: bytes) -> None:
    """A2, I1: as where nothing is translated."""
    called = Called(*WAYS[path])

    replies = [await called.ask(path, (b"authorization", b"Bearer ingress"), (other, who)) for who in (b"alice", b"bob")]

    assert ["fwd=miss" in status_of(reply) for reply in replies] == [True, True]


@pytest.mark.parametrize("path", WAYS, ids=["messages of chat", "chat of messages"])
async def test_who_brings_one_key_is_one_caller_in_either_field(path: str) -> None:
    """ruling F2."""
    called = Called(*WAYS[path])

    replies = [await called.ask(path, field) for field in ((b"authorization", b"Bearer alice"), (b"x-api-key", b"alice"))]

    assert ["fwd=miss" in status_of(reply) for reply in replies] == [True, False]


@pytest.mark.parametrize("path", WAYS, ids=["messages of chat", "chat of messages"])
@pytest.mark.parametrize(
    "fields",
    [
        ((b"x-api-key", b"alice"), (b"authorization", b"Bearer cachemw")),
        ((b"x-api-key", b"cachemw"), (b"authorization", b"Bearer alice")),
    ],
    ids=["a key and a placeholder", "a placeholder and a key"],
)
async def test_a_placeholder_drives_out_no_key(path: str, fields: Headers) -> None:
    """A2: a caller's own key is sent on, in the field that the upstream reads, and ours is not lent beside it."""
    called = Called(*WAYS[path], credentials="pass")

    await called.ask(path, *fields)

    (sent,) = called.sent
    own = "Bearer alice" if path == MESSAGES else None
    assert (sent.headers.get("authorization"), sent.headers.get("x-api-key")) == (own, None if own else "alice")


async def test_models_are_asked_for_in_the_dialect_of_their_upstream() -> None:
    """ruling F1."""
    listed = {"data": [{"id": "a", "type": "model"}], "object": "list"}
    of_chat, of_anthropic = (Called(speaks, listed, credentials="pass") for speaks in ("chat", "messages"))
    version = (b"anthropic-version", b"2023-06-01")

    await of_chat.ask(MODELS, (b"x-api-key", b"alice"), version, (b"anthropic-beta", b"b"), method="GET")
    await of_anthropic.ask(MODELS, (b"authorization", b"Bearer alice"), method="GET")

    to_chat, to_anthropic = of_chat.sent[0].headers, of_anthropic.sent[0].headers
    assert to_chat["authorization"] == "Bearer alice"
    assert not {"x-api-key", "anthropic-version", "anthropic-beta"} & to_chat.keys()
    assert (to_anthropic["x-api-key"], to_anthropic["anthropic-version"]) == ("alice", "2023-06-01")
