"""Each member of a chat request, and what it becomes for Anthropic's API."""

from collections.abc import Mapping
from typing import Any

from tests.translation.member_rows import EXACT, REFUSED, TOLD, MemberRow, Request

CLAUDE = "claude-sonnet-4-6"
NEWER_CLAUDE = "claude-opus-4-8"
NEWEST_CLAUDE = "claude-fable-5"
OLDER_CLAUDE = "claude-opus-4"
OLDEST_CLAUDE = "claude-3-opus"


def _claude(
    members: str, becomes: str, way: str, request: Request, model: str = CLAUDE, also: tuple[Request, ...] = ()
) -> MemberRow:
    others = tuple([{**CHAT, **other} for other in also])
    return MemberRow(members, becomes, way, {**CHAT, **request}, "anthropic", model, others)


def _talk(*messages: Mapping[str, Any]) -> dict[str, Any]:
    return {"messages": [*messages]}


def _said(role: str, content: Any, **members: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **members}


def _called(arguments: str = '{"at":"it"}', call: str = "call_1", **members: Any) -> dict[str, Any]:
    calls = [{"id": call, "type": "function", "function": {"name": "look", "arguments": arguments}}]
    return _said("assistant", None, tool_calls=calls, **members)


def _returned(call: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": "seen"}


def _with_tool(**members: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}], **members}


def _part(kind: str, **members: Any) -> dict[str, Any]:
    return _talk(_said("user", [{"type": kind, **members}]))


CHAT: dict[str, Any] = {"max_tokens": 5000, "messages": [{"role": "user", "content": "hi"}]}
_HI = CHAT["messages"][0]
_IMAGE_URL = {"image_url": {"url": "data:image/png;base64,AAAA"}}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}

CHAT_ROWS: tuple[MemberRow, ...] = (
    _claude("`model`", "`model`", EXACT, {}),
    _claude(
        "`messages` of system and developer, at the head",
        "`system`, all of them, in order",
        EXACT,
        _talk(_said("system", "a"), _said("developer", "b"), _HI),
    ),
    _claude("the same, later", "at the head", TOLD, _talk(_HI, _said("system", "a"))),
    _claude(
        "the same, later, to a model that takes it there", "in its place", EXACT, _talk(_HI, _said("system", "a")), NEWER_CLAUDE
    ),
    _claude(
        "`max_completion_tokens`, else `max_tokens`", "`max_tokens`", EXACT, {"max_tokens": None, "max_completion_tokens": 100}
    ),
    _claude("neither", "the most that the model takes", TOLD, {"max_tokens": None}),
    _claude("a limit above the model's", "that one's", TOLD, {"max_tokens": 500_000}),
    _claude("messages of one role in a row", "one turn", EXACT, _talk(_HI, _said("user", "there"))),
    _claude(
        "`tool_calls`",
        "`tool_use`; no arguments at all are `{}`",
        EXACT,
        {**_talk(_HI, _called(""), _returned()), **_with_tool()},
    ),
    _claude(
        "`tool_calls` whose arguments are no object",
        "",
        REFUSED,
        {**_talk(_HI, _called('{"at"'), _returned()), **_with_tool()},
    ),
    _claude(
        "messages of a tool",
        "`tool_result`, at the head of the user's next turn",
        EXACT,
        {**_talk(_HI, _called(), _returned(), _said("user", "and?")), **_with_tool()},
    ),
    _claude(
        "a call's id that Anthropic does not take",
        "one that it takes, the same each time",
        EXACT,
        {**_talk(_HI, _called(call="a b"), _returned("a b")), **_with_tool()},
    ),
    _claude(
        "`reasoning`, `reasoning_content` of earlier turns",
        "nothing: nobody can sign it",
        TOLD,
        _talk(_HI, _said("assistant", "so", reasoning_content="hm"), _HI),
        also=(_talk(_HI, _said("assistant", "so", reasoning="hm"), _HI),),
    ),
    _claude("`image_url`", "`image`", EXACT, _part("image_url", **_IMAGE_URL)),
    _claude(
        "`file`, a PDF in base64", "`document`", EXACT, _part("file", file={"file_data": "data:application/pdf;base64,JVBE"})
    ),
    _claude("`file` by `file_id`", "", REFUSED, _part("file", file={"file_id": "f"})),
    _claude("`input_audio`", "", REFUSED, _part("input_audio", input_audio={"data": "AAAA", "format": "wav"})),
    _claude("`name` of a message", "nothing", TOLD, _talk(_said("user", "hi", name="ada"))),
    _claude("`refusal` of earlier turns", "text", TOLD, _talk(_HI, _said("assistant", None, refusal="no"), _HI)),
    _claude("a last message of the assistant, to go on from", "", REFUSED, _talk(_HI, _said("assistant", "It is"))),
    _claude(
        "the same, to a model that goes on",
        "the same",
        TOLD,
        {**_talk(_HI, _said("assistant", "It is")), "max_tokens": 100},
        OLDEST_CLAUDE,
    ),
    _claude(
        "`tools`: functions, `strict` too",
        "`tools`, their schemas untouched",
        EXACT,
        _with_tool(),
        also=({"tools": [{"type": "function", "function": {"name": "look", "strict": True}}]},),
    ),
    _claude("`tools`: `custom`", "", REFUSED, {"tools": [{"type": "custom", "custom": {"name": "look"}}]}),
    _claude(
        "`tool_choice`",
        "`tool_choice`",
        EXACT,
        _with_tool(tool_choice="required"),
        also=(_with_tool(tool_choice="none"), _with_tool(tool_choice={"type": "function", "function": {"name": "look"}})),
    ),
    _claude("`parallel_tool_calls: false`", "`disable_parallel_tool_use`", EXACT, _with_tool(parallel_tool_calls=False)),
    _claude("`functions`, `function_call`", "", REFUSED, {"functions": [{"name": "look"}]}, also=({"function_call": "auto"},)),
    _claude("`temperature` or `top_p`, 1 at most", "the same", EXACT, {"temperature": 0.5}, also=({"top_p": 0.9},)),
    _claude("both, to a model that takes one", "`temperature`", TOLD, {"temperature": 0.5, "top_p": 0.9}),
    _claude(
        "either, to a model that takes none (Opus 4.7 and later)",
        "nothing",
        TOLD,
        {"temperature": 0.5},
        NEWER_CLAUDE,
        also=({"top_p": 0.9},),
    ),
    _claude("`temperature` above 1", "", REFUSED, {"temperature": 1.5}),
    _claude("`stop`", "`stop_sequences`", EXACT, {"stop": ["END"]}),
    _claude("`stop` of blanks alone", "", REFUSED, {"stop": "\n\n"}),
    *(
        _claude(name, "", REFUSED, request, also=tuple(also))
        for name, request, *also in (
            ("`n` above 1", {"n": 2}),
            ("`logprobs`, `top_logprobs`", {"logprobs": True}, {"top_logprobs": 2}),
            ("`logit_bias`", {"logit_bias": {"1": 1}}),
            ("`modalities`, `audio`", {"modalities": ["text", "audio"]}, {"audio": {"voice": "alloy"}}),
            ("`prediction`", {"prediction": {"type": "content", "content": "so"}}),
            ("`frequency_penalty`, `presence_penalty`, other than 0", {"frequency_penalty": 0.5}, {"presence_penalty": 0.5}),
            ("`web_search_options`", {"web_search_options": {}}),
        )
    ),
    _claude(
        "`seed`, `verbosity`, `metadata`, `prompt_cache_…`, and what nobody knows",
        "nothing",
        TOLD,
        {"seed": 7},
        also=({"verbosity": "low"}, {"metadata": {"a": "b"}}, {"prompt_cache_key": "k"}, {"nobody_knows": 1}),
    ),
    _claude("`service_tier`, other than `auto`", "nothing", TOLD, {"service_tier": "flex"}),
    _claude("`store: false`", "nothing: nothing is kept there", EXACT, {"store": False}),
    _claude("`store: true`", "nothing", TOLD, {"store": True}),
    _claude("`response_format`: `json_schema`", "`output_config.format`", EXACT, {"response_format": _FORMAT}),
    _claude("the same, to a model that has none of it", "", REFUSED, {"response_format": _FORMAT}, OLDER_CLAUDE),
    _claude("`response_format`: `json_object`", "", REFUSED, {"response_format": {"type": "json_object"}}),
    _claude("`reasoning_effort`", "`thinking: adaptive` and `output_config.effort`", TOLD, {"reasoning_effort": "low"}),
    _claude(
        "the same, to a model with budgets (4.5 and earlier)",
        "`thinking` with 1,024 tokens, 2,048 for medium, 4,096 for high",
        TOLD,
        {"reasoning_effort": "medium"},
        "claude-sonnet-4-5",
    ),
    _claude("`reasoning_effort: none`", "`thinking: disabled`", EXACT, {"reasoning_effort": "none"}),
    _claude("the same, to a model that always thinks", "the least effort", TOLD, {"reasoning_effort": "none"}, NEWEST_CLAUDE),
    _claude("`user`, `safety_identifier`", "`metadata.user_id`", EXACT, {"user": "u"}, also=({"safety_identifier": "u"},)),
    _claude(
        "`stream`, `stream_options.include_usage`",
        "`stream`; usage comes where it was asked for",
        EXACT,
        {"stream": True, "stream_options": {"include_usage": True}},
    ),
)
