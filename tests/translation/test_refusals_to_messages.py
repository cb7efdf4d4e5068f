"""Every chat request that cannot be said to Anthropic's API: which member is named, and nothing is raised."""

from typing import Any

import pytest

from cachemw.translation.base import Members as AnyMembers
from cachemw.translation.chat_to_messages import chat_to_messages
from cachemw.translation.claude_rows import ClaudeRow, claude_row
from tests.translation.talking_to_messages import SAMPLED, TOOL, USER, Members, call, chat, refused

ANSWER: Members = {"role": "assistant", "content": "ok"}
RESULT: Members = {"role": "tool", "tool_call_id": "a", "content": "42"}
CUSTOM: Members = {"type": "custom", "custom": {"name": "f", "format": {"type": "grammar"}}}


def part(**members: Any) -> Members:
    return chat({"role": "user", "content": [members]})


def calls(*made: Any) -> Members:
    return chat(USER, {"role": "assistant", "tool_calls": [*made]}, RESULT)


def url(value: Any) -> Members:
    return part(type="image_url", image_url={"url": value})


def file(**members: Any) -> Members:
    return part(type="file", file=members)


def function(**members: Any) -> Members:
    return chat(tools=[{"type": "function", "function": {"name": "f", **members}}])


def form(**members: Any) -> Members:
    return chat(response_format=members)


REFUSED: dict[str, tuple[Members, str]] = {
    "two answers": (chat(n=2), "n"),
    "true answers": (chat(n=True), "n"),
    "logprobs": (chat(logprobs=True), "logprobs"),
    "top_logprobs": (chat(top_logprobs=2), "top_logprobs"),
    "logit_bias": (chat(logit_bias={"1": 1}), "logit_bias"),
    "sound": (chat(modalities=["text", "audio"]), "modalities"),
    "a voice": (chat(audio={"voice": "a"}), "audio"),
    "prediction": (chat(prediction={"type": "content", "content": "x"}), "prediction"),
    "a search": (chat(web_search_options={}), "web_search_options"),
    "frequency_penalty": (chat(frequency_penalty=0.5), "frequency_penalty"),
    "presence_penalty": (chat(presence_penalty=-1), "presence_penalty"),
    "functions": (chat(functions=[{"name": "f"}]), "functions"),
    "function_call": (chat(function_call="auto"), "function_call"),
    "no model": (chat(model=None), "model"),
    "a model by number": (chat(model=4), "model"),
    "no messages": ({"model": "m"}, "messages"),
    "messages that are none": (chat(messages={}), "messages"),
    "no message": (chat(messages=[]), "messages"),
    "only the system's": (chat({"role": "system", "content": "s"}), "messages"),
    "only empty ones": (chat({"role": "user", "content": ""}), "messages"),
    "a message that is none": (chat(messages=["hi"]), "messages[0]"),
    "no role": (chat({"content": "hi"}), "messages[0].role"),
    "another role": (chat({"role": "function", "name": "f", "content": "x"}), "messages[0].role"),
    "a role that is none": (chat({"role": ["user"], "content": "hi"}), "messages[0].role"),
    "content that is none": (chat({"role": "user", "content": {"type": "text"}}), "messages[0].content"),
    "a part that is none": (chat({"role": "user", "content": ["hi"]}), "messages[0].content[0]"),
    "a part without a type": (part(text="hi"), "messages[0].content[0].type"),
    "sound in": (part(type="input_audio", input_audio={"data": "", "format": "wav"}), "messages[0].content[0].type"),
    "a picture of the assistant": (
        chat(USER, {"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}),
        "messages[1].content[0].type",
    ),
    "a text that is none": (part(type="text", text=1), "messages[0].content[0].text"),
    "a refusal that is none": (chat(USER, {"role": "assistant", "refusal": 1}), "messages[1].refusal"),
    "a picture that is none": (part(type="image_url", image_url="https://x"), "messages[0].content[0].image_url"),
    "a picture without address": (url(None), "messages[0].content[0].image_url.url"),
    "a picture on the disk": (url("file:///etc/passwd"), "messages[0].content[0].image_url.url"),
    "a picture of another type": (url("data:image/svg+xml;base64,AAAA"), "messages[0].content[0].image_url.url"),
    "a picture not in base64": (url("data:image/png,AAAA"), "messages[0].content[0].image_url.url"),
    "a file elsewhere": (file(file_id="file-1"), "messages[0].content[0].file.file_id"),
    "a file without data": (file(filename="x"), "messages[0].content[0].file.file_data"),
    "a file of another type": (file(file_data="data:text/plain;base64,AAAA"), "messages[0].content[0].file.file_data"),
    "a file with a name that is none": (
        file(file_data="data:application/pdf;base64,AAAA", filename=1),
        "messages[0].content[0].file.filename",
    ),
    "an old call": (chat(USER, {"role": "assistant", "function_call": {"name": "f"}}), "messages[1].function_call"),
    "a voice before": (chat(USER, {"role": "assistant", "audio": {"id": "a"}}), "messages[1].audio"),
    "calls that are none": (chat(USER, {"role": "assistant", "tool_calls": {}}), "messages[1].tool_calls"),
    "a call that is none": (calls("f"), "messages[1].tool_calls[0]"),
    "a call of something else": (calls({"id": "a", "type": "custom"}), "messages[1].tool_calls[0].type"),
    "a call without id": (calls({"function": {"name": "f"}}), "messages[1].tool_calls[0].id"),
    "two calls with one id": (calls(call(), call()), "messages[1].tool_calls[1].id"),
    "a call of nothing": (calls({"id": "a", "function": {}}), "messages[1].tool_calls[0].function.name"),
    "a call without function": (calls({"id": "a"}), "messages[1].tool_calls[0].function"),
    "a result without its call": (chat(USER, RESULT), "messages[1].tool_call_id"),
    "a result of an earlier turn": (
        chat(USER, {"role": "assistant", "tool_calls": [call()]}, USER, ANSWER, RESULT),
        "messages[4].tool_call_id",
    ),
    "two results of one call": (
        chat(USER, {"role": "assistant", "tool_calls": [call()]}, RESULT, RESULT),
        "messages[3].tool_call_id",
    ),
    "a result without id": (
        chat(USER, {"role": "assistant", "tool_calls": [call()]}, {"role": "tool", "content": "x"}),
        "messages[2].tool_call_id",
    ),
    "tools that are none": (chat(tools={}), "tools"),
    "a tool that is none": (chat(tools=["f"]), "tools[0]"),
    "a tool with a grammar": (chat(tools=[TOOL, CUSTOM]), "tools[1].type"),
    "a tool without a function": (chat(tools=[{"type": "function"}]), "tools[0].function"),
    "a name that is none": (function(name=1), "tools[0].function.name"),
    "a name with a dot": (function(name="a.b"), "tools[0].function.name"),
    "a name that is too long": (function(name="a" * 129), "tools[0].function.name"),
    "a description that is none": (function(description=1), "tools[0].function.description"),
    "parameters that are none": (function(parameters=[]), "tools[0].function.parameters"),
    "strict that is none": (function(strict="yes"), "tools[0].function.strict"),
    "two tools with one name": (chat(tools=[TOOL, TOOL]), "tools[1].function.name"),
    "a choice that is none": (chat(tools=[TOOL], tool_choice="any"), "tool_choice"),
    "a choice of some": (chat(tools=[TOOL], tool_choice={"type": "allowed_tools"}), "tool_choice"),
    "a choice of none by name": (chat(tools=[TOOL], tool_choice={"type": "function"}), "tool_choice.function"),
    "a choice without a name": (
        chat(tools=[TOOL], tool_choice={"type": "function", "function": {}}),
        "tool_choice.function.name",
    ),
    "a choice without tools": (chat(tool_choice="required"), "tool_choice"),
    "parallel that is none": (chat(tools=[TOOL], parallel_tool_calls=0), "parallel_tool_calls"),
    "no tokens": (chat(max_tokens=0), "max_tokens"),
    "a fraction of a token": (chat(max_tokens=1.5), "max_tokens"),
    "true tokens": (chat(max_completion_tokens=True), "max_completion_tokens"),
    "too hot": (chat(temperature=1.5), "temperature"),
    "too cold": (chat(temperature=-0.1), "temperature"),
    "warm": (chat(temperature="warm"), "temperature"),
    "true heat": (chat(temperature=True), "temperature"),
    "a top_p that is none": (chat(top_p=2), "top_p"),
    "a stop that is none": (chat(stop=1), "stop"),
    "a stop of blanks": (chat(stop=["a", "\n\n"]), "stop[1]"),
    "a stop by number": (chat(stop=[1]), "stop[0]"),
    "an effort that is none": (chat(reasoning_effort="great"), "reasoning_effort"),
    "an effort by number": (chat(reasoning_effort=[1]), "reasoning_effort"),
    "json without a schema": (form(type="json_object"), "response_format.type"),
    "a form that is none": (chat(response_format="text"), "response_format"),
    "a form of nothing": (form(type="json_schema"), "response_format.json_schema"),
    "a form without a schema": (form(type="json_schema", json_schema={"name": "n"}), "response_format.json_schema.schema"),
    "a user by number": (chat(user=1), "user"),
    "safety_identifier by number": (chat(safety_identifier={}), "safety_identifier"),
    "a stream that is none": (chat(stream="yes"), "stream"),
    "options that are none": (chat(stream=True, stream_options=[]), "stream_options"),
    "usage that is none": (chat(stream=True, stream_options={"include_usage": 1}), "stream_options.include_usage"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_cannot_be_said_is_refused_by_the_name_of_its_member(row: str) -> None:
    """T22: never a 200 that says something else."""
    members, member = REFUSED[row]

    refusal = refused(members)

    assert (refusal.member, bool(refusal.why)) == (member, True)


@pytest.mark.parametrize(
    "arguments", ["[]", "1", '"x"', "null", "{", '{"a":1', '{"a":1,"a":2}', '{"a":"\\ud800"}', "\ud800", 1, {}]
)
def test_t18_arguments_that_are_no_object_are_refused_and_never_repaired(arguments: Any) -> None:
    """T18."""
    assert refused(calls(call(arguments=arguments))).member == "messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    ("row", "members", "member"),
    [
        (claude_row("claude-opus-4-6"), chat(USER, ANSWER), "messages[1]"),
        (claude_row("claude-3-opus-20240229"), form(type="json_schema", json_schema={"schema": {}}), "response_format"),
    ],
)
def test_what_a_model_does_not_do_is_refused(row: ClaudeRow, members: Members, member: str) -> None:
    assert refused(members, row).member == member


def test_a_refusal_does_not_repeat_what_was_asked() -> None:
    secret = "a-secret"

    refusal = refused(chat({"role": secret, "content": secret}))

    assert secret not in repr(refusal)


def test_half_of_a_pair_of_surrogates_is_refused() -> None:
    assert refused(chat({"role": "user", "content": "\ud800"})).member == "messages"


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema: Members = {}
    for _ in range(100_000):
        schema = {"a": schema}
    members: AnyMembers = function(parameters=schema)

    try:
        assert refused({**members}).member == "messages"
    finally:  # or Python itself has to take it apart at once
        while schema:
            schema = schema.pop("a")


def test_arguments_that_are_too_much_work_together_are_not_read() -> None:
    """Each could be: a request of a megabyte would keep everybody waiting for a second."""
    arguments = '{"a":[' + ",".join(["1e300"] * 1000) + "]}"
    made = [call(str(at), arguments) for at in range(100)]

    refusal = chat_to_messages(chat(USER, {"role": "assistant", "tool_calls": made}), SAMPLED)

    assert refusal == refused(calls(*made))
    assert refused(calls(*made)).member == "messages"
