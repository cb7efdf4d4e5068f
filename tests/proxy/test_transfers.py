"""What is large or slow passes piece by piece, and who leaves is followed by the upstream's connection."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
import httpx
import pytest
from starlette.types import Receive, Scope, Send

from tests.proxy.conftest import ALICE, CANCELLING, CHAT, ON, Place, say
from tests.upstream import EVENT_STREAM, Part, Told, always, prompt, stream_events

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class Reading:
    """An upstream that says when it has read the first of a body, and how much there was in all."""

    first: anyio.Event = field(default_factory=anyio.Event)
    size: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = dict(scope["headers"])
        more = True
        while more:
            message = await receive()
            self.size += len(message["body"])
            more = message["more_body"]
            if self.size:
                self.first.set()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})


UPLOADS = [
    ("no chat", "/v1/files", ALICE),
    ("no chat, opted in", "/v1/files", ON),
    ("chat, not opted in", CHAT, ALICE),
]


@pytest.mark.parametrize(("path", "headers"), [row[1:] for row in UPLOADS], ids=[row[0] for row in UPLOADS])
@pytest.mark.parametrize("length", [None, 20 * 2**20], ids=["chunked", "of known length"])
async def test_an_upload_is_not_held(place: Place, path: str, headers: dict[str, str], length: int | None) -> None:
    """S6, D9: the upstream has its first piece before the client sends its second."""
    upstream = Reading()
    place.put_up(upstream)
    size = 20 * 2**20

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 65_536
        with anyio.fail_after(5):
            await upstream.first.wait()
        for _ in range(1, size // 65_536):
            yield b"x" * 65_536

    sent = headers if length is None else {**headers, "content-length": str(length)}
    reply = await place.client.post(path, content=pieces(), headers=sent)

    assert (reply.status_code, reply.content, upstream.size) == (200, b"done", size)
    assert upstream.headers.get(b"content-length") == (None if length is None else b"%d" % length)
    assert upstream.headers.get(b"transfer-encoding") == (b"chunked" if length is None else None)


@pytest.mark.parametrize(("path", "headers"), [row[1:] for row in UPLOADS], ids=[row[0] for row in UPLOADS])
async def test_a_download_is_not_held(place: Place, path: str, headers: dict[str, str]) -> None:
    """S6: the head before there is a body, each piece before the next."""
    gates = [anyio.Event(), anyio.Event(), anyio.Event()]
    parts: list[Part] = [gates[0], b"one", gates[1], b"two", gates[2]]
    place.upstream.respond = always(Told(parts, headers=((b"content-type", b"audio/mpeg"),)))
    heard: list[bytes] = []

    with anyio.fail_after(5):
        async with place.client.stream("POST", path, content=prompt(), headers=headers) as reply:
            gates[0].set()
            pieces = reply.aiter_raw()
            heard.append(await anext(pieces))
            gates[1].set()
            heard.append(await anext(pieces))
            gates[2].set()
            heard += [piece async for piece in pieces]

    assert heard == [b"one", b"two"]


@dataclass(slots=True)
class Silent:
    """An upstream that says a part of its answer, or not even a head, and waits for its client to leave."""

    says: Told | None
    asked: anyio.Event = field(default_factory=anyio.Event)
    left: anyio.Event = field(default_factory=anyio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        self.asked.set()
        if self.says is not None:
            await send({"type": "http.response.start", "status": 200, "headers": list(self.says.headers)})
            for part in self.says.parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await receive()
        self.left.set()


SILENCES = {
    "before the head": None,
    "after the head": Told((), headers=EVENT_STREAM),
    "within a stream": Told(stream_events()[:2], headers=EVENT_STREAM),
    "within JSON": Told((b'{"choices": [',)),
}


@pytest.mark.parametrize("silence", SILENCES)
@pytest.mark.parametrize(
    ("path", "headers"),
    [(CHAT, CANCELLING), (CHAT, ALICE), ("/v1/completions", ALICE), ("/v1/completions", ON)],
    ids=["opted in", "not opted in", "no chat", "no chat, opted in"],
)
async def test_a_client_that_leaves_closes_the_upstream(place: Place, silence: str, path: str, headers: dict[str, str]) -> None:
    """H3, H4: within a second, wherever the answer is."""
    upstream = Silent(SILENCES[silence])
    place.put_up(upstream)
    body = prompt(stream="stream" in silence or "head" in silence)

    async def leave_when_asked(scope: anyio.CancelScope) -> None:
        await upstream.asked.wait()
        await anyio.sleep(0.05)  # let what is said arrive
        scope.cancel()

    async with httpx.AsyncClient(base_url=place.url, trust_env=False) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(leave_when_asked, tasks.cancel_scope)
        await client.post(path, content=body, headers=headers)
    with anyio.fail_after(10):
        await upstream.left.wait()

    assert not place.records()
    if headers is CANCELLING or headers is ON and silence != "before the head":
        assert place.reports[0].details[0] == "client-left"
    place.put_up(place.upstream)
    with anyio.fail_after(10):
        assert (await place.ask(body, headers, path)).status_code == 200  # nobody waits for the one that left


async def test_a_client_that_leaves_within_its_upload_closes_the_upstream(place: Place) -> None:
    """H3."""
    upstream, left = Reading(), anyio.Event()

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await upstream(scope, receive, send)
        except KeyError:  # a disconnect has no body
            left.set()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"
        await anyio.sleep_forever()

    place.put_up(watched)
    async with httpx.AsyncClient(base_url=place.url, trust_env=False) as client, anyio.create_task_group() as tasks:

        async def send() -> None:
            await client.post("/v1/files", content=pieces(), headers=ALICE)

        tasks.start_soon(send)
        await upstream.first.wait()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(10):
        await left.wait()


async def test_an_upstream_may_answer_before_it_has_read_all(place: Place) -> None:
    """H10."""

    async def hasty(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": b"no!"})

    place.put_up(hasty)
    with anyio.fail_after(5):
        reply = await say(place.url, b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf", until=b"no!")

    assert reply.startswith(b"HTTP/1.1 413")
