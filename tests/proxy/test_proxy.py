"""The proxy, over real sockets: what is cached, what passes, and what is answered here."""

import pytest
from starlette.types import Message

from cachemw import MemoryStore
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests.proxy.conftest import ALICE, CHAT, ON, Place, say, status_of
from tests.serving import nobody_there
from tests.upstream import Asked, Told, always, completion, prompt
from tests.upstreams.raw import closing

pytestmark = pytest.mark.anyio

MISS = "fwd=miss; fwd-status=200; stored; key"
HIT = "hit; ttl=86400; key"
NOT_CHAT = "fwd=bypass; detail=other-path"


async def test_every_spelling_of_the_path_shares_one_record(place: Place) -> None:
    """K2: the URL that is requested is in the key, not the one the client wrote."""
    paths = ["/v1/chat/completions", "/chat/completions", "/v1/v1/chat/completions"]

    replies = [await place.ask(path=path) for path in paths]

    assert [status_of(reply) for reply in replies] == [MISS, HIT, HIT]
    assert len({reply.content for reply in replies}) == 1
    assert [asked.path for asked in place.upstream.asked] == [CHAT]
    assert len(place.records()) == 1


OTHERS = [
    ("GET", "/v1/models", b"format=openrouter&a=%2B", b""),
    ("GET", "/models", b"", b""),
    ("GET", "/v1/models/llama-3.3", b"", b""),
    ("GET", "/v1/chat/completions", b"limit=2", b""),
    ("POST", "/v1/images/generations", b"", b'{"prompt": "x"}'),
    ("POST", "/v1/audio/speech", b"", b'{"input": "x", "stream": true}'),
    ("POST", "/v1/chat/completions/", b"", prompt()),
    ("POST", "/v1/chat/completions/c1", b"", b'{"metadata": {}}'),
    ("PUT", "/v1/files/f1", b"", b"\x00\xff raw"),
    ("PATCH", "/v1/files/f1", b"", b"x"),
    ("DELETE", "/v1/files/f1", b"", b""),
    ("OPTIONS", "/v1/chat/completions", b"", b""),
]


@pytest.mark.parametrize(("method", "path", "query", "body"), OTHERS, ids=[f"{row[0]} {row[1]}" for row in OTHERS])
@pytest.mark.parametrize("control", [None, "on", "ttl=-1", "off"])
async def test_what_is_no_chat_passes(
    place: Place, method: str, path: str, query: bytes, body: bytes, control: str | None
) -> None:
    """H1, E1: to the upstream, untouched; one that opted in all the same is told so, and the header stays here."""
    place.upstream.respond = always(Told((b"<raw>\xff",), headers=((b"x-of-upstream", b"1"), (b"cache-control", b"public"))))
    opts_in = control in ("on", "ttl=-1")  # a header that cannot be read is none that could matter here

    reply = await place.client.request(
        method, path, params=query, content=body, headers={**ALICE, **({"cachemw": control} if control else {})}
    )

    asked = place.upstream.asked[-1]
    below = path.removeprefix("/v1")
    assert (asked.method, asked.path, asked.query, asked.body) == (method, "/v1" + below, query, body)
    assert asked.header(b"authorization") == b"Bearer sk-alice"
    assert asked.header(b"cachemw") is None
    assert (reply.status_code, reply.content, reply.headers["x-of-upstream"]) == (200, b"<raw>\xff", "1")
    assert status_of(reply) == (NOT_CHAT if opts_in else "")
    assert reply.headers["cache-control"] == ("private, no-store" if opts_in else "public")
    assert not place.records()


@pytest.mark.parametrize("headers", [ALICE, ON], ids=["not opted in", "opted in"])
async def test_a_head_request_passes_with_the_length_it_names(place: Place, headers: dict[str, str]) -> None:
    place.upstream.respond = always(Told((), headers=((b"content-length", b"999"), (b"etag", b'"1"'))))

    reply = await place.client.head("/v1/models", headers=headers)

    assert place.upstream.asked[-1].method == "HEAD"
    assert (reply.status_code, reply.headers["content-length"], reply.headers["etag"]) == (200, "999", '"1"')
    assert status_of(reply) == (NOT_CHAT if headers is ON else "")


@pytest.mark.parametrize("headers", [ALICE, ON], ids=["not opted in", "opted in"])
@pytest.mark.parametrize("path", ["/v1/tcp_warming", "/v1/v1/tcp_warming", "/healthz"])
async def test_some_pages_are_answered_here(place: Place, path: str, headers: dict[str, str]) -> None:
    """The Cerebras SDK warms a connection for every client that is made."""
    reply = await place.client.get(path, headers=headers)

    assert (reply.status_code, reply.json()) == (200, {"status": "ok"} if path == "/healthz" else {})
    assert place.upstream.calls == 0


async def test_a_caller_without_a_key_gets_the_servers_and_any_other_keeps_their_own(place: Place) -> None:
    """I1."""
    keys = [None, "Bearer cachemw", "Bearer sk-alice", "Bearer sk-bob"]

    said = [status_of(await place.ask(headers=_with_key(key))) for key in keys]

    assert said == [MISS, HIT, MISS, MISS]
    sent = [asked.header(b"authorization") for asked in place.upstream.asked]
    assert sent == [b"Bearer sk-server", b"Bearer sk-alice", b"Bearer sk-bob"]


def _with_key(key: str | None) -> dict[str, str]:
    return {"content-type": "application/json", "cachemw": "on"} | ({} if key is None else {"authorization": key})


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: evil.example\r\n",
        b"GET //evil.example/v1/models HTTP/1.1\r\nHost: evil.example\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n",
        b"GET /v1/models?base_url=http://evil.example HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Base-Url: http://evil.example\r\n",
        b"POST http://evil.example/v1/chat/completions HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n",
    ],
)
async def test_no_request_names_another_upstream(place: Place, request_head: bytes) -> None:
    """I6."""
    place.upstream.respond = always(completion())

    reply = await say(place.url, request_head + b"Connection: close\r\n\r\n")

    asked = place.upstream.asked[-1]
    assert reply.startswith(b"HTTP/1.1 200")
    assert asked.path.startswith("/v1/")
    assert asked.header(b"host") == place.upstream_url.removeprefix("http://").encode()


async def test_an_upstream_that_is_not_there_is_a_502_for_every_path(place: Place) -> None:
    with nobody_there() as url:
        async with closing(HttpUpstream(url + "/v1")) as upstream:
            place.mount(Proxy(upstream, store=place.store))
            replies = [await place.client.get("/v1/models"), await place.ask(headers=ALICE), await place.ask()]

    assert [reply.status_code for reply in replies] == [502] * 3
    assert {reply.json()["error"]["code"] for reply in replies} == {"upstream_unreachable"}
    assert [status_of(reply) for reply in replies] == ["", "", "fwd=miss; key; detail=unreachable"]


async def test_a_websocket_is_declined() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    proxy = Proxy(HttpUpstream("http://api.example/v1"), store=MemoryStore())
    await proxy({"type": "websocket", "path": "/v1/realtime", "headers": []}, receive, send)

    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_query_is_in_the_key(place: Place) -> None:
    """K2."""
    paths = [CHAT, CHAT + "?api-version=1", CHAT + "?api-version=2"]

    said = [status_of(await place.ask(path=path)) for path in paths]

    assert said == [MISS] * 3


async def test_what_may_be_asked_for_stays_below_the_base_url(place: Place) -> None:
    """F120, I6, K2: without a gate, too."""
    replies = [
        await say(place.url, b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
        for target in (b"/v1/%2e%2e/admin", b"/v1/a/../../../admin", b"/v1/..%2f..%2fadmin", b"/v1/..;/chat/completions")
    ]

    assert all(reply.startswith(b"HTTP/1.1 400") for reply in replies)
    assert all(b"invalid_path" in reply for reply in replies)
    assert place.upstream.calls == 0


@pytest.mark.parametrize("headers", [ALICE, ON], ids=["not opted in", "opted in"])
@pytest.mark.parametrize("path", ["/", "/?x=1"])
async def test_who_looks_what_is_here_is_told(place: Place, path: str, headers: dict[str, str]) -> None:
    """A8: in one line."""
    replies = [await place.client.request(method, path, headers=headers) for method in ("GET", "HEAD")]

    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].headers["content-type"].startswith("text/plain")
    assert replies[0].text.count("\n") == 1
    assert "cachemw" in replies[0].text
    assert "/v1" in replies[0].text
    assert replies[1].text == ""
    assert place.upstream.calls == 0


@pytest.mark.parametrize("headers", [ALICE, ON], ids=["not opted in", "opted in"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", path) for path in ("/favicon.ico", "/docs", "/metrics", "/admin", "/healthz/", "/v1", "/models/m", "/V1/x")),
        *(("POST", path) for path in ("/", "/healthz", "/admin", "/chat/completion%73", "/chat/completions/")),
        ("HEAD", "/favicon.ico"),
        ("OPTIONS", "/x"),
    ],
)
async def test_what_is_outside_of_the_api_is_not_asked_for_upstream(
    place: Place, method: str, path: str, headers: dict[str, str]
) -> None:
    """F123, A8: with the server's key, on top of it."""
    reply = await place.client.request(method, path, headers=headers, content=b"" if method in ("GET", "HEAD") else prompt())

    assert reply.status_code == 404
    assert method == "HEAD" or reply.json()["error"]["code"] == "not_found"
    assert method == "HEAD" or "/v1" in reply.json()["error"]["message"]
    assert place.upstream.calls == 0


async def test_the_answer_is_relayed_whatever_the_upstream_saw(place: Place) -> None:
    """S9."""

    def reflect(asked: Asked) -> Told:
        return Told((asked.body,), headers=((b"content-type", b"application/octet-stream"),))

    place.upstream.respond = reflect
    every_byte = bytes(range(256)) * 300

    reply = await place.client.post("/v1/files", content=every_byte, headers=ALICE)

    assert reply.content == every_byte
