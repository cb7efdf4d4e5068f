"""rulings F2, F3, F7: what an upstream of another dialect is sent, what is told of that, and what is reported."""

import json
from typing import Any

import pytest

from cachemw.translation.counting import estimated_tokens
from tests.asgi_driver import Reply
from tests.mounts.conftest import status_of
from tests.mounts.translating import BOTH_WAYS, CHAT, MESSAGES, WHOLE_ANSWER, Front
from tests.mounts.translating import KINDS as KINDS_OF_MOUNTS
from tests.upstream import JSON, Asked, Told, always

pytestmark = pytest.mark.anyio

KINDS = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
ASKED = pytest.mark.parametrize("control", ["on", None], ids=["opted in", "not"])
TOLD = b"cachemw-translation"

DROPPED: dict[Any, tuple[dict[str, Any], str]] = {
    "messages": ({"top_k": 5}, "top_k=dropped"),
    "chat": ({"seed": 1}, "seed=dropped"),
}


@ASKED
@KINDS
async def test_what_is_not_exactly_as_asked_for_is_told_on_misses_and_hits(
    front: Front, stream: bool, control: str | None
) -> None:
    """§3: of this request, not of the one that was stored."""
    more, told = DROPPED[front.client.dialect]

    replies = [await front.ask(control=control, stream=stream, body=front.client.asks(stream=stream, **more)) for _ in range(3)]
    plain = await front.ask(control=control, stream=stream)

    assert [reply.headers.get(TOLD) for reply in replies] == [told.encode()] * 3
    assert TOLD not in plain.headers
    assert control is None or status_of(plain).startswith("hit")
    assert front.upstream.calls == (1 if control else 4)


@ASKED
async def test_strict_refuses_what_would_not_be_exact(front: Front, control: str | None) -> None:
    front.mount(translation="strict")
    more, told = DROPPED[front.client.dialect]

    refused = await front.ask(control=control, body=front.client.asks(**more))
    exact = await front.ask(control=control)

    assert (refused.status, refused.complete) == (400, True)
    assert told.partition("=")[0] in front.client.error_in(refused.body)[1]
    assert exact.status == 200
    assert front.upstream.calls == 1


UNSAYABLE: dict[Any, dict[str, Any]] = {"messages": {"container": "c_1"}, "chat": {"n": 2}}


@ASKED
async def test_what_cannot_be_asked_is_refused_and_names_the_member(front: Front, control: str | None) -> None:
    """§3."""
    more = UNSAYABLE[front.client.dialect]

    reply = await front.ask(control=control, body=front.client.asks(**more))

    assert (reply.status, reply.complete) == (400, True)
    assert next(iter(more)) in front.client.error_in(reply.body)[1]
    assert front.upstream.calls == 0


# Header fields.


@ASKED
async def test_no_field_of_the_callers_dialect_reaches_the_upstream(front: Front, control: str | None) -> None:
    """§3.3: a key goes where this upstream looks for it, a trace as it is, and cookies never."""
    trace = (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    others = ((b"cookie", b"a=b"), (b"anthropic-beta", b"b-1"), (b"openai-organization", b"org"), trace)

    await front.ask(control=control, headers=others)
    (sent,) = front.upstream.asked

    assert sent.path == front.spoken.path
    assert sent.header(b"cookie") is None
    assert sent.header(trace[0]) == trace[1]
    assert sent.header(b"content-type") == b"application/json"
    assert sent.header(b"content-length") == b"%d" % len(sent.body)
    own = [name for name, _ in sent.headers if name.startswith(b"anthropic-" if front.client is MESSAGES else b"openai-")]
    assert own == []
    assert front.client is MESSAGES or sent.header(b"anthropic-version") == b"2023-06-01"
    name, value = front.spoken.key(b"alice")
    assert front.is_routed or sent.header(name) == value
    assert sent.header(front.client.key(b"")[0]) is None


async def test_other_traces_and_versions_are_no_other_requests(front: Front) -> None:
    replies = [
        await front.ask(headers=((b"traceparent", b"00-%032x-b7ad6b7169203331-01" % number), (b"x-request-id", b"%d" % number)))
        for number in (1, 2)
    ]

    assert status_of(replies[1]).startswith("hit")


@KINDS
async def test_other_keys_are_other_callers(front: Front, stream: bool) -> None:
    """I1: whoever brings one key is one caller, and nobody else is."""
    asking = [(front.client, b"alice"), (front.client, b"bob"), (front.spoken, b"bob"), (front.client, None)]

    replies = [await front.ask(client, key=key, stream=stream) for client, key in asking]

    assert [status_of(reply).partition(";")[0] for reply in replies] == ["fwd=miss", "fwd=miss", "hit", "fwd=miss"]
    assert len({report.client for report in front.reports if report.client}) == 2


@KINDS
async def test_the_id_of_a_request_is_passed_on_in_both_names(front: Front, stream: bool) -> None:
    """§3.3: of a miss; a hit has none."""
    given = (b"request-id", b"req_7") if front.spoken is MESSAGES else (b"x-request-id", b"req_7")
    told = front.spoken.answers(Asked("POST", "", b"", b"", (), front.spoken.asks(stream=stream)))
    front.upstream.respond = always(Told(told.parts, headers=(*told.headers, given)))

    miss, hit = [await front.ask(stream=stream) for _ in range(2)]

    assert miss.headers[b"request-id" if front.client is MESSAGES else b"x-request-id"] == b"req_7"
    assert status_of(hit).startswith("hit")


async def test_fields_of_the_bytes_that_came_are_not_those_of_the_bytes_that_go(front: Front) -> None:
    document = front.spoken.document()
    coded = ((b"content-length", b"%d" % len(document)), (b"etag", b'"x"'), (b"content-md5", b"x"), (b"digest", b"x"))
    front.upstream.respond = always(Told([document], headers=(*JSON, *coded)))

    for _ in range(2):
        reply = await front.ask()

        assert int(reply.headers[b"content-length"]) == len(reply.body)
        assert not {b"etag", b"content-md5", b"digest"} & reply.headers.keys()


# Reports.


@KINDS
async def test_a_report_speaks_of_the_call_as_it_was_asked(front: Front, stream: bool) -> None:
    """B1: and of the bytes that the client had."""
    replies = [await front.ask(stream=stream) for _ in range(2)]

    asked = len(front.client.asks(stream=stream))
    for report, reply in zip(front.reports, replies, strict=True):
        assert report.endpoint == front.client.dialect
        assert (report.model, report.answered_model) == ("m", "m" if front.spoken is CHAT else "claude-1")
        assert report.usage is not None
        assert (report.usage.input_tokens, report.usage.output_tokens) == (7, 5)
        assert (report.bytes_in, report.bytes_out) == (asked, len(reply.body))
        assert report.status == 200
        assert report.first_byte is not None
    assert [report.hit for report in front.reports] == [False, True]


# Tokens that are counted.

COUNT = "/v1/messages/count_tokens"
MESSAGES_ONLY = pytest.mark.parametrize(
    "front", [(kind, MESSAGES) for kind in KINDS_OF_MOUNTS], indirect=True, ids=KINDS_OF_MOUNTS
)
PROXIES = pytest.mark.parametrize("front", [("proxy", client) for client in BOTH_WAYS], indirect=True, ids=["messages", "chat"])
"""What is beside the API's calls is the app's elsewhere, or a gateway's."""


async def count(front: Front, control: str | None, **more: Any) -> Reply:
    body = json.loads(front.client.asks(**more))
    del body["max_tokens"], body["stream"]
    return await front.ask(control=control, body=json.dumps(body).encode(), path=COUNT)


@MESSAGES_ONLY
@ASKED
async def test_tokens_are_estimated_and_nobody_is_asked(front: Front, control: str | None) -> None:
    """T24: high, and told."""
    reply = await count(front, control)

    tokens = json.loads(reply.body)["input_tokens"]
    assert reply.status == 200
    assert tokens >= estimated_tokens(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}') - 1
    assert b"input_tokens=estimated" in reply.headers[TOLD]
    assert front.upstream.calls == 0


@MESSAGES_ONLY
async def test_tokens_that_are_asked_for_are_cached(front: Front) -> None:
    """T24: an answer of one token says how many came before it."""
    front.mount(count_tokens="ask")

    replies = [await count(front, "on") for _ in range(3)]

    assert [json.loads(reply.body) for reply in replies] == [{"input_tokens": 7}] * 3
    assert [status_of(reply).partition(";")[0] for reply in replies] == ["fwd=miss", "hit", "hit"]
    (sent,) = front.upstream.asked
    assert sent.path == CHAT.path
    assert 1 in (json.loads(sent.body).get("max_tokens"), json.loads(sent.body).get("max_completion_tokens"))
    assert TOLD not in replies[0].headers


@MESSAGES_ONLY
@ASKED
async def test_tokens_are_not_counted_where_the_operator_says_so(front: Front, control: str | None) -> None:
    front.mount(count_tokens="refuse")

    reply = await count(front, control)

    assert reply.status == 404
    assert front.client.error_in(reply.body)[0] == "not_found_error"
    assert front.upstream.calls == 0


@MESSAGES_ONLY
@pytest.mark.parametrize("mode", ["estimate", "ask"])
async def test_tokens_of_what_cannot_be_asked_are_not_counted_either(front: Front, mode: str) -> None:
    front.mount(count_tokens=mode)

    reply = await count(front, "on", container="c_1")

    assert reply.status == 400
    assert "container" in front.client.error_in(reply.body)[1]
    assert front.upstream.calls == 0


# Models.

LISTS: dict[Any, tuple[Any, Any]] = {
    "chat": (
        {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "x"}]},
        {"id": "m", "object": "model", "created": 1, "owned_by": "x"},
    ),
    "messages": (
        {"data": [{"type": "model", "id": "m", "display_name": "M", "created_at": "2025-01-01T00:00:00Z"}], "has_more": False},
        {"type": "model", "id": "m", "display_name": "M", "created_at": "2025-01-01T00:00:00Z"},
    ),
}


@PROXIES
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/m"])
async def test_models_are_listed_in_the_callers_shape(front: Front, path: str) -> None:
    """§3.3."""
    whole, one = LISTS[front.spoken.dialect]
    front.upstream.respond = always(Told([json.dumps(whole if path == "/v1/models" else one).encode()]))

    theirs = await front.ask(method="GET", path=path, body=b"", control=None)
    own = await front.ask(front.spoken, method="GET", path=path, body=b"", control=None)

    model = json.loads(theirs.body) if path != "/v1/models" else json.loads(theirs.body)["data"][0]
    assert (theirs.status, model["id"]) == (200, "m")
    assert ("display_name" in model) == (front.client is MESSAGES)
    assert ("object" in model) == (front.client is CHAT)
    assert json.loads(own.body) == (whole if path == "/v1/models" else one)


@PROXIES
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_other_methods_are_not_translated(front: Front, method: str) -> None:
    front.upstream.respond = always(Told([] if method == "HEAD" else [b"{}"], status=405))

    reply = await front.ask(method=method, body=b"")

    assert reply.status in (404, 405)
    assert [asked.path for asked in front.upstream.asked] in ([], [front.client.path])


async def test_a_second_turn_of_a_replayed_run_is_a_hit(front: Front) -> None:
    """T9: for what the first said is the same each time, ids and signatures included."""
    bodies = []
    for _ in range(2):
        first = json.loads((await front.ask()).body)
        turn = _after(front, first)
        bodies.append(turn)
        second = await front.ask(body=json.dumps(turn).encode())

    assert bodies[0] == bodies[1]
    assert status_of(second).startswith("hit")
    assert front.client.read(second.body, False) == WHOLE_ANSWER
    assert front.upstream.calls == 2


def _after(front: Front, answer: Any) -> Any:
    """Return the request that follows an answer with a call."""
    body = json.loads(front.client.asks())
    if front.client is MESSAGES:
        call = next(block for block in answer["content"] if block["type"] == "tool_use")
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": "done"}
        body["tools"] = [{"name": "look", "input_schema": {"type": "object"}}]
        turns = [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": [result]}]
    else:
        said = answer["choices"][0]["message"]
        body["tools"] = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
        turns = [said, {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "done"}]
    return body | {"messages": [*body["messages"], *turns]}


@pytest.mark.parametrize("query", ["?beta=true", "?x=1&y=%2F"])
async def test_a_query_is_of_the_callers_dialect_and_stays_here(front: Front, query: str) -> None:
    """§0.6: coding agents send one."""
    replies = [await front.ask(path=front.client.path + more) for more in (query, "", query)]

    assert [status_of(reply).partition(";")[0] for reply in replies] == ["fwd=miss", "hit", "hit"]
    assert [(asked.path, asked.query) for asked in front.upstream.asked] == [(front.spoken.path, b"")]
