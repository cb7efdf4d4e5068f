"""The gate, over real sockets: who is refused reaches nothing, and what is too large stops."""

import json
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from cachemw import Limits, Policy
from cachemw.proxy import Gate
from cachemw.proxy.admission import AccessRules
from tests.proxy.guarded import RULES, Guarded, guarding, rest, status_of
from tests.upstream import Told, always, completion, prompt

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
ON = {**JSON, "cachemw": "on"}
HOST = b"Host: 127.0.0.1\r\n"
CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n" + HOST
KEYED = AccessRules(Policy(), client_keys=(b"sk-alice", b"sk-bob"))
LIMIT = RULES.max_body


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def servers(anyio_backend: str) -> AsyncIterator[tuple[Guarded, Guarded]]:
    async with guarding() as guarded, guarding(rules=KEYED) as keyed:
        yield guarded, keyed


@pytest.fixture
def guarded(servers: tuple[Guarded, Guarded]) -> Guarded:
    return servers[0].fresh()


@pytest.fixture
def keyed(servers: tuple[Guarded, Guarded]) -> Guarded:
    return servers[1].fresh()


async def ask(guarded: Guarded, headers: dict[str, str], body: bytes | None = None, path: str = CHAT) -> httpx.Response:
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False, timeout=10) as client:
        return await client.post(path, content=prompt() if body is None else body, headers=headers)


def member(response: httpx.Response) -> str:
    return str(response.headers.get("cache-status", ""))


# Web pages.


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**ON, "host": "evil.example"}, 403),
        ({**ON, "origin": "https://evil.example"}, 403),
        ({**ON, "origin": "null"}, 403),
        ({"content-type": "text/plain", "cachemw": "on"}, 415),
        ({"cachemw": "on"}, 415),
    ],
)
async def test_who_is_refused_learns_nothing_of_what_is_stored(guarded: Guarded, headers: dict[str, str], status: int) -> None:
    """I2, I8: a hit and a miss look alike to them."""
    assert "stored" in member(await ask(guarded, ON))

    known, unknown = await ask(guarded, headers), await ask(guarded, headers, prompt("never asked"))

    assert (known.status_code, known.content) == (unknown.status_code, unknown.content)
    assert known.status_code == status
    assert dict(known.headers) == dict(unknown.headers)
    assert not member(known)
    assert guarded.upstream.calls == 1


async def test_a_refusal_has_the_shape_of_openais_errors(guarded: Guarded) -> None:
    reply = await ask(guarded, {**JSON, "host": "evil.example"})

    assert list(reply.json()["error"]) == ["message", "type", "param", "code"]
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-should-retry"] == "false"


OPENING = (
    b"access-control-allow-origin",
    b"Access-Control-Expose-Headers",
    b"Timing-Allow-Origin",
    b"cross-origin-resource-policy",
)
REMEMBERED = (
    *(b"Clear-Site-Data", b"Strict-Transport-Security", b"alt-svc", b"Service-Worker-Allowed", b"Set-Cookie", b"set-cookie2"),
    *(b"NEL", b"Report-To", b"Reporting-Endpoints", b"Refresh", b"Content-Security-Policy-Report-Only", b"Accept-CH"),
)
SEALED = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox"}


@pytest.mark.parametrize("control", [{}, {"cachemw": "on"}], ids=["not opted in", "opted in"])
async def test_no_answer_opens_itself_to_web_pages(guarded: Guarded, control: dict[str, str]) -> None:
    """F50, I8: not even one the upstream would have opened; and what page asks, it is not told."""
    opened = tuple((name, b"*") for name in (*OPENING, b"x-kept"))
    told = completion()
    guarded.upstream.respond = always(Told(told.parts, headers=(*told.headers, *opened)))

    replies = [await ask(guarded, {**JSON, **control, "origin": guarded.url}, path=path) for path in (CHAT, "/v1/x")]

    assert [reply.status_code for reply in replies] == [200, 200]
    assert not {name.lower() for name in OPENING} & {name.lower() for reply in replies for name, _ in reply.headers.raw}
    assert replies[1].headers["x-kept"] == "*"
    assert [asked.header(b"origin") for asked in guarded.upstream.asked] == [None] * 2


def seals(reply: httpx.Response) -> dict[str, str]:
    return {name: reply.headers.get(name) for name in SEALED}


@pytest.mark.parametrize("control", [{}, {"cachemw": "on"}], ids=["not opted in", "opted in"])
async def test_no_answer_makes_a_browser_remember_anything_of_us(guarded: Guarded, control: dict[str, str]) -> None:
    """F130, I8: nor does its page run as one of ours, where it could ask with our key."""
    fields = ((b"Content-Security-Policy", b"default-src *"), (b"x-content-type-options", b"none"), (b"x-kept", b"1"))
    told = completion()
    guarded.upstream.respond = always(
        Told(told.parts, headers=(*told.headers, *((name, b"x") for name in REMEMBERED), *fields))
    )

    replies = [await ask(guarded, {**JSON, **control}, path=path) for path in (CHAT, CHAT, "/v1/x")]

    assert [reply.status_code for reply in replies] == [200] * 3
    assert [seals(reply) for reply in replies] == [SEALED] * 3
    assert not {name.lower() for name in REMEMBERED} & {name for reply in replies for name, _ in lowered(reply)}
    assert replies[2].headers["x-kept"] == "1"


def lowered(reply: httpx.Response) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in reply.headers.raw]


async def test_what_we_say_ourselves_runs_nowhere_either(guarded: Guarded, keyed: Guarded) -> None:
    """F131, I8."""
    replies = [
        await ask(guarded, {**JSON, "host": "evil.example"}),
        await ask(guarded, JSON, path="/favicon.ico"),
        await ask(guarded, {**JSON, "cachemw": "ttl=soon"}),
        await ask(keyed, JSON),
        await ask(keyed, {**JSON, "authorization": "Bearer sk-bob"}, path="/v1/responses"),
    ]
    malformed = await guarded.say(b"GET / HTTP/1.2\r\n" + HOST + b"\r\n")

    assert [reply.status_code for reply in replies] == [403, 404, 400, 401, 403]
    assert [seals(reply) for reply in replies] == [SEALED] * 5
    assert b"\r\nx-content-type-options: nosniff\r\ncontent-security-policy: sandbox\r\n" in malformed


async def test_a_preflight_is_told_nothing(guarded: Guarded) -> None:
    """I8: so that no page may send what it asked about."""
    guarded.upstream.respond = always(Told((), 204, headers=((b"access-control-allow-origin", b"*"),)))
    asking = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,cachemw"}
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as client:
        foreign = await client.options(CHAT, headers={**asking, "origin": "https://evil.example"})
        own = await client.options(CHAT, headers={**asking, "origin": guarded.url})

    assert (foreign.status_code, own.status_code) == (403, 204)
    assert not [name for reply in (foreign, own) for name in reply.headers if name.startswith("access-control-")]
    assert guarded.upstream.calls == 1


@pytest.mark.parametrize(("host", "status"), [(b"10.1.2.3:80", 200), (b"evil.example", 200)])
async def test_a_probe_names_us_as_it_likes(keyed: Guarded, host: bytes, status: int) -> None:
    reply = await keyed.say(b"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: " + host + b"\r\n\r\n")

    assert status_of(reply) == status


# Bodies.


async def test_a_body_that_says_it_is_too_large_is_not_read(guarded: Guarded) -> None:
    head = b"POST /v1/files HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % (LIMIT + 1)

    reply = await guarded.say(head)  # and no byte of it

    assert status_of(reply) == 413
    assert b"connection: close" in reply
    assert b"--max-body" in reply
    assert guarded.upstream.calls == 0


async def test_a_body_that_turns_out_too_large_is_refused_when_it_does(guarded: Guarded) -> None:
    """Whether it would have been cached, or not even read here."""
    piece = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
    for control in (b"", b"Cachemw: on\r\n"):
        reply = await guarded.say(CHUNKED + control + b"\r\n", *[piece] * 30)

        assert status_of(reply) == 413
        assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_too_large"
        assert reply.count(b"HTTP/1.1 ") == 1
    assert not list(guarded.store.scan())


async def test_the_upstream_is_left_when_a_body_turns_out_too_large(guarded: Guarded) -> None:
    left = guarded.upstream.left = anyio.Event()
    guarded.upstream.respond = always(Told([anyio.Event()]))

    piece = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
    reply = await guarded.say(CHUNKED + b"\r\n", *[piece] * 30, pause=0.01)

    assert status_of(reply) == 413
    with anyio.fail_after(5):
        await left.wait()


async def test_a_body_as_large_as_may_be_is_taken(guarded: Guarded) -> None:
    guarded.upstream.respond = always(completion())

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(LIMIT // 1_000):
            yield b"x" * 1_000

    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as client:
        replies = [await client.post("/v1/files", content=content, headers=JSON) for content in (pieces(), b"x" * LIMIT)]

    assert [reply.status_code for reply in replies] == [200, 200]
    assert [len(asked.body) for asked in guarded.upstream.asked] == [LIMIT, LIMIT]


async def test_an_answer_that_had_begun_before_is_broken_off() -> None:
    """Nobody takes what they have for all of it."""

    async def eager(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
            await send({"type": "http.response.body", "body": b"and more"})

    sent: list[Message] = []
    pieces = [b"x" * 60_000] * 3

    async def receive() -> Message:
        return {"type": "http.request", "body": pieces.pop(), "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    fields = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
    await Gate(eager, RULES)({"type": "http", "method": "POST", "path": "/v1/x", "headers": fields}, receive, send)

    assert [message.get("body") for message in sent] == [None, b"begun"]
    assert len(pieces) == 1  # the third was not asked for


# Heads.


@pytest.mark.parametrize(
    "fields",
    [
        b"X-A: a\r\n" * Limits().head_fields,
        b"X-A: " + b"a" * Limits().head_bytes + b"\r\n",
        b"X" * Limits().head_bytes + b": a\r\n",
        b"".join(b"X-A: " + b"a" * 8_000 + b"\r\n" for _ in range(9)),
    ],
    ids=["many", "one of a long value", "one of a long name", "some of them long"],
)
async def test_a_head_that_is_too_large_is_a_431(guarded: Guarded, fields: bytes) -> None:
    reply = await guarded.say(b"GET /v1/models HTTP/1.1\r\n" + HOST + fields + b"\r\n")

    assert status_of(reply) == 431
    assert b"connection: close" in reply
    assert guarded.upstream.calls == 0


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nX-A: ",
        b"GET / HTTP/1.1\r\nX",
        CHUNKED + b"\r\n0\r\nX-A: ",
        CHUNKED + b"\r\n5;a=",
        CHUNKED + b"\r\n0\r\n",
    ],
    ids=["a target", "a value", "a name", "a trailer", "a chunk's extension", "trailers"],
)
async def test_what_does_not_end_is_not_kept_until_it_does(guarded: Guarded, beginning: bytes) -> None:
    """P3: llhttp would hold any amount of it."""
    filler = (b"X: a\r\n" if beginning.endswith(b"0\r\n") else b"xxxxxx") * 10_000

    reply = await guarded.say(beginning, *[filler] * 10, pause=0.01)

    assert status_of(reply) == 431
    assert guarded.upstream.calls <= 1


async def test_a_head_as_large_as_may_be_is_taken(guarded: Guarded) -> None:
    many = b"X-A: a\r\n" * (Limits().head_fields - 2)
    large = b"X-A: " + b"a" * (Limits().head_bytes - 100) + b"\r\n"

    replies = [
        await guarded.say(b"GET /v1/models HTTP/1.1\r\n" + HOST + fields + b"Connection: close\r\n\r\n")
        for fields in (many, large)
    ]

    assert [status_of(reply) for reply in replies] == [200, 200]


# Keys.


def bearing(key: str, name: str = "authorization") -> dict[str, str]:
    return {**ON, name: f"Bearer {key}" if name == "authorization" else key}


async def test_every_client_key_is_a_partition_and_the_servers_key_goes_in_its_place(keyed: Guarded) -> None:
    """I1: however it was sent."""
    callers = [bearing("sk-alice"), bearing("sk-alice", "x-api-key"), bearing("sk-alice", "api-key"), bearing("sk-bob")]

    replies = [await ask(keyed, caller) for caller in callers]

    assert ["hit" in member(reply) for reply in replies] == [False, True, True, False]
    assert keyed.upstream.calls == 2
    for asked in keyed.upstream.asked:
        assert asked.header(b"authorization") == b"Bearer sk-server"
        assert not [name for name, value in asked.headers if b"sk-alice" in value or b"sk-bob" in value]


@pytest.mark.parametrize("headers", [ON, bearing("cachemw"), bearing("sk-eve"), {**bearing("sk-bob"), "api-key": "sk-alice"}])
async def test_who_has_no_key_is_told_nothing(keyed: Guarded, headers: dict[str, str]) -> None:
    """I2."""
    await ask(keyed, bearing("sk-alice"))

    replies = [await ask(keyed, headers), await ask(keyed, headers, prompt("never asked"))]

    assert [reply.status_code for reply in replies] == [401, 401]
    assert replies[0].content == replies[1].content
    assert replies[0].headers["www-authenticate"] == "Bearer"
    assert keyed.upstream.calls == 1


@pytest.mark.parametrize("control", [{}, {"cachemw": "on"}], ids=["not opted in", "opted in"])
async def test_what_is_no_chat_goes_with_the_servers_key_too(keyed: Guarded, control: dict[str, str]) -> None:
    await ask(keyed, {**JSON, **control, "authorization": "bearer sk-bob"}, path="/v1/embeddings")

    asked = keyed.upstream.asked[0]
    assert [value for name, value in asked.headers if name == b"authorization"] == [b"Bearer sk-server"]


# What a lent key opens.

LENT = {"content-type": "application/json", "authorization": "Bearer sk-alice"}


async def reached(guarded: Guarded, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
    """Return status and code of an answer."""
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False, timeout=10) as client:
        reply = await client.request(method, path, content=body, headers={**LENT, **headers})
    return reply.status_code, reply.json().get("error", {}).get("code", "")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/files"), ("GET", "/v1/chat/completions?limit=100"), ("DELETE", "/v1/files/f1"), ("POST", "/v1//files")],
)
async def test_a_lent_key_does_not_open_the_account(keyed: Guarded, method: str, path: str) -> None:
    """F124, A4: nothing is contacted."""
    assert await reached(keyed, method, path) == (403, "endpoint_not_lent")
    assert keyed.upstream.calls == 0


async def test_what_keeps_no_state_is_answered(keyed: Guarded) -> None:
    """A4: `store` in a chat request passes, for nobody can read it back through us."""
    for path in ("/v1/embeddings", "/v1/messages"):
        assert (await reached(keyed, "POST", path, b"{}"))[0] == 200
    assert (await reached(keyed, "POST", CHAT, prompt(store=True)))[0] == 200
    assert (await reached(keyed, "GET", "/v1/models/m"))[0] == 200
    assert keyed.upstream.calls == 4


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_response_that_keeps_nothing_passes_byte_by_byte(keyed: Guarded, is_chunked: bool) -> None:
    """A4, H1."""
    body = b'{"model": "m",  "store":false, "input": "\xc3\xa9", "stream": false }'
    head = b"POST /v1/responses HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-bob\r\n" + HOST
    sized = b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    chunked = b"Transfer-Encoding: chunked\r\n\r\n5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:])

    reply = await keyed.say(head + b"Connection: close\r\n" + (chunked if is_chunked else sized))

    assert status_of(reply) == 200
    assert [asked.body for asked in keyed.upstream.asked] == [body]


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m"}',
        b'{"store": true}',
        b'{"store": false, "previous_response_id": "resp_1"}',
        b'{"store": false, "store": true}',
        b"no object",
        b'{"store": false, "input": "' + b"x" * Policy().max_request_bytes + b'"}',
    ],
    ids=lambda body: body[:40].decode(),
)
async def test_one_that_keeps_or_builds_on_anything_is_refused(keyed: Guarded, body: bytes) -> None:
    """F126, A4: so is one that is too large to tell."""
    assert await reached(keyed, "POST", "/v1/responses", body) == (403, "endpoint_not_lent")
    assert keyed.upstream.calls == 0


async def test_a_client_that_leaves_in_the_middle_of_one_is_nobodys_fault(keyed: Guarded) -> None:
    """H10."""
    head = b"POST /v1/responses HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-bob\r\n" + HOST
    async with await keyed.connect() as stream:
        await stream.send(head + b"Content-Length: 100\r\n\r\n{")

    assert (await reached(keyed, "GET", "/v1/models"))[0] == 200
    assert keyed.upstream.calls == 1


async def test_without_client_keys_the_callers_own_opens_what_it_opens() -> None:
    """F125, A4: the server's, beyond loopback, opens what keeps no state."""
    async with guarding(rules=AccessRules(Policy(), is_open=True)) as opened:
        theirs = await reached(opened, "GET", "/v1/files")
        lent = await reached(opened, "GET", "/v1/files", authorization="Bearer cachemw")

        assert (theirs[0], lent) == (200, (403, "endpoint_not_lent"))
        assert [asked.header(b"authorization") for asked in opened.upstream.asked] == [b"Bearer sk-alice"]


# Other scopes.


async def test_a_lifespan_passes() -> None:
    seen: list[object] = []

    async def app(*three: object) -> None:
        seen.extend(three)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope: Scope = {"type": "lifespan"}
    await Gate(app, KEYED)(scope, receive, send)

    assert all(one is other for one, other in zip(seen, (scope, receive, send), strict=True))


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ([(b"host", b"localhost")], True),
        ([(b"host", b"evil.example")], False),
        ([(b"host", b"localhost"), (b"origin", b"https://evil.example")], False),
    ],
)
async def test_a_websocket_is_asked_the_same(fields: list[tuple[bytes, bytes]], passes: bool) -> None:
    """I8: a page may open one anywhere."""
    sent: list[Message] = []
    called: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        called.append(scope)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await Gate(app, RULES)({"type": "websocket", "path": "/v1/realtime", "headers": fields}, receive, send)

    assert (len(called), [message["type"] for message in sent]) == ((1, []) if passes else (0, ["websocket.close"]))


async def test_who_expects_to_be_asked_for_the_body_is_refused_without_it(guarded: Guarded) -> None:
    """RFC 9110 §10.1.1: and nothing that follows is taken for it."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"

    async with await guarded.connect() as stream:
        await stream.send(head)
        reply = await rest(stream)

    assert status_of(reply) == 415
    assert b"100 Continue" not in reply


async def test_who_is_answered_unasked_for_the_body_is_not_waited_for(guarded: Guarded) -> None:
    """F54: RFC 9110 §10.1.1: it may come all the same, or another request in its place."""
    async with await guarded.connect() as stream:
        await stream.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        reply = await rest(stream)

    assert status_of(reply) == 200
