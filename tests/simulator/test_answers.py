"""What the simulator says."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from cachemw.simulator import Simulator
from cachemw.simulator.answering import answer
from cachemw.simulator.asking import Ask, AskedBody, Message
from tests.simulator.requests import NEWS, WEATHER, ask, chunks, completion, post, text_of

pytestmark = pytest.mark.anyio


async def test_the_same_body_has_the_same_answer_from_any_simulator() -> None:
    first = await post(Simulator())
    second = await post(Simulator(), model="llama3.1-8b")

    assert first == second


async def test_the_order_of_members_makes_no_difference() -> None:
    body = json.loads(ask(temperature=0.5))
    app = Simulator()

    assert await completion(app, **body) == await completion(app, **dict(reversed(body.items())))


@pytest.mark.parametrize("members", [{"seed": 1}, {"model": "other"}, {"unknown": None}, {"seed": 10**30}])
async def test_any_other_member_makes_another_answer(members: dict[str, Any]) -> None:
    app = Simulator()

    usual, other = await completion(app), await completion(app, **members)

    assert usual["id"] != other["id"]
    assert usual["choices"][0]["message"]["content"] != other["choices"][0]["message"]["content"]


async def test_the_text_is_a_paragraph_of_30_to_60_words() -> None:
    app = Simulator()

    for seed in range(200):
        said = await completion(app, seed=seed)

        assert 30 <= len(said["choices"][0]["message"]["content"].split()) <= 60


@pytest.mark.parametrize(
    "content",
    [
        "Explain photosynthesis",
        [{"type": "image_url", "image_url": {}}, {"type": "text", "text": "Photosynthesis: photosynthesis"}],
    ],
)
async def test_the_text_takes_up_words_of_the_last_user_message(content: Any) -> None:
    messages = [{"role": "user", "content": "Something else"}, {"role": "user", "content": content}]

    said = await completion(Simulator(), messages=messages)

    assert "photosynthesis" in said["choices"][0]["message"]["content"]
    assert "omething" not in said["choices"][0]["message"]["content"]


async def test_a_prompt_without_words_is_answered_too() -> None:
    said = await completion(Simulator(), messages=[{"role": "assistant", "content": None}])

    assert "brief question" in said["choices"][0]["message"]["content"]
    assert said["usage"]["prompt_tokens"] == 0


@pytest.mark.parametrize("usage", ["cerebras", "openai"])
@pytest.mark.parametrize("members", [{}, {"n": 3}, {"max_tokens": 5}, {"stop": " "}, {"logprobs": True, "n": 2}])
async def test_stream_and_json_say_the_same(usage: Any, members: dict[str, Any]) -> None:
    app = Simulator(dialect=usage)

    said = await completion(app, **members)
    events = await chunks(app, **members, stream_options={"include_usage": True})

    for choice in said["choices"]:
        assert text_of(events, choice["index"]) == choice["message"]["content"]
        assert finish_reasons(events)[choice["index"]] == choice["finish_reason"]
        assert scores_of(events, choice["index"]) == ((choice.get("logprobs") or {}).get("content") or [])
    for event in events:
        assert (event["id"], event["created"], event["model"]) == (said["id"], said["created"], said["model"])
        assert event["system_fingerprint"] == said["system_fingerprint"]
    assert events[-1]["usage"] == said["usage"]
    assert events[-1].get("time_info") == said.get("time_info")


def finish_reasons(events: list[Any]) -> dict[int, str]:
    entries = [entry for event in events for entry in event["choices"]]
    return {entry["index"]: entry["finish_reason"] for entry in entries if entry.get("finish_reason")}


def scores_of(events: list[Any], index: int) -> list[Any]:
    entries = [entry for event in events for entry in event["choices"] if entry["index"] == index]
    return [score for entry in entries for score in (entry.get("logprobs") or {}).get("content", [])]


async def test_n_choices_differ_and_their_deltas_are_interleaved() -> None:
    app = Simulator()

    said = await completion(app, n=2)
    events = await chunks(app, n=2)

    assert len({choice["message"]["content"] for choice in said["choices"]}) == 2
    assert [event["choices"][0]["index"] for event in events[:8]] == [0, 1, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("stop", ["photosynthesis", ["nowhere", "Reference", "photosynthesis"], ["", "photosynthesis"]])
async def test_text_is_cut_before_the_first_stop(stop: Any) -> None:
    choice = (await completion(Simulator(), stop=stop))["choices"][0]

    assert "photosynthesis" not in choice["message"]["content"]
    assert choice["message"]["content"]
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("limit", "reason"), [(4, "length"), (4000, "stop")])
async def test_a_limit_of_tokens_bites_only_when_there_is_more_to_say(name: str, limit: int, reason: str) -> None:
    said = await completion(Simulator(), **{name: limit})

    assert said["choices"][0]["finish_reason"] == reason
    assert (said["usage"]["completion_tokens"] == limit) == (reason == "length")


def test_a_text_of_exactly_the_limit_has_come_to_its_end() -> None:
    body = AskedBody((Message("user", "Hello"),))
    tokens = answer(Ask(body, bytes(32))).completion_tokens

    reasons = [
        answer(Ask(replace(body, max_tokens=limit), bytes(32))).choices[0].finish_reason
        for limit in (tokens - 1, tokens, tokens + 1)
    ]

    assert reasons == ["length", "stop", "stop"]


async def test_log_probabilities_come_when_asked_for() -> None:
    app = Simulator()

    plain = await completion(app)
    choice = (await completion(app, logprobs=True, top_logprobs=3))["choices"][0]

    assert "logprobs" not in plain["choices"][0]
    assert "".join(score["token"] for score in choice["logprobs"]["content"]) == choice["message"]["content"]
    for score in choice["logprobs"]["content"]:
        assert -0.7 < score["logprob"] <= 0
        assert bytes(score["bytes"]).decode() == score["token"]
        assert score["top_logprobs"][0]["token"] == score["token"]
        assert len(score["top_logprobs"]) == 3


@pytest.mark.parametrize("usage", ["cerebras", "openai"])
async def test_tools_are_called_with_arguments_that_fit(usage: Any) -> None:
    said = await completion(Simulator(dialect=usage), tools=[WEATHER])

    choice = said["choices"][0]
    function = choice["message"]["tool_calls"][0]["function"]
    arguments = json.loads(function["arguments"])
    assert (choice["finish_reason"], function["name"]) == ("tool_calls", "get_weather")
    assert arguments.keys() == {"city", "days", "unit"}
    assert arguments["city"] in ("photosynthesis", "Explain", "please")
    assert 1 <= arguments["days"] <= 7
    assert arguments["unit"] in ("celsius", "fahrenheit")


@pytest.mark.parametrize(
    ("members", "names"),
    [
        ({}, ["get_weather", "get_news"]),
        ({"parallel_tool_calls": False}, ["get_weather"]),
        ({"tool_choice": "required"}, ["get_weather", "get_news"]),
        ({"tool_choice": {"type": "function", "function": {"name": "get_news"}}}, ["get_news"]),
    ],
)
async def test_the_first_two_tools_are_called_unless_one_is_chosen(members: dict[str, Any], names: list[str]) -> None:
    said = await completion(Simulator(), tools=[WEATHER, NEWS], **members)

    calls = said["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == names
    assert len({call["id"] for call in calls}) == len(names)


@pytest.mark.parametrize(
    "members",
    [
        {"tools": [WEATHER], "tool_choice": "none"},
        {"tools": [], "tool_choice": "auto"},
        {"tools": [{"type": "custom", "custom": {"name": "anything"}}]},
        {"tools": [WEATHER], "messages": [{"role": "user", "content": "Hi"}, {"role": "tool", "content": "sunny"}]},
    ],
)
async def test_text_answers_where_there_is_no_tool_to_call(members: dict[str, Any]) -> None:
    choice = (await completion(Simulator(), **members))["choices"][0]

    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"]


async def test_cerebras_streams_a_tool_call_whole() -> None:
    app = Simulator(dialect="cerebras")

    call = (await completion(app, tools=[WEATHER]))["choices"][0]["message"]["tool_calls"][0]
    events = await chunks(app, tools=[WEATHER])

    assert [event["choices"][0]["delta"] for event in events] == [
        {"role": "assistant"},
        {"tool_calls": [call | {"index": 0}]},
        {},
    ]


async def test_openai_streams_the_head_of_a_tool_call_and_its_arguments_in_slices() -> None:
    app = Simulator(dialect="openai")

    call = (await completion(app, tools=[WEATHER]))["choices"][0]["message"]["tool_calls"][0]
    events = await chunks(app, tools=[WEATHER])

    opening, head, *slices, closing = [event["choices"][0]["delta"] for event in events]
    assert opening == {"role": "assistant", "content": None, "refusal": None}
    assert head["tool_calls"][0] == call | {"index": 0, "function": {"name": "get_weather", "arguments": ""}}
    assert len(slices) > 1
    assert "".join(one["tool_calls"][0]["function"]["arguments"] for one in slices) == call["function"]["arguments"]
    assert closing == {}


async def test_cerebras_sends_usage_and_times_on_the_last_finish_chunk_without_being_asked() -> None:
    events = await chunks(Simulator(dialect="cerebras"), n=2)

    assert [event for event in events if "usage" in event or "time_info" in event] == events[-1:]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"]["prompt_tokens"] == 5
    assert set(events[-1]["time_info"]) == {"created", "queue_time", "prompt_time", "completion_time", "total_time"}


async def test_openai_sends_usage_in_a_chunk_of_its_own_when_asked() -> None:
    app = Simulator(dialect="openai")

    unasked = await chunks(app)
    asked = await chunks(app, stream_options={"include_usage": True})

    assert not any("usage" in event for event in unasked)
    assert all(event["usage"] is None for event in asked[:-1])
    assert asked[-1]["choices"] == []
    assert asked[-1]["usage"]["completion_tokens"] == len(asked) - 3
