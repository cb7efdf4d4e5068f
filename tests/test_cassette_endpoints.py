"""A cassette of every endpoint that an official SDK calls: recorded once, and replayed without a key and without a network."""

import asyncio
import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from cachemw.cassette import Cassette
from tests.endpoints import messages, responding
from tests.stores.test_files import snapshot
from tests.upstream import DONE

VECTOR = (0.25, -0.5, 1.5)
COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "text": "Hello.", "finish_reason": "stop", "logprobs": None}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
EMBEDDING = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": base64.b64encode(struct.pack("<3f", *VECTOR)).decode()}],
    "model": "m",
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}


def told(body: dict[str, Any], path: str) -> bytes:
    """Return what an upstream says to a request."""
    is_stream = body.get("stream", False)
    match path:
        case "/v1/messages":
            whole = messages.message(messages.TEXT, messages.TOOL, stop_reason="tool_use")
            return messages.stream_of(messages.told(*messages.HELLO)) if is_stream else dumped(whole)
        case "/v1/messages/count_tokens":
            return dumped({"input_tokens": 12})
        case "/v1/responses":
            return responding.body_of(responding.told(responding.HELLO)) if is_stream else dumped(responding.HELLO)
        case "/v1/embeddings":
            assert body["encoding_format"] == "base64"  # as the SDK asks where nobody says anything
            return dumped(EMBEDDING)
        case "/v1/completions":
            return b"data: " + dumped({**COMPLETION, "usage": None}) + b"\n\n" + DONE if is_stream else dumped(COMPLETION)
    raise AssertionError(path)


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


class Upstream:
    """Answers through a transport, and counts; `fails`: nobody may ask it."""

    def __init__(self, *, fails: bool = False) -> None:
        self.keys: list[str | None] = []
        self._fails = fails
        self.transport = httpx2.MockTransport(self._answer)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        assert not self._fails, "the upstream was asked"
        body = json.loads(request.content)
        self.keys.append(request.headers.get("x-api-key") or request.headers.get("authorization"))
        media_type = "text/event-stream" if body.get("stream") else "application/json"
        return httpx2.Response(200, headers={"content-type": media_type}, content=told(body, request.url.path))


ASKED: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def anthropic_json(client: anthropic.Anthropic) -> Any:
    return client.messages.create(**ASKED).to_dict()


def anthropic_stream(client: anthropic.Anthropic) -> Any:
    with client.messages.stream(**ASKED) as stream:
        return stream.get_final_message().to_dict()


def anthropic_count(client: anthropic.Anthropic) -> Any:
    return client.messages.count_tokens(model="m", messages=ASKED["messages"]).input_tokens


def responses_json(client: openai.OpenAI) -> Any:
    return client.responses.create(model="m", input="hi").output_text


def responses_stream(client: openai.OpenAI) -> Any:
    with client.responses.stream(model="m", input="hi") as stream:
        return [event.type for event in stream]


def embeddings(client: openai.OpenAI) -> Any:
    return client.embeddings.create(model="m", input="hi").data[0].embedding


def completions_json(client: openai.OpenAI) -> Any:
    return client.completions.create(model="m", prompt="hi").choices[0].text


def completions_stream(client: openai.OpenAI) -> Any:
    chunks = client.completions.create(model="m", prompt="hi", stream=True)
    return "".join(chunk.choices[0].text for chunk in chunks)


async def a_anthropic_json(client: anthropic.AsyncAnthropic) -> Any:
    return (await client.messages.create(**ASKED)).to_dict()


async def a_anthropic_stream(client: anthropic.AsyncAnthropic) -> Any:
    async with client.messages.stream(**ASKED) as stream:
        return (await stream.get_final_message()).to_dict()


async def a_responses_stream(client: openai.AsyncOpenAI) -> Any:
    async with client.responses.stream(model="m", input="hi") as stream:
        return [event.type async for event in stream]


async def a_embeddings(client: openai.AsyncOpenAI) -> Any:
    return (await client.embeddings.create(model="m", input="hi")).data[0].embedding


async def a_completions_json(client: openai.AsyncOpenAI) -> Any:
    return (await client.completions.create(model="m", prompt="hi")).choices[0].text


WAITING: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "messages": (anthropic.Anthropic, anthropic_json),
    "messages stream": (anthropic.Anthropic, anthropic_stream),
    "count_tokens": (anthropic.Anthropic, anthropic_count),
    "responses": (openai.OpenAI, responses_json),
    "responses stream": (openai.OpenAI, responses_stream),
    "embeddings": (openai.OpenAI, embeddings),
    "completions": (openai.OpenAI, completions_json),
    "completions stream": (openai.OpenAI, completions_stream),
}
AWAITING: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "messages": (anthropic.AsyncAnthropic, a_anthropic_json),
    "messages stream": (anthropic.AsyncAnthropic, a_anthropic_stream),
    "responses stream": (openai.AsyncOpenAI, a_responses_stream),
    "embeddings": (openai.AsyncOpenAI, a_embeddings),
    "completions": (openai.AsyncOpenAI, a_completions_json),
}
CALLS = {**WAITING, **{f"{name}, awaited": call for name, call in AWAITING.items()}}
BY_CALL = pytest.mark.parametrize(("sdk", "ask"), CALLS.values(), ids=CALLS)


def through(cassette: Cassette, sdk: Any, ask: Callable[[Any], Any], upstream: Upstream, key: str) -> Any:
    """Ask through a cassette, by a client of an SDK."""
    options: dict[str, Any] = {"api_key": key, "max_retries": 0, "base_url": "https://api.example"}
    if sdk in (openai.OpenAI, openai.AsyncOpenAI):
        options["base_url"] += "/v1"
    if sdk not in (openai.AsyncOpenAI, anthropic.AsyncAnthropic):
        with sdk(http_client=cassette.http_client(sdk, upstream.transport), **options) as client:
            return ask(client)

    async def awaited() -> Any:
        async with sdk(http_client=cassette.async_http_client(sdk, upstream.transport), **options) as client:
            return await ask(client)

    return asyncio.run(awaited())


def record(directory: Path, sdk: Any, ask: Callable[[Any], Any]) -> tuple[Any, set[str]]:
    """Record one call; return what the SDK read, and the digits of what was recorded."""
    recorded, failed, upstream = set[str](), set[str](), Upstream()
    said = through(Cassette(directory, "record", recorded=recorded, failed=failed), sdk, ask, upstream, "sk-real")
    assert (len(upstream.keys), failed) == (1, set())
    assert "sk-real" in (upstream.keys[0] or "")
    return said, recorded


@BY_CALL
def test_what_was_recorded_is_replayed_without_a_key_and_without_a_network(
    sdk: Any, ask: Callable[[Any], Any], tmp_path: Path
) -> None:
    """F3, E6, ruling F5: and what was recorded is reported, by the digits of its file."""
    said, recorded = record(tmp_path, sdk, ask)
    before = snapshot(tmp_path)

    again = through(Cassette(tmp_path, "replay"), sdk, ask, Upstream(fails=True), "none")

    assert again == said
    assert snapshot(tmp_path) == before
    assert recorded == {path.stem.rpartition("--")[2] for path in tmp_path.glob("*.json")}
    assert "sk-real" not in "".join(path.read_text() for path in tmp_path.glob("*.json"))


@BY_CALL
def test_a_file_that_was_damaged_is_refused_by_its_name(sdk: Any, ask: Callable[[Any], Any], tmp_path: Path) -> None:
    """F3, D1: in the shape that the SDK reads, whichever it is; and it is never asked for anew in a replay."""
    record(tmp_path, sdk, ask)
    [path] = tmp_path.glob("*.json")
    path.write_text(path.read_text().replace('"status": 200', '"status": 201'))

    with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)) as raised:
        through(Cassette(tmp_path, "replay"), sdk, ask, Upstream(fails=True), "none")

    assert str(path) in str(raised.value)


@pytest.mark.parametrize("name", ["messages", "responses", "completions"])
def test_both_kinds_are_had_of_one_recording(name: str, tmp_path: Path) -> None:
    """S4: so a test that streams needs no recording of its own."""
    sdk, whole = WAITING[name]
    record(tmp_path, sdk, whole)

    streamed = through(Cassette(tmp_path, "replay"), sdk, WAITING[f"{name} stream"][1], Upstream(fails=True), "none")

    assert streamed if name != "completions" else streamed == "Hello."


@pytest.mark.parametrize("name", WAITING)
def test_a_file_says_what_was_asked_at_which_endpoint_and_event_by_event(name: str, tmp_path: Path) -> None:
    """F3: a review shows what the model said."""
    record(tmp_path, *WAITING[name])
    [path] = tmp_path.glob("*.json")

    document = json.loads(path.read_text())

    assert document["endpoint"] == name.removesuffix(" stream")
    assert document["request"]["model"] == "m"
    assert "asked_endpoint" not in document
    if name.endswith("stream"):
        assert all("data" in event for event in document["events"] if event != DONE.decode())
    else:
        assert isinstance(document["body"], dict)


def test_what_cannot_be_recorded_is_noted(tmp_path: Path) -> None:
    """F3: a tool that the provider runs itself finds other things each day."""
    failed = set[str]()
    searching: Any = {**ASKED, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}

    through(
        Cassette(tmp_path, "record", failed=failed),
        anthropic.Anthropic,
        lambda client: client.messages.create(**searching),
        Upstream(),
        "sk-real",
    )

    assert failed == {"an answer for no model: server-tool"}
