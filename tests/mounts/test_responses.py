"""T25, T26: the native endpoint of responses in every mount: what is a hit, what passes, and for how long."""

import json
from typing import Any

import pytest

from cachemw import Policy
from tests.asgi_driver import Reply
from tests.cassettes import cassette
from tests.endpoints.responding import (
    HELLO,
    Members,
    asked,
    body_of,
    cut_short,
    message,
    response,
    text,
    told,
)
from tests.mounts.conftest import Mounted, status_of
from tests.upstream import DONE, EVENT_STREAM, JSON, Asked, Told

pytestmark = pytest.mark.anyio

PATH = "/v1/responses"
HIT = "hit; ttl=86400; key"
STREAM = body_of(told(HELLO))
FAILED = response(status="failed", output=[], error={"code": "server_error", "message": "no"})
FAILURE = body_of([*told(HELLO)[:5], {"type": "response.failed", "sequence_number": 5, "response": FAILED}])


async def ask(mounted: Mounted, control: str | None = "on", **members: Any) -> Reply:
    return await mounted.ask(control, asked(**members), path=PATH)


def answers(mounted: Mounted, document: Members = HELLO, stream: bytes = STREAM) -> None:
    """Let the upstream answer so, in pieces that are no events."""
    pieces = [stream[at : at + 50] for at in range(0, len(stream), 50)]
    raw = json.dumps(document, indent=2).encode()

    def respond(request: Asked) -> Told:
        is_stream = json.loads(request.body).get("stream") is True
        return Told(pieces, headers=EVENT_STREAM) if is_stream else Told([raw], headers=JSON)

    mounted.upstream.respond = respond


@pytest.mark.parametrize("is_stream", [False, True], ids=["JSON", "stream"])
async def test_a_response_is_a_hit_byte_for_byte_and_in_the_other_kind(mounted: Mounted, is_stream: bool) -> None:
    """T26."""
    answers(mounted)

    first, again = [await ask(mounted, stream=is_stream) for _ in range(2)]
    other = await ask(mounted, stream=not is_stream)

    assert first.body == again.body == (STREAM if is_stream else json.dumps(HELLO, indent=2).encode())
    assert status_of(first) == ("fwd=miss; fwd-status=200; key" if is_stream else "fwd=miss; fwd-status=200; stored; key")
    assert [status_of(again), status_of(other)] == [HIT, f"{HIT}; detail=transcoded"]
    said = json.loads(other.body) if is_stream else json.loads(other.body.split(b"\ndata: ")[-1])["response"]
    assert said == HELLO
    assert mounted.upstream.calls == 1
    assert [(report.endpoint, report.answered_model, report.usage is not None) for report in mounted.reports[:1]] == [
        ("responses", "m-1", True)
    ]


async def test_obfuscation_is_left_out_of_what_was_stored_with_it(mounted: Mounted) -> None:
    answers(mounted)

    await ask(mounted, stream=True, stream_options={"include_obfuscation": True})
    plain = await ask(mounted, stream=True)
    without = await ask(mounted, stream=True, stream_options={"include_obfuscation": False})

    assert [status_of(plain), status_of(without)] == [HIT, f"{HIT}; detail=transcoded"]
    assert b"obfuscation" in plain.body
    assert b"obfuscation" not in without.body
    assert mounted.upstream.calls == 1


async def test_a_recorded_stream_with_reasoning_hits_as_it_was(mounted: Mounted) -> None:
    """T26."""
    recorded = cassette("openai_responses_stream_reasoning.sse")
    answers(mounted, stream=recorded)

    first, again = [await ask(mounted, stream=True, store=False) for _ in range(2)]
    whole = await ask(mounted, store=False)

    assert first.body == again.body == recorded
    assert [status_of(again), status_of(whole)] == [HIT, f"{HIT}; detail=transcoded"]
    assert [item["type"] for item in json.loads(whole.body)["output"]] == ["reasoning", "message"]


@pytest.mark.parametrize("ending", [b"", DONE, DONE * 2], ids=["nothing", "`[DONE]`", "`[DONE]` twice"])
async def test_what_some_servers_send_behind_the_end_is_passed_on_and_kept(mounted: Mounted, ending: bytes) -> None:
    """S2."""
    answers(mounted, stream=STREAM + ending)

    replies = [await ask(mounted, stream=True) for _ in range(2)]

    assert [reply.body for reply in replies] == [STREAM + ending] * 2
    assert status_of(replies[1]) == HIT


BYPASSED: list[tuple[Members, str]] = [
    ({"store": True}, "store-requested"),
    ({"previous_response_id": "resp_1"}, "previous-response"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"background": True}, "background"),
    ({"context_management": [{"type": "compaction"}]}, "context-management"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt-version"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "item-reference"),
    ({"tools": [{"type": "web_search"}]}, "server-tool"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]}, "file"),
    ({"stream": "yes"}, "ambiguous-stream"),
    ({"input": None}, "no-input"),
]


@pytest.mark.parametrize(("members", "detail"), BYPASSED, ids=[detail for _, detail in BYPASSED])
async def test_what_is_not_cached_passes_and_says_why(mounted: Mounted, members: Members, detail: str) -> None:
    """R2."""
    answers(mounted)

    replies = [await ask(mounted, **members) for _ in range(2)]

    assert [status_of(reply) for reply in replies] == [f"fwd=bypass; detail={detail}"] * 2
    assert [json.loads(reply.body) for reply in replies] == [HELLO] * 2
    assert mounted.upstream.calls == 2
    assert not list(mounted.store.scan())


async def test_what_is_to_be_stored_is_cached_where_the_operator_says_so(mounted: Mounted) -> None:
    mounted.mount(Policy(cache_stored=True))
    answers(mounted)

    replies = [await ask(mounted, store=True) for _ in range(2)]

    assert status_of(replies[1]) == HIT


@pytest.mark.parametrize(
    ("members", "ttl"), [({}, 2_592_000), ({"store": None}, 2_592_000), ({"store": False}, 31_536_000)], ids=str
)
@pytest.mark.parametrize("control", ["ttl=31536000", "ttl=99999999999"])
async def test_what_the_upstream_keeps_is_fresh_for_30_days_at_most(
    mounted: Mounted, members: Members, ttl: int, control: str
) -> None:
    """Ruling F7: its id is good there for so long."""
    answers(mounted)

    replies = [await ask(mounted, f"on, {control}", **members) for _ in range(2)]

    assert status_of(replies[1]) == f"hit; ttl={ttl}; key"


async def test_a_shorter_time_is_as_it_was_asked_for(mounted: Mounted) -> None:
    answers(mounted)

    replies = [await ask(mounted, "on, ttl=60") for _ in range(2)]

    assert status_of(replies[1]) == "hit; ttl=60; key"


ERROR = {"type": "error", "sequence_number": 5, "error": {"type": "server_error", "message": "no"}}
NOT_KEPT: dict[str, bytes] = {
    "a failure after some of it": FAILURE,
    "an error after some of it": body_of([*told(HELLO)[:5], ERROR]),
    "an error, and then a failure": body_of(
        [*told(HELLO)[:5], ERROR, {"type": "response.failed", "sequence_number": 6, "response": FAILED}]
    ),
    "no end": body_of(told(HELLO)[:5]),
    "a gap": body_of([*told(HELLO)[:2], *told(HELLO)[3:]]),
    "a limit that nobody set": body_of(told(cut_short(message(text("hel"))), "response.incomplete")),
}


@pytest.mark.parametrize("stream", NOT_KEPT.values(), ids=NOT_KEPT)
async def test_a_stream_that_is_no_answer_is_passed_on_whole_and_not_kept(mounted: Mounted, stream: bytes) -> None:
    """T25."""
    answers(mounted, stream=stream)

    replies = [await ask(mounted, stream=True) for _ in range(2)]

    assert [reply.body for reply in replies] == [stream] * 2
    assert status_of(replies[1]).startswith("fwd=miss; fwd-status=200; key; detail=was-")
    assert mounted.upstream.calls == 2
    assert not list(mounted.store.scan())


@pytest.mark.parametrize(
    ("document", "detail"),
    [(FAILED, "error-answer"), (response(), "empty-answer"), (response(status="queued"), "finish-queued")],
    ids=["failed", "empty", "queued"],
)
async def test_a_document_that_is_no_answer_is_not_kept(mounted: Mounted, document: Members, detail: str) -> None:
    """T25."""
    answers(mounted, document)

    replies = [await ask(mounted) for _ in range(2)]

    assert [json.loads(reply.body) for reply in replies] == [document] * 2
    assert all(detail in status_of(reply) for reply in replies)
    assert mounted.upstream.calls == 2


async def test_one_that_its_callers_limit_cut_short_is_kept(mounted: Mounted) -> None:
    stream = body_of(told(cut_short(message(text("hel"))), "response.incomplete"))
    answers(mounted, stream=stream)

    replies = [await ask(mounted, stream=True, max_output_tokens=16) for _ in range(2)]

    assert [reply.body for reply in replies] == [stream] * 2
    assert status_of(replies[1]) == HIT


@pytest.mark.parametrize("name", ["metadata", "user", "safety_identifier", "prompt_cache_key", "service_tier"])
async def test_nobody_is_told_what_another_caller_said_of_himself(mounted: Mounted, name: str) -> None:
    """K1: an answer repeats it."""
    mounted.mount(Policy(bookkeeping=frozenset({name})))
    answers(mounted)

    first, again, other = [await ask(mounted, **{name: value}) for value in ("ada", "ada", "eve")]

    assert [status_of(again), status_of(other)] == [HIT, status_of(first)]
    assert mounted.upstream.calls == 2


async def test_who_did_not_opt_in_is_not_cached(mounted: Mounted) -> None:
    """H1."""
    answers(mounted)

    replies = [await ask(mounted, None) for _ in range(2)]

    assert all(b"cache-status" not in reply.headers for reply in replies)
    assert mounted.upstream.calls == 2
