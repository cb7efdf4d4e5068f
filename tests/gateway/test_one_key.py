"""One key, either SDK, any of the nine providers: answered, cached, and what it cost is known."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest

from cachemw import ExchangeReport
from cachemw.simulator import Simulator
from cachemw.upstreams.providers import PROVIDERS
from tests.gateway.bilingual import TOOLS, results_of
from tests.gateway.bilingual import Words as Heard
from tests.gateway.crossroads import PATIENCE, Crossroads, crossroads, price, route

KEY = "sk-of-the-client"
TARGETS = {name: f"{name}/m" for name in PROVIDERS}
TEXT = "".join(route(target, name=f"on-{name}") for name, target in TARGETS.items()) + price(*TARGETS.values())


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossroads]:
    """Serve all providers, each in its own dialect, behind one proxy with one client key."""
    simulators = {name: Simulator(dialect=name) for name in PROVIDERS}
    with crossroads(tmp_path_factory.mktemp("nine"), simulators, TEXT, keys={"team": KEY}) as here:
        yield here


Asking = Callable[..., tuple[Heard, str]]
"""Asks a model with an SDK, in JSON or as a stream; returns what the SDK heard, and the response's Cache-Status."""


def by_openai(here: Crossroads, model: str, *, stream: bool, tools: bool, messages: list[Any]) -> tuple[Heard, str]:
    given: dict[str, Any] = {"tools": TOOLS["chat"]} if tools else {}
    with openai.OpenAI(base_url=f"{here.url}/v1", api_key=KEY, max_retries=0) as client:
        if not stream:
            raw = client.chat.completions.with_raw_response.create(model=model, messages=messages, **given)
            return _of_completion(raw.parse()), raw.headers["cache-status"]
        given["stream_options"] = {"include_usage": True}
        with client.chat.completions.stream(model=model, messages=messages, **given) as events:
            completion = events.get_final_completion()
            return _of_completion(completion), events._response.headers["cache-status"]


def _of_completion(completion: Any) -> Heard:
    (choice,) = completion.choices
    calls = choice.message.tool_calls or []
    tools = tuple((call.id, call.function.name, json.loads(call.function.arguments)) for call in calls)
    assert completion.usage is not None
    ends = "tools" if tools else {"stop": "end"}[choice.finish_reason]
    return Heard(
        choice.message.content or "", tools, ends, (completion.usage.prompt_tokens, completion.usage.completion_tokens)
    )


def by_anthropic(here: Crossroads, model: str, *, stream: bool, tools: bool, messages: list[Any]) -> tuple[Heard, str]:
    given: dict[str, Any] = {"tools": TOOLS["messages"]} if tools else {}
    with anthropic.Anthropic(base_url=here.url, api_key=KEY, max_retries=0) as client:
        if not stream:
            raw = client.messages.with_raw_response.create(model=model, max_tokens=500, messages=messages, **given)
            return _of_message(raw.parse()), raw.headers["cache-status"]
        with client.messages.stream(model=model, max_tokens=500, messages=messages, **given) as events:
            return _of_message(events.get_final_message()), events.response.headers["cache-status"]


def _of_message(message: Any) -> Heard:
    text = "".join(block.text for block in message.content if block.type == "text")
    tools = tuple((block.id, block.name, block.input) for block in message.content if block.type == "tool_use")
    ends = {"end_turn": "end", "tool_use": "tools"}[message.stop_reason]
    return Heard(text, tools, ends, (message.usage.input_tokens, message.usage.output_tokens))


SDKS = {"openai": (by_openai, "chat"), "anthropic": (by_anthropic, "messages")}


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize("tools", [False, True], ids=["text", "tools"])
def test_each_sdk_reaches_each_provider(tools: bool, stream: bool, sdk: str, name: str, nine: Crossroads) -> None:
    """T22, ruling F1: with one key; the second call is a hit, and what the first one cost is in the report."""
    ask, dialect = SDKS[sdk]
    messages: list[Any] = [{"role": "user", "content": f"Say hello, {sdk}, {stream}, {tools}."}]
    before = len(nine.providers[name].calls)

    (first, missed), (again, hit) = (ask(nine, f"on-{name}", stream=stream, tools=tools, messages=messages) for _ in range(2))

    (call,) = nine.providers[name].calls[before:]
    assert (first.ends, bool(first.tools)) == ("tools" if tools else "end", tools)
    assert first.text or tools
    assert first == again
    assert ("fwd=miss" in missed, "; hit" in hit) == (True, True)
    miss = _report_of(nine, missed)
    assert (miss.client, miss.endpoint, miss.target) == ("team", dialect, TARGETS[name])
    assert miss.cost
    assert KEY not in str(call.headers)
    if tools:
        turn = [*messages, *results_of(first, dialect)]
        answered, _ = ask(nine, f"on-{name}", stream=stream, tools=True, messages=turn)
        assert (answered.ends, bool(answered.text)) == ("end", True)


def _report_of(here: Crossroads, cache_status: str) -> ExchangeReport:
    """Wait for the report of a miss, which comes after the answer."""
    key, until = cache_status.partition('key="')[2].partition('"')[0], time.monotonic() + PATIENCE
    while True:
        found = [report for report in here.reports if report.key == key and not report.hit]
        if found or time.monotonic() > until:
            (report,) = found
            return report
        time.sleep(0.002)
