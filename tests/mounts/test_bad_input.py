"""What opted in and is not ours to cache, and what cannot work: never an answer of ours in place of the upstream's.

Every mount; the store stays empty throughout.
"""

import gzip
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import anyio
import httpx
import httpx2
import pytest
from starlette.types import Message

from cachemw import Policy
from tests.asgi_driver import Reply, scope_for
from tests.mounts.conftest import CREDENTIAL, Mounted, status_of
from tests.mounts.mounting import ASGI, OVER_HTTP, PATH, Sent, WsgiMount
from tests.serving import nobody_there
from tests.upstream import EVENT_STREAM, JSON, Told, always, completion, prompt, stream

pytestmark = pytest.mark.anyio

ON = (b"cachemw", b"on")
JSON_TYPE = (b"content-type", b"application/json")
Fields = tuple[tuple[bytes, bytes], ...]


async def ask(mounted: Mounted, body: bytes, *fields: tuple[bytes, bytes], path: str = PATH) -> Reply:
    return await mounted.now.send(Sent(body, (CREDENTIAL, *fields), path))


@pytest.fixture
def mounted(mounted: Mounted) -> Iterator[Mounted]:
    """R2: whatever else comes of it, nothing is kept."""
    yield mounted
    assert not list(mounted.store.scan())


NOT_OURS: dict[str, tuple[bytes, Fields, str]] = {
    "no body": (b"", (JSON_TYPE,), "invalid-json"),
    "half a body": (prompt()[:-5], (JSON_TYPE,), "invalid-json"),
    "no JSON": (b"model=m&messages=hi", (JSON_TYPE,), "invalid-json"),
    "no text": (b"\xff\xfe\x00", (JSON_TYPE,), "invalid-json"),
    "a list": (b"[%s]" % prompt(), (JSON_TYPE,), "no-messages"),
    "a string": (b'"hi"', (JSON_TYPE,), "no-messages"),
    "null": (b"null", (JSON_TYPE,), "no-messages"),
    "an object without messages": (b'{"model":"m","prompt":"hi"}', (JSON_TYPE,), "no-messages"),
    "messages that are no list": (b'{"model":"m","messages":{"role":"user"}}', (JSON_TYPE,), "no-messages"),
    "messages that are null": (b'{"model":"m","messages":null}', (JSON_TYPE,), "no-messages"),
    "a name twice": (b'{"messages":[],"model":"a","model":"b"}', (JSON_TYPE,), "ambiguous-json"),
    "NaN": (b'{"messages":[],"temperature":NaN}', (JSON_TYPE,), "ambiguous-json"),
    "a BOM": (b"\xef\xbb\xbf" + prompt(), (JSON_TYPE,), "ambiguous-json"),
    "trailing data": (prompt() + b"{}", (JSON_TYPE,), "ambiguous-json"),
    "too deep": (prompt(x=json.loads("[" * 70 + "]" * 70)), (JSON_TYPE,), "ambiguous-json"),
    "deeper than any parser goes": (b'{"messages":' + b"[" * 30_000 + b"]" * 30_000 + b"}", (JSON_TYPE,), "ambiguous-json"),
    "a bomb": (b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", (JSON_TYPE,), "too-complex"),
    "a stream that is no Boolean": (prompt(stream="yes"), (JSON_TYPE,), "ambiguous-stream"),
    "no content type": (prompt(), (), "not-json"),
    "a form's content type": (prompt(), ((b"content-type", b"text/plain"),), "not-json"),
    "msgpack": (b"\x81\xa1a\x01", ((b"content-type", b"application/vnd.msgpack"),), "not-json"),
    "a JSON of another kind": (prompt(), ((b"content-type", b"application/problem+json"),), "not-json"),
    "a charset of old": (prompt(), ((b"content-type", b"application/json; charset=latin-1"),), "not-json"),
    "two content types": (prompt(), (JSON_TYPE, (b"content-type", b"text/plain")), "not-json"),
    "gzip": (gzip.compress(prompt()), (JSON_TYPE, (b"content-encoding", b"gzip")), "encoded-request"),
    "what says it is gzip": (prompt(), (JSON_TYPE, (b"content-encoding", b"gzip")), "encoded-request"),
    "gzip that does not say so": (gzip.compress(prompt()), (JSON_TYPE,), "invalid-json"),
}


@pytest.mark.parametrize(("body", "fields", "detail"), NOT_OURS.values(), ids=NOT_OURS)
async def test_what_is_no_json_of_a_chat_request_is_passed_on_as_it_is(
    mounted: Mounted, body: bytes, fields: Fields, detail: str
) -> None:
    """K9, E1: forwarded byte for byte, with its type and coding; what the upstream says of it is what the client is told."""
    told = Told((b'{"error": "what is this?"}',), 422, (*JSON, (b"x-of-upstream", b"1")))
    mounted.upstream.respond = always(told)

    replies = [await ask(mounted, body, ON, *fields) for _ in range(2)]

    assert [(reply.status, reply.body, reply.complete) for reply in replies] == [(422, told.parts[0], True)] * 2
    assert [status_of(reply) for reply in replies] == [f"fwd=bypass; detail={detail}"] * 2
    assert replies[0].headers[b"x-of-upstream"] == b"1"
    assert replies[0].headers[b"cache-control"] == b"private, no-store"
    assert mounted.upstream.calls == 2
    for asked in mounted.upstream.asked:
        assert asked.body == body
        sent = [(name, value) for name, value in asked.headers if name in (b"content-type", b"content-encoding")]
        assert len(sent) == len(fields) or sent == [(b"content-type", b"application/json, text/plain")]


@pytest.mark.parametrize("detail", ["invalid-json", "not-json"])
async def test_not_even_a_perfect_answer_to_it_is_kept(mounted: Mounted, detail: str) -> None:
    """R2."""
    mounted.upstream.respond = always(completion())
    fields = (ON, JSON_TYPE) if detail == "invalid-json" else (ON,)

    reply = await ask(mounted, prompt() + b"," if detail == "invalid-json" else prompt(), *fields)

    assert (reply.status, reply.body) == (200, completion().parts[0])
    assert status_of(reply).startswith("fwd=bypass; detail=")


@pytest.mark.parametrize("control", [(b"cache-control", b"only-if-cached"), (b"cachemw", b"mode=replay")])
async def test_it_is_not_passed_on_where_only_the_store_may_answer(mounted: Mounted, control: tuple[bytes, bytes]) -> None:
    """E6."""
    fields = {ON[0]: ON[1], control[0]: control[1]}

    reply = await ask(mounted, b"[]", JSON_TYPE, *fields.items())

    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (504, "not_cached")
    assert status_of(reply) == 'detail="not-cached, no-messages"'
    assert mounted.upstream.calls == 0


PIECE = 65_536


@pytest.mark.parametrize("fields", [(ON, JSON_TYPE), (JSON_TYPE,)], ids=["opted in", "not opted in"])
@pytest.mark.parametrize("mounted", ASGI, indirect=True)
async def test_a_body_of_20_mb_arrives_whole(mounted: Mounted, fields: Fields) -> None:
    """D7, P3: no 413 of ours, whoever answers."""
    mounted.upstream.respond = lambda asked: Told((b"%d" % len(asked.body),), headers=JSON)
    body = prompt("x" * 20_000_000)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), PIECE):
            yield body[at : at + PIECE]

    reply = await send_in_pieces(mounted, pieces(), (*fields, (b"content-length", b"%d" % len(body))))

    assert (reply.status, reply.body) == (200, b"%d" % len(body))
    assert mounted.upstream.asked[0].body == body
    assert mounted.upstream.asked[0].header(b"content-length") == b"%d" % len(body)
    assert status_of(reply) == ("fwd=bypass; detail=request-too-large" if ON in fields else "")


@pytest.mark.parametrize("fields", [(ON, JSON_TYPE), (JSON_TYPE,)], ids=["opted in", "not opted in"])
async def test_a_body_that_is_too_large_to_be_read_arrives_whole(mounted: Mounted, fields: Fields) -> None:
    """D7."""
    mounted.mount(Policy(max_request_bytes=100_000))
    mounted.upstream.respond = lambda asked: Told((b"%d" % len(asked.body),), headers=JSON)
    body = prompt("x" * 400_000)

    reply = await ask(mounted, body, *fields, (b"content-length", b"%d" % len(body)))

    assert (reply.status, reply.body) == (200, b"%d" % len(body))
    assert mounted.upstream.asked[0].body == body
    assert mounted.upstream.asked[0].header(b"content-length") == b"%d" % len(body)
    assert status_of(reply) == ("fwd=bypass; detail=request-too-large" if ON in fields else "")


async def test_what_was_read_of_too_large_a_body_is_sent_on_before_the_rest_has_come(mounted_here: Mounted) -> None:
    """D7, S6: it is not held for its end."""
    seen, arrived = bytearray(), anyio.Event()

    def hear(piece: bytes) -> None:
        seen.extend(piece)
        if len(seen) == 1_200:
            arrived.set()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a" * 600
        yield b"b" * 600  # over the limit
        with anyio.fail_after(5):
            await arrived.wait()
        yield b"c" * 600

    mounted_here.upstream.hears = hear
    mounted_here.upstream.respond = always(Told((b"done",)))
    mounted_here.mount(Policy(max_request_bytes=1_000))
    reply = await send_in_pieces(mounted_here, pieces(), (ON, JSON_TYPE))

    assert (reply.status, reply.body) == (200, b"done")
    assert bytes(seen) == b"a" * 600 + b"b" * 600 + b"c" * 600
    assert status_of(reply) == "fwd=bypass; detail=request-too-large"
    assert not list(mounted_here.store.scan())


@pytest.mark.parametrize(("size", "is_too_large"), [(999, False), (1_000, False), (1_001, True)])
async def test_a_body_may_be_as_large_as_the_policy_says(mounted: Mounted, size: int, is_too_large: bool) -> None:
    """D7."""
    mounted.upstream.respond = always(Told((b"no",), 422))
    mounted.mount(Policy(max_request_bytes=1_000))
    body = prompt("x" * (size - len(prompt(""))))

    reply = await ask(mounted, body, ON, JSON_TYPE)

    assert len(body) == size
    assert mounted.upstream.asked[0].body == body
    assert (status_of(reply) == "fwd=bypass; detail=request-too-large") is is_too_large


@pytest.mark.parametrize(
    ("control", "param"),
    [
        ("on, ttl=-1", "ttl"),
        ("on, ttl=1h", "cachemw"),
        ('ttl="60"', "ttl"),
        ("on; ttl=60", "on"),
        ("on, mode=refesh", "mode"),
        ("on=1", "on"),
        ('on, namespace="%s"' % ("x" * 129), "namespace"),
        ("ON", "cachemw"),
        ("on,", "cachemw"),
        *((word, "cachemw") for word in ("true", "yes", "onn", "replay", "tll=60", "colour=blue")),
        ("on, sample=1.5", "sample"),
    ],
)
@pytest.mark.parametrize("mounted", ASGI, indirect=True)
async def test_a_control_header_that_cannot_be_obeyed_is_a_400_and_nothing_is_contacted(
    mounted: Mounted, control: str, param: str
) -> None:
    """E7: not the upstream, not the client's body."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    fields = (CREDENTIAL, JSON_TYPE, (b"cachemw", control.encode()))
    await mounted.app(scope_for("POST", PATH, fields), receive, send)

    start, body = sent
    headers = dict(start["headers"])
    error = json.loads(body["body"])["error"]
    assert (start["status"], body.get("more_body", False)) == (400, False)
    assert error == {
        "message": error["message"],
        "type": "invalid_request_error",
        "param": param,
        "code": "invalid_cachemw",
    }
    assert error["message"]
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == b"%d" % len(body["body"])
    assert headers[b"x-should-retry"] == b"false"
    assert headers[b"cache-status"] == b"cachemw; detail=invalid-cachemw"
    assert mounted.upstream.calls == 0


@pytest.mark.parametrize("streaming", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize("control", ["on", "on, mode=read", None], ids=["opted in", "read", "not opted in"])
@pytest.mark.parametrize("mounted", OVER_HTTP, indirect=True)
async def test_an_upstream_that_cannot_be_reached_is_a_502(mounted: Mounted, control: str | None, streaming: bool) -> None:
    """H10: in OpenAI's shape, streamed or not; a transport raises what the one inside of it raises."""
    with nobody_there() as mounted.url:
        mounted.mount()
        reply = await mounted.ask(control, prompt(stream=streaming))

    assert [report.stored for report in mounted.reports] == [None if control is None else False]
    assert [report.details[0] for report in mounted.reports] == ["unreachable"]
    if mounted.raises:
        assert type(reply.error) is {"httpx": httpx, "httpx2": httpx2}[mounted.kind.split()[0]].ConnectError
        return
    error = json.loads(reply.body)["error"]
    assert (reply.status, reply.complete) == (502, True)
    assert error == {"message": error["message"], "type": "cachemw_error", "param": None, "code": "upstream_unreachable"}
    assert reply.headers[b"content-type"] == b"application/json"
    told = "fwd=miss; key; detail=unreachable"
    expected = {"on": told, "on, mode=read": 'fwd=miss; key; detail="unreachable, mode-read"', None: ""}
    assert status_of(reply) == expected[control]


HTML = b"<html><h1>Welcome</h1></html>"
STRANGE: dict[str, tuple[Told, bool, str]] = {
    "HTML for JSON": (Told((HTML,), headers=((b"content-type", b"text/html"),)), False, "content-type"),
    "HTML for a stream": (Told((HTML,), headers=((b"content-type", b"text/html"),)), True, "content-type"),
    "HTML that says it is JSON": (Told((HTML,), headers=JSON), False, "unreadable-answer"),
    "HTML that says it is a stream": (Told((HTML,), headers=EVENT_STREAM), True, ""),
    "nothing at all": (Told((), headers=((b"content-length", b"0"),)), False, "content-type"),
    "no content type": (replace(completion(), headers=()), False, "content-type"),
    "JSON for a stream": (completion(), True, "content-type"),
    "a stream for JSON": (stream(), False, "content-type"),
    "a JSON that is no completion": (Told((b'{"status": "ok"}',), headers=JSON), False, "missing-choice"),
    "a list": (Told((b"[]",), headers=JSON), False, "unreadable-answer"),
    "an error with a 200": (Told((b'{"error": {"message": "no"}}',), headers=JSON), False, "error-answer"),
}


@pytest.mark.parametrize(("told", "streaming", "detail"), STRANGE.values(), ids=STRANGE)
async def test_a_strange_answer_with_a_200_is_passed_on_and_not_kept(
    mounted: Mounted, told: Told, streaming: bool, detail: str
) -> None:
    """R2, S9: the client gets it as it is, and why it is not kept; asked again, the upstream is asked again."""
    mounted.upstream.respond = always(told)
    body = b"".join(part for part in told.parts if isinstance(part, bytes))
    if isinstance(mounted.now, WsgiMount):
        mounted.now.is_validated = b"content-type" in dict(told.headers)

    replies = [await mounted.ask("on", prompt(stream=streaming)) for _ in range(2)]

    for reply in replies:
        assert (reply.status, reply.body, reply.complete) == (200, body, True)
        assert reply.headers.get(b"content-type") == dict(told.headers).get(b"content-type")
    said = [status_of(reply) for reply in replies]
    assert said == [
        "fwd=miss; fwd-status=200; key" + (f"; detail={why}" if why else "") for why in (detail, detail or "was-incomplete")
    ]
    assert mounted.upstream.calls == 2


async def test_without_opting_in_none_of_it_is_looked_at(mounted: Mounted) -> None:
    """D9."""
    mounted.upstream.respond = lambda asked: Told((asked.body,), 422)

    replies = [await ask(mounted, body, *fields) for body, fields, _ in NOT_OURS.values()]

    assert [reply.body for reply in replies] == [body for body, _, _ in NOT_OURS.values()]
    assert not any(b"cache-status" in reply.headers for reply in replies)
    assert {report.outcome for report in mounted.reports} <= {"passed"}


async def send_in_pieces(mounted: Mounted, pieces: AsyncIterator[bytes], fields: Fields) -> Reply:
    """Send a chat request whose body comes in so many messages."""
    sent: list[Message] = []
    gone, has_more = anyio.Event(), True

    async def receive() -> Message:
        nonlocal has_more
        if not has_more:
            await gone.wait()
            return {"type": "http.disconnect"}
        piece = await anext(pieces, b"")
        has_more = bool(piece)
        return {"type": "http.request", "body": piece, "more_body": has_more}

    async def send(message: Message) -> None:
        sent.append(message)

    await mounted.app(scope_for("POST", PATH, (CREDENTIAL, *fields)), receive, send)
    gone.set()
    chunks = tuple(message["body"] for message in sent[1:])
    return Reply(sent[0]["status"], dict(sent[0]["headers"]), chunks, complete=not sent[-1].get("more_body"))
