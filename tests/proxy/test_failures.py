"""What becomes of an upstream's errors and of answers that break off, as a real client sees it (H10)."""

import json
from dataclasses import dataclass

import anyio
import httpx
import pytest
from starlette.types import Receive, Scope, Send

from cachemw import Limits, Timeouts
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from cachemw.wire.sse import Parser
from tests.proxy.conftest import ALICE, CHAT, ON, Place, status_of
from tests.upstream import EVENT_STREAM, JSON, Part, Told, always, completion, prompt, stream_events
from tests.upstreams.raw import answer, closing, listening

pytestmark = pytest.mark.anyio

CALLERS = pytest.mark.parametrize("headers", [ALICE, ON], ids=["not opted in", "opted in"])
KINDS = pytest.mark.parametrize("streaming", [False, True], ids=["JSON", "stream"])

OPENAI = b'{\n  "error": {"message": "slow down", "type": "tokens", "param": null, "code": "rate_limit_exceeded"}\n}\n'
CEREBRAS = b'{"message":"Too many tokens","type":"too_many_tokens_error","param":"quota","code":"token_quota_exceeded"}'
LIMITS = {
    "retry-after": "86399",
    "retry-after-ms": "86399000",
    "x-should-retry": "false",
    "x-ratelimit-limit-requests-day": "14400",
    "x-ratelimit-remaining-tokens-minute": "0",
    "x-ratelimit-reset-tokens": "6m0s",
    "x-request-id": "req_1",
    "inference-id": "chatcmpl-1",
}
ERRORS = [
    (400, "application/json", OPENAI),
    (401, "application/json", CEREBRAS),
    (402, "application/json", CEREBRAS),
    (403, "text/plain; charset=UTF-8", b"error code: 1010"),
    (404, "text/plain", b""),
    (408, "application/json", OPENAI),
    (413, "application/json", OPENAI),
    (422, "application/json", OPENAI),
    (429, "application/json", OPENAI),
    (429, "text/event-stream", b'data: {"error": {"message": "slow down"}}\n\n'),
    (500, "text/html", b"<h1>oh</h1>"),
    (502, "text/html", b"<h1>bad gateway</h1>"),
    (503, "application/json", CEREBRAS),
    (504, "text/html", b"<h1>late</h1>"),
    (529, "application/json", OPENAI),
    (201, "application/json", completion().parts[0]),
]


@KINDS
@CALLERS
@pytest.mark.parametrize(("status", "media_type", "body"), ERRORS, ids=[f"{row[0]} {row[1]}" for row in ERRORS])
async def test_an_upstreams_error_is_passed_as_it_is(
    place: Place, status: int, media_type: str, body: bytes, headers: dict[str, str], streaming: bool
) -> None:
    """H10, R2: status, body and what says when to come back; asked again, the upstream is asked again."""
    fields = {"content-type": media_type, **LIMITS}
    place.upstream.respond = always(
        Told((body,), status, tuple((name.encode(), value.encode()) for name, value in fields.items()))
    )

    replies = [await place.ask(prompt(stream=streaming), headers) for _ in range(2)]

    for reply in replies:
        assert (reply.status_code, reply.content) == (status, body)
        assert {name: reply.headers[name] for name in fields} == fields
        assert status_of(reply) == (f"fwd=miss; fwd-status={status}; key; detail=not-200" if headers is ON else "")
    assert place.upstream.calls == 2
    assert not place.records()


@dataclass(frozen=True)
class Heard:
    """What a client got of a transfer."""

    status: int
    body: bytes
    is_whole: bool

    def payloads(self) -> list[bytes]:
        """Return the data of the events it could read."""
        parser = Parser()
        return [event.data for event in (*parser.feed(self.body), *parser.close())]


async def hear(place: Place, body: bytes, headers: dict[str, str]) -> Heard:
    """Ask, and read until the end or the break."""
    heard = b""
    async with place.client.stream("POST", CHAT, content=body, headers=headers) as reply:
        try:
            async for piece in reply.aiter_raw():
                heard += piece
        except httpx.RemoteProtocolError:
            return Heard(reply.status_code, heard, is_whole=False)
    return Heard(reply.status_code, heard, is_whole=True)


EVENTS = stream_events("one two")
CUTS = {
    "before the first event": b"",
    "within the first event": EVENTS[0][:15],
    "after the first event": EVENTS[0],
    "between the line ends of an event": EVENTS[0][:-1],
    "within a later event": b"".join(EVENTS[:2]) + EVENTS[2][:-20],
    "within a comment": EVENTS[0] + b": keep-al",
    "after a comment": EVENTS[0] + b": keep-alive\n\n",
    "before [DONE]": b"".join(EVENTS[:-1]),
    "within [DONE]": b"".join(EVENTS[:-1]) + b"data: [DON",
}


@CALLERS
@pytest.mark.parametrize("missing", [None, 9, 9_000], ids=["chunked", "of a length just missed", "of a length far missed"])
@pytest.mark.parametrize("cut", CUTS)
async def test_a_stream_that_breaks_off_ends_in_one_error_and_no_end(
    place: Place, cut: str, missing: int | None, headers: dict[str, str]
) -> None:
    """H10, R1: an event of its own, then a broken transfer; no [DONE] that the upstream did not send; nothing is kept."""
    fields = EVENT_STREAM if missing is None else (*EVENT_STREAM, (b"content-length", b"%d" % (len(CUTS[cut]) + missing)))
    place.upstream.respond = always(Told([CUTS[cut]], headers=fields, ends=False))

    heard = await hear(place, prompt(stream=True), headers)

    assert (heard.status, heard.is_whole) == (200, False)
    assert heard.body.count(b'data: {"error"') == 1
    assert b"[DONE]" not in heard.body
    error = json.loads(heard.payloads()[-1])["error"]
    assert (error["code"], error["type"]) == ("upstream_truncated", "cachemw_error")
    whole = Parser().feed(CUTS[cut])
    assert heard.payloads()[: len(whole)] == [event.data for event in whole]
    assert not place.records()


async def test_a_stream_that_breaks_off_after_done_was_not_whole(place: Place) -> None:
    """R1: its [DONE] came, but its end did not: the client is not shown what looks like one."""
    place.upstream.respond = always(Told(EVENTS, headers=EVENT_STREAM, ends=False))

    heard = await hear(place, prompt(stream=True), ON)

    assert not heard.is_whole
    assert heard.body.startswith(b"".join(EVENTS[:-1]) + b'data: {"error"')
    assert b"[DONE]" not in heard.body
    assert not place.records()


async def test_after_a_stream_that_broke_off_the_next_is_asked_for_and_kept(place: Place) -> None:
    """R1."""
    place.upstream.respond = always(Told(EVENTS[:2], headers=EVENT_STREAM, ends=False))
    await hear(place, prompt(stream=True), ON)
    place.upstream.respond = always(Told(EVENTS, headers=EVENT_STREAM))

    replies = [await place.ask(prompt(stream=True)) for _ in range(2)]

    assert [reply.content for reply in replies] == [b"".join(EVENTS)] * 2
    assert status_of(replies[1]) == "hit; ttl=86400; key"


@pytest.mark.parametrize("length", [None, 500], ids=["chunked", "of a length it does not reach"])
@pytest.mark.parametrize("said", [b"", b'{"choices": [', completion().parts[0]], ids=["nothing", "half", "all, but no end"])
async def test_json_that_breaks_off_is_a_502_where_it_was_held(place: Place, said: bytes, length: int | None) -> None:
    """R1, H10."""
    fields = JSON if length is None else (*JSON, (b"content-length", b"%d" % length))
    place.upstream.respond = always(Told([said], headers=fields, ends=False))

    reply = await place.ask()

    assert (reply.status_code, reply.headers["content-type"]) == (502, "application/json")
    assert reply.json()["error"]["code"] == "upstream_truncated"
    assert status_of(reply) == "fwd=miss; fwd-status=200; key; detail=truncated"
    assert not place.records()


async def test_json_that_breaks_off_is_a_broken_transfer_where_it_was_passed_on(place: Place) -> None:
    """H10: nothing is added to what is no stream."""
    place.upstream.respond = always(Told([b'{"choices": ['], ends=False))

    heard = await hear(place, prompt(), ALICE)

    assert heard == Heard(200, b'{"choices": [', is_whole=False)


async def test_a_coded_stream_that_breaks_off_is_broken_and_nothing_is_mixed_into_it(place: Place) -> None:
    """H9, H10."""
    place.upstream.respond = always(
        Told([b"\x1f\x8bcoded"], headers=(*EVENT_STREAM, (b"content-encoding", b"gzip")), ends=False)
    )

    for headers in (ALICE, ON):
        heard = await hear(place, prompt(stream=True), headers)

        assert heard == Heard(200, b"\x1f\x8bcoded", is_whole=False)


async def test_an_event_of_the_upstreams_own_error_is_passed_and_not_kept(place: Place) -> None:
    """R1, H10: one error event, the upstream's; it ended its answer itself."""
    error = b'data: {"error": {"message": "overloaded"}}\n\n'
    place.upstream.respond = always(Told([EVENTS[0], error], headers=EVENT_STREAM))

    heard = await hear(place, prompt(stream=True), ON)

    assert (heard.body, heard.is_whole) == (EVENTS[0] + error, True)
    assert not place.records()


@KINDS
@CALLERS
async def test_an_upstream_that_falls_silent_is_a_504_or_a_broken_stream(
    place: Place, streaming: bool, headers: dict[str, str]
) -> None:
    """H10."""
    never = anyio.Event()
    parts: list[Part] = [EVENTS[0] if streaming else b"{", never]
    place.upstream.respond = always(Told(parts, headers=EVENT_STREAM if streaming else JSON))

    async with closing(HttpUpstream(place.upstream_url + "/v1")) as upstream:
        place.mount(Proxy(upstream, store=place.store, limits=Limits(timeouts=Timeouts(idle=0.1))))
        heard = await hear(place, prompt(stream=streaming), headers)

    if streaming:
        assert json.loads(heard.payloads()[-1])["error"]["code"] == "upstream_timeout"
        assert (heard.status, heard.is_whole) == (200, False)
    elif headers is ON:
        assert (heard.status, json.loads(heard.body)["error"]["code"]) == (504, "upstream_timeout")
    else:
        assert heard == Heard(200, b"{", is_whole=False)
    assert not place.records()


@KINDS
@CALLERS
async def test_an_upstream_that_does_not_begin_is_a_504(place: Place, streaming: bool, headers: dict[str, str]) -> None:
    """H10."""

    async def mute(_: Scope, receive: Receive, __: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    place.put_up(mute)
    async with closing(HttpUpstream(place.upstream_url + "/v1")) as upstream:
        place.mount(Proxy(upstream, store=place.store, limits=Limits(timeouts=Timeouts(first_byte=0.1))))
        reply = await place.ask(prompt(stream=streaming), headers)

    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "upstream_timeout")
    assert status_of(reply) == ("fwd=miss; key; detail=timeout" if headers is ON else "")


UNSPEAKABLE = {
    "two framings": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two framings, the other way round": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    ),
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "a status of no class": answer(b"ok", status=b"700 What"),
    "a protocol that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nHELLO",
    "a control character": answer(b"ok", b"X: a\x01b"),
    "a compressed transfer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
}


@CALLERS
@pytest.mark.parametrize(("name", "said"), UNSPEAKABLE.items(), ids=UNSPEAKABLE)
async def test_a_head_that_cannot_be_passed_on_is_a_502(
    place: Place, name: str, said: bytes, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """H10, D1: a head did come, so the upstream was reached."""
    async with listening(said) as server:
        place.put_up_url(server.url)
        reply = await place.ask(headers=headers)

    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_invalid")
    assert server.url.removeprefix("http://") in reply.json()["error"]["message"]
    detail = "two-framings" if name.startswith("two framings") else "invalid-head"
    assert status_of(reply) == (f"fwd=miss; key; detail={detail}" if headers is ON else "")
    assert not [record for record in caplog.records if record.exc_info]


@CALLERS
async def test_a_304_passes_and_its_connection_goes_on(
    place: Place, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """F79: it may say how long the body would have been (RFC 9110 §8.6)."""
    async with listening(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 10\r\n\r\n") as server:
        place.put_up_url(server.url)
        replies = [await place.client.get("/v1/models", headers=headers) for _ in range(2)]

    assert [(reply.status_code, reply.headers["etag"], reply.content) for reply in replies] == [(304, "x", b"")] * 2
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
