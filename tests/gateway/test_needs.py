"""What a request needs, and which target lacks it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.gateway.needs import Needs, can_take, lack_of, lacks_of, needs_of, param_of
from cachemw.gateway.routes import TargetEntry
from cachemw.routing import Rewrite

HELLO = {"role": "user", "content": "Hello"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
STRICT_TOOL = {"type": "function", "function": {"name": "a", "strict": True}}
ANTHROPIC = ("anthropic", "claude-5")


def needs(**members: Any) -> Needs:
    return needs_of({"model": "auto", "messages": [HELLO], **members})


def lack(request: Needs, provider: str, model: str = "m", known: str | None = None, **told: Any) -> set[str]:
    lacks = lacks_of(known or provider, TargetEntry(provider, model, **told))
    lacking = set(lack_of(request, lacks))
    assert can_take(request, lacks) is not bool(lacking)
    return lacking


@pytest.mark.parametrize(
    ("target", "members", "lacking"),
    [
        (("groq", "m"), {"logprobs": True}, {"logprobs"}),
        (("groq", "m"), {"logprobs": False}, set()),
        (("groq", "m"), {"top_logprobs": 2}, {"top_logprobs"}),
        (("groq", "m"), {"logit_bias": {"1": 2}}, {"logit_bias"}),
        (("groq", "m"), {"logit_bias": {}}, set()),
        (("groq", "m"), {"n": 2}, {"n"}),
        (("groq", "m"), {"n": 1}, set()),
        (("groq", "m"), {"n": None}, set()),
        (("groq", "m"), {"messages": [{**HELLO, "name": "Ann"}]}, {"messages[].name"}),
        (("groq", "m"), {"response_format": SCHEMA, "seed": 1}, set()),
        (ANTHROPIC, {"response_format": SCHEMA}, {"response_format"}),
        (ANTHROPIC, {"response_format": {"type": "text"}}, set()),
        (ANTHROPIC, {"tools": [STRICT_TOOL]}, {"tools[].function.strict"}),
        (ANTHROPIC, {"tools": [{"type": "function", "function": {"name": "a", "strict": False}}]}, set()),
        (ANTHROPIC, {"seed": 0}, {"seed"}),
        (ANTHROPIC, {"presence_penalty": 0.5, "frequency_penalty": 0}, {"presence_penalty"}),
        (ANTHROPIC, {"reasoning_effort": "low"}, {"reasoning_effort"}),
        (ANTHROPIC, {"logprobs": True, "n": 3}, {"logprobs", "n"}),
        (ANTHROPIC, {"temperature": 1.2}, {"temperature>1"}),
        (ANTHROPIC, {"temperature": 1, "top_p": 0.5, "stop": ["a"], "user": "u"}, set()),
        (("cerebras", "m"), {"store": False}, {"store"}),
        (("cerebras", "m"), {"store": None}, set()),
        (("cerebras", "m"), {"messages": [{**HELLO, "reasoning_content": "Hm"}]}, {"messages[].reasoning_content"}),
        (("mistral", "m"), {"store": True, "max_completion_tokens": 5}, {"store", "max_completion_tokens"}),
        (("mistral", "m"), {"max_tokens": 5, "n": 2}, set()),
        (("xai", "grok-3"), {"presence_penalty": 0}, {"presence_penalty"}),
        (("xai", "grok-4-0709"), {"stop": "a", "reasoning_effort": "low"}, {"stop", "reasoning_effort"}),
        (("xai", "grok-4.20-0309-non-reasoning"), {"stop": "a", "reasoning_effort": "low"}, {"reasoning_effort"}),
        (("xai", "grok-3-mini"), {"stop": "a", "reasoning_effort": "low"}, {"stop"}),
        (("xai", "grok-4.3"), {"reasoning_effort": "low"}, set()),
        (("gemini", "g"), {"frequency_penalty": 0}, {"frequency_penalty"}),
        (("openai", "gpt-5.4-mini"), {"max_tokens": 5}, {"max_tokens"}),
        (("openai", "gpt-5-chat-latest"), {"max_tokens": 5}, set()),
        (("openai", "gpt-4o"), {"max_tokens": 5, "logprobs": True, "n": 9, "store": True}, set()),
        (("deepinfra", "m"), {"logprobs": True, "n": 9, "store": True}, set()),
        (("local", "m"), {"logprobs": True, "anything": True}, set()),
    ],
)
def test_a_target_lacks_what_it_refuses_or_silently_ignores(
    target: tuple[str, str], members: dict[str, Any], lacking: set[str]
) -> None:
    assert lack(needs(**members), *target) == lacking


@pytest.mark.parametrize(
    "rewrite",
    [Rewrite(drop=frozenset({"logprobs", "temperature"})), Rewrite(set=(("logprobs", b"false"), ("temperature", b"1")))],
    ids=["dropped", "set"],
)
def test_a_member_that_the_operator_drops_or_sets_is_no_lack(rewrite: Rewrite) -> None:
    """`drop` is his way to say that he does not mind."""
    request = needs(logprobs=True, temperature=1.5, seed=1)

    assert lack(request, *ANTHROPIC) == {"logprobs", "temperature>1", "seed"}
    assert lack(request, *ANTHROPIC, rewrite=rewrite) == {"seed"}


def test_a_server_of_the_operators_own_lacks_what_the_provider_does_that_it_is_said_to_be() -> None:
    assert lack(needs(n=2), "second-account", known="groq") == {"n"}


@pytest.mark.parametrize(
    ("context", "members", "lacking"),
    [
        (None, {"max_tokens": 10**9}, set()),
        (1000, {}, set()),
        (1000, {"max_tokens": 900}, set()),
        (1000, {"max_tokens": 1000}, {"context"}),
        (1000, {"max_completion_tokens": 1000}, {"context"}),
        (1000, {"messages": [{"role": "user", "content": "word " * 1000}]}, {"context"}),
        (1000, {"tools": [{"type": "function", "function": {"name": "a", "description": "word " * 1000}}]}, {"context"}),
        (1000, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "i" * 9999}}]}]}, set()),
        (
            1000,
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "a" * 9999}}]}]},
            set(),
        ),
        (1000, {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "a" * 9999}}]}]}, set()),
    ],
)
def test_a_target_without_room_lacks_it(context: int | None, members: dict[str, Any], lacking: set[str]) -> None:
    """G22: what is too large for one target is not asked of it."""
    assert lack(needs(**members), "local", context=context) == lacking


def test_a_lack_is_named_as_the_member_that_it_is_about() -> None:
    assert [param_of(one) for one in ("n", "temperature>1", "context", "messages[].name")] == [
        "n",
        "temperature",
        "messages",
        "messages[].name",
    ]


def test_sizes_are_estimated_and_bounded_from_bytes() -> None:
    """E10: an upper bound counts every byte of text, and of what is attached, as a token."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "i" * 10_000}}
    sound = {"type": "input_audio", "input_audio": {"data": "a" * 5_000, "format": "wav"}}
    text = {"type": "text", "text": "é" * 400}

    found = needs(messages=[{"role": "user", "content": [text, picture, picture, sound]}], n=3, max_tokens=50)

    assert found.images == 2
    assert found.choices == 3
    assert found.max_tokens == 50
    assert found.attached_bytes == 5_000
    assert 800 < found.text_bytes < 1_200
    assert found.input_tokens == -(-found.text_bytes // 4)
    assert found.most_input_tokens == found.text_bytes + 5_000


FIRST = [{"role": "system", "content": "Be kind."}, HELLO]
LATER = [{"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "Bye"}]


@pytest.mark.parametrize("beginning", [FIRST, [HELLO], [{"role": "developer", "content": "a"}, *FIRST]])
def test_a_conversation_is_the_same_in_every_turn(beginning: list[dict[str, str]]) -> None:
    """E13."""
    turns = [needs(messages=[*beginning, *later]).conversation for later in ([], LATER, LATER * 2)]

    assert len(set(turns)) == 1
    assert needs(messages=[{"role": "user", "content": "Hello!"}]).conversation not in turns


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from("messages tools functions response_format n max_tokens temperature logprobs content".split())
PARTS = st.fixed_dictionaries({}, optional=dict.fromkeys(("image_url", "input_audio", "file", "type"), JSON))
MESSAGES = st.fixed_dictionaries({}, optional={"role": JSON, "content": JSON | st.lists(PARTS), "name": JSON})
BODIES = st.dictionaries(NAMES | st.text(max_size=5), JSON) | st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES)}, optional={"tools": JSON, "n": JSON, "max_tokens": JSON}
)


@given(BODIES, st.sampled_from(["groq", "anthropic", "xai", "mistral", "nobody"]))
def test_any_body_has_needs(body: dict[str, Any], provider: str) -> None:
    found = needs_of(body)

    assert found.meant - {"temperature>1"} <= found.present
    assert 0 <= found.text_bytes <= len(msgspec.json.encode(body))
    assert found.text_bytes + found.attached_bytes <= len(msgspec.json.encode(body))
    assert lack(found, provider) <= found.present | found.meant


@given(BODIES, st.booleans(), st.sampled_from(["groq", "anthropic", "xai", "mistral", "nobody"]))
def test_a_stream_needs_what_json_does(body: dict[str, Any], usage: bool, provider: str) -> None:
    """G3."""
    streamed = {**body, "stream": True, **({"stream_options": {"include_usage": True}} if usage else {})}

    assert lack(needs_of(streamed), provider) == lack(needs_of(body), provider)
    assert needs_of(streamed).conversation == needs_of(body).conversation


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 7}, 7),
        ({"max_completion_tokens": 1, "max_tokens": 90_000}, 90_000),
        ({"max_completion_tokens": 90_000, "max_tokens": 1}, 90_000),
        ({"max_tokens": 1, "max_output_tokens": 90_000}, 90_000),
        ({"max_tokens": -5}, None),
        ({"max_tokens": True}, None),
        ({}, None),
    ],
)
def test_the_most_that_is_answered_is_the_largest_limit(body: dict[str, Any], most: int | None) -> None:
    """E10: nobody knows which of them a target obeys."""
    assert needs_of(body).max_tokens == most


@pytest.mark.parametrize("member", ["prompt", "input", "instructions", "documents", "prediction"])
def test_what_other_endpoints_are_told_is_input_too(member: str) -> None:
    """E10: an upper bound is one wherever a target is asked."""
    assert needs_of({"max_tokens": 1, member: ["x" * 5000]}).most_input_tokens > 5000


DATA = "QUJD" * 25_000
_SOURCE = {"type": "base64", "media_type": "image/png", "data": DATA}
_IMAGE, _FILE = {"type": "image", "source": _SOURCE}, {"type": "document", "source": _SOURCE}
_URL = f"data:image/png;base64,{DATA}"
ATTACHED: dict[str, tuple[dict[str, Any], int]] = {
    "chat's picture": ({"messages": [{"content": [{"type": "image_url", "image_url": {"url": _URL}}]}]}, 1),
    "Anthropic's picture": ({"messages": [{"content": [_IMAGE]}]}, 1),
    "a picture that a tool gave": ({"messages": [{"content": [{"type": "tool_result", "content": [_IMAGE]}]}]}, 1),
    "Anthropic's file": ({"messages": [{"content": [_FILE]}]}, 0),
    "a response's picture": ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": _URL}]}]}, 1),
    "a response's file": ({"input": [{"role": "user", "content": [{"type": "input_file", "file_data": DATA}]}]}, 0),
    "a picture that a function gave": (
        {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": _URL}]}]},
        1,
    ),
}


@pytest.mark.parametrize(("body", "images"), ATTACHED.values(), ids=ATTACHED)
def test_what_is_attached_is_no_text_in_any_dialect(body: dict[str, Any], images: int) -> None:
    """E10: else a picture would fill every context."""
    found = needs_of(body)

    assert found.room < 100
    assert found.images == images
    assert images or found.most_input_tokens >= len(DATA)


def test_a_document_that_is_text_is_text() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "x" * 4000}

    assert needs_of({"messages": [{"content": [{"type": "document", "source": source}]}]}).room > 1000


@pytest.mark.parametrize(("prompt", "count"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2), ([], 1)])
def test_each_prompt_has_as_many_completions(prompt: Any, count: int) -> None:
    """E10."""
    assert needs_of({"prompt": prompt, "n": 3}).choices == 3 * count


def test_completions_of_which_the_best_one_is_shown_are_all_paid_for() -> None:
    """E10."""
    assert needs_of({"n": 2, "best_of": 20}).choices == 20
