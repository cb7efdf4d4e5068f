"""S3, S4, S5: the official openai SDK reads the same from what is derived as from what was recorded."""

import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import httpx2
import msgspec
import openai
import pytest
from openai.lib.streaming.chat import ChatCompletionStream
from openai.types.chat import ChatCompletion

from cachemw.endpoints.chat.transcode import NO_USAGE, derive
from cachemw.messages import Kind, StoredResponse
from tests.endpoints.transcoding import (
    JSON,
    STREAM,
    TIMES,
    USAGE,
    WITH_USAGE,
    Members,
    as_json,
    as_stream,
    body_of,
    chunk,
    piece,
    record,
)
from tests.real.recordings import STORED, Recording, name_of, stored

STREAMS = tuple(one for one in STORED if one.is_stream)
COMPLETIONS = tuple(one for one in STORED if not one.is_stream)

MISREAD = {
    "openrouter_stream_annotations": "RuntimeError: its annotations come in several deltas, and have no index",
    "azure_stream_router": "of a choice's content_filter_results the SDK keeps what the first chunk says: nothing",
}
"""Recordings of which the SDK itself makes less than they say."""

READ = tuple(one for one in STREAMS if one.name not in MISREAD)


@contextlib.contextmanager
def reading(body: bytes) -> Iterator[ChatCompletionStream[Any]]:
    """Give a stream to the SDK's `.stream()`."""
    response = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    transport = httpx2.MockTransport(lambda request: response)
    with (
        httpx2.Client(transport=transport) as http,
        openai.OpenAI(api_key="k", http_client=http) as client,
        client.chat.completions.stream(model="m", messages=[]) as stream,
    ):
        yield stream


def final(body: bytes) -> Members:
    """Return the completion that the SDK puts together; for an answer that was too long, it is in the error."""
    with reading(body) as stream:
        try:
            return stream.get_final_completion().to_dict()
        except openai.LengthFinishReasonError as exc:
            return exc.completion.to_dict()


def record_of(recording: Recording) -> StoredResponse:
    """Return the record of a recording, of the kind that was asked for."""
    options = recording.request().get("stream_options") or {}
    return record(recording.body(), Kind(recording.is_stream, msgspec.json.encode(options)))


def derived(recorded: StoredResponse, kind: Kind) -> bytes:
    answer = derive(recorded, kind)
    assert isinstance(answer, StoredResponse), answer
    return answer.body


def aggregate_of(recording: Recording) -> Members:
    """Return the completion that is derived from a recorded stream."""
    aggregate: Members = json.loads(derived(record_of(recording), JSON))
    return aggregate


def synthesised(recording: Recording, kind: Kind) -> bytes:
    """Return the stream that is derived from the completion that is derived from a stream, or from a recorded one."""
    body = derived(record_of(recording), JSON)
    return derived(record(body, JSON), kind)


def less(value: Any, *names: str) -> Any:
    """Return a value without these members and without those that are null, wherever in it they are."""
    if isinstance(value, list):
        return [less(entry, *names) for entry in value]
    if not isinstance(value, dict):
        return value
    return {name: less(inner, *names) for name, inner in value.items() if inner is not None and name not in names}


def unnumbered(completion: Members) -> Members:
    """Return a completion's members that are not null, without the index that the SDK leaves on tool calls."""
    told: Members = less(completion)
    for choice in told["choices"]:
        for call in choice["message"].get("tool_calls", ()):
            del call["index"]
    return told


def recorded_chunks(recording: Recording) -> list[Members]:
    """Return a recording's chunks, read in the simplest way."""
    return chunks_in(recording.body())


def chunks_in(body: bytes) -> list[Members]:
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]


# A stream as JSON.


@pytest.mark.parametrize("recording", READ, ids=name_of)
def test_a_recorded_streams_completion_is_what_the_sdk_makes_of_it(recording: Recording) -> None:
    """S4: but for times, which the SDK does not look for after the first chunk."""
    ours = aggregate_of(recording)

    assert less(ours, "time_info") == unnumbered(final(recording.body()))
    assert ours.get("time_info") == recorded_chunks(recording)[-1].get("time_info")


@pytest.mark.parametrize("recording", STREAMS, ids=name_of)
def test_a_recorded_streams_completion_is_a_valid_one(recording: Recording) -> None:
    """S4: by the SDK's schema; logprobs and refusal may be absent."""
    ours = aggregate_of(recording)

    completion = ChatCompletion.model_validate(ours)

    assert less(completion.to_dict()) == less(ours)


def test_of_azure_the_filters_verdict_is_kept_besides() -> None:
    """S3, S4."""
    recording = stored("azure_stream_router")
    ours = aggregate_of(recording)

    (choice,), (theirs,) = ours["choices"], unnumbered(final(recording.body()))["choices"]
    verdict = recorded_chunks(recording)[2]["choices"][0]["content_filter_results"]
    assert choice["content_filter_results"] == verdict != {}
    assert theirs["content_filter_results"] == {}
    assert less(choice, "content_filter_results") == less(theirs, "content_filter_results")
    assert choice["message"]["content"] == "Capital of Denmark."


def test_of_openrouter_all_annotations_are_kept() -> None:
    """S3, S4: the SDK cannot read them; by hand then."""
    recording = stored("openrouter_stream_annotations")
    chunks = recorded_chunks(recording)
    deltas = [one["choices"][0]["delta"] for one in chunks]

    ours = aggregate_of(recording)

    with pytest.raises(RuntimeError, match="to have an `index` key"):
        final(recording.body())
    (choice,) = ours["choices"]
    annotations = [entry for delta in deltas for entry in delta.get("annotations") or ()]
    assert choice["message"] == {
        "role": "assistant",
        "content": "".join(delta["content"] for delta in deltas),
        "annotations": annotations,
    }
    assert len(annotations) == 5
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "stop")
    assert less(ours, "choices", "object") == less(chunks[-1], "choices", "object")


@pytest.mark.parametrize("recording", READ, ids=name_of)
def test_a_recorded_stream_without_usage_does_not_answer_who_asks_for_json(recording: Recording) -> None:
    """S5: and what there is of it adds up all the same."""
    chunks = [one | {"usage": None} for one in recorded_chunks(recording)]

    assert as_json(chunks) == NO_USAGE
    assert as_json([*chunks, chunk(usage=USAGE)])["choices"] == aggregate_of(recording)["choices"]


# JSON as a stream.


@pytest.mark.parametrize("recording", READ, ids=name_of)
def test_a_stream_made_from_a_recorded_one_is_read_as_the_same(recording: Recording) -> None:
    """S3, S4: to the last null."""
    assert final(synthesised(recording, WITH_USAGE)) == final(recording.body())


@pytest.mark.parametrize("recording", READ, ids=name_of)
def test_without_usage_asked_for_it_is_read_as_the_same_but_for_that(recording: Recording) -> None:
    """S5: in the dialect of Cerebras usage is there all the same."""
    theirs = final(recording.body())
    usage = theirs["usage"] if recording.name.startswith("cerebras") else None

    assert final(synthesised(recording, STREAM)) == theirs | {"usage": usage}


@pytest.mark.parametrize("name", MISREAD)
def test_of_what_the_sdk_misreads_it_reads_the_whole_when_it_comes_as_we_send_it(name: str) -> None:
    """S3, S4."""
    recording = stored(name)

    assert unnumbered(final(synthesised(recording, WITH_USAGE))) == less(aggregate_of(recording))


@pytest.mark.parametrize("asked", [STREAM, WITH_USAGE])
@pytest.mark.parametrize("recording", COMPLETIONS, ids=name_of)
def test_a_recorded_completion_is_read_as_the_same_from_a_stream(recording: Recording, asked: Kind) -> None:
    """S4: but for times, which the SDK does not look for after the first chunk, and for usage that is not asked for."""
    original = json.loads(recording.body())
    not_read = ["time_info"] if "time_info" in original else [] if asked == WITH_USAGE else ["usage"]

    stream = synthesised(recording, asked)

    assert unnumbered(final(stream)) == {name: one for name, one in less(original).items() if name not in not_read}


@pytest.mark.parametrize("recording", COMPLETIONS, ids=name_of)
def test_a_recorded_completion_comes_back_from_its_stream(recording: Recording) -> None:
    """S4: times and all."""
    stream = record(synthesised(recording, WITH_USAGE), WITH_USAGE)

    assert less(json.loads(derived(stream, JSON))) == less(json.loads(recording.body()))


# A stream with other options.


@pytest.mark.parametrize("recording", READ, ids=name_of)
def test_a_recorded_stream_is_read_as_the_same_by_who_asks_for_no_usage(recording: Recording) -> None:
    """S5."""
    theirs = final(recording.body())
    usage = theirs["usage"] if recording.name.startswith("cerebras") else None

    assert final(derived(record_of(recording), STREAM)) == theirs | {"usage": usage}


@pytest.mark.parametrize("recording", STREAMS, ids=name_of)
def test_a_recorded_stream_says_what_it_said_whoever_asks(recording: Recording) -> None:
    """S3, S5: nothing but usage and padding is gone."""
    kinds = [STREAM, WITH_USAGE, Kind(True, b'{"include_obfuscation":false}')]
    said = [one["choices"] for one in recorded_chunks(recording) if one["choices"]]

    for kind in kinds:
        answer = derive(record_of(recording), kind)
        assert isinstance(answer, StoredResponse)
        assert [one["choices"] for one in chunks_in(answer.body) if one["choices"]] == said


# Streams nobody recorded.


def told(*deltas: Members, index: int = 0, finish: str = "stop") -> Iterator[Members]:
    """Yield the chunks of one choice."""
    for delta in deltas:
        yield chunk(piece(index, **delta), system_fingerprint="fp", usage=None)
    yield chunk(piece(index, finish), system_fingerprint="fp", usage=None)


def interleaved(*streams: Iterable[Members]) -> list[Members]:
    """Return the chunks of some streams of the same length, one of each in turn."""
    return [one for turn in zip(*streams, strict=True) for one in turn]


ROLE: Members = {"role": "assistant", "content": ""}
END = chunk(usage=USAGE, system_fingerprint="fp")
CUSTOM: Members = {"id": "call_1", "type": "custom", "custom": {"name": "shell", "input": ""}}
AWKWARD = {
    "refusal": [*told({**ROLE, "content": None, "refusal": ""}, {"refusal": "I "}, {"refusal": "will not."}), END],
    "n = 3": [*interleaved(*(told(ROLE, {"content": f"{at}"}, {"content": "!"}, index=at) for at in range(3))), END],
    "moderation": [*told(ROLE, {"content": "a"}), chunk(moderation={"input": {"flagged": False}}, usage=None), END],
    "reasoning": [*told({**ROLE, "reasoning": ""}, {"reasoning": "Hm"}, {"reasoning": "m."}, {"content": "So."}), END],
    "reasoning_content": [*told({**ROLE, "reasoning_content": "Hm"}, {"content": "So."}), END],
    "function_call": [
        *told({**ROLE, "function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}),
        END,
    ],
    "parallel calls": [
        *told(
            {"role": "assistant", "content": None},
            {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]},
            {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "["}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}, {"index": 1, "function": {"arguments": "]"}}]},
            finish="tool_calls",
        ),
        END,
    ],
    "unknown": [
        chunk(piece(**ROLE, more={"x_choice": {"a": 1}}, x_delta=["b"]), system_fingerprint="fp", x_top={"c": 2}),
        *told({"content": "a"}),
        END,
    ],
}


@pytest.mark.parametrize("name", AWKWARD)
def test_an_awkward_stream_is_read_as_the_same(name: str) -> None:
    """S3, S4: as JSON, and as the stream that is made from that."""
    chunks = AWKWARD[name]
    theirs = final(body_of(chunks))

    ours = as_json(chunks)

    assert less(ours) == unnumbered(theirs)
    assert less(final(body_of(as_stream(ours)))) == less(theirs)


def test_a_custom_tools_call_is_read_as_the_same() -> None:
    """S3: the SDK leaves such calls out of the final completion, so it is asked for what it has before that."""
    chunks = [
        *told(
            {"role": "assistant", "content": None},
            {"tool_calls": [{"index": 0, **CUSTOM}]},
            {"tool_calls": [{"index": 0, "custom": {"input": "ls "}}]},
            {"tool_calls": [{"index": 0, "custom": {"input": "-l"}}]},
            finish="tool_calls",
        ),
        END,
    ]

    ours = as_json(chunks)

    (call,) = ours["choices"][0]["message"]["tool_calls"]
    assert call == CUSTOM | {"custom": {"name": "shell", "input": "ls -l"}}
    assert snapshot(as_stream(ours)) == snapshot(chunks)
    assert snapshot(chunks)["choices"][0]["message"]["tool_calls"] == [{"index": 0, **call}]


def snapshot(chunks: Iterable[Members]) -> Any:
    """Return what the SDK has put together when the chunks are over."""
    with reading(body_of(chunks)) as stream:
        return less(stream.until_done().current_completion_snapshot.to_dict())


def test_log_probabilities_of_reasoning_are_read_when_they_come_as_we_send_them() -> None:
    """S3: of a choice's members that it does not know the SDK keeps the first chunk's alone."""
    tokens = [{"token": token, "logprob": -0.5} for token in "ab"]
    chunks = [
        chunk(piece(**ROLE, more={"reasoning_logprobs": {"content": tokens[:1]}}), usage=None),
        chunk(
            piece(content="a", more={"reasoning_logprobs": {"content": tokens[1:]}, "logprobs": {"content": tokens}}),
            usage=None,
        ),
        chunk(piece(finish="stop", more={"reasoning_logprobs": None}), usage=None),
        chunk(usage=USAGE),
    ]

    ours = as_json(chunks)

    assert ours["choices"][0]["reasoning_logprobs"] == {"content": tokens}
    assert final(body_of(chunks))["choices"][0]["reasoning_logprobs"] == {"content": tokens[:1]}
    assert less(final(body_of(as_stream(ours)))) == less(ours)


def test_usage_is_read_where_moderation_came_after_it() -> None:
    """S4: there, the SDK takes the recorded stream for one without usage."""
    chunks = [*told(ROLE, {"content": "a"}), END, chunk(moderation={"flagged": True}, system_fingerprint="fp", usage=None)]

    ours = as_json(chunks)

    assert final(body_of(chunks)).get("usage") is None
    assert ours["usage"] == USAGE
    assert less(final(body_of(as_stream(ours)))) == less(ours)


def test_what_drifts_is_told_as_it_was_last() -> None:
    """S4: xAI has another id and time on every chunk; the SDK keeps the first."""
    chunks = [chunk(piece(**ROLE), id="1", created=1), chunk(piece(content="a", finish="stop"), id="2", created=2, usage=USAGE)]

    ours = as_json(chunks)

    assert (ours["id"], ours["created"]) == ("2", 2)
    assert final(body_of(chunks))["id"] == "1"
    assert less(final(body_of(as_stream(ours)))) == less(ours)


def test_a_role_that_is_repeated_is_one_role() -> None:
    """S4: the SDK strings them together."""
    chunks = [*told(ROLE, {"role": "assistant", "content": "a"}), END]

    ours = as_json(chunks)

    assert ours["choices"][0]["message"]["role"] == "assistant"
    assert final(body_of(chunks))["choices"][0]["message"]["role"] == "assistantassistant"
    assert less(final(body_of(as_stream(ours)))) == less(ours)


def test_what_comes_twice_at_the_top_loses_nothing() -> None:
    """S3: Groq has an id first and usage last in one member; the SDK keeps the first."""
    chunks = [
        chunk(piece(**ROLE), x_groq={"id": "r"}),
        chunk(piece(content="a", finish="stop"), x_groq={"usage": {"x": 1}}, usage=USAGE, time_info=TIMES),
    ]

    ours = as_json(chunks)

    assert ours["x_groq"] == {"id": "r", "usage": {"x": 1}}
    assert final(body_of(chunks))["x_groq"] == {"id": "r"}
    assert less(final(body_of(as_stream(ours)))) == less(ours, "time_info")
