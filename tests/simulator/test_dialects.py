"""What each provider does differently when all goes well."""

import json
from typing import Any

import pytest

from cachemw.simulator import DIALECTS, Simulator
from tests.simulator.requests import WEATHER, chunks, completion, events_of, post, text_of

pytestmark = pytest.mark.anyio

WITH_USAGE = {"stream_options": {"include_usage": True}}


async def parsed(dialect: str, **members: Any) -> list[Any]:
    """Return the chunks of a stream, without its comments and its end mark."""
    *events, done = events_of(await post(Simulator(dialect=dialect), stream=True, **members))
    assert done == "[DONE]"
    return [json.loads(event) for event in events if not event.startswith(":")]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("members", [{}, {"n": 2}, {"max_tokens": 5}, {"logprobs": True}, {"tools": [WEATHER]}])
async def test_stream_and_json_say_the_same_in_every_dialect(dialect: str, members: dict[str, Any]) -> None:
    whole = await completion(Simulator(dialect=dialect), **members)
    events = await parsed(dialect, **members, **WITH_USAGE)

    assert {event["id"] for event in events} == {whole["id"]}
    assert {event["model"] for event in events} == {whole["model"]}
    assert [event["usage"] for event in events if event.get("usage")][-1] == whole["usage"]
    for choice in whole["choices"]:
        reasons = [entry.get("finish_reason") for event in events for entry in event["choices"] if is_of(entry, choice)]
        assert text_of(events, choice["index"]) == (choice["message"].get("content") or "")
        assert {reason for reason in reasons if reason} == {choice["finish_reason"]}


def is_of(entry: Any, choice: Any) -> bool:
    return bool(entry["index"] == choice["index"])


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_provider_says_the_same_words(dialect: str) -> None:
    whole = await completion(Simulator(dialect=dialect))

    assert whole["choices"][0]["message"]["content"] == "".join(text_of(await chunks(Simulator())))


@pytest.mark.parametrize(
    ("dialect", "unasked"),
    [
        ("cerebras", True),
        ("openai", False),
        ("groq", False),
        ("gemini", False),
        ("deepinfra", False),
        ("mistral", True),
        ("xai", False),
        ("openrouter", True),
        ("anthropic", False),
    ],
)
async def test_usage_stands_on_the_last_chunk_or_nowhere(dialect: str, unasked: bool) -> None:
    *before, last = await parsed(dialect)

    assert not any("usage" in event for event in before)
    assert ("usage" in last) == unasked


async def test_groq_says_its_usage_in_a_member_of_its_own() -> None:
    whole = await completion(Simulator(dialect="groq"))
    *before, last = await parsed("groq")

    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["x_groq"]["usage"] == whole["usage"]
    assert whole["x_groq"]["id"] == last["x_groq"]["id"]
    assert not any("x_groq" in event for event in before)


async def test_gemini_says_its_usage_so_far_on_every_chunk_when_asked() -> None:
    """G16: who adds them up pays many times over."""
    whole = await completion(Simulator(dialect="gemini"))
    events = await parsed("gemini", **WITH_USAGE)

    written = [event["usage"]["completion_tokens"] for event in events]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"] == whole["usage"]
    assert written == sorted(written)
    assert sum(written) > whole["usage"]["completion_tokens"]


@pytest.mark.parametrize("dialect", ["gemini", "xai"])
async def test_thoughts_are_in_the_total_alone(dialect: str) -> None:
    usage = (await completion(Simulator(dialect=dialect)))["usage"]
    plain = (await completion(Simulator(dialect="openai")))["usage"]

    assert usage["completion_tokens"] == plain["completion_tokens"]
    assert usage["total_tokens"] >= plain["total_tokens"] + 10


@pytest.mark.parametrize("dialect", sorted(DIALECTS.keys() - {"gemini", "xai"}))
async def test_elsewhere_the_total_is_the_sum(dialect: str) -> None:
    usage = (await completion(Simulator(dialect=dialect)))["usage"]

    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize(
    ("dialect", "member", "per_dollar"),
    [("deepinfra", "estimated_cost", 1), ("openrouter", "cost", 1), ("xai", "cost_in_usd_ticks", 10**10)],
)
async def test_a_cost_is_the_sum_of_its_tokens(dialect: str, member: str, per_dollar: int) -> None:
    usage = (await completion(Simulator(dialect=dialect)))["usage"]

    written = usage["total_tokens"] - usage["prompt_tokens"]
    nano = usage["prompt_tokens"] * 400 + written * 1_200
    assert round(usage[member] / per_dollar * 10**9) == nano


async def test_openrouter_tells_of_a_cost_that_is_not_added() -> None:
    usage = (await completion(Simulator(dialect="openrouter")))["usage"]

    assert usage["is_byok"] is False
    assert usage["cost_details"]["upstream_inference_cost"] == usage["cost"]


async def test_openrouter_keeps_the_line_open_before_the_first_token() -> None:
    reply = await post(Simulator(dialect="openrouter", first_token_seconds=0.05), stream=True)

    comments, first, *_ = reply.chunks
    assert comments == b": OPENROUTER PROCESSING\n\n" * 2
    assert first.startswith(b"data: {")
    assert reply.arrivals[1] >= 0.05


@pytest.mark.parametrize(
    ("dialect", "prefix", "length"),
    [
        ("cerebras", "", 9),
        ("openai", "call_", 29),
        ("groq", "fc_", 27),
        ("mistral", "", 9),
        ("xai", "call_", 13),
        ("anthropic", "toolu_", 30),
    ],
)
async def test_the_id_of_a_tool_call_is_as_the_provider_makes_it(dialect: str, prefix: str, length: int) -> None:
    call = (await completion(Simulator(dialect=dialect), tools=[WEATHER]))["choices"][0]["message"]["tool_calls"][0]

    assert call["id"].startswith(prefix)
    assert len(call["id"]) == length


@pytest.mark.parametrize("dialect", ["groq", "gemini", "mistral", "xai"])
async def test_a_tool_call_is_streamed_whole(dialect: str) -> None:
    whole = (await completion(Simulator(dialect=dialect), tools=[WEATHER]))["choices"][0]
    events = await parsed(dialect, tools=[WEATHER])

    deltas = [entry["delta"]["tool_calls"] for event in events for entry in event["choices"] if "tool_calls" in entry["delta"]]
    assert deltas == [[{"index": 0, **whole["message"]["tool_calls"][0]}]]
    assert whole["finish_reason"] == ("stop" if dialect == "gemini" else "tool_calls")


@pytest.mark.parametrize("dialect", ["mistral", "groq", "anthropic"])
async def test_some_say_nothing_of_what_was_cached(dialect: str) -> None:
    usage = (await completion(Simulator(dialect=dialect)))["usage"]

    assert "prompt_tokens_details" not in usage


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", [400, 401, 404, 418, 429, 500, 503])
async def test_any_status_has_an_error_in_every_dialect(dialect: str, status: int) -> None:
    reply = await post(Simulator(dialect=dialect), simulate={"status": status})

    body = json.loads(reply.body)
    assert reply.status == status
    assert isinstance(body, list) == (dialect == "gemini")
    assert "message" in str(body) or dialect == "xai"
