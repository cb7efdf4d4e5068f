"""Each member of a Messages request, and what it becomes for an upstream of chat completions."""

from collections.abc import Mapping
from typing import Any

from cachemw.translation.signatures import signature_of
from tests.translation.member_rows import EXACT, REFUSED, TOLD, MemberRow, Request

TEXT_MODEL = ("cerebras", "gpt-oss-120b")
PICTURE_MODEL = ("cerebras", "gemma-4-31b")
OPENAI = ("openai", "gpt-5.4-mini")
QWEN = (None, "qwen3-32b")
ANY_URL = (None, "some-model")


def _to_chat(
    members: str,
    becomes: str,
    way: str,
    request: Request,
    upstream: tuple[str | None, str] = TEXT_MODEL,
    also: tuple[Request, ...] = (),
) -> MemberRow:
    return MemberRow(
        members, becomes, way, {**MESSAGES, **request}, *upstream, tuple([{**MESSAGES, **other} for other in also])
    )


def _turns(*contents: Any) -> dict[str, Any]:
    """Turns of the user and the assistant, one after the other."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[at % 2], "content": content} for at, content in enumerate(contents)]}


def _says(*blocks: Mapping[str, Any]) -> dict[str, Any]:
    return _turns([*blocks])


def _text(text: str = "hi", **members: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **members}


def _used(**members: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "it"}, **members}


def _result(content: Any = "seen", **members: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **members}


def _run(*results: Mapping[str, Any]) -> dict[str, Any]:
    """A call of a tool, and a turn of the user with these blocks."""
    return {**_turns("hi", [_used()], [*results]), "tools": [MESSAGES_TOOL]}


def _system_later(*between: Mapping[str, Any]) -> dict[str, Any]:
    return {"messages": [*_turns("hi")["messages"], *between, {"role": "system", "content": "be brief"}, _USER]}


_USER: dict[str, Any] = {"role": "user", "content": "go on"}
MESSAGES: dict[str, Any] = {"max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
MESSAGES_TOOL: dict[str, Any] = {"name": "look", "description": "looks", "input_schema": {"type": "object"}}
_FILE = {"type": "file", "file_id": "f"}
_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
_PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}
_PLAIN = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
_SCHEMA = {"type": "json_schema", "schema": {"type": "object"}}
_THOUGHT = {"type": "thinking", "thinking": "so", "signature": signature_of("so")}
_THEIRS = {"type": "thinking", "thinking": "so", "signature": "EqQBCkYIAxgC"}
_KEPT = {"type": "ephemeral"}


def _tool(**members: Any) -> dict[str, Any]:
    return {"tools": [{**MESSAGES_TOOL, **members}]}


MESSAGES_ROWS: tuple[MemberRow, ...] = (
    _to_chat("`model`", "`model`, after the file's [names](routes.md#what-a-models-name-does)", EXACT, {}),
    _to_chat("`max_tokens`", "`max_completion_tokens` or `max_tokens`, as the provider calls it", EXACT, {"max_tokens": 100}),
    _to_chat("`max_tokens` above the model's own limit", "that limit, where it is known", TOLD, {"max_tokens": 64_000}),
    _to_chat("`system`, a text or blocks", "the first message, of the system", EXACT, {"system": [_text("a"), _text("b")]}),
    _to_chat(
        "the same, where the provider takes one text alone",
        "joined by a blank line",
        TOLD,
        {"system": [_text("a"), _text("b")]},
        ANY_URL,
    ),
    _to_chat(
        "`x-anthropic-billing-header` in `system`",
        "nothing",
        TOLD,
        {"system": [_text("x-anthropic-billing-header: a=1;"), _text("b")]},
    ),
    _to_chat(
        "a message of the system between others",
        "the same, in its place",
        EXACT,
        _system_later({"role": "assistant", "content": "so"}, _USER),
    ),
    _to_chat(
        "the same, for a Qwen, which calls no tools then",
        "at the head",
        TOLD,
        _system_later({"role": "assistant", "content": "so"}, _USER),
        QWEN,
    ),
    _to_chat("text of the user", "text", EXACT, _says(_text("a"), _text("b"))),
    _to_chat(
        "`image`, in base64 or by URL",
        "`image_url`",
        EXACT,
        _says(_IMAGE),
        PICTURE_MODEL,
        also=(_says({"type": "image", "source": {"type": "url", "url": "https://a.example/a.png"}}),),
    ),
    _to_chat("`image`, to a model that reads text alone", "", REFUSED, _says(_IMAGE)),
    _to_chat(
        "`image` or `document` by `file_id`",
        "",
        REFUSED,
        _says({"type": "image", "source": _FILE}),
        PICTURE_MODEL,
        also=(_says({"type": "document", "source": _FILE}),),
    ),
    _to_chat("`document`, a PDF, to OpenAI", "`file`", EXACT, _says(_PDF), OPENAI),
    _to_chat("`document`, a PDF, to others", "", REFUSED, _says(_PDF)),
    _to_chat("`document`, plain text", "text", TOLD, _says(_PLAIN)),
    _to_chat("`document` with `citations`", "", REFUSED, _says({**_PLAIN, "citations": {"enabled": True}})),
    _to_chat(
        "`search_result`, `container_upload`, `server_tool_use`, `mcp_…`",
        "",
        REFUSED,
        _says({"type": "search_result"}),
        also=tuple([_says({"type": kind}) for kind in ("container_upload", "server_tool_use", "mcp_tool_use")]),
    ),
    _to_chat(
        "text and `tool_use` of the assistant",
        "one message with `tool_calls`",
        EXACT,
        {**_turns("hi", [_text("so"), _used()], [_result()]), **_tool()},
    ),
    _to_chat("text behind a `tool_use`", "before it", TOLD, {**_turns("hi", [_used(), _text("so")], [_result()]), **_tool()}),
    _to_chat(
        "`thinking` of this upstream, [signed by us](#ids-and-signatures)",
        "`reasoning`, where the provider takes it back",
        EXACT,
        _turns("hi", [_THOUGHT, _text("so")], "go on"),
    ),
    _to_chat("`thinking` that somebody else signed", "nothing", TOLD, _turns("hi", [_THEIRS, _text("so")], "go on")),
    _to_chat(
        "`redacted_thinking`",
        "nothing",
        TOLD,
        _turns("hi", [{"type": "redacted_thinking", "data": "AAAA"}, _text("so")], "go on"),
    ),
    _to_chat("`tool_result`, text", "a message of the tool", EXACT, _run(_result())),
    _to_chat(
        "`tool_result` beside text, in any order",
        "first the results, then one message of the user",
        EXACT,
        _run(_text("and"), _result()),
    ),
    _to_chat(
        "`tool_result` with an image",
        "its text; the image follows in a message of the user",
        TOLD,
        {**_run(_result([_text("seen"), _IMAGE]))},
        PICTURE_MODEL,
    ),
    _to_chat("`tool_result` with `is_error`", "`Error: ` before its text", TOLD, _run(_result(is_error=True))),
    _to_chat("`tool_result` without its call", "", REFUSED, _says(_result())),
    _to_chat("a last message of the assistant, to go on from", "", REFUSED, _turns("hi", "It is")),
    _to_chat(
        "`tools`: `name`, `description`, `input_schema`, `strict`",
        "`function`, its schema untouched",
        EXACT,
        _tool(strict=True),
    ),
    _to_chat(
        "`tools`: `cache_control`, `eager_input_streaming`",
        "nothing",
        EXACT,
        _tool(cache_control=_KEPT, eager_input_streaming=True),
    ),
    _to_chat(
        "`tools`: `defer_loading`, `input_examples`, `allowed_callers`",
        "nothing",
        TOLD,
        _tool(defer_loading=True),
        also=(_tool(input_examples=[{}]), _tool(allowed_callers=["direct"])),
    ),
    _to_chat(
        "`tools` of a `type`, such as `web_search_…`",
        "",
        REFUSED,
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    ),
    _to_chat(
        "`tools` with a name of over 64 characters",
        "its first 55 and a digest; in answers it is whole again",
        TOLD,
        _tool(name="n" * 65),
    ),
    _to_chat(
        "`tool_choice`",
        "`tool_choice`",
        EXACT,
        {**_tool(), "tool_choice": {"type": "any"}},
        also=tuple(
            [
                {**_tool(), "tool_choice": choice}
                for choice in ({"type": "auto"}, {"type": "none"}, {"type": "tool", "name": "look"})
            ]
        ),
    ),
    _to_chat(
        "`disable_parallel_tool_use`",
        "`parallel_tool_calls: false`",
        EXACT,
        {**_tool(), "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    _to_chat("`temperature`, `top_p`", "the same", EXACT, {"temperature": 0.5, "top_p": 0.9}),
    _to_chat("`top_k`", "nothing", TOLD, {"top_k": 5}),
    _to_chat("`stop_sequences`, up to 4", "`stop`; which one ended the answer is not known", TOLD, {"stop_sequences": ["END"]}),
    _to_chat("`stop_sequences`, 5 or more", "", REFUSED, {"stop_sequences": ["a", "b", "c", "d", "e"]}),
    _to_chat(
        "`thinking` with a budget",
        "`reasoning_effort`: high from 4,096 tokens on, medium from 2,048, else low",
        TOLD,
        {"thinking": {"type": "enabled", "budget_tokens": 2048}},
    ),
    _to_chat("`thinking`: `adaptive`", "nothing: the model decides", EXACT, {"thinking": {"type": "adaptive"}}),
    _to_chat(
        "`thinking`: `disabled`",
        "`reasoning_effort: none`, where the model has it",
        EXACT,
        {"thinking": {"type": "disabled"}},
        ("cerebras", "zai-glm-4.7"),
    ),
    _to_chat("`thinking`: `disabled`, to a model that always reasons", "nothing", TOLD, {"thinking": {"type": "disabled"}}),
    _to_chat("`output_config.effort`: low, medium, high", "`reasoning_effort`", EXACT, {"output_config": {"effort": "low"}}),
    _to_chat(
        "`output_config.effort`: xhigh, max",
        "high",
        TOLD,
        {"output_config": {"effort": "max"}},
        also=({"output_config": {"effort": "xhigh"}},),
    ),
    _to_chat("`output_config.format`", "`response_format`", EXACT, {"output_config": {"format": _SCHEMA}}),
    _to_chat("`output_config.format` beside tools, to gpt-oss", "", REFUSED, {"output_config": {"format": _SCHEMA}, **_tool()}),
    _to_chat("`metadata.user_id`", "`user`, where the provider only counts by it", EXACT, {"metadata": {"user_id": "u"}}),
    _to_chat("`metadata.user_id`, to others", "nothing", TOLD, {"metadata": {"user_id": "u"}}, ANY_URL),
    _to_chat("`stream`", "`stream`, with usage", EXACT, {"stream": True}),
    _to_chat(
        "`cache_control`, wherever it stands",
        "nothing: the upstream keeps prompts as it likes",
        EXACT,
        {"cache_control": _KEPT, "system": [_text("a", cache_control=_KEPT)]},
    ),
    _to_chat(
        "`service_tier`, `diagnostics`, `inference_geo`, `speed`, `user_profile_id`, `workspace_id`",
        "nothing",
        TOLD,
        {"service_tier": "auto"},
        also=tuple([{name: "x"} for name in ("diagnostics", "inference_geo", "speed", "user_profile_id", "workspace_id")]),
    ),
    _to_chat(
        "`context_management`, `fallbacks`, and what nobody knows",
        "nothing",
        TOLD,
        {"context_management": {"edits": []}},
        also=({"fallbacks": ["m"]}, {"nobody_knows": 1}),
    ),
    _to_chat("`container`, `mcp_servers`", "", REFUSED, {"container": "c"}, also=({"mcp_servers": [{}]},)),
)
