"""Every row of a chat request that Anthropic's API can be sent: what it is there, and what is told of it."""

import json
from typing import Any

import pytest

from cachemw.translation.base import Translated
from cachemw.translation.chat_to_messages import chat_to_messages
from cachemw.translation.claude_rows import ClaudeRow, ThinkingMode, claude_row
from tests.translation.talking_to_messages import SAMPLED, TOOL, USER, Members, call, chat, sent

PNG = "data:image/png;base64,AAAA"
PDF = "data:application/pdf;base64,JVBE"
EMPTY_SCHEMA = {"type": "object", "properties": {}}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "$defs": {"cache_control": {}}}
NAMED_TOOL = {"type": "function", "function": {"name": "f"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
BUDGETED = claude_row("claude-sonnet-4-5")
OLDEST = claude_row("claude-3-opus-20240229")
ALWAYS = claude_row("claude-fable-5-1")


def user(*content: Members) -> Members:
    return {"role": "user", "content": [*content]}


def system(content: Any, role: str = "system") -> Members:
    return {"role": role, "content": content}


def assistant(content: Any = None, **members: Any) -> Members:
    return {"role": "assistant", "content": content, **members}


def result(call_id: str = "a", content: Any = "42", **members: Any) -> Members:
    return {"role": "tool", "tool_call_id": call_id, "content": content, **members}


def block(text: str) -> Members:
    return {"type": "text", "text": text}


def used(call_id: str = "a", name: str = "f", **given: Any) -> Members:
    return {"type": "tool_use", "id": call_id, "name": name, "input": given}


def returned(call_id: str = "a", content: Any = "42") -> Members:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content}


def test_the_shortest_request_is_sent_byte_for_byte() -> None:
    translated = chat_to_messages(chat(), SAMPLED)

    assert isinstance(translated, Translated)
    assert translated.body == b'{"model":"m","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}'
    assert translated.told == ()


# A row is: the members that a request has besides, those that the body has besides, and what is told.
OPTIONS: dict[str, tuple[Members, Members, Members]] = {
    "the newer limit": ({"max_tokens": None, "max_completion_tokens": 7}, {"max_tokens": 7}, {}),
    "both limits": ({"max_completion_tokens": 7}, {"max_tokens": 7}, {"max_tokens": "dropped"}),
    "both limits the same": ({"max_completion_tokens": 10}, {}, {}),
    "a limit beyond the model's": ({"max_tokens": 2000}, {"max_tokens": 1000}, {"max_tokens": "limited"}),
    "temperature": ({"temperature": 0.5}, {"temperature": 0.5}, {}),
    "a whole temperature": ({"temperature": 0}, {"temperature": 0}, {}),
    "top_p": ({"top_p": 0.9}, {"top_p": 0.9}, {}),
    "both": ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, {}),
    "a stop": ({"stop": "end"}, {"stop_sequences": ["end"]}, {}),
    "stops": ({"stop": ["a", "b", "c", "d", "e"]}, {"stop_sequences": ["a", "b", "c", "d", "e"]}, {}),
    "no stops": ({"stop": []}, {}, {}),
    "stream": ({"stream": True}, {"stream": True}, {}),
    "no stream": ({"stream": False, "stream_options": None}, {}, {}),
    "usage and padding of a stream": ({"stream": True, "stream_options": {"include_obfuscation": True}}, {"stream": True}, {}),
    "user": ({"user": "u"}, {"metadata": {"user_id": "u"}}, {}),
    "safety_identifier": ({"safety_identifier": "s"}, {"metadata": {"user_id": "s"}}, {}),
    "two users": ({"user": "u", "safety_identifier": "s"}, {"metadata": {"user_id": "s"}}, {"user": "dropped"}),
    "one user twice": ({"user": "u", "safety_identifier": "u"}, {"metadata": {"user_id": "u"}}, {}),
    "a schema": ({"response_format": FORMAT}, {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, {}),
    "text": ({"response_format": {"type": "text"}}, {}, {}),
    "effort": (
        {"reasoning_effort": "medium"},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}},
        {"reasoning_effort": "approximated"},
    ),
    "the least effort": (
        {"reasoning_effort": "minimal"},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        {"reasoning_effort": "approximated"},
    ),
    "an effort that the model does not have": (
        {"reasoning_effort": "xhigh"},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        {"reasoning_effort": "approximated"},
    ),
    "no effort": ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}, {}),
    "effort and a schema": (
        {"reasoning_effort": "max", "response_format": FORMAT},
        {
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": "max", "format": {"type": "json_schema", "schema": SCHEMA}},
        },
        {"reasoning_effort": "approximated"},
    ),
    "effort and temperature": (
        {"reasoning_effort": "low", "temperature": 0.5, "top_p": 0.5},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        {"reasoning_effort": "approximated", "temperature": "dropped", "top_p": "dropped"},
    ),
    "effort and a top_p that it takes": (
        {"reasoning_effort": "low", "top_p": 0.95},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}, "top_p": 0.95},
        {"reasoning_effort": "approximated"},
    ),
    "tools": ({"tools": [TOOL]}, {"tools": [{"name": "f", "input_schema": EMPTY_SCHEMA}]}, {}),
    "a tool with all it may have": (
        {"tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}}]},
        {"tools": [{"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True}]},
        {},
    ),
    "a tool without parameters": ({"tools": [NAMED_TOOL]}, {"tools": [{"name": "f", "input_schema": EMPTY_SCHEMA}]}, {}),
    "a schema without its type": (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {}}, "strict": False}}]},
        {"tools": [{"name": "f", "input_schema": EMPTY_SCHEMA}]},
        {},
    ),
    "a member of a tool that nobody knows": (
        {"tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}]},
        {"tools": [{"name": "f", "input_schema": EMPTY_SCHEMA}]},
        {"tools.cache_control": "dropped"},
    ),
    "no tools": ({"tools": [], "tool_choice": "none", "parallel_tool_calls": False}, {}, {}),
}
CHOICES: dict[str, tuple[Any, Any, Any]] = {
    "auto": ("auto", None, {"type": "auto"}),
    "required": ("required", True, {"type": "any"}),
    "none": ("none", None, {"type": "none"}),
    "named": (NAMED_TOOL, None, {"type": "tool", "name": "f"}),
    "auto, one at a time": ("auto", False, {"type": "auto", "disable_parallel_tool_use": True}),
    "one at a time": (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
    "required, one at a time": ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
    "named, one at a time": (NAMED_TOOL, False, {"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
    "none, one at a time": ("none", False, {"type": "none"}),
}
NEUTRAL: dict[str, Members] = {
    "n": {"n": 1},
    "penalties": {"presence_penalty": 0, "frequency_penalty": 0.0},
    "logprobs": {"logprobs": False, "top_logprobs": 0, "logit_bias": {}},
    "store": {"store": False},
    "modalities": {"modalities": ["text"]},
    "functions": {"functions": []},
    "nulls": dict.fromkeys("n logprobs logit_bias audio prediction functions function_call seed store stop tools user".split()),
    "nothing known": {"metadata": {}, "service_tier": "auto", "hello": ""},
}
DROPPED: dict[str, Members] = {
    "seed": {"seed": 0},
    "verbosity": {"verbosity": "low"},
    "metadata": {"metadata": {"a": "b"}},
    "store": {"store": True},
    "prompt_cache_key": {"prompt_cache_key": "k"},
    "prompt_cache_retention": {"prompt_cache_retention": "24h"},
    "service_tier": {"service_tier": "flex"},
    "disable_reasoning": {"disable_reasoning": False},
    "top_k": {"top_k": 3},
    "unknown": {"\n: evil=1": 1},
}


@pytest.mark.parametrize("row", OPTIONS)
def test_an_option_is_sent_as_it_is_there(row: str) -> None:
    """T22: no max_tokens is no 400; §3.2."""
    asked, expected, told = OPTIONS[row]

    body, said = sent(chat(**asked))

    assert (body, said) == ({"model": "m", "max_tokens": 10, "messages": [USER], **expected}, told)


@pytest.mark.parametrize("row", CHOICES)
def test_the_choice_among_tools_is_sent_as_it_is_there(row: str) -> None:
    choice, parallel, expected = CHOICES[row]

    body, told = sent(chat(tools=[TOOL], tool_choice=choice, parallel_tool_calls=parallel))

    assert (body["tool_choice"], len(body["tools"]), told) == (expected, 1, {})


@pytest.mark.parametrize("row", NEUTRAL)
def test_what_asks_for_nothing_is_exact(row: str) -> None:
    assert sent(chat(**NEUTRAL[row])) == sent(chat())


@pytest.mark.parametrize("name", DROPPED)
def test_what_changes_no_answer_or_nobody_knows_is_dropped_and_told(name: str) -> None:
    body, told = sent(chat(**DROPPED[name]))

    assert (body, told) == (sent(chat())[0], {name: "dropped"})


# A row is: the messages, the system blocks that are sent, the turns, and what is told.
MESSAGES: dict[str, tuple[list[Members], list[Members], list[Members], Members]] = {
    "system": ([system("s"), USER], [block("s")], [USER], {}),
    "developer": ([system("s", "developer"), USER], [block("s")], [USER], {}),
    "system in parts": ([system([block("s"), block("t")]), USER], [block("s"), block("t")], [USER], {}),
    "an empty system": ([system(""), USER], [], [USER], {}),
    "one part": ([user(block("hi"))], [], [USER], {}),
    "parts": ([user(block("a"), block("b"))], [], [user(block("a"), block("b"))], {}),
    "an empty part": ([user(block(""), block("hi"))], [], [USER], {}),
    "a part of blanks": ([user(block(" \n"), block("hi"))], [], [USER], {"messages.content": "dropped"}),
    "neighbours": ([USER, USER], [], [user(block("hi"), block("hi"))], {}),
    "an empty turn between": ([USER, assistant(""), USER], [], [user(block("hi"), block("hi"))], {}),
    "a name": ([{**USER, "name": "n"}], [], [USER], {"messages.name": "dropped"}),
    "an image": (
        [user({"type": "image_url", "image_url": {"url": PNG}})],
        [],
        [user({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}})],
        {},
    ),
    "an image as some name it": (
        [user({"type": "image_url", "image_url": {"url": "DATA:image/JPG;base64,AAAA", "detail": "auto"}})],
        [],
        [user({"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}})],
        {},
    ),
    "an image elsewhere, in detail": (
        [user({"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "high"}})],
        [],
        [user({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}})],
        {"messages.content.image_url.detail": "dropped"},
    ),
    "a document": (
        [user({"type": "file", "file": {"file_data": PDF, "filename": "x.pdf"}})],
        [],
        [
            user(
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
                    "title": "x.pdf",
                }
            )
        ],
        {},
    ),
    "a refusal": (
        [USER, assistant(refusal="no"), USER],
        [],
        [USER, {"role": "assistant", "content": "no"}, USER],
        {"messages.refusal": "text"},
    ),
    "a refusal of nothing": (
        [USER, assistant("ok", refusal=""), USER],
        [],
        [USER, {"role": "assistant", "content": "ok"}, USER],
        {},
    ),
    "a refusal as a part": (
        [USER, assistant([{"type": "refusal", "refusal": "no"}]), USER],
        [],
        [USER, {"role": "assistant", "content": "no"}, USER],
        {"messages.refusal": "text"},
    ),
    "a call and its result": (
        [USER, assistant("t", tool_calls=[call("a", '{"x": 1}')]), result()],
        [],
        [USER, assistant([block("t"), used(x=1)]), user(returned())],
        {},
    ),
    "results in any order, then text": (
        [USER, assistant(tool_calls=[call("a"), call("b", '{"x":2}')]), result("b", "B"), result("a", ""), USER],
        [],
        [USER, assistant([used(), used("b", x=2)]), user(returned("b", "B"), returned("a", ""), block("hi"))],
        {},
    ),
    "a result in parts": (
        [USER, assistant(tool_calls=[call()]), result(content=[block("x"), {"type": "image_url", "image_url": {"url": PNG}}])],
        [],
        [
            USER,
            assistant([used()]),
            user(
                returned(
                    content=[
                        block("x"),
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    ]
                )
            ),
        ],
        {},
    ),
    "nothing returned": (
        [USER, assistant(tool_calls=[call()]), result(content=None)],
        [],
        [USER, assistant([used()]), user(returned(content=""))],
        {},
    ),
    "a call in two messages": (
        [USER, assistant("t"), assistant(tool_calls=[call()]), result()],
        [],
        [USER, assistant([block("t"), used()]), user(returned())],
        {},
    ),
    "a system message that may stay": (
        [system("s"), USER, system("later"), assistant("ok"), USER, system("now"), system("and now")],
        [block("s")],
        [USER, system("later"), assistant("ok"), USER, system([block("now"), block("and now")])],
        {},
    ),
    "a system message behind the assistant": (
        [USER, assistant("ok"), system("later"), USER],
        [block("later")],
        [USER, assistant("ok"), USER],
        {"system": "hoisted"},
    ),
    "a system message within a turn": (
        [USER, system("later"), USER],
        [block("later")],
        [user(block("hi"), block("hi"))],
        {"system": "hoisted"},
    ),
    "a beginning of the answer": (
        [USER, assistant("I")],
        [],
        [USER, {"role": "assistant", "content": "I"}],
        {"messages": "continued"},
    ),
}


@pytest.mark.parametrize("row", MESSAGES)
def test_messages_are_turns(row: str) -> None:
    """§3.2, live placement rules of V1ki#22."""
    messages, blocks, turns, told = MESSAGES[row]

    body, said = sent(chat(*messages))

    assert (body.get("system", []), body["messages"], said) == (blocks, turns, told)


def test_t11_t20_reasoning_in_history_is_neither_forwarded_nor_made_text() -> None:
    """T11, T20: nobody signed it whom Anthropic's API believes."""
    details = [{"type": "reasoning.text", "text": "secret"}]
    said = assistant("ok", reasoning="secret", reasoning_content="secret", reasoning_details=details)

    body, told = sent(chat(USER, said, USER))

    assert "secret" not in json.dumps(body)
    assert "thinking" not in json.dumps(body)
    names = ("messages.reasoning", "messages.reasoning_content", "messages.reasoning_details")
    assert told == dict.fromkeys(names, "dropped")


def test_t11_a_signature_of_ours_makes_no_thinking_of_it() -> None:
    """T11: a signature that begins with `cachemw.1.` is ours, and no provider's."""
    block_of_ours = {"type": "thinking", "thinking": "secret", "signature": "cachemw.1.AAAA"}

    body, told = sent(chat(USER, assistant("ok", thinking_blocks=[block_of_ours]), USER))

    assert body["messages"][1] == {"role": "assistant", "content": "ok"}
    assert told == {"messages.thinking_blocks": "dropped"}


def test_t13_results_stand_right_behind_their_call_whatever_is_between_them() -> None:
    """T13: a contiguous run at the head of the user's turn."""
    calls = [call("a"), call("b")]

    body, told = sent(chat(USER, assistant(tool_calls=calls), result("a"), USER, result("b")))

    assert body["messages"][2] == user(returned("a"), returned("b"), block("hi"))
    assert told == {"messages": "reordered"}


def test_t16_all_system_messages_arrive_in_order() -> None:
    """T16: Portkey kept the last."""
    row = claude_row("claude-haiku-4-5")

    body, told = sent(chat(system("1"), system("2", "developer"), USER, assistant("ok"), USER, system("3")), row)

    assert body["system"] == [block("1"), block("2"), block("3")]
    assert told == {"system": "hoisted"}


@pytest.mark.parametrize("arguments", ["", " \n", None, "{}"])
def test_t17_a_call_without_arguments_has_an_empty_input(arguments: str | None) -> None:
    """T17."""
    body, told = sent(chat(USER, assistant(tool_calls=[call(arguments=arguments)]), result()))

    assert (body["messages"][1]["content"], told) == ([used()], {})


def test_t18_arguments_are_sent_as_they_are_said_to_the_byte() -> None:
    """T18: numbers that no float holds, and the order of members, stay."""
    raw = '{"b": 1e40, "a": 123456789012345678901234567890, "c": 1.10}'
    messages = (USER, assistant(tool_calls=[call(arguments=raw)]), result())

    translated = chat_to_messages(chat(*messages), SAMPLED)

    assert isinstance(translated, Translated)
    assert raw.encode() in translated.body


def test_t22_a_request_without_a_limit_has_the_models() -> None:
    """T22: no max_tokens is no 400."""
    body, told = sent({"model": "m", "messages": [USER]})

    assert (body["max_tokens"], told) == (1000, {"max_tokens": "assumed"})


def test_a_limit_is_sent_as_it_is_where_nobody_knows_the_models() -> None:
    body, told = sent(chat(max_tokens=10**6), ClaudeRow())

    assert (body["max_tokens"], told) == (10**6, {})


IDS = ["a", "toolu_01-x", "call.1", "call:1", "", "ü", "cachemw_YQ", "cachemw_", "a b", "a\n", "x" * 300]


def test_ids_are_escaped_so_that_no_two_are_the_same() -> None:
    """Anthropic's API takes `[A-Za-z0-9_-]+` alone; a result has the id of its call."""
    body, _ = sent(chat(USER, assistant(tool_calls=[call(one) for one in IDS]), *[result(one) for one in IDS]))

    ids = [one["id"] for one in body["messages"][1]["content"]]
    assert ids == [one["tool_use_id"] for one in body["messages"][2]["content"]]
    assert len(set(ids)) == len(IDS)
    assert all(one and one.isascii() and one.replace("_", "").replace("-", "").isalnum() for one in ids)
    assert ids[:2] == IDS[:2]


ROWS: dict[str, tuple[ClaudeRow, Members, Members, Members]] = {
    "a budget": (
        BUDGETED,
        {"reasoning_effort": "high", "max_tokens": 20_000},
        {"thinking": {"type": "enabled", "budget_tokens": 4096}, "max_tokens": 20_000},
        {"reasoning_effort": "approximated"},
    ),
    "a budget of half the answer": (
        BUDGETED,
        {"reasoning_effort": "high", "max_tokens": 4000},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000},
        {"reasoning_effort": "approximated"},
    ),
    "no room for a budget": (BUDGETED, {"reasoning_effort": "low"}, {}, {"reasoning_effort": "dropped"}),
    "no thinking with a budget": (BUDGETED, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}, {}),
    "thinking that is always on": (
        ALWAYS,
        {"reasoning_effort": "none"},
        {"output_config": {"effort": "low"}},
        {"reasoning_effort": "approximated"},
    ),
    "a model that does not think": (OLDEST, {"reasoning_effort": "high"}, {}, {"reasoning_effort": "dropped"}),
    "a model that nobody knows": (ClaudeRow(), {"reasoning_effort": "none"}, {}, {"reasoning_effort": "dropped"}),
    "one sampler": (BUDGETED, {"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5}, {"top_p": "dropped"}),
    "one sampler and a temperature of 1": (BUDGETED, {"temperature": 1, "top_p": 0.5}, {"top_p": 0.5}, {}),
    "no samplers": (ALWAYS, {"temperature": 0, "top_p": 1}, {}, {"temperature": "dropped"}),
    "no strict tools": (
        OLDEST,
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
        {"tools": [{"name": "f", "input_schema": EMPTY_SCHEMA}]},
        {"tools.function.strict": "dropped"},
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_model_is_sent_what_it_takes(name: str) -> None:
    row, asked, expected, told = ROWS[name]

    body, said = sent(chat(**asked), row)

    assert (body, said) == ({"model": "m", "max_tokens": 10, "messages": [USER], **expected}, told)


def test_a_model_with_a_budget_does_not_think_amid_calls_for_it_would_have_to_sign_what_it_thought_before() -> None:
    messages = (USER, assistant(tool_calls=[call()]), result())

    body, told = sent(chat(*messages, reasoning_effort="high", max_tokens=20_000), BUDGETED)

    assert ("thinking" in body, told) == (False, {"reasoning_effort": "dropped"})


def test_a_system_message_behind_results_leaves_the_conversation_amid_calls() -> None:
    row = ClaudeRow(64_000, True, ThinkingMode.BUDGET, system_within=True)

    body, told = sent(chat(USER, assistant(tool_calls=[call()]), result(), system("s"), reasoning_effort="high"), row)

    assert body["messages"][-1] == system("s")
    assert told == {"reasoning_effort": "dropped"}


@pytest.mark.parametrize(("row", "thinks"), [(SAMPLED, {"output_config": {"effort": "high"}}), (BUDGETED, {})])
def test_a_model_that_has_to_call_a_tool_does_not_think_first(row: ClaudeRow, thinks: Members) -> None:
    body, _ = sent(chat(tools=[TOOL], tool_choice="required", reasoning_effort="high", max_tokens=900), row)

    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == thinks


def test_what_is_told_is_in_one_order() -> None:
    translated = chat_to_messages(chat(zeta=1, alpha=1, top_p=0.5, temperature=0.5), ALWAYS)

    assert isinstance(translated, Translated)
    assert [name for name, _ in translated.told] == ["temperature", "top_p", "alpha", "zeta"]


def test_what_is_told_are_tokens_in_lower_case_and_not_too_many() -> None:
    strange = {f"{name}{at}": 1 for at in range(100) for name in ("x", "X", "é", "x=", "x" * 100)}

    _, told = sent(chat(**strange))

    assert len(told) <= 65
    assert all(name == name.lower() and name.isascii() and "=" not in name and len(name) < 80 for name in told)
