"""What is a request for a response, what of it counts, and what is not ours to cache."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw import ConfigurationError, Policy
from cachemw.endpoints import RESPONSES, endpoint_of
from cachemw.endpoints.base import ApiCall, Bypass, Endpoint, Place
from cachemw.endpoints.responses.request import FIELDS, KEPT_UPSTREAM
from cachemw.limits import Work
from cachemw.messages import HttpRecipient, HttpTarget, Kind, RouteTarget, Target, Unread
from tests.endpoints.responding import APP, TYPED, UPSTREAM, asked, call_of, read, reason_of

K, T, E = Place.KEY, Place.TRANSPORT, Place.ECHOED

# Every documented field: where it counts, and a value that can be cached (None: there is none).
DOCUMENTED: dict[str, tuple[Place, Any]] = {
    "model": (K, "other"),
    "input": (K, []),
    "instructions": (K, "Be brief."),
    "tools": (K, []),
    "tool_choice": (K, "auto"),
    "parallel_tool_calls": (K, False),
    "text": (K, {"verbosity": "low"}),
    "reasoning": (K, {"effort": "low"}),
    "temperature": (K, 0.5),
    "top_p": (K, 0.5),
    "max_output_tokens": (K, 5),
    "max_tool_calls": (K, 5),
    "include": (K, ["reasoning.encrypted_content"]),
    "truncation": (K, "auto"),
    "top_logprobs": (K, 5),
    "prompt": (K, {"id": "pmpt_1", "version": "2"}),
    "moderation": (K, {"model": "omni"}),
    "image": (K, {"detail": "low"}),
    "access_programs": (K, {"cyber": "standard"}),
    "context_management": (K, None),
    "previous_response_id": (K, None),
    "conversation": (K, None),
    "background": (K, False),
    "background_options": (K, None),
    "metadata": (E, {"run": "5"}),
    "user": (E, "ada"),
    "safety_identifier": (E, "ada"),
    "service_tier": (E, "flex"),
    "store": (E, False),
    "prompt_cache_key": (E, "a"),
    "prompt_cache_options": (E, {"mode": "implicit"}),
    "prompt_cache_retention": (E, "24h"),
    "stream": (T, True),
    "stream_options": (T, {"include_obfuscation": False}),
}
KEYED = {name: value for name, (place, value) in DOCUMENTED.items() if place is not T and value is not None}
COUNTED = HttpTarget("https://api.example:443/v1/responses", HttpRecipient(bookkeeping=frozenset(FIELDS)))


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("POST", "/v1/responses", RESPONSES),
        ("POST", "/openai/v1/responses", RESPONSES),
        ("GET", "/v1/responses", None),
        ("POST", "/v1/responses/resp_1/cancel", None),
        ("POST", "/v1/responses/compact", None),
        ("POST", "/v1/responses/", None),
    ],
)
def test_a_request_for_a_response_is_known_by_its_path(method: str, path: str, found: Endpoint | None) -> None:
    assert endpoint_of(method, path, ("/chat/completions",)) is found


def test_the_field_table_is_the_documented_one() -> None:
    """K1."""
    assert dict(FIELDS) == {name: place for name, (place, _) in DOCUMENTED.items()}


@pytest.mark.parametrize("target", [UPSTREAM, APP, COUNTED], ids=["http", "app", "a provider that counts by all of it"])
@pytest.mark.parametrize("name", KEYED)
def test_every_field_changes_the_key_whoever_only_counts_by_it(name: str, target: Target) -> None:
    """K1: an answer repeats them, and one must not say who else asked."""
    assert call_of(asked(**{name: KEYED[name]}), target).canonical != call_of(asked(), target).canonical


@pytest.mark.parametrize("name", [name for name, (place, _) in DOCUMENTED.items() if place is E])
def test_what_is_echoed_is_in_the_key_also_where_the_operator_says_that_it_only_counts(name: str) -> None:
    """K1: for chat completions he may say so."""
    bookkeeping = frozenset(DOCUMENTED)

    forms = [call_of(asked(**members), bookkeeping=bookkeeping).canonical for members in ({}, {name: KEYED[name]})]

    assert forms[0] != forms[1]


def test_the_operator_may_still_name_what_chat_completions_only_count_by() -> None:
    assert Policy(bookkeeping=frozenset({"user", "metadata"})).bookkeeping == {"user", "metadata"}
    with pytest.raises(ConfigurationError, match="input"):
        Policy(bookkeeping=frozenset({"input"}))


@pytest.mark.parametrize("name", [name for name, (place, _) in DOCUMENTED.items() if place is T])
def test_how_it_travels_is_not_in_the_key(name: str) -> None:
    """K1."""
    assert call_of(asked(**{name: DOCUMENTED[name][1]})).canonical == call_of(asked()).canonical


NULL_IS_ABSENT = frozenset(
    "include instructions max_output_tokens max_tool_calls metadata parallel_tool_calls reasoning temperature top_logprobs"
    " top_p truncation".split()
)


@pytest.mark.parametrize("name", sorted(set(FIELDS) - {"stream", "stream_options", "input", "model"}))
def test_null_is_as_good_as_absent_where_the_answer_has_the_default_then(name: str) -> None:
    """K1: and nowhere else."""
    is_absent = call_of(asked(**{name: None})).canonical == call_of(asked()).canonical

    assert is_absent == (name in NULL_IS_ABSENT)


@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_an_integer_is_the_float_that_it_is(name: str) -> None:
    assert call_of(asked(**{name: 1})).canonical == call_of(asked(**{name: 1.0})).canonical


RICH: dict[str, Any] = {
    "model": "m",
    "input": [
        {"type": "message", "role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
                {"type": "invented", "x": {"b": 1, "a": 2}},
            ],
        },
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "a cat"}]},
        {"type": "invented", "x": {"b": 1, "a": 2}},
    ],
    "text": {
        "format": {
            "type": "json_schema",
            "name": "animal",
            "schema": {
                "type": "object",
                "properties": {"kind": {"type": "string", "title": "Kind"}, "age": {"type": "integer"}},
            },
        },
        "verbosity": "low",
    },
    "reasoning": {"effort": "low", "summary": "auto"},
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "look"}]},
    "tools": [{"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"b": {}, "a": {}}}}],
    "metadata": {"b": "1", "a": "2"},
    "invented": {"b": 1, "a": {"d": 1, "c": 2}},
}
ORDER_FREE = {"", "text", "text.format", "reasoning", "tool_choice"}
ORDER_FREE |= {f"input.{at}" for at in range(5)} | {f"input.1.content.{at}" for at in range(3)}


def objects_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the objects of a value are whose members have an order."""
    if isinstance(value, dict) and len(value) > 1:
        yield path
    if isinstance(value, (dict, list)):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from objects_in(inner, (*path, name))


@pytest.mark.parametrize("path", list(objects_in(RICH)), ids=lambda path: ".".join(map(str, path)) or "/")
def test_order_is_ignored_exactly_where_members_are_parsed_into_fields(path: tuple[Any, ...]) -> None:
    """K1: tools and schemas are rendered to the model in the order they came."""
    turned = json.loads(json.dumps(RICH))
    within = turned
    for name in path:
        within = within[name]
    members = list(within.items())
    within.clear()
    within |= dict(reversed(members))

    is_same = call_of(json.dumps(turned).encode()).canonical == call_of(json.dumps(RICH).encode()).canonical

    assert is_same == (".".join(map(str, path)) in ORDER_FREE)


# Kinds.


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({}, Kind(False)),
        ({"stream": False}, Kind(False)),
        ({"stream": None, "stream_options": None}, Kind(False)),
        ({"stream": True}, Kind(True)),
        ({"stream": True, "stream_options": {}}, Kind(True)),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, Kind(True)),
        ({"stream": True, "stream_options": {"include_obfuscation": False}}, Kind(True, b'{"include_obfuscation":false}')),
        ({"stream": True, "stream_options": {"include_obfuscation": 1}}, Kind(True, b'{"include_obfuscation":1}')),
        ({"stream": True, "stream_options": {"x": 1, "a": 2}}, Kind(True, b'{"a":2,"x":1}')),
    ],
    ids=str,
)
def test_the_kind_is_what_was_asked_for_and_obfuscation_the_default(members: dict[str, Any], kind: Kind) -> None:
    """S4."""
    assert call_of(asked(**members)).kind == kind


def test_what_else_is_known_of_a_call() -> None:
    call = call_of(asked(max_output_tokens=5))

    assert (call.endpoint, call.model, call.choices, call.bounded, call.wants_usage) == (RESPONSES, "m", 1, True, False)
    assert call_of(asked(model=5, max_output_tokens=None)).model is None
    assert not call_of(asked(max_output_tokens=None)).bounded
    assert call.members is None


def test_a_gateway_reads_the_members() -> None:
    call = call_of(asked(), RouteTarget(b"/v1/responses", b""))

    assert call.members == {"model": "m", "input": "hello"}


@pytest.mark.parametrize(
    ("members", "longest"),
    [({"store": False}, math.inf), ({"store": None}, KEPT_UPSTREAM), ({}, KEPT_UPSTREAM)],
    ids=str,
)
def test_what_the_upstream_keeps_is_fresh_no_longer_than_it_is_kept(members: dict[str, Any], longest: float) -> None:
    """Ruling F7: a hit repeats its id."""
    assert call_of(asked(**members)).longest == longest
    assert KEPT_UPSTREAM == 2_592_000


def test_what_is_to_be_stored_is_cached_where_the_operator_says_so_and_no_longer() -> None:
    assert call_of(asked(store=True), cache_stored=True).longest == KEPT_UPSTREAM


# What is not cached.


def item(**members: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": "hello"}, members]}


def part(**members: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}, members]}]}


def tool(**members: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "name": "f", "parameters": {}}, members]}


BYPASSED: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "no-input"),
    ({"input": 5}, "no-input"),
    ({"input": {"role": "user"}}, "no-input"),
    ({"input": None, "prompt": "pmpt_1"}, "no-input"),
    ({"stream": 1}, "ambiguous-stream"),
    ({"stream": "true"}, "ambiguous-stream"),
    ({"stream_options": []}, "ambiguous-stream"),
    ({"store": True}, "store-requested"),
    ({"store": "false"}, "store-requested"),
    ({"store": 0}, "store-requested"),
    ({"previous_response_id": "resp_1"}, "previous-response"),
    ({"previous_response_id": ""}, "previous-response"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"conversation": {"id": "conv_1"}}, "conversation"),
    ({"background": True}, "background"),
    ({"background": "no"}, "background"),
    ({"background_options": {}}, "background"),
    ({"context_management": []}, "context-management"),
    (item(type="compaction_trigger"), "context-management"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt-version"),
    ({"prompt": {"id": "pmpt_1", "version": None}}, "prompt-version"),
    ({"prompt": {"id": "pmpt_1", "version": 2}}, "prompt-version"),
    ({"prompt": "pmpt_1"}, "prompt-version"),
    (item(type="item_reference", id="msg_1"), "item-reference"),
    (item(id="msg_1"), "item-reference"),
    (item(id="msg_1", type=None), "item-reference"),
    (tool(type="web_search"), "server-tool"),
    (tool(type="web_search_preview_2025_03_11"), "server-tool"),
    (tool(type="file_search", vector_store_ids=["vs_1"]), "server-tool"),
    (tool(type="code_interpreter", container={"type": "auto"}), "server-tool"),
    (tool(type="image_generation"), "server-tool"),
    (tool(type="mcp", server_label="x", server_url="https://x.example"), "server-tool"),
    (tool(type="tool_search"), "server-tool"),
    (tool(type="programmatic_tool_calling"), "server-tool"),
    (tool(type="shell"), "server-tool"),
    (tool(type="shell", environment={"type": "container_auto"}), "server-tool"),
    (tool(type="namespace", name="n"), "server-tool"),
    (tool(type="namespace", name="n", tools=[{"type": "web_search"}]), "server-tool"),
    (tool(type="invented"), "server-tool"),
    (tool(type=None), "server-tool"),
    (tool(type=["function"]), "server-tool"),
    (tool(), "server-tool"),
    ({"tools": ["function"]}, "server-tool"),
    ({"tools": {"type": "web_search"}}, "server-tool"),
    (item(type="additional_tools", role="developer", tools=[{"type": "web_search"}]), "server-tool"),
    (part(type="input_file", file_id="file_1"), "file"),
    (part(type="input_image", file_id="file_1"), "file"),
    (item(type="function_call_output", call_id="c", output=[{"type": "input_image", "file_id": "file_1"}]), "file"),
    (item(type="computer_call_output", call_id="c", output={"type": "computer_screenshot", "file_id": "file_1"}), "file"),
    ({"prompt": {"id": "p", "version": "1", "variables": {"x": {"type": "input_file", "file_id": "file_1"}}}}, "file"),
    ({"image": {"mask": {"file_id": "file_1"}}}, "file"),
]


@pytest.mark.parametrize(("members", "reason"), BYPASSED, ids=str)
def test_what_a_stored_response_cannot_stand_in_for_is_not_cached(members: dict[str, Any], reason: str) -> None:
    """R2: state that the upstream keeps, and what changes without us."""
    assert reason_of(asked(**members)) == reason


CACHED: list[dict[str, Any]] = [
    {"input": []},
    {"input": ["hello", 5, None]},
    {"input": None, "prompt": {"id": "pmpt_1", "version": "2", "variables": {"x": "y"}}},
    {"previous_response_id": None, "conversation": None, "background": None, "context_management": None, "prompt": None},
    {"background": False, "tools": None},
    item(type="message", role="assistant", id="msg_1", content=[]),
    item(role="assistant", id="msg_1", content="x"),
    item(type="reasoning", id="rs_1", summary=[], encrypted_content="gAAA"),
    item(type="additional_tools", role="developer", tools=[{"type": "custom", "name": "x"}]),
    part(type="input_file", filename="x.pdf", file_data="data:application/pdf;base64,AA==", file_id=None),
    part(type="input_image", image_url="https://x.example/cat.png"),
    part(type="output_text", text="x", annotations=[{"type": "file_citation", "file_id": "file_1", "index": 1}]),
    {"metadata": {"file_id": "file_1"}},
    *(tool(type=kind, name="x") for kind in ("function", "custom", "local_shell", "apply_patch", "computer_use_preview")),
    tool(type="shell", environment={"type": "local"}),
    tool(type="namespace", name="n", tools=[{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}]),
]


@pytest.mark.parametrize("members", CACHED, ids=str)
def test_what_says_all_of_itself_is_cached(members: dict[str, Any]) -> None:
    """R2."""
    assert isinstance(read(asked(**members)), ApiCall)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "no-input"),
        (b"null", "no-input"),
        (b'{"model":"m"}', "no-input"),
        (b"{", "invalid-json"),
        (b'{"input":"a","input":"b"}', "ambiguous-json"),
        (b'{"input":"\\ud800"}', "ambiguous-json"),
        (b'{"input":' + b"[" * 70 + b"]" * 70 + b"}", "ambiguous-json"),
        (b'{"input":' + b"[" * 5000 + b"]" * 5000 + b"}", "ambiguous-json"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_body_that_is_no_such_request_is_not_cached(body: bytes, reason: str) -> None:
    """K2."""
    assert reason_of(body) == reason


def test_what_cannot_be_read_is_not_cached() -> None:
    assert reason_of(asked(), ((b"content-type", b"text/plain"),)) == "not-json"
    assert reason_of(asked(), (*TYPED, (b"content-encoding", b"gzip"))) == "encoded-request"
    assert reason_of(asked(), work=Work(document=5)) == "too-complex"
    assert reason_of(Unread.TOO_LARGE) == Unread.TOO_LARGE.value  # type: ignore[arg-type]


# Whatever comes.

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
NAMES = st.sampled_from(["type", "id", "role", "content", "output", "tools", "file_id", "version", "format", "schema"]) | TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=10
)
BODIES = st.dictionaries(st.sampled_from(sorted(FIELDS)) | TEXTS, VALUES, max_size=6)


@given(BODIES | VALUES)
def test_no_body_makes_it_raise(body: Any) -> None:
    assert isinstance(read(json.dumps(body).encode()), (ApiCall, Bypass))


@given(BODIES)
def test_a_canonical_body_is_canonical(body: dict[str, Any]) -> None:
    """K1: and is the same call."""
    call = read(asked(**body))
    if isinstance(call, ApiCall):
        again = read(call.canonical)
        assert isinstance(again, ApiCall)
        assert again.canonical == call.canonical


@given(TEXTS.filter(lambda name: name not in FIELDS), VALUES)
def test_a_member_that_nobody_knows_changes_the_key(name: str, value: Any) -> None:
    """K1: null, too."""
    assert call_of(asked(**{name: value})).canonical != call_of(asked()).canonical
