"""S3, S4: a response in another kind says the same, or is not had; the official SDK is the judge of what a client reads."""

import json
from typing import Any

import httpx2
import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from cachemw.endpoints import RESPONSES
from cachemw.endpoints.deriving import OTHER_KIND
from cachemw.endpoints.responses.gather import gather
from cachemw.limits import Work
from cachemw.messages import Kind, StoredResponse
from cachemw.wire.sse import DONE, encode
from tests.cassettes import cassette
from tests.endpoints.responding import (
    HELLO,
    JSON,
    STREAM,
    UNPADDED,
    Members,
    body_of,
    cut_short,
    derived,
    events_in,
    function_call,
    json_fault,
    message,
    reasoning,
    record,
    response,
    stream_fault,
    streamed,
    text,
    told,
)

STREAMS = [f"openai_responses_stream{name}.sse" for name in ("", "_tools", "_incomplete", "_reasoning")]
CITED = {"type": "url_citation", "url": "https://x.example", "title": "X", "start_index": 0, "end_index": 5}
TOKENS = [{"token": "hel", "bytes": [104, 101, 108], "logprob": -0.5, "top_logprobs": []}]
CUSTOM = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_2", "name": "sql", "input": "select 1;\n" * 9}


def whole(stored: StoredResponse | str) -> StoredResponse:
    assert isinstance(stored, StoredResponse), stored
    return stored


# What the SDK reads.


def client_of(body: bytes, media_type: str) -> openai.OpenAI:
    """Return a client of an upstream that answers everything with these bytes."""
    answer = httpx2.MockTransport(lambda _: httpx2.Response(200, headers={"content-type": media_type}, content=body))
    return openai.OpenAI(api_key="k", base_url="https://api.example/v1", http_client=httpx2.Client(transport=answer))


def read_whole(body: bytes) -> Response:
    """Return the response that the SDK reads from a document."""
    return client_of(body, "application/json").responses.create(model="m", input="hi")


def read_stream(body: bytes) -> tuple[Response, str, list[Any]]:
    """Return the response that the SDK reads from a stream, the text that it puts together, and the items that were done."""
    text, done, last = "", [], None
    with client_of(body, "text/event-stream").responses.stream(model="m", input="hi") as stream:
        for event in stream:
            text += event.delta if event.type == "response.output_text.delta" else ""
            if event.type == "response.output_item.done":
                done.append(event.item)
            last = event
    assert last is not None
    assert last.type in ("response.completed", "response.incomplete")
    return last.response, text, done


def as_said(answer: Any) -> Any:
    """Return what a response or an item says, without what the SDK adds of its own."""
    return _without_parsed(answer.to_dict())


def _without_parsed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_parsed(inner) for name, inner in value.items() if name not in ("parsed", "parsed_arguments")}
    return [_without_parsed(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", STREAMS)
def test_the_sdk_reads_one_response_from_the_recorded_stream_our_json_and_our_stream(name: str) -> None:
    """S3, T26: reasoning, calls and texts."""
    body = cassette(name)
    document = whole(derived(body, STREAM, JSON)).body
    again = whole(derived(document, JSON, STREAM)).body

    recorded, its_text, its_items = read_stream(body)
    made, our_text, our_items = read_stream(again)

    assert as_said(recorded) == as_said(read_whole(document)) == as_said(made)
    assert its_text == our_text
    assert [item.type for item in its_items] == [item.type for item in our_items]
    assert [as_said(item) for item in our_items] == as_said(made)["output"]


def test_the_sdk_reads_one_response_from_the_recorded_json_and_our_stream() -> None:
    """S3."""
    body = cassette("openai_responses.json")

    made, text, _ = read_stream(whole(derived(body, JSON, STREAM)).body)

    assert as_said(made) == as_said(read_whole(body))
    assert text == made.output_text == "The capital of France is Paris."


RICH = response(
    reasoning("I think.", "I think again.", id="rs_1"),
    reasoning(id="rs_2", content=[{"type": "reasoning_text", "text": "hm"}], status="completed"),
    message(text("hello", annotations=[CITED, CITED]), {"type": "refusal", "refusal": "But no."}, phase="commentary"),
    message(text("hel", logprobs=TOKENS), text("naïve 🙂 " * 30), id="msg_2", phase="final_answer"),
    function_call('{"x":{"y":1}}', id="fc_1"),
    function_call("", id="fc_2", call_id="call_3"),
    CUSTOM,
    model="m-1",
    tools=[],
    tool_choice="auto",
    parallel_tool_calls=True,
    completed_at=5,
    metadata={"a": "b"},
)


def test_the_sdk_reads_everything_that_we_can_say() -> None:
    """S3, T26."""
    body = json.dumps(RICH).encode()

    made, said, items = read_stream(whole(derived(body, JSON, STREAM)).body)

    assert as_said(made) == as_said(read_whole(body))
    assert said == "hello" + "hel" + "naïve 🙂 " * 30
    assert [as_said(item) for item in items] == as_said(made)["output"]


# A stream as JSON.


@pytest.mark.parametrize("name", STREAMS)
def test_json_is_the_response_of_the_last_event_in_its_order(name: str) -> None:
    """S3: items are encrypted otherwise before it."""
    last = json.loads(cassette(name).split(b"\ndata: ")[-1])["response"]

    document = whole(derived(cassette(name), STREAM, JSON))

    assert json.dumps(json.loads(document.body)) == json.dumps(last)
    assert (document.kind, document.event_ends, document.arrivals) == (JSON, (), ())
    assert document.headers == ((b"content-type", b"application/json"), (b"openai-version", b"1"))
    assert json_fault(document.body, bounded=True) is None


@pytest.mark.parametrize("more", [b"", encode(DONE), encode(DONE) * 2, encode(DONE)[:-2]], ids=len)
def test_done_behind_the_last_event_is_none(more: bytes) -> None:
    assert json.loads(whole(derived(body_of(told(HELLO)) + more, STREAM, JSON)).body) == HELLO


@pytest.mark.parametrize(
    "body",
    [
        b"",
        encode(DONE),
        body_of(told(HELLO)[:-1]),
        body_of([*told(HELLO), {"type": "keepalive"}]),
        body_of([{"type": "response.completed"}]),
        body_of([{"type": "response.completed", "response": []}]),
        body_of([{"type": "response.completed", "response": HELLO, "error": {"message": "no"}}]),
        body_of([{"type": "response.failed", "response": HELLO}]),
        encode(b"[]"),
        encode(b"{"),
        encode(b'{"type":["response.completed"],"response":{}}'),
        encode(b'{"x":' + b"[" * 9999 + b"]" * 9999 + b"}"),
    ],
    ids=lambda body: repr(body[-40:]),
)
def test_of_what_has_no_such_event_there_is_no_json(body: bytes) -> None:
    """S3."""
    assert derived(body, STREAM, JSON) == OTHER_KIND


# JSON as a stream.


def test_a_stream_begins_with_nothing_says_each_item_and_ends_with_the_whole() -> None:
    """S3: in the order in which it was recorded."""
    item = message(text("hello"))
    begun = HELLO | {"status": "in_progress", "output": [], "usage": None}
    at = {"item_id": "msg_1", "output_index": 0}
    part = at | {"content_index": 0}

    assert streamed(HELLO) == [
        {"type": "response.created", "sequence_number": 0, "response": begun},
        {"type": "response.in_progress", "sequence_number": 1, "response": begun},
        {
            "type": "response.output_item.added",
            "sequence_number": 2,
            "output_index": 0,
            "item": item | {"status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", "sequence_number": 3, **part, "part": text("")},
        {"type": "response.output_text.delta", "sequence_number": 4, **part, "delta": "hello", "logprobs": []},
        {"type": "response.output_text.done", "sequence_number": 5, **part, "text": "hello", "logprobs": []},
        {"type": "response.content_part.done", "sequence_number": 6, **part, "part": text("hello")},
        {"type": "response.output_item.done", "sequence_number": 7, "output_index": 0, "item": item},
        {"type": "response.completed", "sequence_number": 8, "response": HELLO},
    ]


@pytest.mark.parametrize("name", STREAMS)
def test_the_kinds_of_events_are_those_that_were_recorded(name: str) -> None:
    """S3: but for how often a text goes on."""
    body = cassette(name)
    recorded = [json.loads(line[6:])["type"] for line in body.splitlines() if line.startswith(b"data: ")]

    made = streamed(whole(derived(body, STREAM, JSON)).body)

    assert not isinstance(made, str)
    assert list(dict.fromkeys(event["type"] for event in made)) == list(dict.fromkeys(recorded))
    assert [event["type"] for event in made if "delta" not in event] == [kind for kind in recorded if "delta" not in kind]


@pytest.mark.parametrize(
    ("answer", "name", "texts"),
    [
        (response(message({"type": "refusal", "refusal": "No."})), "response.refusal", ["No."]),
        (response(function_call('{"x":1}')), "response.function_call_arguments", ['{"x":1}']),
        (response(function_call("")), "response.function_call_arguments", []),
        (response(CUSTOM), "response.custom_tool_call_input", None),
        (response(reasoning("I think.")), "response.reasoning_summary_text", ["I think."]),
        (response(reasoning(content=[{"type": "reasoning_text", "text": "hm"}])), "response.reasoning_text", ["hm"]),
        (response(message(text("x" * 50))), "response.output_text", ["x" * 24, "x" * 24, "xx"]),
        (response(message(text("x" * 50, logprobs=TOKENS))), "response.output_text", ["x" * 50]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_text_is_said_in_slices_and_then_whole(answer: Members, name: str, texts: list[str] | None) -> None:
    """S3: with its probabilities it is said at once."""
    events = streamed(answer)

    assert not isinstance(events, str)
    said = [event["delta"] for event in events if event["type"] == f"{name}.delta"]
    [done] = [event for event in events if event["type"] == f"{name}.done"]
    assert said == (texts if texts is not None else said)
    assert "".join(said) in done.values()
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_probabilities_and_annotations_come_with_the_text() -> None:
    """S3."""
    events = streamed(response(message(text("hel", logprobs=TOKENS, annotations=[CITED]))))

    assert not isinstance(events, str)
    by_type = {event["type"]: event for event in events}
    assert by_type["response.content_part.added"]["part"] == text("")
    assert by_type["response.output_text.delta"]["logprobs"] == TOKENS
    assert by_type["response.output_text.annotation.added"]["annotation"] == CITED
    assert by_type["response.content_part.done"]["part"] == text("hel", logprobs=TOKENS, annotations=[CITED])


def test_one_that_was_cut_short_ends_so() -> None:
    """S3."""
    answer = cut_short(message(text("hel"), status="incomplete"))
    events = streamed(answer)

    assert not isinstance(events, str)
    assert events[0]["response"]["incomplete_details"] is None
    assert events[-1] == {"type": "response.incomplete", "sequence_number": len(events) - 1, "response": answer}
    assert stream_fault(body_of(events), bounded=True) is None


UNSAYABLE: dict[str, Any] = {
    "a call of a server's tool": response({"id": "ws_1", "type": "web_search_call", "status": "completed"}),
    "an item nobody knows": response({"id": "x", "type": "invented"}),
    "an item without a type": response({"id": "x", "text": "hello"}),
    "a type that is none": response({"id": "x", "type": ["message"]}),
    "an item without an id": response({name: value for name, value in function_call().items() if name != "id"}),
    "an item that is none": response(output=["hello"]),
    "no output": response(output=None),
    "a part nobody knows": response(message({"type": "output_audio", "data": "AA=="})),
    "a part of another item": response(message({"type": "summary_text", "text": "x"})),
    "a part without a type": response(message({"text": "x"})),
    "a part that is none": response(message(content=["x"])),
    "content that is a text": response(message(content="hello")),
    "content that is null": response(message(content=None), message(text("x", logprobs=5))),
    "a text that is none": response(message(text("x") | {"text": None})),
    "arguments that are none": response(function_call({"x": 1})),
    "input that is none": response(CUSTOM | {"input": None}),
    "annotations that are none": response(message(text("x", annotations="no"))),
    "probabilities of no text": response(message(text("", logprobs=TOKENS))),
    "queued": response(status="queued"),
    "failed": response(message(text("x")), status="failed"),
    "no status": response(message(text("x")), status=None),
    "a status that is none": response(message(text("x")), status=["completed"]),
    "an error": HELLO | {"error": {"message": "no"}},
    "a list": [],
    "depth": b'{"status":"completed","output":[{"x":' + b"[" * 9999 + b"]" * 9999 + b"}]}",
    "no JSON": b"{",
}


@pytest.mark.parametrize("answer", UNSAYABLE.values(), ids=UNSAYABLE)
def test_what_cannot_be_said_event_by_event_is_not_had_as_a_stream(answer: Any) -> None:
    """S3: a miss, and never a guess."""
    assert streamed(answer) == OTHER_KIND


def test_a_list_that_is_null_stays_so() -> None:
    events = streamed(response(message(text("x", logprobs=None, annotations=None)), reasoning(content=None, id="rs")))

    assert not isinstance(events, str)
    assert gather(events)[0]["content"] == [text("x", logprobs=None, annotations=None)]


def test_a_long_text_is_cut_into_few_pieces_and_the_whole_into_no_more_than_the_limit() -> None:
    """S3."""
    long = streamed(response(message(text("x" * 100_000))))

    assert not isinstance(long, str)
    assert 400 < len(long) < 530
    assert streamed(response(*[function_call(id=f"fc_{at}") for at in range(30)]), work=Work(pieces=50)) == OTHER_KIND
    assert streamed(HELLO, work=Work(answer=50)) == OTHER_KIND


# A stream with other options.


def test_obfuscation_is_left_out_where_that_was_asked_for_and_all_else_keeps_its_bytes() -> None:
    """S4."""
    recorded = body_of(told(HELLO)) + encode(DONE)
    unpadded = whole(derived(recorded, STREAM, UNPADDED))

    assert b"obfuscation" not in unpadded.body
    assert b"obfuscation" in recorded
    stripped = [{name: value for name, value in event.items() if name != "obfuscation"} for event in told(HELLO)]
    bodies = [event for event in unpadded.body.split(b"\n\n") if event]
    assert [json.loads(event.partition(b"\ndata: ")[2]) for event in bodies[:-1]] == stripped
    assert bodies[-1] == b"data: [DONE]"
    assert unpadded.body.startswith(recorded[: record(recorded, STREAM).event_ends[3]])
    assert unpadded.arrivals == tuple(map(float, range(7)))


@pytest.mark.parametrize("name", STREAMS)
def test_the_sdk_reads_the_same_without_obfuscation(name: str) -> None:
    """S4."""
    recorded = cassette(name)

    unpadded = whole(derived(recorded, STREAM, UNPADDED)).body

    assert as_said(read_stream(unpadded)[0]) == as_said(read_stream(recorded)[0])
    assert b'"obfuscation"' not in unpadded
    assert stream_fault(unpadded, bounded=True) is None


def test_one_that_has_none_serves_who_does_not_mind() -> None:
    """S4."""
    recorded = body_of(told(HELLO, padding=None))

    assert whole(derived(recorded, UNPADDED, STREAM)).body == recorded
    assert whole(derived(recorded, UNPADDED, UNPADDED)).body == recorded
    assert streamed(HELLO, UNPADDED) == streamed(HELLO)


@pytest.mark.parametrize(
    "kind",
    [Kind(True, b'{"x":1}'), Kind(True, b'{"include_obfuscation":1}'), Kind(True, b"{"), Kind(False, b'{"x":1}')],
    ids=str,
)
def test_an_option_that_nobody_knows_is_not_met(kind: Kind) -> None:
    """S4."""
    assert derived(body_of(told(HELLO)), STREAM, kind) == OTHER_KIND
    assert derived(json.dumps(HELLO).encode(), kind, STREAM) == OTHER_KIND


def test_a_record_that_says_of_too_few_events_when_they_came_is_not_taken_apart() -> None:
    stored = msgspec.structs.replace(record(body_of(told(HELLO)), STREAM), arrivals=(0.0,))

    assert RESPONSES.derive(stored, UNPADDED, Work()) == OTHER_KIND


def test_an_event_that_is_no_object_is_not_looked_into() -> None:
    assert derived(body_of(told(HELLO)[:2]) + encode(b"[]"), STREAM, UNPADDED) == OTHER_KIND


# Whatever is stored.

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
PARTS = st.builds(text, TEXTS) | st.builds(lambda said: {"type": "refusal", "refusal": said}, TEXTS)
ITEMS = (
    st.builds(lambda parts: message(*parts), st.lists(PARTS, max_size=3))
    | st.builds(function_call, TEXTS)
    | st.builds(lambda said: CUSTOM | {"input": said}, TEXTS)
    | st.builds(lambda parts: reasoning(*parts), st.lists(TEXTS, max_size=2))
)
NUMBERED = st.lists(ITEMS, max_size=4).map(lambda items: [item | {"id": f"x_{at}"} for at, item in enumerate(items)])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
NAMES = st.sampled_from("type id status content summary text annotations logprobs arguments output error response".split())
VALUES = st.recursive(
    LEAVES | st.sampled_from(["message", "reasoning", "function_call", "completed", "output_text", "response.completed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(NUMBERED, st.booleans())
def test_there_and_back_it_is_the_same(items: list[Members], is_whole: bool) -> None:
    """S3: and a reader of the events has the same items."""
    answer = response(*items) if is_whole else cut_short(*items)
    stream = whole(derived(json.dumps(answer).encode(), JSON, STREAM))

    assert json.loads(whole(RESPONSES.derive(stream, JSON, Work())).body) == answer
    assert gather(events_in(stream)) == items
    assert stream_fault(stream.body, bounded=True) == json_fault(answer, bounded=True)


@given(st.dictionaries(NAMES, VALUES) | VALUES, st.dictionaries(NAMES, VALUES))
def test_nothing_that_is_stored_makes_it_raise(value: Any, item: Members) -> None:
    for answer in (value, response(item), response(message(item)), response(reasoning(summary=[item]))):
        raw = json.dumps(answer).encode()
        for body, recorded in (
            (raw, JSON),
            (encode(raw), STREAM),
            (body_of([{"type": "response.completed", "response": answer}]), STREAM),
        ):
            for kind in (JSON, STREAM, UNPADDED):
                assert isinstance(derived(body, recorded, kind), StoredResponse | str)
