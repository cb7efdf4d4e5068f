"""Anthropic's SDK, over a socket, finds nothing to complain about in messages."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import anyio
import pytest

from cachemw.simulator import Simulator
from tests.serving import serving_in_thread
from tests.simulator.endpoint_requests import (
    NEWS_TOOL,
    PROMPT,
    USER,
    WEATHER_TOOL,
    anthropic_client,
    ask_at,
    events_in,
    whole_at,
)

MESSAGES = "/v1/messages"
THINKING = {"type": "enabled", "budget_tokens": 1024}
TOOLS = {"tools": [WEATHER_TOOL, NEWS_TOOL]}
KINDS: dict[str, dict[str, Any]] = {
    "text": {},
    "tools": TOOLS,
    "thinking": {"thinking": THINKING, "max_tokens": 2000},
    "thinking and tools": {"thinking": {"type": "adaptive"}, **TOOLS},
    "cut": {"max_tokens": 5},
    "thinking, cut": {"thinking": {"type": "adaptive"}, "max_tokens": 5},
    "stopped": {"stop_sequences": ["photosynthesis"]},
    "stopped at once": {"stop_sequences": ["This", "You", "A", "Let", "First"]},
    "system": {"system": "Be brief."},
    "cached": {"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
}


@pytest.fixture(scope="module")
def client() -> Iterator[anthropic.Anthropic]:
    with anthropic_client(Simulator(dialect="anthropic")) as client:
        yield client


def asked(**members: Any) -> Any:
    return {"model": "claude", "max_tokens": 500, "messages": [USER]} | members


@pytest.mark.parametrize("members", KINDS.values(), ids=KINDS)
def test_stream_and_json_are_one_message(client: anthropic.Anthropic, members: dict[str, Any]) -> None:
    whole = client.messages.create(**asked(**members))
    with client.messages.stream(**asked(**members)) as stream:
        final = stream.get_final_message()

    unparsed = {"content": {"__all__": {"parsed_output"}}}
    assert final.model_dump(exclude=unparsed) == whole.model_dump()


async def both_ways(url: str) -> tuple[str, str]:
    """Return the text of a message, and of the stream that says the same, as the asynchronous client reads them."""
    async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client:
        whole = await client.messages.create(**asked())
        async with client.messages.stream(**asked()) as stream:
            streamed = "".join([text async for text in stream.text_stream])
    return "".join(block.text for block in whole.content if block.type == "text"), streamed


def test_the_asynchronous_client_reads_the_same() -> None:
    with serving_in_thread(Simulator()) as url:
        whole, streamed = anyio.run(both_ways, url)

    assert "photosynthesis" in whole
    assert streamed == whole


@pytest.mark.parametrize(
    ("members", "reason", "sequence"),
    [
        ({}, "end_turn", None),
        ({"max_tokens": 5}, "max_tokens", None),
        ({"max_tokens": 1, "thinking": {"type": "adaptive"}}, "max_tokens", None),
        ({"stop_sequences": ["nowhere", "photosynthesis"]}, "stop_sequence", "photosynthesis"),
        ({"stop_sequences": ["photosynthesis"], "max_tokens": 1}, "max_tokens", None),
        (TOOLS, "tool_use", None),
        ({**TOOLS, "tool_choice": {"type": "none"}}, "end_turn", None),
    ],
)
def test_a_message_says_why_it_ends(
    client: anthropic.Anthropic, members: dict[str, Any], reason: str, sequence: str | None
) -> None:
    message = client.messages.create(**asked(**members))

    assert (message.stop_reason, message.stop_sequence) == (reason, sequence)
    assert message.usage.output_tokens <= members.get("max_tokens", 500)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "auto"}, ["get_weather", "get_news"]),
        ({"type": "any"}, ["get_weather", "get_news"]),
        ({"type": "any", "disable_parallel_tool_use": True}, ["get_weather"]),
        ({"type": "tool", "name": "get_news"}, ["get_news"]),
    ],
)
def test_tools_are_called_side_by_side_unless_one_is_chosen(
    client: anthropic.Anthropic, choice: dict[str, Any], names: list[str]
) -> None:
    message = client.messages.create(**asked(**TOOLS, tool_choice=choice))

    calls = [block for block in message.content if block.type == "tool_use"]
    assert [call.name for call in calls] == names
    assert len({call.id for call in calls}) == len(names)
    for call in calls:
        assert (call.id.startswith("toolu_"), isinstance(call.input, dict)) == (True, True)
        if call.name == "get_weather":
            assert call.input.keys() == {"city", "days", "unit"}


def test_a_tool_that_the_server_would_run_is_not_called(client: anthropic.Anthropic) -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}]

    assert client.messages.create(**asked(tools=tools)).stop_reason == "end_turn"


def test_a_thought_is_signed_and_comes_first(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**asked(thinking=THINKING, max_tokens=2000))

    thought, text = message.content
    assert (thought.type, text.type) == ("thinking", "text")
    assert thought.thinking
    assert thought.signature


@pytest.mark.parametrize("members", [{}, {"system": "Be very brief."}, TOOLS, {"thinking": THINKING}])
def test_tokens_are_counted_as_usage_counts_them(client: anthropic.Anthropic, members: dict[str, Any]) -> None:
    counted = client.messages.count_tokens(model="claude", messages=[USER], **members)  # type: ignore[list-item]
    message = client.messages.create(**asked(**members))

    assert counted.input_tokens == message.usage.input_tokens == len(PROMPT.split()) + 3 * ("system" in members)


def test_what_stands_before_a_breakpoint_is_read_from_a_cache(client: anthropic.Anthropic) -> None:
    blocks = [{"type": "text", "text": "one two"}, {"type": "text", "text": "three", "cache_control": {"type": "ephemeral"}}]

    usage = client.messages.create(**asked(system="four five", messages=[{"role": "user", "content": blocks}, USER])).usage

    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (5, 0)
    assert usage.input_tokens == len(PROMPT.split())


def test_the_models_are_listed_in_its_form(client: anthropic.Anthropic) -> None:
    models = client.models.list()

    assert "llama3.1-8b" in [model.id for model in models.data]
    assert models.data[0].type == "model"
    assert not models.has_more


def test_answers_carry_the_fields_of_the_provider(client: anthropic.Anthropic) -> None:
    response = client.messages.with_raw_response.create(**asked())

    assert response.headers["request-id"].startswith("req_")
    assert response.headers["anthropic-ratelimit-requests-remaining"] == "3999"


@pytest.mark.anyio
@pytest.mark.parametrize("members", KINDS.values(), ids=KINDS)
async def test_events_have_names_and_blocks_follow_one_another(members: dict[str, Any]) -> None:
    events = events_in((await ask_at(MESSAGES, stream=True, **members)).body)

    assert all(name == content["type"] for name, content in events)
    assert [name for name, _ in events if name == "ping"] == ["ping"]
    assert events[0][0] == "message_start"
    assert [name for name, _ in events[-2:]] == ["message_delta", "message_stop"]
    indexes = [content["index"] for _, content in events if "index" in content]
    assert indexes == sorted(indexes)


@pytest.mark.anyio
async def test_the_input_of_a_tool_comes_in_slices_of_which_the_first_is_empty() -> None:
    whole = await whole_at(MESSAGES, tools=[WEATHER_TOOL])
    events = events_in((await ask_at(MESSAGES, stream=True, tools=[WEATHER_TOOL])).body)

    start = next(content for name, content in events if name == "content_block_start")
    slices = [content["delta"]["partial_json"] for name, content in events if name == "content_block_delta"]
    assert start["content_block"] == whole["content"][0] | {"input": {}}
    assert (slices[0], len(slices) > 3) == ("", True)
    assert json.loads("".join(slices)) == whole["content"][0]["input"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "members", [{"messages": []}, {"max_tokens": None}, {"max_tokens": 0}, {"messages": "hi"}, {"simulate": {"status": 200}}]
)
async def test_what_cannot_be_read_is_refused_in_its_own_words(members: dict[str, Any]) -> None:
    reply = await ask_at(MESSAGES, **members)

    error = json.loads(reply.body)
    assert (reply.status, error["type"], error["error"]["type"]) == (400, "error", "invalid_request_error")
