"""A request to each endpoint of the simulator, and its answers read."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import openai
from starlette.types import ASGIApp

from cachemw.simulator import Simulator
from tests.asgi_driver import Reply, call
from tests.serving import serving_in_thread
from tests.simulator.requests import WEATHER

PROMPT = "Explain photosynthesis to me, please."
USER: dict[str, Any] = {"role": "user", "content": PROMPT}

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": [USER]},
    "/v1/completions": {"model": "m", "prompt": PROMPT},
    "/v1/messages": {"model": "m", "max_tokens": 500, "messages": [USER]},
    "/v1/messages/count_tokens": {"model": "m", "messages": [USER]},
    "/v1/responses": {"model": "m", "input": PROMPT},
    "/v1/embeddings": {"model": "m", "input": PROMPT, "dimensions": 8},
    "/v1/moderations": {"model": "m", "input": PROMPT},
    "/v1/rerank": {"model": "m", "query": "plants", "documents": ["stones", "plants"]},
}
PATHS = tuple(BODIES)
STREAMS = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses")
NAMED_STREAMS = ("/v1/messages", "/v1/responses")

WEATHER_TOOL = {"name": "get_weather", "input_schema": WEATHER["function"]["parameters"]}
NEWS_TOOL = {"name": "get_news", "input_schema": {"type": "object", "properties": {}}}


async def ask_at(path: str, app: ASGIApp | None = None, fail: str = "", **members: Any) -> Reply:
    """Ask an endpoint; members are added to the usual ones."""
    fields = [(b"x-simulate-fail", fail.encode())] if fail else []
    return await call(app or Simulator(), "POST", path, json.dumps(BODIES[path] | members).encode(), fields)


async def whole_at(path: str, app: ASGIApp | None = None, **members: Any) -> Any:
    reply = await ask_at(path, app, **members)
    assert (reply.status, reply.complete) == (200, True), reply.body
    return json.loads(reply.body)


def events_in(body: bytes) -> list[tuple[str, Any]]:
    """Return the events of a stream: their names, and what they hold."""
    blocks = [block for block in body.decode().split("\n\n") if block]
    return [_event(block.split("\n")) for block in blocks]


def _event(lines: list[str]) -> tuple[str, Any]:
    fields = dict(line.split(": ", 1) for line in lines)
    content = fields["data"]
    return fields.get("event", ""), content if content == "[DONE]" else json.loads(content)


@contextmanager
def anthropic_client(app: ASGIApp) -> Iterator[anthropic.Anthropic]:
    """Serve an app, and give Anthropic's client for it."""
    with serving_in_thread(app) as url, anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@contextmanager
def openai_client(app: ASGIApp) -> Iterator[openai.OpenAI]:
    """Serve an app, and give OpenAI's client for it."""
    with serving_in_thread(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client
