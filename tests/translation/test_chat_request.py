"""A request of Messages as a chat upstream takes it: every row of translation.md §3.1, in and out."""

import copy
import json
from typing import Any

import pytest

from cachemw.translation.base import Translated, Untranslatable
from cachemw.translation.chat_rows import ChatRow, chat_row
from cachemw.translation.messages_to_chat import messages_to_chat
from cachemw.translation.signatures import is_our_signature, signature_of
from tests.translation.messages_reading import ASKED, translated

PARTS = ChatRow(text_only=False, reasoning="reasoning", efforts=frozenset({"none", "low", "medium", "high"}), user=True)
PLAIN = ChatRow()
LONG = "n" * 70
SHORTENED = f"{'n' * 55}_85069ddf"
HELLO = {"role": "user", "content": "Hello"}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}
EPHEMERAL = {"type": "ephemeral"}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"z": {}, "a": {}}}}
FUNCTION = {"name": "f", "description": "d", "parameters": TOOL["input_schema"]}
TOOLS = [{"type": "function", "function": FUNCTION}]


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def call(name: str = "f", call_id: str = "c1", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def called(arguments: str = "{}", name: str = "f", call_id: str = "c1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(call_id: str = "c1", **members: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, **members}


def tool(content: Any, call_id: str = "c1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def turns(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"messages": list(messages)}


CALLED = {"role": "assistant", "content": None, "tool_calls": [called()]}
TWO_CALLED = {"role": "assistant", "content": None, "tool_calls": [called(), called(call_id="c2")]}
TWO_CALLS = assistant(call(), call(call_id="c2"))

MESSAGES: dict[str, tuple[ChatRow, dict[str, Any], list[Any], dict[str, str]]] = {
    "system string": (PLAIN, {"system": "s", **turns(HELLO)}, [{"role": "system", "content": "s"}, HELLO], {}),
    "one system block": (PLAIN, {"system": [text("s")], **turns(HELLO)}, [{"role": "system", "content": "s"}, HELLO], {}),
    "system blocks": (
        PARTS,
        {"system": [text("a"), {**text("b"), "cache_control": EPHEMERAL}], **turns(HELLO)},
        [{"role": "system", "content": [text("a"), text("b")]}, HELLO],
        {},
    ),
    "system blocks, text only": (
        PLAIN,
        {"system": [text("a"), text("b")], **turns(HELLO)},
        [{"role": "system", "content": "a\n\nb"}, HELLO],
        {"system": "joined"},
    ),
    "billing header": (
        PARTS,
        {"system": [text("x-anthropic-billing-header: cc_version=1; cch=abcde;"), text("s")], **turns(HELLO)},
        [{"role": "system", "content": "s"}, HELLO],
        {"system.billing": "dropped"},
    ),
    "only a billing header": (
        PARTS,
        {"system": [text("x-anthropic-billing-header: cch=abcde;")], **turns(HELLO)},
        [HELLO],
        {"system.billing": "dropped"},
    ),
    "no system blocks": (PARTS, {"system": [], **turns(HELLO)}, [HELLO], {}),
    "system later": (
        PARTS,
        turns(HELLO, {"role": "system", "content": "s"}),
        [HELLO, {"role": "system", "content": "s"}],
        {},
    ),
    "system later, hoisted": (
        ChatRow(system_anywhere=False),
        {"system": "a", **turns(HELLO, {"role": "system", "content": "b"})},
        [{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, HELLO],
        {"messages.system": "moved"},
    ),
    "system first in a row that hoists": (
        ChatRow(system_anywhere=False),
        turns({"role": "system", "content": "b"}, HELLO),
        [{"role": "system", "content": "b"}, HELLO],
        {},
    ),
    "system between a call and its result": (
        PARTS,
        turns(HELLO, assistant(call()), {"role": "system", "content": "s"}, user(result(content="r"), text("t"))),
        [HELLO, CALLED, tool("r"), {"role": "system", "content": "s"}, {"role": "user", "content": "t"}],
        {"messages.system": "moved"},
    ),
    "a text block": (PARTS, turns(user(text("a"))), [{"role": "user", "content": "a"}], {}),
    "text blocks": (
        PLAIN,
        turns(user(text("a"), text("b"))),
        [{"role": "user", "content": [text("a"), text("b")]}],
        {},
    ),
    "users in a row": (PARTS, turns(HELLO, HELLO), [HELLO, HELLO], {}),
    "image": (PARTS, turns(user(PNG)), [{"role": "user", "content": [PNG_PART]}], {}),
    "image at a URL": (
        PARTS,
        turns(user(text("a"), {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}})),
        [{"role": "user", "content": [text("a"), {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}],
        {},
    ),
    "PDF": (
        ChatRow(documents=True),
        turns(user({**PDF, "title": "t.pdf", "context": None, "citations": {"enabled": False}})),
        [
            {
                "role": "user",
                "content": [
                    {"type": "file", "file": {"filename": "t.pdf", "file_data": "data:application/pdf;base64,aGk="}},
                ],
            }
        ],
        {},
    ),
    "PDF with context": (
        ChatRow(documents=True),
        turns(user({**PDF, "context": "c"})),
        [
            {
                "role": "user",
                "content": [
                    {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,aGk="}},
                ],
            }
        ],
        {"messages.document.context": "dropped"},
    ),
    "text document": (
        PARTS,
        turns(user({"type": "document", "title": "t", "source": {"type": "text", "media_type": "text/plain", "data": "d"}})),
        [{"role": "user", "content": "d"}],
        {"messages.document": "approximated"},
    ),
    "citations in history": (
        PARTS,
        turns(HELLO, assistant({**text("a"), "citations": [{"type": "char_location"}]}), HELLO),
        [HELLO, {"role": "assistant", "content": "a"}, HELLO],
        {"messages.text.citations": "dropped"},
    ),
    "no citations in history": (
        PARTS,
        turns(HELLO, assistant({**text("a"), "citations": []}), HELLO),
        [HELLO, {"role": "assistant", "content": "a"}, HELLO],
        {},
    ),
    "text and calls": (
        PARTS,
        turns(HELLO, assistant(text("a"), call(x=1, y={"b": 2, "a": "é"})), user(result(content="r"))),
        [
            HELLO,
            {"role": "assistant", "content": "a", "tool_calls": [called('{"x":1,"y":{"b":2,"a":"é"}}')]},
            tool("r"),
        ],
        {},
    ),
    "text behind a call": (
        PARTS,
        turns(HELLO, assistant(call(), text("a")), user(result(content="r"))),
        [HELLO, {**CALLED, "content": "a"}, tool("r")],
        {"messages.text": "moved"},
    ),
    "assistants in a row": (
        PARTS,
        turns(HELLO, assistant(call()), assistant(call(call_id="c2")), user(result(content="r"), result("c2", content="q"))),
        [HELLO, TWO_CALLED, tool("r"), tool("q", "c2")],
        {},
    ),
    "our thinking": (
        PARTS,
        turns(
            HELLO,
            assistant({"type": "thinking", "thinking": "hm\n", "signature": signature_of("hm\n")}, text("a")),
            HELLO,
        ),
        [HELLO, {"role": "assistant", "content": "a", "reasoning": "hm\n"}, HELLO],
        {},
    ),
    "our thinking, by another name": (
        ChatRow(reasoning="reasoning_content"),
        turns(HELLO, assistant({"type": "thinking", "thinking": "hm", "signature": signature_of("hm")}, text("a")), HELLO),
        [HELLO, {"role": "assistant", "content": "a", "reasoning_content": "hm"}, HELLO],
        {},
    ),
    "our thinking, where it goes nowhere": (
        PLAIN,
        turns(HELLO, assistant({"type": "thinking", "thinking": "hm", "signature": signature_of("hm")}, text("a")), HELLO),
        [HELLO, {"role": "assistant", "content": "a"}, HELLO],
        {"messages.thinking": "dropped"},
    ),
    "another's thinking": (
        PARTS,
        turns(HELLO, assistant({"type": "thinking", "thinking": "hm", "signature": "EqQBCg=="}, text("a")), HELLO),
        [HELLO, {"role": "assistant", "content": "a"}, HELLO],
        {"messages.thinking": "dropped"},
    ),
    "redacted thinking": (
        PARTS,
        turns(HELLO, assistant({"type": "redacted_thinking", "data": "x"}, text("a")), HELLO),
        [HELLO, {"role": "assistant", "content": "a"}, HELLO],
        {"messages.redacted_thinking": "dropped"},
    ),
    "result without content": (PARTS, turns(HELLO, assistant(call()), user(result())), [HELLO, CALLED, tool("")], {}),
    "result of texts": (
        PARTS,
        turns(HELLO, assistant(call()), user(result(content=[text("a"), text("b")]))),
        [HELLO, CALLED, tool([text("a"), text("b")])],
        {},
    ),
    "result of texts, text only": (
        PLAIN,
        turns(HELLO, assistant(call()), user(result(content=[text("a"), text("b")]))),
        [HELLO, CALLED, tool("a\nb")],
        {},
    ),
    "result with an image": (
        PARTS,
        turns(HELLO, TWO_CALLS, user(result(content=[text("a"), PNG]), result("c2", content="b"), text("t"))),
        [HELLO, TWO_CALLED, tool("a"), tool("b", "c2"), {"role": "user", "content": [PNG_PART, text("t")]}],
        {"messages.tool_result.image": "moved"},
    ),
    "result that is an image": (
        PARTS,
        turns(HELLO, assistant(call()), user(result(content=[PNG]))),
        [HELLO, CALLED, tool(""), {"role": "user", "content": [PNG_PART]}],
        {"messages.tool_result.image": "moved"},
    ),
    "result that is an error": (
        PARTS,
        turns(HELLO, assistant(call()), user(result(content="r", is_error=True))),
        [HELLO, CALLED, tool("Error: r")],
        {"messages.tool_result.is_error": "approximated"},
    ),
    "result that is none": (
        PARTS,
        turns(HELLO, assistant(call()), user(result(content="r", is_error=False))),
        [HELLO, CALLED, tool("r")],
        {},
    ),
    "text before, between and behind results": (
        PARTS,
        turns(HELLO, TWO_CALLS, user(text("x"), result(content="a"), text("y"), result("c2", content="b"), text("z"))),
        [HELLO, TWO_CALLED, tool("a"), tool("b", "c2"), {"role": "user", "content": [text("x"), text("y"), text("z")]}],
        {},
    ),
    "results in two turns": (
        PARTS,
        turns(HELLO, TWO_CALLS, user(result(content="a"), text("y")), user(result("c2", content="b"))),
        [HELLO, TWO_CALLED, tool("a"), tool("b", "c2"), {"role": "user", "content": "y"}],
        {},
    ),
    "prefill": (
        ChatRow(continues=True),
        turns(HELLO, assistant(text("a"))),
        [HELLO, {"role": "assistant", "content": "a"}],
        {},
    ),
    "a call's caller": (
        PARTS,
        turns(HELLO, assistant({**call(), "caller": {"type": "direct"}, "toolset_name": None}), user(result(content="r"))),
        [HELLO, CALLED, tool("r")],
        {},
    ),
    "a name that is too long, in history": (
        PARTS,
        turns(HELLO, assistant(call(LONG)), user(result(content="r"))),
        [HELLO, {**CALLED, "tool_calls": [called(name=SHORTENED)]}, tool("r")],
        {"tools.name": "shortened"},
    ),
}


@pytest.mark.parametrize(("row", "asked", "messages", "told"), MESSAGES.values(), ids=MESSAGES)
def test_messages_are_said_as_a_chat_has_them(
    row: ChatRow, asked: dict[str, Any], messages: list[Any], told: dict[str, str]
) -> None:
    """T12, T13, T14, T16, T20."""
    result = translated(asked, row)

    assert json.loads(result.body)["messages"] == messages
    assert dict(result.told) == told


MEMBERS: dict[str, tuple[ChatRow, dict[str, Any], dict[str, Any], dict[str, str]]] = {
    "nothing else": (PARTS, {}, {"max_tokens": 64}, {}),
    "limit of a row": (ChatRow(token_limit="max_completion_tokens"), {}, {"max_completion_tokens": 64}, {}),
    "limit above the model's": (
        ChatRow(output_limit=32),
        {"max_tokens": 64_000},
        {"max_tokens": 32},
        {"max_tokens": "limited"},
    ),
    "limit at the model's": (ChatRow(output_limit=64), {"max_tokens": 64}, {"max_tokens": 64}, {}),
    "sampling": (PARTS, {"temperature": 0.5, "top_p": 1}, {"temperature": 0.5, "top_p": 1}, {}),
    "top_k": (PARTS, {"top_k": 5}, {}, {"top_k": "dropped"}),
    "top_k of a row": (ChatRow(top_k=True), {"top_k": 5}, {"top_k": 5}, {}),
    "stops": (PARTS, {"stop_sequences": ["a", "b"]}, {"stop": ["a", "b"]}, {"stop_sequence": "unknown"}),
    "stops of a row": (ChatRow(names_stop=True), {"stop_sequences": ["a"]}, {"stop": ["a"]}, {}),
    "no stops": (PARTS, {"stop_sequences": []}, {}, {}),
    "tools": (PARTS, {"tools": [TOOL]}, {"tools": TOOLS}, {}),
    "custom tool": (
        PARTS,
        {"tools": [{**TOOL, "type": "custom", "strict": True, "cache_control": EPHEMERAL, "eager_input_streaming": True}]},
        {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]},
        {},
    ),
    "tool without description": (
        PARTS,
        {"tools": [{"name": "f", "input_schema": {}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {},
    ),
    "tool with more": (
        PARTS,
        {"tools": [{**TOOL, "defer_loading": True, "input_examples": [{}], "allowed_callers": ["direct"]}]},
        {"tools": TOOLS},
        {"tools.defer_loading": "dropped", "tools.input_examples": "dropped", "tools.allowed_callers": "dropped"},
    ),
    "no tools": (PARTS, {"tools": []}, {}, {}),
    "tool with a long name": (
        PARTS,
        {"tools": [{**TOOL, "name": LONG}], "tool_choice": {"type": "tool", "name": LONG}},
        {
            "tools": [{"type": "function", "function": {**FUNCTION, "name": SHORTENED}}],
            "tool_choice": {"type": "function", "function": {"name": SHORTENED}},
        },
        {"tools.name": "shortened"},
    ),
    "choice auto": (
        PARTS,
        {"tools": [TOOL], "tool_choice": {"type": "auto"}},
        {"tools": TOOLS, "tool_choice": "auto"},
        {},
    ),
    "choice any": (
        PARTS,
        {"tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
        {},
    ),
    "choice none": (
        PARTS,
        {"tools": [TOOL], "tool_choice": {"type": "none"}},
        {"tools": TOOLS, "tool_choice": "none"},
        {},
    ),
    "one call, where that cannot be said": (
        ChatRow(parallel_tool_calls=False),
        {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {"tools": TOOLS, "tool_choice": "auto"},
        {"tool_choice.disable_parallel_tool_use": "dropped"},
    ),
    "parallel calls": (
        PARTS,
        {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": False}},
        {"tools": TOOLS, "tool_choice": "auto"},
        {},
    ),
    "choice of nothing": (PARTS, {"tool_choice": {"type": "auto"}}, {}, {}),
    "thinking, high": (
        PARTS,
        {"thinking": {"type": "enabled", "budget_tokens": 31_999}},
        {"reasoning_effort": "high"},
        {"thinking": "approximated"},
    ),
    "thinking, medium": (
        PARTS,
        {"thinking": {"type": "enabled", "budget_tokens": 2_048}},
        {"reasoning_effort": "medium"},
        {"thinking": "approximated"},
    ),
    "thinking, less than low": (
        PARTS,
        {"thinking": {"type": "enabled", "budget_tokens": 1}},
        {"reasoning_effort": "low"},
        {"thinking": "approximated"},
    ),
    "thinking, minimal": (
        ChatRow(efforts=frozenset({"minimal", "low"})),
        {"thinking": {"type": "enabled", "budget_tokens": 1}},
        {"reasoning_effort": "minimal"},
        {"thinking": "approximated"},
    ),
    "thinking, where nobody knows of any": (
        PLAIN,
        {"thinking": {"type": "enabled", "budget_tokens": 1_024}},
        {},
        {"thinking": "dropped"},
    ),
    "thinking, adaptive": (PARTS, {"thinking": {"type": "adaptive"}}, {}, {}),
    "thinking, shown": (
        PARTS,
        {"thinking": {"type": "adaptive", "display": "summarized"}},
        {},
        {"thinking.display": "dropped"},
    ),
    "effort": (
        PARTS,
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}},
        {"reasoning_effort": "medium"},
        {},
    ),
    "effort above high": (
        PARTS,
        {"output_config": {"effort": "max"}},
        {"reasoning_effort": "high"},
        {"output_config.effort": "approximated"},
    ),
    "effort before a budget": (
        PARTS,
        {"thinking": {"type": "enabled", "budget_tokens": 9_000}, "output_config": {"effort": "low"}},
        {"reasoning_effort": "low"},
        {"thinking": "approximated"},
    ),
    "effort, where nobody knows of any": (
        PLAIN,
        {"output_config": {"effort": "low"}},
        {},
        {"output_config.effort": "dropped"},
    ),
    "no thinking": (PARTS, {"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}, {}),
    "no thinking, and an effort": (
        PARTS,
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
        {"reasoning_effort": "none"},
        {"output_config.effort": "dropped"},
    ),
    "no thinking, where there is no none": (
        ChatRow(efforts=frozenset({"low"})),
        {"thinking": {"type": "disabled"}},
        {},
        {"thinking": "dropped"},
    ),
    "format": (
        PARTS,
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "output", "schema": {"type": "object"}, "strict": True},
            }
        },
        {},
    ),
    "user": (PARTS, {"metadata": {"user_id": "u"}}, {"user": "u"}, {}),
    "user, where there is none": (PLAIN, {"metadata": {"user_id": "u"}}, {}, {"metadata.user_id": "dropped"}),
    "stream": (PARTS, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}, {}),
    "stream that says its usage unasked": (ChatRow(asks_usage=False), {"stream": True}, {"stream": True}, {}),
    "no stream": (PARTS, {"stream": False}, {}, {}),
    "what is of Anthropic alone": (
        PARTS,
        {
            "service_tier": "auto",
            "diagnostics": {},
            "inference_geo": "eu",
            "speed": "fast",
            "user_profile_id": "p",
            "workspace_id": "w",
            "context_management": {"edits": []},
            "fallbacks": [],
            "cache_control": EPHEMERAL,
        },
        {},
        dict.fromkeys(
            "service_tier diagnostics inference_geo speed user_profile_id workspace_id context_management fallbacks".split(),
            "dropped",
        ),
    ),
    "what nobody knows": (PARTS, {"Quality": 1, "Größe": 2, "nothing": None}, {}, {"quality": "dropped", "other": "dropped"}),
    "null": (
        PARTS,
        dict.fromkeys(
            "system tools tool_choice temperature top_p top_k stop_sequences thinking output_config metadata stream container"
            " mcp_servers".split()
        ),
        {},
        {},
    ),
}


@pytest.mark.parametrize(("row", "asked", "members", "told"), MEMBERS.values(), ids=MEMBERS)
def test_members_are_said_as_a_chat_has_them(
    row: ChatRow, asked: dict[str, Any], members: dict[str, Any], told: dict[str, str]
) -> None:
    result = translated(asked, row)

    body = json.loads(result.body)
    limit = {} if {"max_tokens", "max_completion_tokens"} & members.keys() else {"max_tokens": 64}
    assert body == {"model": "gpt-oss-120b", "messages": [HELLO], **limit, **members}
    assert dict(result.told) == told


def test_the_order_within_a_schema_and_an_input_is_kept() -> None:
    schema = {"type": "object", "required": ["z"], "properties": {"z": {}, "a": {}}}
    messages = turns(HELLO, assistant(call(z=1, a=2)), user(result(content="r")))

    body = translated({"tools": [{"name": "f", "input_schema": schema}], **messages}).body

    assert json.dumps(schema, separators=(",", ":")).encode() in body
    assert rb"{\"z\":1,\"a\":2}" in body


def test_a_cache_control_within_a_schema_or_an_input_is_kept() -> None:
    """T28."""
    schema = {"properties": {"cache_control": {"type": "string"}}}
    messages = turns(HELLO, assistant(call(cache_control="x")), user(result(content="r")))

    result_ = translated({"tools": [{"name": "f", "input_schema": schema, "cache_control": EPHEMERAL}], **messages})

    body = json.loads(result_.body)
    assert body["tools"][0]["function"]["parameters"] == schema
    assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"cache_control":"x"}'
    assert result_.told == ()


def test_what_differs_in_a_billing_header_only_is_one_request() -> None:
    """T15."""
    headers = [f"x-anthropic-billing-header: cc_version=1; cch={digest};" for digest in ("00000", "fffff")]

    first, second = (translated({"system": [text(header), text("s")]}) for header in headers)

    assert first.body == second.body


def test_three_system_messages_arrive_in_order() -> None:
    """T16."""
    later = [{"role": "system", "content": "b"}, {"role": "system", "content": "c"}]

    body = json.loads(translated({"system": "a", **turns(HELLO, *later)}, ChatRow(system_anywhere=False)).body)

    assert [message["content"] for message in body["messages"] if message["role"] == "system"] == ["a", "b", "c"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": None}, "model"),
    "a thread that is kept upstream": ({"thread": {"type": "create"}}, "thread"),
    "a summary instead of an answer": ({"compaction": {"type": "summarize"}}, "compaction"),
    "a model that is no text": ({"model": 1}, "model"),
    "no limit": ({"max_tokens": None}, "max_tokens"),
    "a limit of nothing": ({"max_tokens": 0}, "max_tokens"),
    "a limit that is true": ({"max_tokens": True}, "max_tokens"),
    "a limit with a fraction": ({"max_tokens": 1.0}, "max_tokens"),
    "no messages": ({"messages": None}, "messages"),
    "messages that are none": ({"messages": []}, "messages"),
    "a message that is no object": (turns(HELLO, "x"), "messages.1"),  # type: ignore[arg-type]
    "another role": (turns({"role": "tool", "content": "x"}), "messages.0.role"),
    "content that is null": (turns({"role": "user", "content": None}), "messages.0.content"),
    "content that is empty": (turns(user()), "messages.0.content"),
    "a block that is no object": (turns(user("x")), "messages.0.content.0"),
    "a text that is none": (turns(user({"type": "text", "text": 1})), "messages.0.content.0.text"),
    "system that is no text": ({"system": 1}, "system"),
    "system with an image": ({"system": [PNG]}, "system.0"),
    "an image of a text-only model": (turns(HELLO, user(text("a"), PNG)), "messages.1.content.1"),
    "an image of a text-only model, in a result": (
        turns(HELLO, assistant(call()), user(result(content=[PNG]))),
        "messages.2.content.0.content.0",
    ),
    "a file": (turns(user({"type": "document", "source": {"type": "file", "file_id": "f"}})), "messages.0.content.0.source"),
    "a PDF where there are none": (turns(user(PDF)), "messages.0.content.0.source"),
    "a PDF at a URL": (turns(user({"type": "document", "source": {"type": "url", "url": "u"}})), "messages.0.content.0.source"),
    "citations": (turns(user({**PDF, "citations": {"enabled": True}})), "messages.0.content.0.citations"),
    "a prefill": (turns(HELLO, assistant(text("a"))), "messages.1"),
    "a result without its call": (turns(user(result(content="r"))), "messages.0.content.0.tool_use_id"),
    "a result of an earlier turn": (
        turns(HELLO, assistant(call()), user(result(content="r")), user(text("a")), assistant(text("b")), user(result())),
        "messages.5.content.0.tool_use_id",
    ),
    "two results of one call": (
        turns(HELLO, assistant(call()), user(result(content="r"), result(content="r"))),
        "messages.2.content.1.tool_use_id",
    ),
    "two calls of one id": (turns(HELLO, assistant(call(), call()), HELLO), "messages.1.content.1.id"),
    "a call whose input is no object": (
        turns(HELLO, assistant({**call(), "input": "{}"}), HELLO),
        "messages.1.content.0.input",
    ),
    "an error that is neither": (
        turns(HELLO, assistant(call()), user(result(is_error="yes"))),
        "messages.2.content.0.is_error",
    ),
    "a call of the user": (turns(user(call())), "messages.0.content.0"),
    "a tool of the server": ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0"),
    "tools that are no array": ({"tools": {}}, "tools"),
    "tools that are false": ({"tools": False}, "tools"),
    "a tool without a schema": ({"tools": [TOOL, {"name": "g"}]}, "tools.1.input_schema"),
    "a tool without a name": ({"tools": [{"name": "", "input_schema": {}}]}, "tools.0.name"),
    "two tools of one name": ({"tools": [TOOL, TOOL]}, "tools.1.name"),
    "two tools that would have one name": (
        {"tools": [{**TOOL, "name": SHORTENED}, {**TOOL, "name": LONG}]},
        "tools.1.name",
    ),
    "choice of another tool": ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name"),
    "choice of some tool of none": ({"tool_choice": {"type": "any"}}, "tool_choice"),
    "another choice": ({"tools": [TOOL], "tool_choice": {"type": "x"}}, "tool_choice.type"),
    "a choice that is a text": ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice"),
    "five stops": ({"stop_sequences": list("abcde")}, "stop_sequences"),
    "a stop that is no text": ({"stop_sequences": ["a", 1]}, "stop_sequences.1"),
    "a temperature that is a text": ({"temperature": "1"}, "temperature"),
    "a temperature that is true": ({"temperature": True}, "temperature"),
    "other thinking": ({"thinking": {"type": "deep"}}, "thinking.type"),
    "thinking without a budget": ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    "another effort": ({"output_config": {"effort": "huge"}}, "output_config.effort"),
    "another format": ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format.type"),
    "a format beside tools": (
        {"tools": [TOOL], "output_config": {"format": {"type": "json_schema", "schema": {}}}},
        "output_config.format",
    ),
    "metadata that is none": ({"metadata": "u"}, "metadata"),
    "a user that is no text": ({"metadata": {"user_id": 1}}, "metadata.user_id"),
    "a stream that is neither": ({"stream": "yes"}, "stream"),
    "a container": ({"container": "c"}, "container"),
    "servers": ({"mcp_servers": [{}]}, "mcp_servers"),
    "a surrogate": ({"system": "\ud800"}, "messages"),
    **{
        f"a block of type {kind}": (turns(user({"type": kind})), "messages.0.content.0")
        for kind in "search_result container_upload server_tool_use web_search_tool_result mcp_tool_use thinking new".split()
    },
    "a block without a type": (turns(user({})), "messages.0.content.0"),
    "a server's call of the assistant": (turns(HELLO, assistant({"type": "server_tool_use"}), HELLO), "messages.1.content.0"),
}


@pytest.mark.parametrize(("asked", "member"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_said_is_refused_by_name(asked: dict[str, Any], member: str) -> None:
    row = ChatRow(images=False, format_with_tools=False)

    refused = messages_to_chat({**ASKED, **asked}, row)

    assert isinstance(refused, Untranslatable)
    assert refused.member == member
    assert refused.why


def test_what_is_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(100_000):
        schema = {"a": schema}

    assert isinstance(messages_to_chat({**ASKED, "tools": [{"name": "f", "input_schema": schema}]}, PLAIN), Untranslatable)


def test_a_request_is_left_as_it_was() -> None:
    for _, asked, _, _ in (*MESSAGES.values(), *MEMBERS.values()):
        before = copy.deepcopy(asked)
        messages_to_chat({**ASKED, **asked}, PARTS)
        assert asked == before


def test_as_much_is_told_as_a_header_can_bear() -> None:
    told = translated({f"member_{at}": 1 for at in range(1_000)}).told

    assert len(told) == 33
    assert ("other", "dropped") in told


def test_a_signature_of_ours_is_known_again() -> None:
    """T11."""
    assert is_our_signature(signature_of("hm"))
    assert signature_of("hm") != signature_of("hm.")


@pytest.mark.parametrize("foreign", ["", "EqQBCg==", "cachemw.1.", signature_of("a") + "A", " " + signature_of("a")])
def test_no_other_signature_is_taken_for_ours(foreign: str) -> None:
    """T11."""
    assert not is_our_signature(foreign)


CEREBRAS = ("cerebras", "gpt-oss-120b")
ROWS: dict[str, tuple[str | None, str | None, str, Any]] = {
    "Cerebras' limit": (*CEREBRAS, "token_limit", "max_completion_tokens"),
    "Cerebras' usage": (*CEREBRAS, "asks_usage", False),
    "Cerebras' reasoning": (*CEREBRAS, "reasoning", "reasoning"),
    "gpt-oss at Cerebras cannot but reason": (*CEREBRAS, "efforts", frozenset({"low", "medium", "high"})),
    "GLM at Cerebras can": ("cerebras", "zai-glm-4.7", "efforts", frozenset({"none", "low", "medium", "high"})),
    "gpt-oss at Cerebras, tools and a format": (*CEREBRAS, "format_with_tools", False),
    "GLM at Cerebras, tools and a format": ("cerebras", "zai-glm-4.7", "format_with_tools", True),
    "gpt-oss reads text": ("openrouter", "openai/gpt-oss-120b", "images", False),
    "gemma at Cerebras reads images": ("cerebras", "gemma-4-31b", "images", True),
    "qwen has one system message": (None, "Qwen/Qwen3-32B", "system_anywhere", False),
    "OpenAI's documents": ("openai", "gpt-5", "documents", True),
    "OpenAI's models that reason": ("openai", "o3", "efforts", frozenset({"low", "medium", "high"})),
    "OpenAI's models that do not": ("openai", "gpt-4o", "efforts", frozenset()),
    "Mistral's limit": ("mistral", "mistral-large", "token_limit", "max_tokens"),
    "Mistral takes no user": ("mistral", "mistral-large", "user", False),
    "xAI takes a user": ("xai", "grok-4", "user", True),
    "a URL, a user": (None, None, "user", False),
    "a URL": (None, None, "token_limit", "max_tokens"),
    "what has a name that nobody knows": ("acme", "m", "asks_usage", True),
}


@pytest.mark.parametrize(("provider", "model", "member", "value"), ROWS.values(), ids=ROWS)
def test_a_row_says_what_is_known(provider: str | None, model: str | None, member: str, value: Any) -> None:
    assert getattr(chat_row(provider, model), member) == value


@pytest.mark.parametrize("model", ["gpt-oss-120b", "zai-glm-4.7", "qwen-3.8-27b", None])
def test_cerebras_is_sent_what_it_takes_and_nothing_else(model: str | None) -> None:
    taken = set(
        "model messages max_completion_tokens temperature top_p stop stream tools tool_choice parallel_tool_calls"
        " response_format reasoning_effort user".split()
    )
    asked = {
        "stream": True,
        "top_k": 1,
        "temperature": 1,
        "stop_sequences": ["x"],
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "max"},
        "metadata": {"user_id": "u"},
        "tools": [TOOL],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }

    result_ = messages_to_chat({**ASKED, **asked}, chat_row("cerebras", model))

    assert isinstance(result_, Translated)
    assert json.loads(result_.body).keys() <= taken


def test_what_a_coding_agent_asks_is_said_to_cerebras() -> None:
    """T14, T15: the shape that Claude Code sends (translation.md §0.6), and all that is told of it."""
    asked = {
        "model": "gpt-oss-120b",
        "max_tokens": 64_000,
        "stream": True,
        "system": [
            text("x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli; cch=0a1b2;"),
            {**text("You are an agent."), "cache_control": EPHEMERAL},
            {**text("Rules."), "cache_control": EPHEMERAL},
        ],
        "messages": [
            user(text("<date>"), {**text("Fix it."), "cache_control": EPHEMERAL}),
            {"role": "system", "content": "Be brief."},
        ],
        "tools": [TOOL],
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "metadata": {"user_id": '{"session_id":"s"}'},
    }

    result_ = messages_to_chat(asked, chat_row("cerebras", "gpt-oss-120b"))

    assert isinstance(result_, Translated)
    assert json.loads(result_.body) == {
        "model": "gpt-oss-120b",
        "messages": [
            {"role": "system", "content": [text("You are an agent."), text("Rules.")]},
            {"role": "user", "content": [text("<date>"), text("Fix it.")]},
            {"role": "system", "content": "Be brief."},
        ],
        "max_completion_tokens": 32_768,
        "tools": TOOLS,
        "reasoning_effort": "high",
        "user": '{"session_id":"s"}',
        "stream": True,
    }
    assert dict(result_.told) == {"system.billing": "dropped", "max_tokens": "limited", "context_management": "dropped"}
