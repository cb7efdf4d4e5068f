"""Clients of HTTP/1.0, which read no chunks, and those that want a WebSocket, of which there are none."""

import json
from collections.abc import AsyncIterator

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send

from cachemw.proxy import Gate
from cachemw.proxy.admission import admit
from tests.proxy.guarded import RULES, Guarded, guarding, rest, status_of
from tests.upstream import DONE, EVENT_STREAM, JSON, Part, Told, always, event, prompt

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def one(anyio_backend: str) -> AsyncIterator[Guarded]:
    async with guarding() as guarded:
        yield guarded


@pytest.fixture
def guarded(one: Guarded) -> Guarded:
    return one.fresh()


def asked(text: str, *fields: bytes, stream: bool = False) -> bytes:
    """Return a chat request of such a client."""
    body = prompt(text, stream=stream)
    more = (b"Host: localhost", b"Content-Type: application/json", b"Content-Length: %d" % len(body), *fields)
    return b"\r\n".join([b"POST /v1/chat/completions HTTP/1.0", *more, b"", body])


def parted(reply: bytes) -> tuple[bytes, bytes]:
    head, end, body = reply.partition(b"\r\n\r\n")
    assert end
    return head.lower() + b"\r\n", body


CONNECTIONS = {"": (), "keep-alive": (b"Connection: keep-alive",), "close": (b"Connection: close",)}


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("control", ["", "on", "on, mode=refresh"])
@pytest.mark.parametrize("stream", [True, False])
async def test_to_a_client_of_http_1_0_nothing_is_sent_in_chunks(
    guarded: Guarded, control: str, stream: bool, connection: str
) -> None:
    """F15: RFC 9112 §6.1: miss, hit, and one that is recalled."""
    fields = (*((b"Cachemw: " + control.encode(),) if control else ()), *CONNECTIONS[connection])

    replies = [await guarded.say(asked("old", *fields, stream=stream)) for _ in range(4)]

    for reply in replies:
        head, body = parted(reply)
        assert status_of(reply) == 200
        assert b"transfer-encoding" not in head
        assert b"\r\nconnection: close\r\n" in head
        assert body.endswith(DONE) if stream else json.loads(body)
        assert not stream or body.startswith(b"data: ")
    assert (b"; hit; " in replies[1]) == (control == "on")


async def test_what_comes_in_pieces_comes_in_pieces_still(guarded: Guarded) -> None:
    """F15."""
    more = anyio.Event()
    parts: list[Part] = [event({"content": "first"}), more, event({}, "stop"), DONE]
    guarded.upstream.respond = always(Told(parts, headers=EVENT_STREAM))

    async with await guarded.connect() as stream:
        await stream.send(asked("in pieces", stream=True))
        reply = b""
        while b"first" not in reply:
            reply += await stream.receive()
        more.set()
        reply += await rest(stream)

    assert parted(reply)[1] == event({"content": "first"}) + event({}, "stop") + DONE


async def test_an_answer_without_a_length_that_breaks_off_is_not_taken_for_whole(guarded: Guarded) -> None:
    """F15, H10: what is no stream of events has nothing else to tell it by."""
    guarded.upstream.respond = always(Told([b"half of it"], headers=((b"content-type", b"audio/mpeg"),), ends=False))

    async with await guarded.connect() as stream:
        await stream.send(b"GET /v1/files/a/content HTTP/1.0\r\nHost: localhost\r\n\r\n")
        with pytest.raises(anyio.BrokenResourceError):
            _ = [chunk async for chunk in stream]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("path", [b"/healthz", b"/", b"/v1/models", b"/nothing"])
async def test_whatever_is_asked_is_answered_without_chunks(guarded: Guarded, method: bytes, path: bytes) -> None:
    guarded.upstream.respond = always(Told([b"{}", b"  "], headers=JSON))

    reply = await guarded.say(method + b" " + path + b" HTTP/1.0\r\nHost: localhost\r\n\r\n")

    head, body = parted(reply)
    assert b"transfer-encoding" not in head
    assert bool(body) == (method == b"GET")


# WebSockets.


HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.mark.parametrize("path", [b"/v1/realtime?model=m", b"/v1/chat/completions", b"/realtime"])
@pytest.mark.parametrize(
    "fields",
    [
        HANDSHAKE,
        HANDSHAKE.replace(b"websocket\r", b"WebSocket\r").replace(b"Upgrade:", b"UPGRADE:"),
        HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: h2c, websocket"),
        b"Upgrade: websocket\r\n",
        HANDSHAKE.replace(b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b""),  # as a proxy before us may leave it
    ],
    ids=["usual", "other letter case", "one of two", "alone", "hop by hop is gone"],
)
async def test_a_websocket_is_refused_in_words_and_not_sent_on(guarded: Guarded, fields: bytes, path: bytes) -> None:
    """F17: it was forwarded as a plain request."""
    reply = await guarded.say(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n")

    head, body = parted(reply)
    assert status_of(reply) == 501
    assert json.loads(body)["error"]["code"] == "websocket_not_supported"
    assert b"\r\nconnection: close\r\n" in head
    assert guarded.upstream.asked == []


async def test_wherever_its_head_is_cut_it_is_refused(guarded: Guarded) -> None:
    """F17."""
    whole = b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\n" + HANDSHAKE + b"\r\n"

    for cut in range(1, len(whole), 7):
        assert status_of(await guarded.say(whole[:cut], whole[cut:], pause=0.002)) == 501, cut

    assert guarded.upstream.asked == []


async def test_who_may_not_come_in_is_not_told_of_websockets(guarded: Guarded) -> None:
    fields = HANDSHAKE.replace(b"Connection: Upgrade", b"Connection: Upgrade, close")

    reply = await guarded.say(b"GET /v1/realtime HTTP/1.1\r\nHost: evil.example\r\n" + fields + b"\r\n")

    assert status_of(reply) == 403


async def test_a_post_that_offers_one_is_answered_as_a_post() -> None:
    """RFC 6455 §4.1: a WebSocket is opened with GET; of all else `Upgrade` is a wish that may be ignored."""
    fields = ((b"host", b"localhost"), (b"content-type", b"application/json"), (b"upgrade", b"websocket"))

    assert type(admit("POST", b"/v1/chat/completions", fields, RULES)).__name__ == "Admitted"


@pytest.mark.parametrize("can_answer", [True, False])
async def test_a_server_that_speaks_websockets_itself_says_the_same(can_answer: bool) -> None:
    """F17: with the answer, where the server can send one."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it was let in")

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    fields = [(b"host", b"localhost"), (b"upgrade", b"websocket"), (b"sec-websocket-key", b"x")]
    extensions: Scope = {"websocket.http.response": {}} if can_answer else {}
    scope = {"type": "websocket", "path": "/v1/realtime", "headers": fields, "extensions": extensions}

    await Gate(app, RULES)(scope, receive, send)

    kinds = [message["type"] for message in sent]
    assert kinds == (["websocket.http.response.start", "websocket.http.response.body"] if can_answer else ["websocket.close"])
    assert not can_answer or sent[0]["status"] == 501
