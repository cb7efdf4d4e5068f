"""OpenAI's SDK, over a socket, finds nothing to complain about in responses."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from cachemw.simulator import Simulator
from tests.simulator.endpoint_requests import PROMPT, ask_at, events_in, openai_client, whole_at
from tests.simulator.requests import WEATHER

RESPONSES = "/v1/responses"
TOOLS = {
    "tools": [
        {"type": "function", "strict": False, **WEATHER["function"]},
        {"type": "function", "strict": False, "name": "get_news", "parameters": {"type": "object", "properties": {}}},
    ]
}
KINDS: dict[str, dict[str, Any]] = {
    "text": {},
    "tools": TOOLS,
    "reasoning": {"reasoning": {"effort": "low"}},
    "a summary of it": {"reasoning": {"effort": "low", "summary": "auto"}},
    "sealed": {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"], "store": False},
    "reasoning and tools": {"reasoning": {"effort": "high"}, **TOOLS},
    "cut": {"max_output_tokens": 5},
    "reasoning, cut": {"reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 5},
    "items": {"input": [{"role": "user", "content": [{"type": "input_text", "text": PROMPT}]}], "instructions": "Be brief."},
}


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with openai_client(Simulator(dialect="openai")) as client:
        yield client


def asked(**members: Any) -> Any:
    return {"model": "m", "input": PROMPT} | members


@pytest.mark.parametrize("members", KINDS.values(), ids=KINDS)
def test_stream_and_json_are_one_response(client: openai.OpenAI, members: dict[str, Any]) -> None:
    whole = client.responses.create(**asked(**members))
    with client.responses.stream(**asked(**members)) as stream:
        last = list(stream)[-1]

    assert last.type == f"response.{whole.status}"
    final: Any = last
    assert unparsed(final.response.to_dict()) == whole.to_dict()


def unparsed(response: Any) -> Any:
    """Return a response without what the SDK adds to one that it has put together."""
    return json.loads(json.dumps(response), object_hook=lambda members: {k: v for k, v in members.items() if k not in ADDED})


ADDED = ("parsed", "parsed_arguments")


def test_the_text_is_put_together_from_its_deltas(client: openai.OpenAI) -> None:
    with client.responses.stream(**asked()) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()

    assert len(deltas) > 10
    assert "".join(deltas) == final.output_text == client.responses.create(**asked()).output_text


@pytest.mark.parametrize(
    ("members", "names"),
    [
        ({}, ["get_weather", "get_news"]),
        ({"parallel_tool_calls": False}, ["get_weather"]),
        ({"tool_choice": {"type": "function", "name": "get_news"}}, ["get_news"]),
        ({"tool_choice": "none"}, []),
    ],
)
def test_functions_are_called_with_arguments_that_fit(client: openai.OpenAI, members: dict[str, Any], names: list[str]) -> None:
    output = client.responses.create(**asked(**TOOLS, **members)).output

    calls = [item for item in output if item.type == "function_call"]
    assert [call.name for call in calls] == names
    for call in calls:
        assert (str(call.id)[:3], call.call_id[:5], call.status) == ("fc_", "call_", "completed")
        if call.name == "get_weather":
            assert json.loads(call.arguments).keys() == {"city", "days", "unit"}


def test_a_limit_makes_it_incomplete(client: openai.OpenAI) -> None:
    response = client.responses.create(**asked(max_output_tokens=5))

    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.output_tokens == 5


@pytest.mark.parametrize("effort", ["low", "none"])
def test_what_is_reasoned_is_counted_and_stands_first(client: openai.OpenAI, effort: str) -> None:
    response = client.responses.create(**asked(reasoning={"effort": effort, "summary": "auto"}))

    assert response.usage is not None
    thought = response.usage.output_tokens_details.reasoning_tokens
    assert [item.type for item in response.output] == (["reasoning", "message"] if effort == "low" else ["message"])
    assert (thought > 0) == (effort == "low")
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


@pytest.mark.anyio
async def test_a_response_repeats_its_request() -> None:
    members: dict[str, Any] = {
        "metadata": {"run": "7"},
        "user": "somebody",
        "store": False,
        "instructions": "Be brief.",
        "temperature": 0.5,
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        **TOOLS,
    }

    whole = await whole_at(RESPONSES, **members)
    plain = await whole_at(RESPONSES, user=None)

    assert {name: whole[name] for name in members} == members
    assert (plain["store"], plain["user"], plain["metadata"], plain["tools"]) == (True, None, {}, [])
    assert whole["usage"]["input_tokens"] == len(PROMPT.split()) + 2


@pytest.mark.anyio
@pytest.mark.parametrize("members", KINDS.values(), ids=KINDS)
async def test_events_are_numbered_and_named(members: dict[str, Any]) -> None:
    events = events_in((await ask_at(RESPONSES, stream=True, **members)).body)
    whole = await whole_at(RESPONSES, **members)

    assert all(name == content["type"] for name, content in events)
    assert [content["sequence_number"] for _, content in events] == list(range(len(events)))
    assert [name for name, _ in events[:2]] == ["response.created", "response.in_progress"]
    assert events[0][1]["response"] == whole | events[0][1]["response"]
    assert events[-1][1]["response"] == whole
    done = [content["item"] for name, content in events if name == "response.output_item.done"]
    assert done == whole["output"]


@pytest.mark.anyio
async def test_ids_say_what_they_are_of() -> None:
    whole = await whole_at(RESPONSES, reasoning={"effort": "low"})

    assert [whole["id"][:5], *(item["id"].split("_")[0] for item in whole["output"])] == ["resp_", "rs", "msg"]
