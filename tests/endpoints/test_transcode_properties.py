"""S3, S4, S5, over many answers: what is derived says the same, and nothing that is stored makes it raise."""

import json
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.cache.policy import FINISH_REASONS
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import ApiCall
from cachemw.endpoints.chat.transcode import NO_USAGE, OTHER_KIND, derive
from cachemw.messages import Kind, StoredResponse
from tests.endpoints.judging import json_fault, stream_fault
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
    chunks_in,
    piece,
    record,
)

TEXT_NAMES = ("content", "refusal", "reasoning", "reasoning_content")
SWITCHES: tuple[dict[str, bool], ...] = (
    {},
    {"include_usage": True},
    {"include_usage": False},
    {"include_obfuscation": False},
    {"include_obfuscation": True},
)
KINDS = [
    Kind(stream=True, options=json.dumps(dict(sorted({**usage, **padding}.items())), separators=(",", ":")).encode())
    for usage in SWITCHES[:3]
    for padding in (SWITCHES[0], *SWITCHES[3:])
]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
names = st.sampled_from(["x_a", "x_b", "provider", "annotations"])
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
unknown = st.dictionaries(names, values, max_size=2)


def merged(*parts: st.SearchStrategy[Members]) -> st.SearchStrategy[Members]:
    """Return objects with the members of each."""
    return st.tuples(*parts).map(lambda drawn: {name: value for part in drawn for name, value in part.items()})


def functions() -> st.SearchStrategy[Members]:
    return merged(unknown, st.fixed_dictionaries({"name": texts, "arguments": texts}))


def customs() -> st.SearchStrategy[Members]:
    return merged(unknown, st.fixed_dictionaries({"name": texts, "input": texts}))


def calls() -> st.SearchStrategy[Members]:
    function = st.fixed_dictionaries({"id": texts, "type": st.just("function"), "function": functions()})
    custom = st.fixed_dictionaries({"id": texts, "type": st.just("custom"), "custom": customs()})
    return merged(unknown, function | custom)


def messages() -> st.SearchStrategy[Members]:
    """Messages that say something, for an empty one is not kept."""
    said = st.fixed_dictionaries({}, optional={name: st.none() | texts for name in TEXT_NAMES})
    optional = {"tool_calls": st.lists(calls(), min_size=1, max_size=3), "function_call": functions()}
    used = st.fixed_dictionaries({"role": st.just("assistant")}, optional=optional)
    return merged(unknown, said, used).filter(lambda one: bool(one.keys() & optional.keys() or one.get("content")))


def choices() -> st.SearchStrategy[Members]:
    tokens = st.lists(merged(unknown, st.fixed_dictionaries({"token": texts, "logprob": numbers})), max_size=3)
    logprobs = st.none() | st.fixed_dictionaries({"content": st.none() | tokens, "refusal": st.none() | tokens})
    return merged(
        unknown,
        st.fixed_dictionaries(
            {"message": messages(), "finish_reason": st.sampled_from(["stop", "tool_calls"])},
            optional={"logprobs": logprobs, "reasoning_logprobs": logprobs},
        ),
    )


@st.composite
def completions(draw: st.DrawFn) -> Members:
    """Completions of up to three choices, in both dialects, with usage."""
    frame = {"id": draw(texts), "object": "chat.completion", "created": draw(st.integers()), "model": draw(texts)}
    told = [{"index": at, **choice} for at, choice in enumerate(draw(st.lists(choices(), min_size=1, max_size=3)))]
    more = draw(st.fixed_dictionaries({}, optional={"time_info": st.just(TIMES), "system_fingerprint": st.none() | texts}))
    moderation = draw(st.fixed_dictionaries({}, optional={"moderation": st.just({"flagged": False})}))
    return {**draw(unknown), **frame, "choices": told, **more, **moderation, "usage": USAGE | draw(unknown)}


def less_null(completion: Members) -> Members:
    """Return a completion without the null members of itself, its choices and its messages: those a stream need not have."""
    told = [present(one | {"message": present(one["message"])}) for one in completion["choices"]]
    return present(completion) | {"choices": told}


def present(members: Members) -> Members:
    return {name: value for name, value in members.items() if value is not None}


def asking(count: int, kind: Kind) -> ApiCall:
    return ApiCall(CHAT, b"{}", kind, choices=count, wants_usage=kind == WITH_USAGE)


@given(completions())
def test_a_completion_is_the_sum_of_its_stream(completion: Members) -> None:
    """S3, S4: of all that it has, at every level; both judges of completeness agree."""
    chunks = as_stream(completion, WITH_USAGE)
    count = len(completion["choices"])

    assert not isinstance(chunks, str)
    assert stream_fault(body_of(chunks), asking(count, WITH_USAGE), FINISH_REASONS) is None
    back = as_json(chunks)
    assert less_null(back) == less_null(completion)
    assert json_fault(json.dumps(back).encode(), asking(count, JSON), FINISH_REASONS) is None


@given(completions())
def test_a_stream_without_usage_says_all_but_that(completion: Members) -> None:
    """S4, S5."""
    chunks = as_stream(completion, STREAM)
    is_cerebras = "time_info" in completion

    assert all("usage" not in one for one in chunks[:-1])
    assert ("usage" in chunks[-1]) is is_cerebras
    assert not [one for one in chunks if not one["choices"] and "moderation" not in one]
    back = as_json([*chunks, chunk(usage=completion["usage"], **frame_of(completion))])
    assert less_null(back) == less_null(completion)
    assert stream_fault(body_of(chunks), asking(len(completion["choices"]), STREAM), FINISH_REASONS) is None


def frame_of(completion: Members) -> Members:
    return {name: completion[name] for name in ("id", "created", "model")}


@given(completions())
def test_usage_that_was_asked_for_comes_once_and_last(completion: Members) -> None:
    """S5: in either dialect, after everything else."""
    chunks = as_stream(completion, WITH_USAGE)

    assert [at for at, one in enumerate(chunks) if one.get("usage") is not None] == [len(chunks) - 1]
    assert (chunks[-1]["choices"] == []) is ("time_info" not in completion)


@given(completions(), st.data())
def test_pieces_may_be_cut_anywhere(completion: Members, data: st.DataObject) -> None:
    """S4: the same deltas in smaller pieces add up to the same."""
    chunks = as_stream(completion, WITH_USAGE)
    cut = [smaller for one in chunks for smaller in cut_up(one, data.draw)]

    assert as_json(cut) == as_json(chunks)


def cut_up(one: Members, draw: Callable[[Any], Any]) -> list[Members]:
    """Cut the one text of a chunk that says nothing but a text."""
    for path in (("content",), ("refusal",), ("reasoning",), ("tool_calls", 0, "function", "arguments")):
        text = text_at(one, path)
        if text and draw(st.booleans()):
            at = draw(st.integers(0, len(text)))
            return [with_text(one, path, text[:at]), with_text(one, path, text[at:])]
    return [one]


def text_at(one: Members, path: tuple[str | int, ...]) -> str:
    value: Any = one["choices"][0]["delta"] if one["choices"] else {}
    if set(value) != {path[0]} or "id" in (value[path[0]][0] if path[0] == "tool_calls" else ()):
        return ""
    for step in path:
        value = value[step] if isinstance(step, int) else value.get(step, {})
    return value if isinstance(value, str) else ""


def with_text(one: Members, path: tuple[str | int, ...], text: str) -> Members:
    copy: Members = json.loads(json.dumps(one))
    *steps, last = path
    holder = copy["choices"][0]["delta"]
    for step in steps:
        holder = holder[step]
    holder[last] = text
    return copy


@given(st.lists(st.tuples(st.integers(0, 2), texts), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_choices_may_be_interleaved_in_any_way(said: list[tuple[int, str]], random: Any) -> None:
    """S3: and the order of each one's pieces is what counts."""
    finish = [chunk(piece(index, "stop")) for index in range(3)]
    queues = [[chunk(piece(index, content=text)) for at, text in said if at == index] for index in range(3)]
    in_order = [*queues[0], *queues[1], *queues[2], *finish, chunk(usage=USAGE)]
    mixed = []
    while any(queues):
        mixed.append(random.choice([queue for queue in queues if queue]).pop(0))

    assert as_json([*mixed, *finish, chunk(usage=USAGE)]) == as_json(in_order)


RECORDED = {
    "openai with usage": [chunk(piece(content="a"), usage=None), chunk(piece(finish="stop"), usage=None), chunk(usage=USAGE)],
    "openai without": [chunk(piece(content="a")), chunk(piece(finish="stop"))],
    "cerebras": [chunk(piece(content="a")), chunk(piece(finish="stop"), usage=USAGE, time_info=TIMES)],
    "padded": [chunk(piece(content="a"), obfuscation="x"), chunk(piece(finish="stop")), chunk(usage=USAGE, obfuscation="y")],
    "moderated": [chunk(piece(content="a", finish="stop")), chunk(usage=USAGE), chunk(moderation={"x": 1}, usage=None)],
}


@pytest.mark.parametrize(
    ("recorded", "asked"),
    [pair for pair in product(KINDS, KINDS) if pair[0] != pair[1]],
    ids=lambda kind: kind.options.decode(),
)
@pytest.mark.parametrize("name", RECORDED)
def test_every_caller_gets_the_usage_it_asked_for(name: str, recorded: Kind, asked: Kind) -> None:
    """S5: exactly one where it was asked for, no chunk of its own where it was not; and the same answer."""
    chunks = RECORDED[name]
    options = json.loads(asked.options)
    derived = derive(record(body_of(chunks), recorded), asked)

    if options.get("include_usage") and name == "openai without":
        assert derived == NO_USAGE
        return
    assert isinstance(derived, StoredResponse)
    sent = chunks_in(derived)
    own = [one for one in sent if one["choices"] == [] and one.get("usage") is not None]
    assert len(own) == (1 if options.get("include_usage") and name != "cerebras" else 0)
    assert options.get("include_usage") or all(one.get("usage", USAGE) == USAGE for one in sent)
    assert options.get("include_obfuscation", True) or not any("obfuscation" in one for one in sent)
    assert [one["choices"] for one in sent if one["choices"]] == [one["choices"] for one in chunks if one["choices"]]
    assert all(ours["moderation"] == {"x": 1} for ours in sent if "moderation" in ours)
    assert any("moderation" in ours for ours in sent) is (name == "moderated")


kinds = st.sampled_from([JSON, STREAM, WITH_USAGE, *KINDS, Kind(False, b"{ }"), Kind(True, b'{"x":1}')])
shapes = st.recursive(
    st.none() | st.booleans() | numbers | st.sampled_from(["", "a", "stop", "chat.completion", "chat.completion.chunk"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "choices index delta message content role tool_calls function arguments custom input id name type logprobs"
                " finish_reason usage object obfuscation time_info function_call moderation x".split()
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@st.composite
def almost_chunks(draw: st.DrawFn) -> Any:
    """Chunks and completions that are right but for one place, or for many."""
    what = draw(st.sampled_from(["delta", "message"]))
    choice = {"index": draw(st.integers(0, 1) | shapes), what: draw(shapes), "finish_reason": "stop"} | draw(extra)
    return {"choices": [choice, *draw(st.lists(shapes, max_size=1))], "usage": {"a": 1}} | draw(extra)


extra = st.dictionaries(st.sampled_from(["logprobs", "usage", "object", "time_info", "x", "delta"]), shapes, max_size=2)


@given(st.lists(shapes | almost_chunks(), max_size=4), kinds, kinds)
def test_nothing_that_is_stored_as_a_stream_makes_it_raise(chunks: list[Any], recorded: Kind, asked: Kind) -> None:
    """S4, S5."""
    derived = derive(record(body_of(chunks), recorded), asked)

    assert derived in (NO_USAGE, OTHER_KIND) or isinstance(derived, StoredResponse) and derived.kind == asked


@given(shapes | almost_chunks(), kinds)
def test_nothing_that_is_stored_as_json_makes_it_raise(value: Any, asked: Kind) -> None:
    """S4; and what it makes is the stream of that."""
    derived = derive(record(json.dumps(value).encode(), JSON), asked)

    assert derived in (NO_USAGE, OTHER_KIND) or isinstance(derived, StoredResponse) and derived.kind == asked


@given(st.binary(max_size=200), st.binary(max_size=20), kinds, kinds)
def test_no_bytes_make_it_raise(body: bytes, options: bytes, recorded: Kind, asked: Kind) -> None:
    """S4, S5."""
    framed = b"data: " + body + b"\n\ndata: [DONE]\n\n"

    for one in (body, framed):
        for kind in (recorded, Kind(True, options)):
            derived = derive(record(one, kind), asked)
            assert derived in (NO_USAGE, OTHER_KIND) or isinstance(derived, StoredResponse) and derived.kind == asked


@given(completions(), st.integers(0), st.binary(min_size=1, max_size=3))
def test_no_damage_makes_it_raise(completion: Members, at: int, damage: bytes) -> None:
    """S4, S5."""
    for body, kind in ((json.dumps(completion).encode(), JSON), (body_of(as_stream(completion, WITH_USAGE)), WITH_USAGE)):
        place = at % len(body)
        damaged = body[:place] + damage + body[place + len(damage) :]
        for asked in (JSON, STREAM, WITH_USAGE):
            derived = derive(record(damaged, kind), asked)
            assert derived in (NO_USAGE, OTHER_KIND) or isinstance(derived, StoredResponse)


@given(completions(), st.data())
def test_how_the_events_are_written_does_not_matter(completion: Members, data: st.DataObject) -> None:
    """S8: line ends, comments and JSON over several lines of data."""
    body = body_of(as_stream(completion, WITH_USAGE))
    line_end = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    other = (b": comment\n" + body.replace(b', "created"', b',\ndata: "created"', data.draw(st.integers(0, 5)))).replace(
        b"\n", line_end
    )

    plain, changed = derive(record(body, WITH_USAGE), JSON), derive(record(other, WITH_USAGE), JSON)

    assert isinstance(plain, StoredResponse)
    assert changed == plain
