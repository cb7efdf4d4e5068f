"""Runs of an agent: turns with tools, in number and by name as the prompt says, and then text."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cachemw.simulator import Simulator
from cachemw.simulator.answering import UNMARKED_RUN, tool_turns, unmarked
from tests.simulator.endpoint_requests import NEWS_TOOL, WEATHER_TOOL, anthropic_client, openai_client, whole_at
from tests.simulator.requests import NEWS, WEATHER

Turn = list[str]
BOTH = ["get_weather", "get_news"]
RUNS: dict[str, list[Turn]] = {
    "": [BOTH],
    "[tools x3]": [BOTH, BOTH, BOTH],
    "[tools get_news]": [["get_news"]],
    "[tools get_news, get_weather x2]": [["get_news"], ["get_weather"], ["get_weather"]],
    "[tools get_news+get_weather, x1, get_news]": [["get_news", "get_weather"], BOTH, ["get_news"]],
    "[tools get_weather, nobody_offers_this, get_news]": [["get_weather"]],
}


def chat_run(prompt: str) -> tuple[list[Turn], str]:
    """Run OpenAI's client over chat until it gets text; return the tools of each turn, and the text."""
    turns: list[Turn] = []
    messages: list[Any] = [{"role": "system", "content": "You are an agent."}, {"role": "user", "content": prompt}]
    tools: Any = [WEATHER, NEWS]
    with openai_client(Simulator()) as client:
        while True:
            message = client.chat.completions.create(model="m", messages=messages, tools=tools).choices[0].message
            if not message.tool_calls:
                return turns, message.content or ""
            turns.append([call.function.name for call in message.tool_calls if call.type == "function"])
            results = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls]
            messages += [message.to_dict(), *results]


def messages_run(prompt: str) -> tuple[list[Turn], str]:
    """Run Anthropic's client over streams until it gets text."""
    turns: list[Turn] = []
    messages: list[Any] = [{"role": "user", "content": prompt}]
    tools: Any = [WEATHER_TOOL, NEWS_TOOL]
    with anthropic_client(Simulator(dialect="anthropic")) as client:
        while True:
            with client.messages.stream(model="m", max_tokens=500, messages=messages, tools=tools) as stream:
                message = stream.get_final_message()
            calls = [block for block in message.content if block.type == "tool_use"]
            if message.stop_reason != "tool_use":
                return turns, "".join(block.text for block in message.content if block.type == "text")
            turns.append([call.name for call in calls])
            results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls]
            reminder = {"type": "text", "text": "Go on, please."}  # as coding agents add one
            messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": [*results, reminder]}]


def responses_run(prompt: str) -> tuple[list[Turn], str]:
    """Run OpenAI's client over responses until it gets text."""
    turns: list[Turn] = []
    items: list[Any] = [{"role": "user", "content": prompt}]
    tools: Any = [{"type": "function", "strict": False, **tool["function"]} for tool in (WEATHER, NEWS)]
    with openai_client(Simulator(dialect="openai")) as client:
        while True:
            response = client.responses.create(model="m", input=items, tools=tools, reasoning={"effort": "low"})
            calls = [item for item in response.output if item.type == "function_call"]
            if not calls:
                return turns, response.output_text
            turns.append([call.name for call in calls])
            results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
            items += [*(item.to_dict() for item in response.output), *results]


@pytest.mark.parametrize("run", [chat_run, messages_run, responses_run])
@pytest.mark.parametrize("mark", RUNS, ids=lambda mark: mark or "unmarked")
def test_an_agent_takes_the_turns_that_its_prompt_says(run: Callable[[str], tuple[list[Turn], str]], mark: str) -> None:
    turns, text = run(f"What about photosynthesis? {mark}")

    assert turns == RUNS[mark]
    assert "photosynthesis" in text
    assert "tools" not in text


def test_a_second_run_is_the_same() -> None:
    assert messages_run("Weather, please [tools x3]") == messages_run("Weather, please [tools x3]")


@pytest.mark.anyio
async def test_who_speaks_again_begins_a_run_anew() -> None:
    said = [{"role": "user", "content": "Weather [tools x2]"}, {"role": "tool", "content": "sunny"}]

    again = await whole_at("/v1/chat/completions", messages=[*said, {"role": "user", "content": "News"}], tools=[WEATHER])
    over = await whole_at("/v1/chat/completions", messages=[*said, said[1]], tools=[WEATHER])

    assert again["choices"][0]["finish_reason"] == "tool_calls"
    assert over["choices"][0]["finish_reason"] == "tool_calls"  # two results side by side are one turn


@pytest.mark.anyio
async def test_calls_of_different_turns_have_different_ids() -> None:
    prompt = {"role": "user", "content": "Weather [tools x2]"}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}]}

    first = await whole_at("/v1/messages", messages=[prompt], tools=[WEATHER_TOOL])
    second = await whole_at("/v1/messages", messages=[prompt, result], tools=[WEATHER_TOOL])

    assert first["stop_reason"] == second["stop_reason"] == "tool_use"
    assert first["content"][0]["id"] != second["content"][0]["id"]


@pytest.mark.parametrize(
    "prompt", ["", "[tools ]", "[tools x0]", "[tools a b]", "[tools a, ]", "tools x3", "[tools x3", "[tools x100]"]
)
def test_what_is_no_mark_is_text(prompt: str) -> None:
    assert tool_turns(prompt) == UNMARKED_RUN


def test_a_mark_is_not_what_a_prompt_is_about() -> None:
    assert json.dumps(unmarked("Say [tools Read x2] this")) == '"Say   this"'
