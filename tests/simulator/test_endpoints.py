"""Which endpoints a provider has, how long they take, and that they always say the same."""

import json
from typing import Any

import pytest

from cachemw.simulator import DIALECTS, Simulator
from cachemw.simulator.asking import Ask, read
from cachemw.simulator.endpoints import SIMULATED_ENDPOINTS
from cachemw.simulator.endpoints.base import SimulatedEndpoint
from cachemw.simulator.responding import script_for
from cachemw.simulator.script import Pace, Wait
from tests.asgi_driver import call
from tests.simulator.endpoint_requests import BODIES, NEWS_TOOL, PATHS, WEATHER_TOOL, ask_at
from tests.simulator.requests import WEATHER

SPOKEN = {
    "cerebras": ["/v1/chat/completions", "/v1/completions"],
    "openai": ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/moderations"],
    "anthropic": ["/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens"],
    "gemini": ["/v1/chat/completions", "/v1/embeddings"],
    "mistral": ["/v1/chat/completions", "/v1/embeddings"],
    "deepinfra": ["/v1/chat/completions", "/v1/embeddings"],
    "groq": ["/v1/chat/completions", "/v1/responses"],
    "xai": ["/v1/chat/completions", "/v1/responses"],
    "openrouter": ["/v1/chat/completions", "/v1/messages", "/v1/responses"],
}


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_provider_has_its_endpoints_and_no_other(dialect: str) -> None:
    app = Simulator(dialect=dialect)
    usual = json.loads((await ask_at("/v1/chat/completions", app, fail="status:404")).body)

    replies = {path: await ask_at(path, app) for path in PATHS}

    assert [path for path, reply in replies.items() if reply.status == 200] == [p for p in PATHS if p in SPOKEN[dialect]]
    for reply in replies.values():
        body = json.loads(reply.body)
        if reply.status != 200:
            assert (reply.status, type(body)) == (404, type(usual))
            assert "model_not_found" not in str(body)
            assert shape_of(body) == shape_of(usual)


def shape_of(value: Any) -> Any:
    """Return the names that stand in a body, without what they stand for."""
    if isinstance(value, dict):
        return {name: shape_of(inner) for name, inner in value.items()}
    return [shape_of(inner) for inner in value] if isinstance(value, list) else None


@pytest.mark.anyio
async def test_who_imitates_nobody_has_every_endpoint() -> None:
    app = Simulator()

    for path in PATHS:
        assert (await ask_at(path, app)).status == 200

    assert app.calls == len(PATHS)
    assert [asked.endpoint for asked in app.asked][:3] == ["chat", "completions", "messages"]


@pytest.mark.anyio
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_request_has_the_same_bytes(path: str, stream: bool) -> None:
    first = await ask_at(path, Simulator(), stream=stream)
    turned = dict(reversed((BODIES[path] | {"stream": stream}).items()))
    second = await call(Simulator(), "POST", path.removeprefix("/v1"), json.dumps(turned).encode())
    other = await ask_at(path, Simulator(), stream=stream, seed=7)

    assert first == second
    assert other.raw_headers != first.raw_headers  # the id of the request is another


STREAMED = [endpoint for endpoint in SIMULATED_ENDPOINTS if endpoint.streams]
TOOLS: dict[str, Any] = {
    "chat": [WEATHER],
    "messages": [WEATHER_TOOL, NEWS_TOOL],
    "responses": [{"type": "function", **WEATHER["function"]}],
}
LENGTHS: list[dict[str, Any]] = [
    {},
    {"n": 3},
    {"max_tokens": 1, "max_output_tokens": 1},
    {"thinking": {"type": "adaptive"}, "reasoning": {"effort": "low"}},
    {"thinking": {"type": "adaptive"}, "reasoning": {"effort": "low", "summary": "auto"}, "tools": TOOLS},
    {"tools": TOOLS},
]


def ask_of(endpoint: SimulatedEndpoint[Any], **members: Any) -> Ask[Any]:
    tools = {"tools": members["tools"].get(endpoint.name)} if "tools" in members else {}
    ask = read(json.dumps(BODIES[f"/v1{endpoint.path}"] | members | tools).encode(), endpoint.asked)
    assert isinstance(ask, Ask)
    return ask


@pytest.mark.parametrize("endpoint", STREAMED, ids=lambda endpoint: endpoint.name)
@pytest.mark.parametrize("members", LENGTHS)
def test_a_stream_takes_as_long_as_json_at_every_endpoint(endpoint: SimulatedEndpoint[Any], members: dict[str, Any]) -> None:
    pace, dialect = Pace(1.0, 8.0), DIALECTS[endpoint.home]

    scripts = [script_for(ask_of(endpoint, **members, stream=stream), endpoint, dialect, pace) for stream in (True, False)]

    streamed, at_once = (sum(step.seconds for step in script if isinstance(step, Wait)) for script in scripts)
    assert streamed == pytest.approx(at_once)
    assert at_once >= 1.0


@pytest.mark.parametrize("endpoint", STREAMED, ids=lambda endpoint: endpoint.name)
@pytest.mark.parametrize("members", LENGTHS)
def test_no_event_waits_for_a_token_that_is_past(endpoint: SimulatedEndpoint[Any], members: dict[str, Any]) -> None:
    spoken = endpoint.sound(ask_of(endpoint, **members, stream=True), DIALECTS[endpoint.home])

    tokens = [event.token for event in spoken.events()]

    assert tokens == sorted(tokens)
    assert tokens[-1] == max(0, spoken.tokens - 1)


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", [None, "anthropic", "openai"])
@pytest.mark.parametrize("fields", [[], [(b"anthropic-version", b"2023-06-01")]])
async def test_the_list_of_models_is_in_the_form_of_who_asks(dialect: str | None, fields: list[tuple[bytes, bytes]]) -> None:
    listed = json.loads((await call(Simulator(dialect=dialect), "GET", "/v1/models", b"", fields)).body)

    assert ("has_more" in listed) == (bool(fields) and dialect != "openai")
    assert listed["data"][0]["id"] == "gpt-oss-120b"
