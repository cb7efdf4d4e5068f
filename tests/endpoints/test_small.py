"""The rows of small endpoints: how many answers are due, and when one is whole."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.endpoints import endpoint_of
from cachemw.endpoints.base import Bypass, Demands, Endpoint, Saying
from cachemw.endpoints.documents import document_beginning
from cachemw.endpoints.errors import ANTHROPIC
from cachemw.endpoints.small import SMALL_ENDPOINTS
from cachemw.limits import Work
from cachemw.messages import Kind
from cachemw.wire.sse import Event
from tests.cassettes import cassette
from tests.endpoints.calling import called, fault_of, read, stored_answer

ROWS = {endpoint.name: endpoint for endpoint in SMALL_ENDPOINTS}
COUNT_TOKENS, MODERATIONS, RERANK = ROWS["count_tokens"], ROWS["moderations"], ROWS["rerank"]

MESSAGES = {"messages": [{"role": "user", "content": "hi"}]}
DOCUMENTS: dict[str, Any] = {"query": "q", "documents": ["a", "b", "c"]}


def ranks(*indexes: Any, name: str = "results") -> bytes:
    return json.dumps({name: [{"index": index, "relevance_score": 0.5} for index in indexes]}).encode()


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/v1/messages/count_tokens", COUNT_TOKENS),
        ("/v1/moderations", MODERATIONS),
        ("/v1/rerank", RERANK),
        ("/v2/rerank", RERANK),
        ("/v1/images/generations", None),
    ],
)
def test_a_small_endpoint_is_known_by_its_path(path: str, endpoint: Endpoint | None) -> None:
    assert endpoint_of("POST", path, ("/chat/completions",)) is endpoint


def test_who_counts_tokens_reads_errors_as_anthropic_says_them() -> None:
    assert COUNT_TOKENS.errors is ANTHROPIC


@pytest.mark.parametrize(
    ("endpoint", "members"),
    [
        (COUNT_TOKENS, {}),
        (COUNT_TOKENS, {"messages": "hi"}),
        (MODERATIONS, {}),
        (MODERATIONS, {"input": []}),
        (MODERATIONS, {"input": 3}),
        (RERANK, {"query": "q"}),
        (RERANK, {"documents": ["a"]}),
        (RERANK, {"query": "", "documents": ["a"]}),
        (RERANK, {"query": "q", "documents": []}),
    ],
    ids=str,
)
def test_a_request_that_lacks_what_it_must_have_is_not_cached(endpoint: Endpoint, members: dict[str, Any]) -> None:
    assert read(endpoint, json.dumps(members).encode()) == Bypass("no-input")
    assert read(endpoint, b"[]") == Bypass("no-input")


@pytest.mark.parametrize(
    ("endpoint", "members", "due"),
    [
        (COUNT_TOKENS, MESSAGES, 1),
        (MODERATIONS, {"input": "a"}, 1),
        (MODERATIONS, {"input": ["a", "b"]}, 2),
        (MODERATIONS, {"input": [{"type": "text", "text": "a"}, {"type": "image_url"}]}, 1),
        (RERANK, DOCUMENTS, 3),
        (RERANK, DOCUMENTS | {"top_n": 2}, 2),
        (RERANK, DOCUMENTS | {"top_k": 2}, 2),
        (RERANK, DOCUMENTS | {"top_n": None, "top_k": 1}, 1),
        (RERANK, DOCUMENTS | {"top_n": 9}, 3),
        (RERANK, DOCUMENTS | {"top_n": "2"}, 3),
    ],
    ids=str,
)
def test_so_many_answers_are_due(endpoint: Endpoint, members: dict[str, Any], due: int) -> None:
    assert called(endpoint, **members).choices == due


@pytest.mark.parametrize(
    ("endpoint", "members", "body", "fault"),
    [
        (COUNT_TOKENS, MESSAGES, b'{"input_tokens":14}', None),
        (COUNT_TOKENS, MESSAGES, b'{"input_tokens":14,"context_management":{}}', None),
        (COUNT_TOKENS, MESSAGES, b'{"input_tokens":-1}', "missing-choice"),
        (COUNT_TOKENS, MESSAGES, b'{"input_tokens":true}', "missing-choice"),
        (COUNT_TOKENS, MESSAGES, b'{"input_tokens":"14"}', "missing-choice"),
        (COUNT_TOKENS, MESSAGES, b"{}", "missing-choice"),
        (COUNT_TOKENS, MESSAGES, b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}', "error-answer"),
        (MODERATIONS, {"input": "a"}, b'{"id":"m","model":"m","results":[{"flagged":false}]}', None),
        (MODERATIONS, {"input": ["a", "b"]}, b'{"results":[{},{}]}', None),
        (MODERATIONS, {"input": ["a", "b"]}, b'{"results":[{}]}', "missing-choice"),
        (MODERATIONS, {"input": "a"}, b'{"results":[1]}', "missing-choice"),
        (MODERATIONS, {"input": "a"}, b'{"results":{}}', "missing-choice"),
        (RERANK, DOCUMENTS, ranks(2, 0, 1), None),
        (RERANK, DOCUMENTS, ranks(2, 0, 1, name="data"), None),
        (RERANK, DOCUMENTS | {"top_n": 2}, ranks(2, 0), None),
        (RERANK, DOCUMENTS, ranks(2, 0), "missing-choice"),
        (RERANK, DOCUMENTS, ranks(2, 0, 0), "missing-choice"),
        (RERANK, DOCUMENTS, ranks(2, 0, 3), "missing-choice"),
        (RERANK, DOCUMENTS, ranks(2, 0, -1), "missing-choice"),
        (RERANK, DOCUMENTS, ranks(2, 0, True), "missing-choice"),
        (RERANK, DOCUMENTS, ranks(2, 0, []), "missing-choice"),
        (RERANK, DOCUMENTS, b'{"message":"invalid api token"}', "error-answer"),
        (RERANK, DOCUMENTS, b'{"error":"x","results":[]}', "error-answer"),
        (RERANK, DOCUMENTS, b"", "unreadable-answer"),
        (RERANK, DOCUMENTS, b"[" * 100_000, "unreadable-answer"),
    ],
)
def test_an_answer_is_whole_or_not_kept(endpoint: Endpoint, members: dict[str, Any], body: bytes, fault: str | None) -> None:
    assert fault_of(called(endpoint, **members), body) == fault


def test_whom_anthropic_counts_by_is_bookkeeping() -> None:
    body = json.dumps(MESSAGES | {"metadata": {"user_id": "u"}}).encode()
    known = read(COUNT_TOKENS, body, frozenset({"metadata"}))

    assert not isinstance(known, Bypass)
    assert known.canonical == called(COUNT_TOKENS, **MESSAGES).canonical


@pytest.mark.parametrize("endpoint", SMALL_ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_there_is_one_kind_of_answer(endpoint: Endpoint) -> None:
    stored = stored_answer(b"{}", Kind(stream=False))

    assert endpoint.ends is None
    assert endpoint.derive(stored, Kind(stream=False), Work()) is stored
    assert endpoint.derive(stored, Kind(stream=True), Work()) == "other-kind"


def test_an_answer_begins_with_all_that_it_says() -> None:
    assert RERANK.begins(ranks(0), is_whole=True).saying is Saying.SOMETHING
    assert RERANK.begins(b'{"error":"x"}', is_whole=True).saying is Saying.ERROR
    assert RERANK.begins(b"x", is_whole=True).saying is Saying.UNREADABLE


def test_recorded_answers_are_kept_and_no_prefix_of_them() -> None:
    ruby = ["Ruby is a programming language", "Paris is in France", "Rails is a Ruby framework"]
    rerank = called(RERANK, model="rerank-v3.5", query="ruby", documents=ruby, top_n=2)
    recorded = {"cohere_rerank.json": rerank, "anthropic_count_tokens.json": called(COUNT_TOKENS, **MESSAGES)}

    for name, call in recorded.items():
        body = cassette(name).rstrip()
        assert fault_of(call, body) is None
        assert all(fault_of(call, body[:at]) is not None for at in range(len(body)))


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("messages", "input", "query", "documents", "top_n", "top_k", "results", "data", "error", "message", "input_tokens")
LIKE_ONE = st.dictionaries(st.sampled_from(NAMES), ANY | st.lists(st.dictionaries(st.sampled_from(NAMES), ANY), max_size=2))


@given(LIKE_ONE | ANY, st.sampled_from(SMALL_ENDPOINTS))
def test_whatever_comes_is_read_and_judged_and_nothing_is_raised(value: Any, endpoint: Endpoint) -> None:
    body = json.dumps(value).encode()

    read(endpoint, body)
    for call in (called(COUNT_TOKENS, **MESSAGES), called(MODERATIONS, input="a"), called(RERANK, **DOCUMENTS)):
        fault_of(call, body)
    endpoint.begins(body, is_whole=True)


@given(st.dictionaries(st.sampled_from(["model", "input", "x", "y"]), ANY))
def test_an_unknown_member_is_in_the_key(members: dict[str, Any]) -> None:
    one = read(MODERATIONS, json.dumps(members | {"input": "a"}).encode())
    other = read(MODERATIONS, json.dumps(members | {"input": "a", "z": 1}).encode())

    assert isinstance(one, Bypass) or isinstance(other, Bypass) or one.canonical != other.canonical


def test_what_is_too_much_to_be_read_is_not_kept_and_may_be_shown() -> None:
    """P3."""
    body, work = b'{"results":[' + b"{}," * 20 + b"{}]}", Work(objects=10)
    judge = MODERATIONS.judge(called(MODERATIONS, input="a"), Demands(frozenset()), work)

    judge.read(body)

    assert judge.fault() == "too-complex"
    assert document_beginning(("results",), body, is_whole=True, work=work).saying is Saying.SOMETHING


def test_a_value_that_is_too_much_work_is_not_kept() -> None:
    judge = MODERATIONS.judge(called(MODERATIONS, input="a"), Demands(frozenset()), Work(document=100))

    judge.read(b'{"results":[{"x":[1,2,3,4,5,6,7,8,9]}]}')

    assert judge.fault() == "too-complex"


@pytest.mark.parametrize("model", [None, 3, "", '"', "m" * 300], ids=str)
def test_what_names_no_model_is_none(model: object) -> None:
    judge = MODERATIONS.judge(called(MODERATIONS, input="a"), Demands(frozenset()), Work())

    judge.read(json.dumps({"results": [{}], "model": model}).encode())

    assert judge.model == (model if model == '"' else None)


def test_a_model_that_can_be_read_in_no_way_is_none() -> None:
    judge = MODERATIONS.judge(called(MODERATIONS, input="a"), Demands(frozenset()), Work())

    judge.read(b'{"results":[{}],"model":"\xff"}')

    assert (judge.model, judge.fault()) == (None, None)


def test_an_event_is_no_answer() -> None:
    judge = MODERATIONS.judge(called(MODERATIONS, input="a"), Demands(frozenset()), Work())
    assert judge.fault() == "incomplete"

    judge.see(Event(b"", b"{}", 0, 2))
    judge.end()

    assert judge.fault() == "unreadable-answer"
