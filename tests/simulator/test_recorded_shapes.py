"""What the simulator says has the members, and the events, that real providers were recorded with."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cassettes import cassette
from tests.simulator.endpoint_requests import NEWS_TOOL, WEATHER_TOOL, ask_at, events_in, whole_at
from tests.simulator.requests import WEATHER

pytestmark = pytest.mark.anyio

FUNCTION = {"type": "function", **WEATHER["function"]}
TOOLS = {"tools": [WEATHER_TOOL, NEWS_TOOL]}
REASONING = {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}

UNSAID = {
    "/caller",  # which tool calls a server's tool
    "/prompt_cache_retention",
    "/frequency_penalty",
    "/presence_penalty",
    "/moderation",
    "/tool_usage",
    "/cache_write_tokens",
    "/reasoning/context",
    "/reasoning/mode",
    "/item/content",
    "/obfuscation",
}
"""What some of the recordings have and the simulator leaves out: it is newer than others of them, or padding."""

NEWER = {"/stop_details", "/cache_creation", "/inference_geo", "/completed_at"}
"""What the simulator says and older recordings do not."""


def members_of(value: Any, path: str = "") -> Iterator[str]:
    """Yield where each member stands; what is said freely, as arguments and schemas, is not looked into."""
    if isinstance(value, dict) and not path.endswith(("/input", "/tools/[]", "/metadata")):
        for name, inner in value.items():
            yield f"{path}/{name}"
            yield from members_of(inner, f"{path}/{name}")
    if isinstance(value, list):
        for inner in value[:4]:
            yield from members_of(inner, f"{path}/[]")


STREAMS: list[tuple[str, str, dict[str, Any]]] = [
    ("anthropic_stream_thinking.sse", "/v1/messages", {"thinking": {"type": "adaptive"}}),
    ("anthropic_stream_parallel_tools.sse", "/v1/messages", TOOLS),
    ("anthropic_stream_max_tokens.sse", "/v1/messages", {"max_tokens": 5}),
    ("openai_responses_stream.sse", "/v1/responses", {**REASONING, "tools": [FUNCTION]}),
    ("openai_responses_stream_tools.sse", "/v1/responses", {"tools": [FUNCTION], "parallel_tool_calls": False}),
    ("openai_responses_stream_reasoning.sse", "/v1/responses", REASONING),
    ("openai_responses_stream_incomplete.sse", "/v1/responses", {"max_output_tokens": 5}),
    ("openai_completion_stream.sse", "/v1/completions", {}),
]


@pytest.mark.parametrize(("name", "path", "members"), STREAMS, ids=[row[0] for row in STREAMS])
async def test_a_stream_has_the_events_that_were_recorded(name: str, path: str, members: dict[str, Any]) -> None:
    recorded = events_in(cassette(name))
    simulated = events_in((await ask_at(path, stream=True, **members)).body)

    rest = iter(names_in_order(recorded))
    assert all(kind in rest for kind in names_in_order(simulated))  # in order; some say a word before they call a tool
    for kind in names_in_order(simulated):
        there, here = members_in(recorded, kind), members_in(simulated, kind)
        assert {one for one in there - here if not any(unsaid in one for unsaid in UNSAID)} == set()
        assert {one for one in here - there if not any(newer in one for newer in NEWER)} == set()


def names_in_order(events: list[tuple[str, Any]]) -> list[str]:
    """Return the kinds of events in the order in which they last come; a ping may come anywhere."""
    kinds = [kind_of(event) for event in events if event[0] != "ping"]
    return list(dict.fromkeys(reversed(kinds)))[::-1]


def kind_of(event: tuple[str, Any]) -> str:
    name, content = event
    inner = content if isinstance(content, dict) else {}
    kinds = [inner.get(member, {}).get("type", "") for member in ("content_block", "delta", "item") if is_object(inner, member)]
    return " ".join([name, *kinds])


def is_object(content: Any, member: str) -> bool:
    return isinstance(content.get(member), dict)


def members_in(events: list[tuple[str, Any]], kind: str) -> set[str]:
    return {member for event in events if kind_of(event) == kind for member in members_of(event[1])}


WHOLES: list[tuple[str, str, dict[str, Any]]] = [
    ("anthropic_parallel_tools.json", "/v1/messages", TOOLS),
    ("anthropic_stop_sequence.json", "/v1/messages", {"stop_sequences": ["photosynthesis"]}),
    ("anthropic_cache_read.json", "/v1/messages", {}),
    ("anthropic_count_tokens.json", "/v1/messages/count_tokens", {}),
    ("openai_responses.json", "/v1/responses", {}),
    ("openai_completion.json", "/v1/completions", {}),
    ("openai_embeddings_base64.json", "/v1/embeddings", {"encoding_format": "base64"}),
    ("openai_embeddings_batch.json", "/v1/embeddings", {"input": ["a", "b"]}),
    ("cohere_rerank.json", "/v1/rerank", {"top_n": 2}),
]
NEWER_IN_WHOLES = {"/prompt_cache_key", "/safety_identifier", "/text/verbosity"}


@pytest.mark.parametrize(("name", "path", "members"), WHOLES, ids=[row[0] for row in WHOLES])
async def test_an_answer_has_the_members_that_were_recorded(name: str, path: str, members: dict[str, Any]) -> None:
    recorded = set(members_of(json.loads(cassette(name))))
    simulated = set(members_of(await whole_at(path, **members)))

    assert {one for one in recorded - simulated if not any(unsaid in one for unsaid in UNSAID)} == set()
    assert {one for one in simulated - recorded if not any(newer in one for newer in NEWER | NEWER_IN_WHOLES)} == set()


async def test_an_error_of_anthropic_has_the_members_that_were_recorded() -> None:
    recorded = [json.dumps(row["body"]) for row in json.loads(cassette("anthropic_error_bodies.json")) if row["status"] == 429]

    for body in (*recorded, cassette("anthropic_error_401_stream.json").decode()):
        reply = await ask_at("/v1/messages", fail="anthropic:rate")
        assert set(members_of(json.loads(reply.body))) == set(members_of(json.loads(body)))


async def test_a_response_that_fails_has_the_events_that_were_recorded() -> None:
    recorded = events_in(cassette("openai_responses_stream_error.sse"))
    simulated = events_in((await ask_at("/v1/responses", stream=True, fail="error:2")).body)

    assert [name for name, _ in simulated] == [name for name, _ in recorded]
    assert set(simulated[2][1]) == set(recorded[2][1])
    assert set(simulated[2][1]["error"]) == set(recorded[2][1]["error"])
    assert set(simulated[3][1]["response"]["error"]) == set(recorded[3][1]["response"]["error"])
