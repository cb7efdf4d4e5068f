"""The upstream is cut after every byte of four streams of each endpoint: in every mount, and before clients of another dialect.

R1: nothing is stored before its end was seen whole, no reader is shown a clean end, and nobody invents one.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import httpx

import cachemw.asgi
import cachemw.wsgi
from cachemw import MemoryStore, Policy
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests import wsgi_driver
from tests.asgi_driver import Reply, call
from tests.cassettes import FOLDER
from tests.endpoints import messages as anthropics
from tests.endpoints import responding
from tests.faults.cuts import ASKING, URL, Source, Way, Whole, cut_everywhere, inner_of, purge
from tests.faults.fault import ALL, Fault, Tally
from tests.mounts.translating import CHAT, MESSAGES, OTHER, Client
from tests.real.recordings import stored
from tests.upstream import DONE, prompt, stream_events

OF_CHAT = ("cerebras_glm_stream_1", "openai_stream_usage", "openai_stream_parallel_tools", "openai_stream_refusal")
OF_MESSAGES = ("stream_thinking", "stream_parallel_tools", "stream_redacted_thinking", "stream_tools")
OF_RESPONSES = ("stream", "stream_incomplete", "stream_reasoning", "stream_tools")

IN_TURN = 60
"""Where mounts and ways take turns, one of so many bytes is tried in each mount."""


def chats() -> Iterator[Whole]:
    """Return streams of chat."""
    if not FOLDER.is_dir():
        yield Whole(prompt(stream=True), b"".join(stream_events()), True)
        return
    for recording in map(stored, OF_CHAT):
        yield Whole(json.dumps(recording.request()).encode(), recording.body(), True)


def completions() -> Iterator[Whole]:
    """Return streams of legacy completions: a recorded one, and with more choices, prompts and usage."""
    if FOLDER.is_dir():
        yield _completion((FOLDER / "openai_completion_stream.sse").read_bytes(), prompt="Tell me a joke")
    for more, indexes in ({"n": 2}, 2), ({"prompt": ["a", "b", "c"]}, 3), ({"stream_options": {"include_usage": True}}, 1):
        said = [_piece(at, text, reason) for text, reason in (("one ", None), ("two", "stop")) for at in range(indexes)]
        usage = [{"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}]
        chunks = [*said, *(usage if "stream_options" in more else [])]
        named = [{"id": "c", "object": "text_completion", "created": 1, "model": "m", **chunk} for chunk in chunks]
        yield _completion(b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in named) + DONE, **more)


def _piece(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"choices": [{"index": index, "text": text, "logprobs": None, "finish_reason": reason}]}


def _completion(body: bytes, **members: Any) -> Whole:
    asked = {"model": "m", "prompt": "a", "stream": True, **members}
    return Whole(json.dumps(asked).encode(), body, True, "/v1/completions")


def messages() -> Iterator[Whole]:
    """Return streams of messages."""
    whole = partial(Whole, is_stream=True, path="/v1/messages", last=b"event: message_stop", told=b"event: error")
    asks = json.dumps(anthropics.asked(stream=True)).encode()
    if not FOLDER.is_dir():
        yield whole(asks, anthropics.stream_of(anthropics.told(*anthropics.HELLO)))
        return
    for name in OF_MESSAGES:
        yield whole(asks, (FOLDER / f"anthropic_{name}.sse").read_bytes())


def responses() -> Iterator[Whole]:
    """Return streams of responses."""
    whole = partial(Whole, is_stream=True, path="/v1/responses")
    if not FOLDER.is_dir():
        body = responding.body_of(responding.told(responding.HELLO))
        yield whole(responding.asked(stream=True), body, last=b"event: response.completed")
        return
    for name in OF_RESPONSES:
        last = b"event: response.incomplete" if name.endswith("incomplete") else b"event: response.completed"
        body = (FOLDER / f"openai_responses_{name}.sse").read_bytes()
        yield whole(responding.asked(stream=True, max_output_tokens=50), body, last=last)


STREAMS = {"chat": chats, "completions": completions, "messages": messages, "responses": responses}


async def _cut(*, every_way: bool) -> Tally:
    tally = Tally()
    for streams in STREAMS.values():
        for whole in streams():
            tally += await cut_everywhere(whole, every_way=every_way, stride=IN_TURN)
    return tally


# In another dialect.

Ask = Callable[[], Awaitable[Reply]]


def translating(source: Source, store: MemoryStore, client: Client) -> Iterator[tuple[str, Ask]]:
    """Return the mounts of an upstream that speaks the other dialect than this client, as he asks there."""
    options: Any = {"store": store, "policy": Policy(on_abandon="cancel")}
    speaks = {OTHER[client].dialect}
    inner = partial(inner_of, source, httpx)
    upstream = partial(HttpUpstream, URL + "/v1", speaks=speaks, transport=inner, sync_transport=inner)
    before = cachemw.asgi.CacheMiddleware(source, upstream=upstream(), **options)
    before_here = cachemw.wsgi.CacheMiddleware(_no_app, upstream=upstream(), **options)
    asks = client.asks(stream=True)

    def over(app: Any) -> Ask:
        return lambda: call(app, "POST", client.path, asks, ASKING)

    async def ask_here() -> Reply:
        return wsgi_driver.call(before_here, "POST", client.path, asks, ASKING, is_validated=False)

    yield "ASGI", over(before)
    yield "proxy", over(Proxy(upstream(), **options))
    yield "WSGI", ask_here


def _no_app(environ: Any, start_response: Any) -> Any:
    raise AssertionError("no call is the app's")


async def _cut_in_translation(whole: Whole, client: Client, *, every_way: bool) -> Tally:
    store, source, tally = MemoryStore(), Source(whole), Tally()
    ways: tuple[Way, ...] = ("raises", "is closed")
    for number, (name, ask) in enumerate(translating(source, store, client)):
        for cut in range(0 if every_way else number, len(whole.body), 1 if every_way else IN_TURN // 3):
            for way in ways if every_way else (ways[cut % 2],):
                source.way, source.cut = way, cut
                may_be_whole = way == "is closed" and cut >= whole.complete_at
                wrong = None if may_be_whole else _fault_of(await ask(), client, len(list(store.scan())))
                purge(store)
                tally += Tally(1, wrong=bool(wrong), examples=(f"{name} {way} after {cut} bytes: {wrong}",) if wrong else ())
        source.way, source.cut = "is whole", len(whole.body)
        reply = await ask()
        assert (reply.complete, client.last in reply.body, purge(store)) == (True, True, 1), (
            f"{name} does not keep what is whole"
        )
    return tally + Tally(leaks=source.open_bodies)


def _fault_of(reply: Reply, client: Client, records: int) -> str | None:
    """Say what is wrong with what the client of a stream was shown that was cut."""
    if records:
        return "stored"
    if client.last in reply.body:
        return "an invented end"
    return "shown with a clean end" if reply.status == 200 and reply.complete else None


async def _cut_translated(*, every_way: bool) -> Tally:
    tally = Tally()
    for streams, client in ((chats, MESSAGES), (messages, CHAT)):
        for whole in streams():
            tally += await _cut_in_translation(whole, client, every_way=every_way)
    return tally


def cut_other_streams(trials: int) -> Tally:
    """Cut the streams of every endpoint wherever they can be. Where not `ALL` is to be tried, mounts and ways take turns."""
    return asyncio.run(_cut(every_way=trials == ALL))


def cut_translated_streams(trials: int) -> Tally:
    """Cut streams that are translated wherever they can be, or in turn."""
    return asyncio.run(_cut_translated(every_way=trials == ALL))


FAULTS = (
    Fault(
        "streams of every endpoint cut after every byte",
        "four each of chat, completions, messages and responses, every offset, every mount and error; in CI in turn",
        20_000,
        ALL,
        cut_other_streams,
    ),
    Fault(
        "translated streams cut after every byte",
        "four of chat for Anthropic's clients, four of messages for OpenAI's, every offset; in CI in turn",
        20_000,
        ALL,
        cut_translated_streams,
    ),
)
