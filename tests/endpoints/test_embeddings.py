"""Embeddings: what is keyed, when an answer is whole, and how it is divided into parts and put together again."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.endpoints.base import ApiCall, Bypass, Saying
from cachemw.endpoints.embeddings import EMBEDDINGS
from cachemw.endpoints.embeddings.parts import Divided, assemble, bodies_of, divide, usage_together
from cachemw.endpoints.embeddings.request import INPUTS_LIMIT
from tests.cassettes import cassette
from tests.endpoints.calling import APP, called, fault_of, read

USAGE = {"prompt_tokens": 3, "total_tokens": 3}


def vectors(*entries: tuple[Any, Any], **more: Any) -> bytes:
    data = [{"object": "embedding", "index": index, "embedding": embedding} for index, embedding in entries]
    return json.dumps({"object": "list", "data": data, "model": "m", "usage": USAGE} | more).encode()


@pytest.mark.parametrize(
    ("given_input", "due", "divides"),
    [
        ("a", 1, True),
        (["a"], 1, True),
        (["a", "b", "a"], 3, True),
        ([1, 2, 3], 1, True),
        ([[1, 2], [3]], 2, True),
        (["a", [1]], 2, False),
        (["a", 1], 2, False),
        ([[]], 1, False),
        ([[1.5]], 1, False),
        ([{"text": "a"}], 1, False),
        (["a"] * INPUTS_LIMIT, INPUTS_LIMIT, True),
        (["a"] * (INPUTS_LIMIT + 1), INPUTS_LIMIT + 1, False),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_vector_is_due_to_each_input(given_input: Any, due: int, divides: bool) -> None:
    call = called(EMBEDDINGS, model="m", input=given_input)

    assert (call.choices, call.divides) == (due, divides)


@pytest.mark.parametrize("body", [b"{}", b'{"input":null}', b'{"input":[]}', b'{"input":3}', b'{"input":{}}', b"[]"])
def test_what_has_no_input_is_not_cached(body: bytes) -> None:
    assert read(EMBEDDINGS, body) == Bypass("no-input")


@pytest.mark.parametrize(
    "members",
    [
        {"encoding_format": "float"},
        {"encoding_format": "base64"},
        {"encoding_format": None},
        {"dimensions": 3},
        {"input": ["a"]},
        {"input_type": "query"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_what_may_change_the_answer_is_in_the_key(members: dict[str, Any]) -> None:
    """T27: base64 and float are never mixed, and no default is taken for said."""
    asked = {"model": "m", "input": "a"}

    assert called(EMBEDDINGS, **asked).canonical != called(EMBEDDINGS, **(asked | members)).canonical


def test_the_user_is_bookkeeping_where_the_upstream_only_counts_by_it() -> None:
    body = b'{"model":"m","input":"a","user":"u"}'
    over_http, inside = read(EMBEDDINGS, body, frozenset({"user"})), read(EMBEDDINGS, body, target=APP)

    assert isinstance(over_http, ApiCall)
    assert isinstance(inside, ApiCall)
    assert (b"user" in over_http.canonical, b"user" in inside.canonical) == (False, True)
    assert over_http.divides


def test_a_request_with_a_member_that_nobody_knows_does_not_divide() -> None:
    """T27."""
    assert not called(EMBEDDINGS, input=["a", "b"], late_chunking=True).divides


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (vectors((0, [0.5]), (1, [1.5])), None),
        (vectors((1, "AACA"), (0, "AAAA")), None),
        (vectors((0, [0.5])), "missing-choice"),
        (vectors((0, [0.5]), (1, [1.5]), (1, [1.5])), "missing-choice"),
        (vectors((0, [0.5]), (0, [1.5])), "missing-choice"),
        (vectors((1, [0.5]), (2, [1.5])), "missing-choice"),
        (vectors((None, [0.5]), (1, [1.5])), "missing-choice"),
        (vectors((0, []), (1, [1.5])), "empty-choice"),
        (vectors((0, ""), (1, "AA")), "empty-choice"),
        (vectors((0, None), (1, [1.5])), "empty-choice"),
        (vectors((0, [0.5]), (1, [1.5]), usage=None), "no-usage"),
        (vectors((0, [0.5]), (1, [1.5]), object="x"), "unreadable-answer"),
        (vectors((0, [0.5]), (1, [1.5]), data=None), "unreadable-answer"),
        (b'{"error":{"message":"no"}}', "error-answer"),
        (b"[" * 100_000, "unreadable-answer"),
        (b"", "unreadable-answer"),
    ],
)
def test_an_answer_is_whole_or_not_kept(body: bytes, fault: str | None) -> None:
    assert fault_of(called(EMBEDDINGS, model="m", input=["a", "b"]), body) == fault


RECORDED: dict[str, dict[str, Any]] = {
    "openai_embeddings_base64.json": {"input": "a", "encoding_format": "base64"},
    "openai_embeddings_batch.json": {"input": ["Ruby", "Python", "JavaScript"], "dimensions": 768},
    "openai_embeddings_float_dimensions.json": {"input": "a", "dimensions": 512},
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_answers_are_kept_and_no_prefix_of_them(name: str) -> None:
    body, call = cassette(name).rstrip(), called(EMBEDDINGS, model="m", **RECORDED[name])

    assert fault_of(call, body) is None
    assert all(fault_of(call, body[:at]) is not None for at in [*range(0, len(body), 97), len(body) - 1])


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_answers_are_the_same_after_they_were_divided(name: str) -> None:
    body = cassette(name)

    divided = divide(body)

    assert divided is not None
    assert all(vector in body for vector in divided.vectors)
    assert json.loads(assemble(divided)) == json.loads(body)


@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        ("a", ["a"], True),
        ([1, 2], [[1, 2]], True),
        ([1, 2], ["1", "2"], False),
        ([1, 2], [[1], [2]], False),
        (["1", "2"], [[1], [2]], False),
        ("[1,2]", [1, 2], False),
    ],
    ids=str,
)
def test_requests_share_their_parts_or_do_not(one: Any, other: Any, is_shared: bool) -> None:
    parts = [bodies_of(called(EMBEDDINGS, model="m", dimensions=3, user="u", input=each).canonical) for each in (one, other)]

    assert (parts[0] == parts[1]) is is_shared
    assert is_shared or not set(parts[0]) & set(parts[1])


INPUTS = st.text(max_size=5) | st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=4)
OTHERS = st.fixed_dictionaries({"model": st.text(max_size=3)}, optional={"dimensions": st.integers(), "task": st.text()})


@given(st.lists(st.text(max_size=5), min_size=1) | st.lists(st.lists(st.integers(), min_size=1), min_size=1), OTHERS)
def test_a_part_is_what_is_asked_for_its_input_alone(inputs: list[Any], others: dict[str, Any]) -> None:
    parts = bodies_of(called(EMBEDDINGS, input=inputs, **others).canonical)

    assert list(parts) == [called(EMBEDDINGS, input=one, **others).canonical for one in inputs]


@given(INPUTS, INPUTS, OTHERS)
def test_two_inputs_have_one_part_only_if_they_are_one(one: Any, other: Any, others: dict[str, Any]) -> None:
    [part], [second] = [bodies_of(called(EMBEDDINGS, input=each, **others).canonical) for each in (one, other)]

    assert (part == second) is (one == other and type(one) is type(other))


@pytest.mark.parametrize(
    "body",
    [
        vectors((0, [0.5]), id="e-1"),
        vectors((0, [0.5]), object="x"),
        vectors((0, [0.5]), model=None),
        json.dumps(
            {"object": "list", "data": [{"index": 0, "embedding": [1], "object": "x"}], "model": "m", "usage": {}}
        ).encode(),
        json.dumps(
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [1], "x": 1}],
                "model": "m",
                "usage": {},
            }
        ).encode(),
        b"x",
    ],
)
def test_an_answer_that_says_more_is_not_divided(body: bytes) -> None:
    """Nothing of it would be in an answer that is put together."""
    assert divide(body) is None


def test_an_answer_is_divided_in_the_order_of_its_own_indexes() -> None:
    """T27: litellm#41799."""
    divided = divide(vectors((2, [2]), (0, [0]), (1, [1])))

    assert divided == Divided((b"[0]", b"[1]", b"[2]"), "m", json.dumps(USAGE).encode())
    assert [entry["index"] for entry in json.loads(assemble(divided))["data"]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("usages", "together"),
    [
        ([(b'{"a": 1.5,"x":null}', 1)], b'{"a": 1.5,"x":null}'),
        ([(b'{"a":1}', 1), (b'{"a":2}', 3)], b'{"a":7}'),
        ([(b'{"a":1,"d":{"b":2}}', 2), (b'{"d":{"b":1},"a":1}', 1)], b'{"a":3,"d":{"b":5}}'),
        ([(b'{"a":1}', 1), (b'{"b":2}', 1)], None),
        ([(b'{"a":1}', 1), (b'{"a":{"b":1}}', 1)], None),
        ([(b'{"a":1.5}', 2)], None),
        ([(b'{"a":null}', 2)], None),
        ([(b'{"a":true}', 2)], None),
        ([(b'{"a":-1}', 2)], None),
        ([(b'{"a":9007199254740992}', 2)], None),
        ([(b'{"a":' * 100_000, 2)], None),
        ([(b"3", 1), (b"[]", 1)], None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_usage_is_added_up_exactly_or_not_at_all(usages: list[tuple[bytes, int]], together: bytes | None) -> None:
    """T27: it is never invented, and its details are never lost."""
    assert usage_together(usages) == together


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("object", "data", "usage", "model", "index", "embedding", "error", "input", "message")
LIKE_ONE = st.dictionaries(st.sampled_from(NAMES), ANY | st.lists(st.dictionaries(st.sampled_from(NAMES), ANY), max_size=2))


@given(LIKE_ONE | ANY)
def test_whatever_comes_is_read_judged_and_divided_and_nothing_is_raised(value: Any) -> None:
    body = json.dumps(value).encode()

    call = read(EMBEDDINGS, body)
    if isinstance(call, ApiCall) and call.divides:
        assert len(bodies_of(call.canonical)) == call.choices
    fault_of(called(EMBEDDINGS, input="a"), body)
    assert EMBEDDINGS.begins(body, is_whole=True).saying in Saying
    divide(body)
