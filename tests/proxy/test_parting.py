"""What callers hear of it when the server ends, and they have waited for as long as it lets them."""

import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
import pytest
from anyio.abc import SocketStream

from cachemw import ExchangeReport, MemoryStore
from cachemw.proxy import Gate, Proxy
from cachemw.upstreams import HttpUpstream
from tests.proxy.guarded import RULES, listening, rest, status_of
from tests.serving import until
from tests.upstream import prompt, stream_events
from tests.upstreams import raw
from tests.upstreams.raw import CHUNKED, Part, RawServer, chunk

pytestmark = pytest.mark.anyio

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ON = b"Cachemw: on\r\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def chat(text: str, fields: bytes = b"", *, streaming: bool = False) -> bytes:
    """Return a chat request as it goes over a connection."""
    body = prompt(text, stream=streaming)
    return HEAD + fields + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


IN_CHUNKS = HEAD + ON + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(prompt("in chunks")) + chunk(b"")
MODELS = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(slots=True)
class Scene:
    """The proxy behind its gate, before an upstream that does not go on; and who asks."""

    behind: RawServer
    port: int
    callers: list[SocketStream] = field(default_factory=list)
    reports: list[ExchangeReport] = field(default_factory=list)

    async def call(self, said: bytes) -> SocketStream:
        """Ask, over a connection of its own."""
        stream: SocketStream = await anyio.connect_tcp("127.0.0.1", self.port)
        await stream.send(said)
        self.callers.append(stream)
        return stream

    async def has_asked(self, count: int) -> None:
        """Wait until so many requests are upstream."""
        await until(lambda: len(self.behind.requests) == count)


@contextlib.asynccontextmanager
async def ending(*parts: Part) -> AsyncIterator[tuple[Scene, contextlib.AsyncExitStack]]:
    """Serve until the stack that is given is closed."""
    async with (
        raw.listening(*parts) as behind,
        raw.closing(HttpUpstream(behind.url)) as upstream,
        contextlib.AsyncExitStack() as server,
    ):
        scene = Scene(behind, 0)
        proxy = Proxy(upstream, store=MemoryStore(), hooks=[scene.reports.append])
        scene.port = await server.enter_async_context(listening(Gate(proxy, RULES)))
        yield scene, server
        for stream in scene.callers:
            await stream.aclose()


async def test_who_has_no_answer_yet_is_told_in_our_shape(caplog: pytest.LogCaptureFixture) -> None:
    """F81, H10, P5: and whatever they were in is undone: the upstream is left, and hooks are told."""
    asked = [chat("a"), chat("b", ON), chat("b", ON), chat("c", ON, streaming=True), IN_CHUNKS, MODELS]

    async with ending(anyio.Event()) as (scene, server):
        for said in asked:
            await scene.call(said)
        await scene.has_asked(5)
        await server.aclose()
        replies = [await rest(stream) for stream in scene.callers]
        with anyio.fail_after(5):
            await scene.behind.left.wait()

    assert [status_of(reply) for reply in replies] == [503] * len(asked)
    for reply in replies:
        head, _, body = reply.partition(b"\r\n\r\n")
        assert json.loads(body)["error"]["code"] == "shutting_down"
        assert b"\r\nconnection: close" in head
        assert b"x-should-retry" not in head
    assert len(scene.reports) == len(asked)
    assert not [record for record in caplog.records if record.exc_info]


async def test_who_has_a_part_of_an_answer_is_shown_no_end(caplog: pytest.LogCaptureFixture) -> None:
    """H10, P5."""
    first = stream_events()[0]

    async with ending(CHUNKED, chunk(first), anyio.Event()) as (scene, server):
        for said in (chat("a", streaming=True), chat("b", ON, streaming=True)):
            stream, heard = await scene.call(said), b""
            while first not in heard:
                heard += await stream.receive()
        await server.aclose()
        rests = [await rest(stream) for stream in scene.callers]

    assert not any(re.search(rb"HTTP/1.1|\[DONE\]|0\r\n\r\n", said) for said in rests)
    assert [error_in(said)["code"] for said in rests] == ["shutting_down"] * 2
    assert not [record for record in caplog.records if record.exc_info]


def error_in(said: bytes) -> dict[str, str]:
    """Return the error in the last event of what was said in chunks."""
    [found] = re.findall(rb"\n?data: (\{.*\})\n\n\r\n$", said)
    error: dict[str, str] = json.loads(found)["error"]
    return error


NO_EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
CODED = CHUNKED.replace(b"Transfer-Encoding", b"Content-Encoding: gzip\r\nTransfer-Encoding")


@pytest.mark.parametrize(
    ("parts", "last"),
    [
        ((CHUNKED, chunk(b"data: half")), b"data: half\r\n%x\r\n\n\ndata: {"),
        ((CHUNKED, chunk(b"data: whole\r\n\r\n")), b"data: whole\r\n\r\n\r\n%x\r\ndata: {"),
        ((NO_EVENTS, chunk(b"half")), None),
        ((CODED, chunk(b"half")), None),
    ],
    ids=["within an event", "behind one", "no events", "coded"],
)
async def test_an_event_follows_where_one_can(parts: tuple[bytes, ...], last: bytes | None) -> None:
    """F14: whatever is relayed."""
    heard = b""

    async with ending(*parts, anyio.Event()) as (scene, server):
        stream = await scene.call(MODELS.replace(b"Host", b"Accept-Encoding: gzip\r\nHost"))
        while not heard.endswith((b"half", b"half\r\n", b"whole\r\n\r\n\r\n")):
            heard += await stream.receive()
        await server.aclose()
        heard += await rest(stream)

    if last is None:
        assert b"error" not in heard
    else:
        size = int(heard.rpartition(b"data: ")[0].split(b"\r\n")[-2], 16)
        assert last % size in heard
        assert error_in(heard)["code"] == "shutting_down"
