"""What is a chat request, what of it counts, and what is not ours to cache."""

from typing import Any

import pytest

from cachemw.cache.policy import Policy
from cachemw.endpoints import CHAT, endpoint_of
from cachemw.endpoints.base import Bypass, Place
from cachemw.endpoints.chat.request import FIELDS, read_chat
from cachemw.messages import Kind, Target
from tests.cache.keying import (
    APP,
    LEFT_OUT_AROUND_AN_APP,
    LEFT_OUT_OVER_HTTP,
    UPSTREAM,
    asking,
    body_of,
    chat_of,
    form_of,
    reason_of,
)

K, T, B = Place.KEY, Place.TRANSPORT, Place.BOOKKEEPING

# Every documented field: where it counts, and a value that can be cached (None: there is none).
DOCUMENTED: dict[str, tuple[Place, Any]] = {
    "model": (K, "other"),
    "messages": (K, []),
    "temperature": (K, 0.5),
    "top_p": (K, 0.5),
    "frequency_penalty": (K, 0.5),
    "presence_penalty": (K, 0.5),
    "logit_bias": (K, {"15": -100}),
    "logprobs": (K, True),
    "top_logprobs": (K, 5),
    "n": (K, 2),
    "seed": (K, 1),
    "stop": (K, "END"),
    "max_tokens": (K, 5),
    "max_completion_tokens": (K, 5),
    "min_tokens": (K, 5),
    "min_completion_tokens": (K, 5),
    "response_format": (K, {"type": "json_object"}),
    "tools": (K, []),
    "tool_choice": (K, "auto"),
    "parallel_tool_calls": (K, False),
    "functions": (K, []),
    "function_call": (K, "auto"),
    "reasoning_effort": (K, "low"),
    "verbosity": (K, "low"),
    "modalities": (K, ["text"]),
    "audio": (K, None),
    "prediction": (K, {"type": "content", "content": "a"}),
    "web_search_options": (K, None),
    "moderation": (K, {"model": "omni"}),
    "disable_reasoning": (K, True),
    "clear_thinking": (K, True),
    "reasoning_format": (K, "raw"),
    "model_parameters": (K, {}),
    "store": (K, False),
    "stream": (T, True),
    "stream_options": (T, {"include_usage": True}),
    "user": (B, "ada"),
    "safety_identifier": (B, "ada"),
    "metadata": (B, {"run": "5"}),
    "service_tier": (B, "flex"),
    "prompt_cache_key": (B, "a"),
    "prompt_cache_options": (B, {"mode": "implicit"}),
    "prompt_cache_retention": (B, "24h"),
}
KEYED_VALUES = {name: value for name, (place, value) in DOCUMENTED.items() if place is K and value is not None}
OTHERS = {name: value for name, (place, value) in DOCUMENTED.items() if place is not K}


def test_the_field_table_is_the_documented_one() -> None:
    """K1."""
    assert dict(FIELDS) == {name: place for name, (place, _) in DOCUMENTED.items()}


def test_what_is_left_out_is_listed() -> None:
    """K1: the whole body minus one documented list."""
    assert sorted(LEFT_OUT_AROUND_AN_APP) == ["stream", "stream_options"]
    assert sorted(LEFT_OUT_OVER_HTTP) == sorted(OTHERS)


@pytest.mark.parametrize("target", [UPSTREAM, APP], ids=["http", "app"])
@pytest.mark.parametrize("name", KEYED_VALUES)
def test_every_documented_field_changes_the_key(name: str, target: Target) -> None:
    """K1."""
    assert form_of(body_of(**{name: KEYED_VALUES[name]}), target) != form_of(body_of(), target)


@pytest.mark.parametrize("target", [UPSTREAM, APP], ids=["http", "app"])
@pytest.mark.parametrize(
    "name",
    [
        *(
            "invented",
            "",
            "Model",
            "model ",
            "top_k",
            "min_p",
            "thinking",
            "messages2",
            "stream2",
            "Stream",
            "users",
            "$schema",
        ),
        *("prompt_cache_breakpoint", "prompt_cache_", "extra_body", "__proto__", "x.stream", "temperature\x00", "üser"),
    ],
)
@pytest.mark.parametrize("value", [None, False, True, 0, 1.5, "", "a", [], {}, [{}]], ids=repr)
def test_an_invented_field_changes_the_key(name: str, value: Any, target: Target) -> None:
    """K1: also one that nobody has heard of, also null."""
    assert form_of(body_of(**{name: value}), target) != form_of(body_of(), target)


@pytest.mark.parametrize("name", OTHERS)
def test_how_the_answer_travels_and_who_pays_do_not_change_the_key_of_an_upstream(name: str) -> None:
    """K1."""
    for value in (OTHERS[name], None):
        assert form_of(body_of(**{name: value})) == form_of(body_of())


@pytest.mark.parametrize(("name", "place"), [(name, DOCUMENTED[name][0]) for name in OTHERS])
def test_a_wrapped_app_may_read_who_pays(name: str, place: Place) -> None:
    """K1: around an app nothing but the stream and its options is left out."""
    changes_nothing = form_of(body_of(**{name: OTHERS[name]}), APP) == form_of(body_of(), APP)

    assert changes_nothing is (place is T)


def test_a_field_is_left_out_at_the_top_alone() -> None:
    """K1."""
    plain = [{"role": "user", "content": "hello"}]

    for name, value in OTHERS.items():
        assert form_of(body_of(messages=[plain[0] | {name: value}])) != form_of(body_of(messages=plain))
        assert form_of(body_of(invented={name: value})) != form_of(body_of(invented={}))


@pytest.mark.parametrize(
    ("method", "path", "chat"),
    [
        ("POST", "/v1/chat/completions", True),
        ("POST", "/chat/completions", True),
        ("POST", "/a/b/v1/chat/completions", True),
        ("POST", "/v1/chat/completions/", False),
        ("POST", "/v1/chat/completions/abc", False),
        ("POST", "/v1/completions", False),
        ("POST", "/v1/Chat/Completions", False),
        ("POST", "/v1/models", False),
        ("POST", "", False),
        ("GET", "/v1/chat/completions", False),
        ("post", "/v1/chat/completions", False),
        ("OPTIONS", "/v1/chat/completions", False),
    ],
)
def test_a_chat_request_is_a_post_to_its_path(method: str, path: str, chat: bool) -> None:
    assert (endpoint_of(method, path, Policy().paths) is CHAT) is chat


def test_the_operator_says_which_paths_are_chat() -> None:
    policy = Policy(paths=("/ask", "/v2/talk"))

    assert endpoint_of("POST", "/api/ask", policy.paths) is CHAT
    assert endpoint_of("POST", "/v2/talk", policy.paths) is CHAT
    assert endpoint_of("POST", "/talk", policy.paths) is None
    assert endpoint_of("POST", "/v1/chat/completions", policy.paths) is None


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({}, Kind(stream=False)),
        ({"stream": None}, Kind(stream=False)),
        ({"stream": False}, Kind(stream=False)),
        ({"stream": False, "stream_options": None}, Kind(stream=False)),
        ({"stream_options": {}}, Kind(stream=False)),
        ({"stream": True}, Kind(stream=True)),
        ({"stream": True, "stream_options": None}, Kind(stream=True)),
        ({"stream": True, "stream_options": {}}, Kind(stream=True)),
        (
            {"stream": True, "stream_options": {"include_usage": True}},
            Kind(stream=True, options=b'{"include_usage":true}'),
        ),
        (
            {"stream": True, "stream_options": {"include_usage": False}},
            Kind(stream=True, options=b'{"include_usage":false}'),
        ),
        (
            {"stream": True, "stream_options": {"include_usage": None, "a": {"d": 1, "c": 2}}},
            Kind(stream=True, options=b'{"a":{"d":1,"c":2},"include_usage":null}'),
        ),
        (
            {"stream": False, "stream_options": {"include_usage": True}},
            Kind(stream=False, options=b'{"include_usage":true}'),
        ),
    ],
    ids=repr,
)
def test_the_kind_is_stream_and_the_whole_of_its_options(members: dict[str, Any], kind: Kind) -> None:
    chat = chat_of(body_of(**members))

    assert chat.kind == kind
    assert chat.canonical == form_of(body_of())


@pytest.mark.parametrize(
    ("members", "due"),
    [
        ({"stream": True, "stream_options": {"include_usage": True}}, True),
        ({"stream": True, "stream_options": {"include_usage": False}}, False),
        ({"stream": True, "stream_options": {"include_usage": 1}}, False),
        ({"stream": True, "stream_options": {}}, False),
        ({"stream": True}, False),
        ({"stream_options": {"include_usage": True}}, False),
    ],
    ids=repr,
)
def test_usage_is_due_to_a_stream_that_asks_for_it(members: dict[str, Any], due: bool) -> None:
    assert chat_of(body_of(**members)).wants_usage is due


@pytest.mark.parametrize(
    ("members", "choices"),
    [
        *[({}, 1), ({"n": None}, 1), ({"n": 1}, 1), ({"n": 3}, 3), ({"n": 0}, 1), ({"n": -2}, 1), ({"n": True}, 1)],
        *[({"n": "3"}, 1), ({"n": 2.0}, 2), ({"n": 2.5}, 1), ({"n": 0.0}, 1), ({"n": -2.0}, 1)],
    ],
    ids=repr,
)
def test_n_choices_are_expected(members: dict[str, Any], choices: int) -> None:
    assert chat_of(body_of(**members)).choices == choices


@pytest.mark.parametrize(
    ("members", "bounded"),
    [
        ({}, False),
        ({"max_tokens": None, "max_completion_tokens": None}, False),
        ({"max_tokens": 5}, True),
        ({"max_completion_tokens": 5}, True),
        ({"max_tokens": 5, "max_completion_tokens": None}, True),
        ({"min_tokens": 5}, False),
    ],
    ids=repr,
)
def test_the_caller_bounds_an_answer_by_its_own_limit_alone(members: dict[str, Any], bounded: bool) -> None:
    assert chat_of(body_of(**members)).bounded is bounded


@pytest.mark.parametrize(
    ("members", "detail"),
    [
        ({"stream": 1}, "ambiguous-stream"),
        ({"stream": 0}, "ambiguous-stream"),
        ({"stream": 1.0}, "ambiguous-stream"),
        ({"stream": "true"}, "ambiguous-stream"),
        ({"stream": "yes"}, "ambiguous-stream"),
        ({"stream": ""}, "ambiguous-stream"),
        ({"stream": []}, "ambiguous-stream"),
        ({"stream": {}}, "ambiguous-stream"),
        ({"stream_options": []}, "ambiguous-stream"),
        ({"stream_options": "include_usage"}, "ambiguous-stream"),
        ({"stream_options": False}, "ambiguous-stream"),
        ({"stream_options": 0}, "ambiguous-stream"),
        ({"store": True}, "store-requested"),
        ({"store": "yes"}, "store-requested"),
        ({"store": 1}, "store-requested"),
        ({"store": 0}, "store-requested"),
        ({"store": {}}, "store-requested"),
        ({"web_search_options": {}}, "web-search"),
        ({"web_search_options": {"search_context_size": "low"}}, "web-search"),
        ({"web_search_options": None}, "web-search"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"audio": {}}, "audio"),
        ({"modalities": ["text", "audio"]}, "audio"),
        ({"messages": None}, "no-messages"),
        ({"messages": "hello"}, "no-messages"),
        ({"messages": {}}, "no-messages"),
    ],
    ids=repr,
)
def test_what_a_stored_answer_cannot_stand_in_for_is_not_cached(members: dict[str, Any], detail: str) -> None:
    """E1: and it is told why."""
    assert reason_of(body_of(**members)) == detail


@pytest.mark.parametrize(
    "members", [{"store": False}, {"store": None}, {"audio": None}, {"modalities": ["text"]}, {"modalities": None}], ids=repr
)
def test_what_asks_for_none_of_that_is_cached(members: dict[str, Any]) -> None:
    assert chat_of(body_of(**members))


@pytest.mark.parametrize(
    ("store", "detail"), [(True, None), (False, None), (None, None), ("yes", "store-requested"), (1, "store-requested")]
)
def test_what_the_upstream_is_to_store_is_cached_where_the_operator_says_so(store: Any, detail: str | None) -> None:
    """E1: the OpenAI Agents SDK asks for it by itself. In the key it stays."""
    read = read_chat(CHAT, asking(body_of(store=store)), cache_stored=True)

    assert (read.detail if isinstance(read, Bypass) else None) == detail
    assert isinstance(read, Bypass) or b'"store"' in read.canonical


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"[]", "no-messages"),
        (b'"messages"', "no-messages"),
        (b"null", "no-messages"),
        (b"1", "no-messages"),
        (b"{}", "no-messages"),
        (b"", "invalid-json"),
        (b'{"messages":[]', "invalid-json"),
        (b'{"messages":[],"n":01}', "invalid-json"),
        (b'{"messages":[],"n":1,"n":1}', "ambiguous-json"),
        (b'{"messages":[],"n":1,"\\u006e":2}', "ambiguous-json"),
        (b'{"messages":[{"role":"user","role":"user"}]}', "ambiguous-json"),
        (b'{"messages":[],"temperature":NaN}', "ambiguous-json"),
        (b'{"messages":["\\ud800"]}', "ambiguous-json"),
        (b'\xef\xbb\xbf{"messages":[]}', "ambiguous-json"),
        (b'{"messages":[]}{}', "ambiguous-json"),
        (b'{"messages":' + b"[" * 64 + b"]" * 64 + b"}", "ambiguous-json"),
    ],
)
def test_what_is_not_one_json_object_with_messages_is_not_cached(body: bytes, detail: str) -> None:
    """K9."""
    assert reason_of(body) == detail


@pytest.mark.parametrize(
    "value",
    [
        b"application/json",
        b"Application/JSON",
        b" application/json ",
        b"application/json;",
        b"application/json; charset=utf-8",
        b"application/json;charset=UTF-8",
        b'application/json; charset="utf-8"',
        b"application/json; charset = utf-8",
        b"application/json; version=1",
    ],
)
def test_json_by_its_content_type_is_read(value: bytes) -> None:
    assert read_with((b"Content-Type", value)) is None


@pytest.mark.parametrize(
    "values",
    [
        (),
        (b"",),
        (b"text/plain",),
        (b"text/json",),
        (b"application/jsonl",),
        (b"application/vnd.api+json",),
        (b"application/x-www-form-urlencoded",),
        (b"multipart/form-data; boundary=application/json",),
        (b"application/json, text/plain",),
        (b"application/json; charset=utf-16",),
        (b"application/json; charset=latin-1",),
        (b"application/json; charset = latin-1",),
        (b"application/json; charset=utf-8; charset=latin-1",),
        (b"application/json; charset*=utf-8''latin-1",),
        (b"application/json", b"application/json"),
        (b"application/json", b"text/plain"),
    ],
    ids=repr,
)
def test_what_is_not_json_by_its_one_content_type_is_not_cached(values: tuple[bytes, ...]) -> None:
    assert read_with(*((b"content-type", value) for value in values)) == "not-json"


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd", b"deflate", b"identity, gzip", b"GZIP", b"x-mine"])
def test_an_encoded_body_is_not_cached(coding: bytes) -> None:
    headers = ((b"content-type", b"application/json"), (b"Content-Encoding", coding))

    assert read_with(*headers) == "encoded-request"
    assert read_with(*headers, (b"content-encoding", b"identity")) == "encoded-request"


@pytest.mark.parametrize("coding", [b"", b"identity", b" Identity "])
def test_an_identity_encoding_is_none(coding: bytes) -> None:
    assert read_with((b"content-type", b"application/json"), (b"content-encoding", coding)) is None


def read_with(*headers: tuple[bytes, bytes]) -> str | None:
    """Return why a request with these headers is not cached, None if it is."""
    chat = read_chat(CHAT, asking(body_of(), headers=headers))
    return chat.detail if isinstance(chat, Bypass) else None
