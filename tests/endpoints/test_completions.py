"""Legacy completions: what is asked, when an answer is whole, and how one kind is made of the other."""

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.endpoints import CHAT, endpoint_of
from cachemw.endpoints.base import Bypass, Demands, Saying
from cachemw.endpoints.completions import COMPLETIONS
from cachemw.endpoints.completions.judge import completion_beginning
from cachemw.limits import Work
from cachemw.messages import Kind, StoredResponse
from cachemw.wire.sse import encode
from tests.cassettes import cassette
from tests.endpoints.calling import STORE_WHEN, called, fault_of, read, stored_answer

JSON, STREAM = Kind(stream=False), Kind(stream=True)
WITH_USAGE = Kind(stream=True, options=b'{"include_usage":true}')
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
LOGPROBS: dict[str, Any] = {
    "tokens": ["a", "b"],
    "token_logprobs": [-0.5, -1.0],
    "top_logprobs": [{"a": -0.5}, None],
    "text_offset": [0, 1],
}


def choice(index: int = 0, text: str = "hello", finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish} | more


def whole(*choices: dict[str, Any], **more: Any) -> bytes:
    members = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": list(choices)}
    return json.dumps(members | {"usage": USAGE} | more).encode()


def stream(*chunks: list[dict[str, Any]], done: bytes = b"data: [DONE]\n\n", **more: Any) -> bytes:
    frame = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m"} | more
    return b"".join(encode(json.dumps(frame | {"choices": choices}).encode()) for choices in chunks) + done


@pytest.mark.parametrize(
    ("path", "chat_paths", "name"),
    [
        ("/v1/completions", CHAT.paths, "completions"),
        ("/v1/chat/completions", CHAT.paths, "chat"),
        ("/my/completions", ("/my/completions",), "chat"),
        ("/v1/completions", ("/my/completions",), "completions"),
        ("/v1/chat/completions", ("/ask",), None),
    ],
)
def test_a_path_of_the_operators_is_chat_and_chat_is_never_a_legacy_completion(
    path: str, chat_paths: tuple[str, ...], name: str | None
) -> None:
    found = endpoint_of("POST", path, chat_paths)

    assert (None if found is None else found.name) == name


@pytest.mark.parametrize(
    ("members", "due"),
    [
        ({"prompt": "a"}, 1),
        ({"prompt": ""}, 1),
        ({"prompt": ["a", "b"]}, 2),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": "a", "n": 3}, 3),
        ({"prompt": ["a", "b"], "n": 3, "best_of": 9}, 6),
        ({"prompt": ["a", "b"], "n": None}, 2),
        ({"prompt": ["a", "b"], "n": 2.0}, 4),
    ],
    ids=str,
)
def test_answers_are_due_to_each_prompt(members: dict[str, Any], due: int) -> None:
    assert called(COMPLETIONS, **members).choices == due


@pytest.mark.parametrize("prompt", [None, [], 3, {}, ["a", 1], [[1], "a"], [[]], [[True]], [1.5]], ids=str)
def test_what_is_no_prompt_is_not_cached(prompt: Any) -> None:
    assert read(COMPLETIONS, json.dumps({"prompt": prompt}).encode()) == Bypass("no-prompt")
    assert read(COMPLETIONS, b"{}") == Bypass("no-prompt")


@pytest.mark.parametrize(
    ("members", "detail"),
    [({"stream": 1}, "ambiguous-stream"), ({"stream_options": []}, "ambiguous-stream")],
    ids=str,
)
def test_what_may_be_read_in_two_ways_is_not_cached(members: dict[str, Any], detail: str) -> None:
    assert read(COMPLETIONS, json.dumps({"prompt": "a"} | members).encode()) == Bypass(detail)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({}, {"stream": True}, True),
        ({}, {"n": None, "logprobs": None, "max_tokens": None}, True),
        ({"temperature": 1}, {"temperature": 1.0}, True),
        ({"logit_bias": {"1": 2, "0": 3}}, {"logit_bias": {"0": 3, "1": 2}}, True),
        ({}, {"prompt": ["a"]}, False),
        ({}, {"echo": True}, False),
        ({}, {"best_of": 2}, False),
        ({}, {"unknown": 1}, False),
        ({}, {"max_tokens": 16}, False),
    ],
    ids=str,
)
def test_requests_are_the_same_to_their_upstream_or_not(one: dict[str, Any], other: dict[str, Any], is_same: bool) -> None:
    forms = [called(COMPLETIONS, **({"prompt": "a", "model": "m"} | members)).canonical for members in (one, other)]

    assert (forms[0] == forms[1]) is is_same


def test_the_user_is_bookkeeping() -> None:
    body = b'{"prompt":"a","user":"u"}'
    known = read(COMPLETIONS, body, frozenset({"user"}))

    assert not isinstance(known, Bypass)
    assert b"user" not in known.canonical
    assert b"user" in called(COMPLETIONS, prompt="a", user="u").canonical


@pytest.mark.parametrize(
    ("asked", "body", "fault"),
    [
        ({}, whole(choice()), None),
        ({}, whole(choice(finish="length")), None),
        ({"n": 2}, whole(choice(0), choice(1)), None),
        ({"n": 2}, whole(choice(0)), "missing-choice"),
        ({}, whole(choice(0), choice(1)), "missing-choice"),
        ({"n": 2}, whole(choice(0), choice(0)), "missing-choice"),
        ({}, whole(choice(1)), "missing-choice"),
        ({}, whole(), "missing-choice"),
        ({}, whole(choice(finish=None)), "unfinished-choice"),
        ({}, whole(choice(finish="content_filter")), "finish-content_filter"),
        ({}, whole(choice(finish="é")), "finish-other"),
        ({}, whole(choice(text="")), None),  # it took tokens
        ({}, whole(choice(text=""), usage=None), "empty-choice"),
        ({}, whole(choice(), object="chat.completion"), "unreadable-answer"),
        ({}, b'{"error":{"message":"no"}}', "error-answer"),
        ({}, b'{"message":"no","type":"x","code":1}', "error-answer"),
        ({}, whole(choice(error={"code": 1})), "error-answer"),
        ({}, b"[]", "unreadable-answer"),
        ({}, b"", "unreadable-answer"),
        ({}, b"[" * 100_000, "unreadable-answer"),
        ({}, b'{"a":' * 100_000, "unreadable-answer"),
    ],
)
def test_a_whole_answer_is_judged(asked: dict[str, Any], body: bytes, fault: str | None) -> None:
    assert fault_of(called(COMPLETIONS, prompt="a", **asked), body) == fault


def test_length_is_kept_only_where_the_operator_keeps_it() -> None:
    assert fault_of(called(COMPLETIONS, prompt="a"), whole(choice(finish="length")), frozenset({"stop"})) == "finish-length"


@pytest.mark.parametrize(
    ("asked", "body", "fault"),
    [
        ({}, stream([choice(finish=None)], [choice(text="!")]), None),
        ({}, stream([choice(finish=None)], [choice(text="")]), None),
        ({"n": 2}, stream([choice(1), choice(0)]), None),
        ({"n": 2}, stream([choice(1)]), "missing-choice"),
        ({}, stream([choice(finish=None)]), "unfinished-choice"),
        ({}, stream([choice()], done=b""), "incomplete"),
        ({}, stream([choice()]) + stream([choice()]), "event-after-done"),
        ({}, stream([choice()]) + b"data: [DONE]\n\n", None),
        ({}, b"event: error\ndata: {}\n\n" + stream([choice()]), "error-event"),
        ({}, encode(b'{"error":"x"}') + stream([choice()]), "error-event"),
        ({}, encode(b"x") + stream([choice()]), "unreadable-event"),
        ({"stream_options": {"include_usage": True}}, stream([choice()]), "no-usage"),
        ({"stream_options": {"include_usage": True}}, stream([choice()], [], usage=USAGE), None),
    ],
)
def test_a_stream_is_judged(asked: dict[str, Any], body: bytes, fault: str | None) -> None:
    assert fault_of(called(COMPLETIONS, prompt="a", stream=True, **asked), body) == fault


def test_a_stream_without_its_done_is_kept_where_that_is_allowed() -> None:
    assert fault_of(called(COMPLETIONS, prompt="a", stream=True), stream([choice()], done=b""), done=False) is None


ANSWERS = {
    "one": whole(choice()),
    "long": whole(choice(text="déjà vu " * 500, finish="length")),
    "two": whole(choice(0, "a"), choice(1, "b")),
    "empty": whole(choice(0, ""), choice(1, "b")),
    "with log probabilities": whole(choice(text="ab", logprobs=LOGPROBS)),
    "with more": whole(choice(stop_reason=None, prompt_logprobs=None), system_fingerprint="f", extra={"a": [1]}),
}


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS)
def test_a_stream_made_of_an_answer_is_that_answer_again(body: bytes) -> None:
    """derive∘derive is the identity, but for nulls."""
    made = derived(body, JSON, WITH_USAGE)
    again = derived(made.body, WITH_USAGE, JSON)

    assert _without_nulls(json.loads(again.body)) == _without_nulls(json.loads(body))
    due = len(json.loads(body)["choices"])
    assert (
        fault_of(called(COMPLETIONS, prompt="a", n=due, stream=True, stream_options={"include_usage": True}), made.body) is None
    )


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS)
def test_the_sdk_reads_from_a_made_stream_what_it_reads_from_the_answer(body: bytes) -> None:
    told: dict[int, dict[str, Any]] = {}

    for chunk in sdk_stream(derived(body, JSON, STREAM)):
        for piece in chunk.choices:
            known = told.setdefault(piece.index, {"text": "", "finish_reason": None})
            known["text"] += piece.text
            known["finish_reason"] = piece.finish_reason or known["finish_reason"]

    answer = sdk_answer(body)
    assert told == {one.index: {"text": one.text, "finish_reason": one.finish_reason} for one in answer.choices}


def test_log_probabilities_that_come_in_pieces_follow_one_another() -> None:
    halves = [{name: value[at : at + 1] for name, value in LOGPROBS.items()} for at in range(2)]
    body = stream([choice(text="a", finish=None, logprobs=halves[0])], [choice(text="b", logprobs=halves[1])], [], usage=USAGE)

    made = json.loads(derived(body, STREAM, JSON).body)

    assert made["choices"] == [choice(text="ab", logprobs=LOGPROBS)]
    assert made["usage"] == USAGE
    assert sdk_answer(json.dumps(made).encode()).choices[0].logprobs.model_dump() == LOGPROBS


@pytest.mark.parametrize(
    ("body", "before", "after", "detail"),
    [
        (stream([choice()]), STREAM, JSON, "no-usage"),
        (whole(choice(), usage=None), JSON, WITH_USAGE, "no-usage"),
        (whole(choice(), object="x"), JSON, STREAM, "other-kind"),
        (whole(choice(1)), JSON, STREAM, "other-kind"),
        (whole(choice(logprobs=[1])), JSON, STREAM, "other-kind"),
        (whole(choice() | {"text": 3}), JSON, STREAM, "other-kind"),
        (whole(choice() | {"text": None}), JSON, STREAM, "other-kind"),
        (b"[]", JSON, STREAM, "other-kind"),
        (stream([choice(more=["a"], finish=None)], [choice(more=["a"])], [], usage=USAGE), STREAM, JSON, "other-kind"),
        (whole(choice()), JSON, Kind(stream=True, options=b'{"x":1}'), "other-kind"),
    ],
)
def test_what_would_be_lost_is_not_derived(body: bytes, before: Kind, after: Kind, detail: str) -> None:
    assert COMPLETIONS.derive(stored_answer(body, before), after, Work()) == detail


def test_a_recorded_completion_is_kept_and_read_by_the_sdk_in_both_kinds() -> None:
    """It ends by the 16 tokens that nobody asked for."""
    body = cassette("openai_completion.json")

    assert fault_of(called(COMPLETIONS, model="davinci-002", prompt="Tell me a joke about opentelemetry"), body) is None
    text = "".join(chunk.choices[0].text for chunk in sdk_stream(derived(body, JSON, STREAM)) if chunk.choices)
    assert text == sdk_answer(body).choices[0].text


def test_a_recorded_stream_is_kept_and_no_prefix_of_it() -> None:
    body = cassette("openai_completion_stream.sse")
    call = called(COMPLETIONS, model="davinci-002", prompt="Tell me a joke about opentelemetry", stream=True)

    assert fault_of(call, body) is None
    end = body.index(b"data: [DONE]") + len(b"data: [DONE]")
    assert all(fault_of(call, body[:at]) is not None for at in range(end))


@pytest.mark.parametrize("asked", [{}, {"n": 2}], ids=str)
def test_every_strict_prefix_of_an_answer_is_refused(asked: dict[str, Any]) -> None:
    body = whole(*[choice(index) for index in range(asked.get("n", 1))])

    assert all(fault_of(called(COMPLETIONS, prompt="a", **asked), body[:at]) is not None for at in range(len(body)))


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("object", "choices", "usage", "model", "index", "text", "finish_reason", "logprobs", "error", "prompt", "stream")
LIKE_ONE = st.dictionaries(st.sampled_from(MEMBERS), ANY | st.lists(st.dictionaries(st.sampled_from(MEMBERS), ANY), max_size=2))


@given(LIKE_ONE | ANY)
def test_whatever_comes_is_read_judged_and_derived_and_nothing_is_raised(value: Any) -> None:
    body = json.dumps(value).encode()

    read(COMPLETIONS, body)
    fault_of(called(COMPLETIONS, prompt="a"), body)
    fault_of(called(COMPLETIONS, prompt="a", stream=True), encode(body) + b"data: [DONE]\n\n")
    COMPLETIONS.begins(body, is_whole=True)
    COMPLETIONS.derive(stored_answer(body, JSON), STREAM, Work())
    COMPLETIONS.derive(stored_answer(encode(body) + b"data: [DONE]\n\n", STREAM), JSON, Work())


def derived(body: bytes, before: Kind, after: Kind) -> StoredResponse:
    made = COMPLETIONS.derive(stored_answer(body, before), after, Work())
    assert isinstance(made, StoredResponse)
    return made


def sdk(body: bytes, media_type: str) -> openai.OpenAI:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=body, headers={"content-type": media_type}))
    return openai.OpenAI(api_key="sk", base_url="https://api.example/v1", http_client=httpx2.Client(transport=transport))


def sdk_answer(body: bytes) -> Any:
    with sdk(body, "application/json") as client:
        return client.completions.create(model="m", prompt="a")


def sdk_stream(stored: StoredResponse) -> list[Any]:
    with sdk(stored.body, "text/event-stream") as client:
        return list(client.completions.create(model="m", prompt="a", stream=True))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return list(map(_without_nulls, value)) if isinstance(value, list) else value


def test_what_is_too_much_to_be_read_is_not_kept_and_may_be_shown() -> None:
    """P3."""
    body, work = whole(*[choice(index) for index in range(20)]), Work(objects=10)
    judge = COMPLETIONS.judge(called(COMPLETIONS, prompt="a", n=20), Demands(STORE_WHEN), work)

    judge.read(body)

    assert judge.fault() == "too-complex"
    assert completion_beginning(body, is_whole=True, work=work).saying is Saying.SOMETHING


@pytest.mark.parametrize(
    ("body", "saying"),
    [
        (whole(choice()), Saying.SOMETHING),
        (whole(choice(text="", finish=None)), Saying.NOTHING),
        (whole(choice(error={})), Saying.ERROR),
        (b'{"error":"x"}', Saying.ERROR),
        (b"x", Saying.UNREADABLE),
    ],
)
def test_it_is_known_how_an_answer_begins(body: bytes, saying: Saying) -> None:
    assert COMPLETIONS.begins(body, is_whole=True).saying is saying


@pytest.mark.parametrize(
    "body",
    [
        stream([choice()], object="x"),
        stream([choice(finish=None)], [], usage=USAGE),
        stream([choice(logprobs={"tokens": 3})], [], usage=USAGE),
        stream([choice(logprobs={"more": []})], [], usage=USAGE),
        stream([choice() | {"text": 3}], [], usage=USAGE),
        stream([], usage=USAGE),
    ],
)
def test_a_stream_that_adds_up_to_nothing_known_is_not_had_as_json(body: bytes) -> None:
    assert COMPLETIONS.derive(stored_answer(body, STREAM), JSON, Work()) == "other-kind"


def test_an_answer_in_too_many_pieces_is_not_had_as_a_stream() -> None:
    """P3."""
    body = whole(*[choice(index) for index in range(20)])

    assert COMPLETIONS.derive(stored_answer(body, JSON), STREAM, Work(pieces=10)) == "other-kind"
