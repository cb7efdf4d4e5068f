"""rulings F2, F3: whatever an upstream of another dialect does instead of answering, clients read errors of their own API."""

import gzip
from collections.abc import Sequence

import pytest

from tests.asgi_driver import Reply
from tests.mounts.conftest import status_of
from tests.mounts.gates import Gate
from tests.mounts.translating import CHAT, MESSAGES, WHOLE_ANSWER, Front
from tests.upstream import EVENT_STREAM, JSON, Told, always

pytestmark = pytest.mark.anyio

KINDS = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
ASKED = pytest.mark.parametrize("control", ["on", None], ids=["opted in", "not"])

ERRORS: dict[str, tuple[bytes, str]] = {
    "openai": (b'{"error":{"message":"slow down","type":"t","param":null,"code":"c"}}', "slow down"),
    "anthropic": (b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}', "slow down"),
    "flat": (b'{"message":"slow down","type":"t","param":"q","code":"c"}', "slow down"),
    "detail": (b'{"detail":"slow down"}', "slow down"),
    "html": (b"<html><body>slow down</body></html>", ""),
    "nothing": (b"", ""),
}
TYPES = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error", 500: "api_error"}


@ASKED
@KINDS
@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_an_error_has_its_status_and_the_callers_shape(
    front: Front, status: int, stream: bool, control: str | None
) -> None:
    """§3.3: and says when to try again as it did."""
    for name, (body, message) in ERRORS.items():
        type_ = b"text/html" if name == "html" else b"application/json"
        headers = ((b"content-type", type_), (b"retry-after", b"7"), (b"x-should-retry", b"true"))
        front.upstream.respond = always(Told((body,), status=status, headers=headers))
        front.mount()  # a target that has failed is not asked for a while

        reply = await front.ask(control=control, stream=stream)

        type_said, message_said = front.client.error_in(reply.body)
        assert (reply.status, reply.complete) == (status, True), name
        assert message in message_said
        assert message_said
        assert front.client is CHAT or type_said == TYPES[status]
        assert reply.headers[b"content-type"] == b"application/json"
        if not front.is_routed:  # a gateway says when by itself: tests/gateway
            assert (reply.headers[b"retry-after"], reply.headers[b"x-should-retry"]) == (b"7", b"true")
        assert not list(front.store.scan())


def cut(parts: Sequence[bytes], *, stream: bool) -> Told:
    return Told(parts, headers=EVENT_STREAM if stream else JSON, ends=False)


def events_in(body: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in body.split(b"\n\n") if event]


@ASKED
async def test_a_stream_that_is_cut_anywhere_ends_in_an_error_of_the_callers_and_has_no_end(
    front: Front, control: str | None
) -> None:
    """R1, ruling F3: behind each event, and within each; nothing is stored."""
    events = front.spoken.event_stream()
    whole = b"".join(events)
    places = [sum(map(len, events[:number])) + more for number in range(len(events)) for more in (0, 9)]
    for at in places:
        if at >= whole.rindex(events[-1]) and control is None:
            continue  # it has said its end: what follows is nobody's loss
        front.upstream.respond = always(cut([whole[:at]], stream=True))
        front.mount()

        reply = await front.ask(control=control, stream=True)

        check_broken(front, reply, at)


def check_broken(front: Front, reply: Reply, at: int) -> None:
    assert not list(front.store.scan())
    assert front.client.last not in reply.body, at
    if reply.status == 200:
        assert not reply.complete, at
        if front.is_routed:
            assert reply.error is not None  # a transport raises
        elif events := events_in(reply.body):
            assert front.client.error_event_in(events[-1])[1]
        return
    assert reply.status in (502, 503, 504)
    assert front.client.error_in(reply.body)[1]


@ASKED
async def test_a_document_that_is_cut_is_an_error_of_the_callers(front: Front, control: str | None) -> None:
    """ruling F3."""
    for part in (b"", b"{", front.spoken.document()[:-1]):
        front.upstream.respond = always(cut([part], stream=False))
        front.mount()

        reply = await front.ask(control=control)

        assert (reply.status, reply.complete) == (502, True)
        assert front.client.error_in(reply.body)[1]
        assert not list(front.store.scan())


async def test_a_document_that_takes_its_time_is_whole(front: Front) -> None:
    """§8: what would leave piece by piece in its own dialect waits for its end in another."""
    front.limits = front.limits.__class__(json_hold=0.0, store_patience=5.0, store_opening=5.0)
    front.mount()
    document, gate = front.spoken.document(), Gate()
    front.upstream.respond = always(Told([b" ", document[:9], gate, document[9:]]))
    gate.set()

    reply = await front.ask()

    assert (reply.status, reply.complete) == (200, True)
    assert front.client.read(reply.body, False) == WHOLE_ANSWER


@ASKED
async def test_a_document_beyond_all_limits_is_an_error_of_the_callers(front: Front, control: str | None) -> None:
    blanks = b" " * (1 << 20)
    front.upstream.respond = always(Told([*[blanks] * 17, front.spoken.document()]))

    reply = await front.ask(control=control)

    assert (reply.status, reply.complete) == (502, True)
    assert "too large" in front.client.error_in(reply.body)[1]
    assert not list(front.store.scan())


async def test_a_document_that_is_too_large_to_be_kept_is_said_all_the_same(front: Front) -> None:
    front.mount(max_record_bytes=2000)
    front.upstream.respond = always(Told([b" " * 3000, front.spoken.document()]))

    reply = await front.ask()

    assert (reply.status, reply.complete) == (200, True)
    assert front.client.read(reply.body, False) == WHOLE_ANSWER
    assert "record-too-large" in status_of(reply)
    assert not list(front.store.scan())


async def test_a_stream_that_is_too_large_to_be_kept_is_said_all_the_same(front: Front) -> None:
    front.mount(max_record_bytes=400)
    reply = await front.ask(stream=True)

    assert reply.complete
    assert front.client.read(reply.body, True) == WHOLE_ANSWER
    assert not list(front.store.scan())


@ASKED
@KINDS
async def test_what_comes_in_a_coding_is_never_said_in_the_wrong_dialect(
    front: Front, stream: bool, control: str | None
) -> None:
    """It was asked for without."""
    body = b"".join(front.spoken.event_stream()) if stream else front.spoken.document()
    headers = (*(EVENT_STREAM if stream else JSON), (b"content-encoding", b"gzip"))
    front.upstream.respond = always(Told([gzip.compress(body)], headers=headers))

    reply = await front.ask(control=control, stream=stream, headers=((b"accept-encoding", b"gzip, br"),))

    assert front.upstream.asked[0].header(b"accept-encoding") == b"identity"
    assert b"content-encoding" not in reply.headers
    if reply.status == 200 and not stream:
        assert front.client.read(reply.body, stream) == WHOLE_ANSWER
    elif reply.status == 200:
        assert front.client.last not in reply.body
        assert front.client.error_event_in(events_in(reply.body)[-1])[1]
    else:
        assert front.client.error_in(reply.body)[1]


@ASKED
async def test_a_document_in_the_place_of_a_stream_is_a_document_of_the_callers(front: Front, control: str | None) -> None:
    front.upstream.respond = always(Told([front.spoken.document()]))

    reply = await front.ask(control=control, stream=True)

    assert (reply.status, reply.headers[b"content-type"]) == (200, b"application/json")
    assert front.client.read(reply.body, False) == WHOLE_ANSWER
    assert not list(front.store.scan())


@ASKED
async def test_a_stream_in_the_place_of_a_document_is_a_stream_of_the_callers(front: Front, control: str | None) -> None:
    front.upstream.respond = always(Told(front.spoken.event_stream(), headers=EVENT_STREAM))

    reply = await front.ask(control=control)

    assert (reply.status, reply.complete) == (200, True)
    assert reply.headers[b"content-type"].startswith(b"text/event-stream")
    said = front.client.read(reply.body, True) if front.client is MESSAGES else None
    assert said in (None, WHOLE_ANSWER)
    assert front.client.last in reply.body
    assert not list(front.store.scan())


@ASKED
@KINDS
async def test_an_upstream_that_answers_in_the_other_dialect_is_no_answer(
    front: Front, stream: bool, control: str | None
) -> None:
    """T22: never a 200 in the wrong dialect, nor in the right one by chance."""
    told = front.client.event_stream() if stream else [front.client.document()]
    front.upstream.respond = always(Told(told, headers=EVENT_STREAM if stream else JSON))

    reply = await front.ask(control=control, stream=stream)

    assert not list(front.store.scan())
    assert front.client.last not in reply.body
    if reply.status == 200:
        assert stream
        assert not reply.complete
        assert "cannot be said" in front.client.error_event_in(events_in(reply.body)[-1])[1]
    else:
        assert reply.status == 502
        assert front.client.error_in(reply.body)[1]


WRONG: dict[str, tuple[bytes, Sequence[tuple[bytes, bytes]], int]] = {
    "no JSON": (b"{", (), 400),
    "no object": (b"[]", (), 400),
    "nothing": (b"", (), 400),
    "one member twice": (b'{"model":"m","model":"n","max_tokens":1,"messages":[]}', (), 400),
    "deeply nested": (b'{"model":"m","max_tokens":1,"messages":' + b"[" * 5000 + b"]" * 5000 + b"}", (), 400),
    "a surrogate alone": (b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"\\ud800"}]}', (), 400),
    "no JSON by its type": (b"{}", ((b"content-type", b"text/plain"),), 400),
    "in a coding": (gzip.compress(b"{}"), ((b"content-encoding", b"gzip"),), 400),
    "no messages": (b'{"model":"m","max_tokens":1}', (), 400),
    "messages of numbers": (b'{"model":"m","max_tokens":1,"messages":[1]}', (), 400),
    "not UTF-8": (b'{"model":"m","max_tokens":1,"messages":"\xff"}', (), 400),
    "too large": (b'{"model":"m","max_tokens":1,"messages":"' + b"x" * 3000 + b'"}', (), 413),
}


@ASKED
@pytest.mark.parametrize("name", WRONG)
async def test_what_cannot_be_read_is_refused_in_the_callers_shape_and_never_forwarded(
    front: Front, name: str, control: str | None
) -> None:
    """ruling F3: there is no other way to ask an upstream that does not know this path."""
    front.mount(max_request_bytes=2000) if name == "too large" else None
    body, headers, status = WRONG[name]

    reply = await front.ask(control=control, body=body, headers=headers)

    assert (reply.status, reply.complete) == (status, True)
    assert front.client.error_in(reply.body)[1]
    assert front.upstream.calls == 0


@pytest.mark.parametrize("after", [0, 1], ids=["at the head", "within the body"])
async def test_a_client_that_leaves_leaves_nothing_behind(front: Front, after: int) -> None:
    """H3."""
    events = front.spoken.event_stream()
    front.upstream.left = Gate()
    front.upstream.respond = always(Told([*events[:3], Gate()], headers=EVENT_STREAM))

    left = await front.ask(control="on, abandon=cancel", stream=True, leave_after=after)
    await front.upstream.left.wait()
    front.upstream.respond = front.spoken.answers
    reply = await front.ask(stream=True)

    assert len(left.chunks) == after
    assert not left.complete
    assert front.reports[0].details[0] == "client-left"
    assert front.client.read(reply.body, True) == WHOLE_ANSWER


@ASKED
@pytest.mark.parametrize("status", [201, 202, 204, 304, 307])
async def test_a_status_that_is_neither_an_answer_nor_an_error_is_an_error(
    front: Front, status: int, control: str | None
) -> None:
    """T22: an SDK would take it for an answer, or follow where it leads with a body that is not read there."""
    body = [] if status in (204, 304) else [front.spoken.document()]
    front.upstream.respond = always(Told(body, status=status, headers=(*JSON, (b"location", b"/v1/elsewhere"))))

    reply = await front.ask(control=control)

    assert (reply.status, reply.complete) == (502, True)
    assert str(status) in front.client.error_in(reply.body)[1]
    assert b"location" not in reply.headers


FAILED_WITHIN = {
    "chat": b'data: {"error":{"message":"overloaded","type":"server_error","code":"x"}}\n\n',
    "messages": b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"overloaded"}}\n\n',
}


@ASKED
async def test_an_error_within_a_stream_is_one_of_the_callers(front: Front, control: str | None) -> None:
    """T25: what came before it stands, and nothing is stored."""
    events = front.spoken.event_stream()
    front.upstream.respond = always(Told([*events[:4], FAILED_WITHIN[front.spoken.dialect]], headers=EVENT_STREAM))

    reply = await front.ask(control=control, stream=True)

    assert not reply.complete
    assert front.client.last not in reply.body
    assert front.client.error_event_in(events_in(reply.body)[-1])[1]
    assert len(events_in(reply.body)) > 1
    assert not list(front.store.scan())
