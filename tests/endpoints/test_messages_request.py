"""What is a request for a message, what of it counts, and what is not ours to cache."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cachemw.endpoints import MESSAGES
from cachemw.endpoints.base import ApiCall, Bypass, Place
from cachemw.messages import Kind, RouteTarget, Target
from tests.endpoints.messages import ANTHROPIC, APP, BILLING, URL, Members, asked, call_of, form_of, reading
from tests.endpoints.test_canonical import Path, replaced, stars, values_in, written

K, T, B = Place.KEY, Place.TRANSPORT, Place.BOOKKEEPING
KEEP = {"type": "ephemeral"}

# Every documented member: where it counts, and a value that can be cached (None: there is none).
DOCUMENTED: dict[str, tuple[Place, Any]] = {
    "model": (K, "other"),
    "messages": (K, []),
    "max_tokens": (K, 5),
    "system": (K, "Be brief."),
    "stop_sequences": (K, ["END"]),
    "thinking": (K, {"type": "adaptive"}),
    "tools": (K, []),
    "tool_choice": (K, {"type": "auto"}),
    "output_config": (K, {"effort": "low"}),
    "temperature": (K, 0.5),
    "top_p": (K, 0.5),
    "top_k": (K, 5),
    "inference_geo": (K, "eu"),
    "speed": (K, "fast"),
    "user_profile_id": (K, "a"),
    "workspace_id": (K, "a"),
    "context_management": (K, {"edits": []}),
    "fallbacks": (K, []),
    "container": (K, None),
    "mcp_servers": (K, []),
    "stream": (T, True),
    "metadata": (B, {"user_id": "session"}),
    "service_tier": (B, "auto"),
    "diagnostics": (B, {"previous_message_id": None}),
    "cache_control": (B, KEEP),
}
KEYED = {name: value for name, (place, value) in DOCUMENTED.items() if place is K and value is not None}
OTHERS = {name: value for name, (place, value) in DOCUMENTED.items() if place is not K}

SCHEMA = {"type": "object", "properties": {"cache_control": {"type": "string"}, "at": {"type": "integer", "title": "At"}}}
RICH: Members = asked(
    system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    messages=[
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "url", "url": "https://a.example/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "s"},
                {"type": "tool_use", "id": "t", "name": "look", "input": {"b": 1, "a": {"d": 1, "c": 2}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [
                        {"type": "text", "text": "a cat"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
                    ],
                },
            ],
        },
        {"role": "system", "content": "Now be long."},
    ],
    tools=[{"name": "look", "description": "Look", "input_schema": SCHEMA}],
    tool_choice={"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    thinking={"type": "enabled", "budget_tokens": 1024},
    output_config={"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    invented={"y": {"d": 1, "c": 2}, "x": 1},
)
ORDER_IS_IGNORED = {
    (),
    ("system", "*"),
    ("messages", "*"),
    ("messages", "*", "content", "*"),
    ("messages", "*", "content", "*", "source"),
    ("tool_choice",),
    ("thinking",),
    ("output_config",),
}
OBJECTS = [path for path, value in values_in(RICH) if isinstance(value, dict) and len(value) > 1]


def test_the_field_table_is_the_documented_one() -> None:
    assert dict(MESSAGES.fields) == {name: place for name, (place, _) in DOCUMENTED.items()}


@pytest.mark.parametrize("target", [ANTHROPIC, URL, APP], ids=["anthropic", "url", "app"])
@pytest.mark.parametrize("name", KEYED)
def test_every_keyed_member_changes_the_key(name: str, target: Target) -> None:
    assert form_of(asked(**{name: KEYED[name]}), target) != form_of(asked(), target)


@pytest.mark.parametrize(("name", "value"), OTHERS.items())
def test_what_the_provider_only_counts_by_is_left_out_there_and_nowhere_else(name: str, value: Any) -> None:
    """Around an app, and at a URL of which nobody knows anything, nothing but `stream` is left out."""
    body = asked(**{name: value})

    assert form_of(body, ANTHROPIC) == form_of(asked(), ANTHROPIC)
    assert (form_of(body, URL) == form_of(asked(), URL)) is (name == "stream")
    assert (form_of(body, APP) == form_of(asked(), APP)) is (name == "stream")


@pytest.mark.parametrize("target", [ANTHROPIC, URL, APP], ids=["anthropic", "url", "app"])
@pytest.mark.parametrize("name", ["cch", "user", "Stream", "", "betas", "stream_options", "cache_control "])
@pytest.mark.parametrize("value", [None, False, 0, "", [], {}], ids=repr)
def test_a_member_that_nobody_knows_changes_the_key(name: str, value: Any, target: Target) -> None:
    """Also one that is called as a part is which stands elsewhere."""
    assert form_of(asked(**{name: value}), target) != form_of(asked(), target)


def test_the_canonical_form_is_compact_json_by_name() -> None:
    body = asked(
        system=[{"type": "text", "text": BILLING, "cache_control": KEEP}],
        tools=[{"name": "a", "input_schema": {"type": "object", "properties": {}}, "cache_control": KEEP}],
        temperature=1,
        metadata={"user_id": "session"},
        stream=True,
        top_k=None,
    )

    assert form_of(body).decode() == (
        '{"max_tokens":64,"messages":[{"content":"hello","role":"user"}],"model":"claude",'
        '"system":[{"text":"x-anthropic-billing-header: cc_version=2.1.37.fbe; cc_entrypoint=cli;","type":"text"}],'
        '"temperature":1.0,"tools":[{"name":"a","input_schema":{"type":"object","properties":{}}}],"top_k":null}'
    )


@pytest.mark.parametrize("path", OBJECTS, ids=written)
def test_member_order_is_ignored_in_the_listed_objects_and_only_there(path: Path) -> None:
    turned = replaced(RICH, path, lambda members: dict(reversed(members.items())))

    assert (form_of(turned, URL) == form_of(RICH, URL)) is (stars(path) in ORDER_IS_IGNORED)


def test_every_listed_object_is_tried() -> None:
    assert {stars(path) for path in OBJECTS} >= ORDER_IS_IGNORED


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        pytest.param({"temperature": 1}, {"temperature": 1.0}, True, id="temperature"),
        pytest.param({"top_p": 1}, {"top_p": 1.0}, True, id="top_p"),
        pytest.param({"top_k": 1}, {"top_k": 1.0}, False, id="top_k"),
        pytest.param({"max_tokens": 1}, {"max_tokens": 1.0}, False, id="max_tokens"),
        pytest.param({"temperature": None}, {}, False, id="null is something"),
        pytest.param({"system": "x"}, {"system": [{"type": "text", "text": "x"}]}, False, id="a text is no block"),
        pytest.param(
            {"messages": [{"role": "user", "content": "x"}]},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
            False,
            id="nor is it in a message",
        ),
        pytest.param({"stream": True}, {"stream": False}, True, id="how it travels"),
    ],
)
def test_nothing_else_is_folded(one: Members, other: Members, are_same: bool) -> None:
    assert (form_of(asked(**one)) == form_of(asked(**other))) is are_same


# Parts that an upstream only counts by.


def _in_content(block: Members) -> Members:
    return asked(messages=[{"role": "user", "content": [block]}])


def _in_result(block: Members) -> Members:
    return _in_content({"type": "tool_result", "tool_use_id": "t", "content": [block]})


LEFT_OUT = {
    "at the top": (asked(cache_control=KEEP), asked()),
    "in a text for the system": (asked(system=[{"text": "a", "cache_control": KEEP}]), asked(system=[{"text": "a"}])),
    "in a tool": (asked(tools=[{"name": "a", "cache_control": KEEP}]), asked(tools=[{"name": "a"}])),
    "in a block": (_in_content({"text": "a", "cache_control": KEEP}), _in_content({"text": "a"})),
    "in a block of a result": (_in_result({"text": "a", "cache_control": None}), _in_result({"text": "a"})),
}
KEPT = {
    "a property of a schema": (
        asked(tools=[{"name": "a", "input_schema": SCHEMA}]),
        asked(tools=[{"name": "a", "input_schema": {**SCHEMA, "properties": {"at": SCHEMA["properties"]["at"]}}}]),  # type: ignore[index]
    ),
    "a member of an input": (
        _in_content({"type": "tool_use", "input": {"cache_control": KEEP}}),
        _in_content({"type": "tool_use", "input": {}}),
    ),
    "a member of a message": (
        asked(messages=[{"role": "user", "content": "a", "cache_control": KEEP}]),
        asked(messages=[{"role": "user", "content": "a"}]),
    ),
    "a member of a source": (
        _in_content({"source": {"type": "text", "cache_control": KEEP}}),
        _in_content({"source": {"type": "text"}}),
    ),
    "a block deeper down": (_in_result({"content": [{"cache_control": KEEP}]}), _in_result({"content": [{}]})),
    "a member of what nobody knows": (asked(invented={"cache_control": KEEP}), asked(invented={})),
}


@pytest.mark.parametrize("place", LEFT_OUT)
def test_cache_control_is_left_out_at_five_places_where_the_provider_only_counts_by_it(place: str) -> None:
    """§1.2, and not at others: a URL and an app may read it."""
    with_it, without = LEFT_OUT[place]

    assert form_of(with_it) == form_of(without)
    assert form_of(with_it, URL, ["cache_control"]) == form_of(without, URL, ["cache_control"])
    assert form_of(with_it, URL) != form_of(without, URL)
    assert form_of(with_it, APP) != form_of(without, APP)


@pytest.mark.parametrize("place", KEPT)
def test_cache_control_is_kept_everywhere_else(place: str) -> None:
    """T28: a tool may have a member of that name."""
    with_it, without = KEPT[place]

    assert form_of(with_it) != form_of(without)


def _system(text: str, *others: str) -> Members:
    return asked(system=[{"type": "text", "text": one} for one in (text, *others)])


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        pytest.param(_system(BILLING), _system(BILLING.replace("0a1b2", "fffff")), True, id="another digest"),
        pytest.param(_system(BILLING), _system(BILLING.replace(" cch=0a1b2;", "")), True, id="none at all"),
        pytest.param(_system(BILLING + " cc_workload=cron;"), _system(BILLING), False, id="more that it says"),
        pytest.param(
            _system(BILLING + " cc_workload=cron;"),
            _system(BILLING.replace("0a1b2", "1") + " cc_workload=cron;"),
            True,
            id="in the middle",
        ),
        pytest.param(_system(BILLING), _system(BILLING.replace("2.1", "2.2")), False, id="another version"),
        pytest.param(_system("a", BILLING), _system("a", BILLING.replace("0a1b2", "1")), False, id="not the first text"),
        pytest.param(
            _system(BILLING + " Be brief."), _system(BILLING.replace("0a1", "1") + " Be brief."), False, id="a prompt"
        ),
        pytest.param(_system("Say " + BILLING), _system("Say " + BILLING.replace("0a1", "1")), False, id="told about"),
        pytest.param(_system(BILLING), _system(BILLING.replace("0a1b2", "xyz")), False, id="no digest"),
        pytest.param(_system(BILLING + " cch=1;"), _system(BILLING + " cch=2;"), False, id="two of them"),
        pytest.param(asked(system=BILLING), asked(system=BILLING.replace("0a1", "1")), False, id="no block"),
        pytest.param(
            asked(messages=[{"role": "user", "content": [{"type": "text", "text": BILLING}]}]),
            asked(messages=[{"role": "user", "content": [{"type": "text", "text": BILLING.replace("0a1", "1")}]}]),
            False,
            id="of the user",
        ),
    ],
)
def test_a_digest_of_the_body_is_left_out_of_the_first_text_of_that_form(one: Members, other: Members, are_same: bool) -> None:
    """T15, ruling F4: only where the row says so, only in `/system/0/text`, only if the whole text is of that form."""
    assert (form_of(one) == form_of(other)) is are_same
    assert (form_of(one, URL, ["cch"]) == form_of(other, URL, ["cch"])) is are_same
    assert form_of(one, URL) != form_of(other, URL)
    assert form_of(one, APP) != form_of(other, APP)


# What is not cached.

RUN_BY_THE_PROVIDER: list[Any] = [
    *("web_search_20250305", "web_fetch_20250910", "code_execution_20260120", "tool_search_tool_bm25_20251119"),
    *("advisor_20260301", "mcp_toolset", "invented", "", "bash", 5, [], {}),
]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        pytest.param(b"[]", "no-messages", id="a list"),
        pytest.param(b"{", "invalid-json", id="no JSON"),
        pytest.param(b'{"a":1,"a":2}', "ambiguous-json", id="a name twice"),
        pytest.param({"max_tokens": 1}, "no-messages", id="no messages"),
        pytest.param(asked(messages="hello"), "no-messages", id="a text for messages"),
        pytest.param({"messages": []}, "no-max-tokens", id="no limit"),
        pytest.param(asked(max_tokens=None), "no-max-tokens", id="a limit that is null"),
        pytest.param(asked(stream="yes"), "ambiguous-stream", id="a stream that is a text"),
        pytest.param(asked(stream=None), "ambiguous-stream", id="a stream that is null"),
        pytest.param(asked(stream=1), "ambiguous-stream", id="a stream that is a number"),
        pytest.param(asked(container="c"), "container", id="a container"),
        pytest.param(asked(container={"skills": []}), "container", id="skills"),
        pytest.param(asked(thread={"type": "create"}), "thread", id="a thread"),
        pytest.param(
            _in_content({"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"type": "web_search_1"}}}),
            "server-tool",
            id="a tool of the provider's that is added within",
        ),
        pytest.param(asked(mcp_servers=[{"type": "url"}]), "mcp-servers", id="MCP servers"),
        *(
            pytest.param(asked(tools=[{"name": "a"}, {"type": of_type}]), "server-tool", id=f"a tool {of_type}")
            for of_type in RUN_BY_THE_PROVIDER
        ),
        pytest.param(asked(tools=["a"]), "server-tool", id="a tool that is none"),
        pytest.param(_in_content({"type": "image", "source": {"type": "file", "file_id": "f"}}), "file", id="a file"),
        pytest.param(
            _in_result({"type": "document", "source": {"type": "file", "file_id": "f"}}), "file", id="one in a result"
        ),
        pytest.param(
            _in_content({"type": "document", "source": {"type": "content", "content": [{"source": {"type": "file"}}]}}),
            "file",
            id="one in a document",
        ),
        pytest.param(_in_content({"type": "container_upload", "file_id": "f"}), "file", id="one for a container"),
    ],
)
def test_what_cannot_be_repeated_is_not_cached(body: Members | bytes, detail: str) -> None:
    assert reading(body) == Bypass(detail)


@pytest.mark.parametrize(
    "members",
    [
        {"container": None},
        {"mcp_servers": []},
        {"mcp_servers": None},
        {"tools": None},
        *({"tools": [{"name": "a", "type": of_type}]} for of_type in (None, "custom", "bash_20250124", "memory_20250818")),
        *({"tools": [{"type": of_type}]} for of_type in ("text_editor_20250728", "computer_20250124")),
        {"messages": [{"role": "user", "content": [{"type": "tool_use", "input": {"source": {"type": "file"}}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]}]},
        {"messages": [1, None, [], {"content": {}}, {"content": [1, None]}], "system": [1, None], "tool_choice": 5},
    ],
    ids=str,
)
def test_what_the_client_runs_and_what_is_in_the_request_is_cached(members: Members) -> None:
    assert isinstance(reading(asked(**members)), ApiCall)


def test_a_call_says_how_its_answer_is_judged() -> None:
    stream, document = call_of(asked(stream=True)), call_of(asked(model=5))

    assert (stream.kind, document.kind) == (Kind(stream=True), Kind(stream=False))
    assert (stream.model, document.model) == ("claude", None)
    assert (stream.choices, stream.bounded, stream.wants_usage, stream.members) == (1, True, False, None)


def test_a_call_to_a_gateway_has_its_members() -> None:
    body = _system(BILLING)

    call = call_of(body, RouteTarget(b"/v1/messages", b""))

    assert call.members == body
    assert json.loads(call.canonical) == body


# Properties.

NAMES = st.sampled_from([*DOCUMENTED, "cch", "type", "content", "source", "input", "text"]) | st.text(max_size=3)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
    | st.sampled_from([BILLING, "file", "custom", "text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
BODIES = st.dictionaries(NAMES, ANY, max_size=5).map(lambda members: asked(**members))
TARGETS = st.sampled_from([ANTHROPIC, URL, APP])


@given(BODIES, TARGETS)
@example(RICH, ANTHROPIC)
def test_the_canonical_form_is_its_own(body: Members, target: Target) -> None:
    call = reading(body, target)
    if isinstance(call, ApiCall):
        assert call_of(call.canonical, target).canonical == call.canonical


@given(BODIES, TARGETS, st.text(max_size=8).filter(lambda name: name not in DOCUMENTED), ANY)
def test_any_member_that_nobody_knows_changes_the_key(body: Members, target: Target, name: str, value: Any) -> None:
    body.pop(name, None)
    with_it, without = reading({**body, name: value}, target), reading(body, target)

    assert type(with_it) is type(without)
    assert not isinstance(with_it, ApiCall) or not isinstance(without, ApiCall) or with_it.canonical != without.canonical


@given(ANY | BODIES, TARGETS)
def test_any_json_is_a_call_or_is_not_cached(body: Any, target: Target) -> None:
    assert isinstance(reading(json.dumps(body).encode(), target), ApiCall | Bypass)


@pytest.mark.parametrize("member", ["messages", "system", "tools", "invented"])
def test_what_is_nested_too_deeply_is_not_cached(member: str) -> None:
    deep = b'{"max_tokens":1,"messages":[],"%b":%b1%b}' % (member.encode(), b'[{"content":' * 5_000, b"}]" * 5_000)

    assert isinstance(reading(deep), Bypass)
