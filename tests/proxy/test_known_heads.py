"""A request that is answered before it is parsed is answered as if it had been; and whatever else comes goes the whole way."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from cachemw import Limits, MemoryStore, Policy
from cachemw.cache.context import ALSO
from cachemw.cache.recall import Recalled
from cachemw.cli.listening import listen, url_of
from cachemw.cli.serve import configured
from cachemw.proxy import Gate, Proxy
from cachemw.proxy.heads import leaves_open
from cachemw.proxy.known_heads import KNOWN_HEADS, SEEN_HEADS, KnownHeads, Sighting
from cachemw.proxy.listener import GuardedProtocol
from cachemw.upstreams import HttpUpstream
from tests.proxy.conftest import Switch
from tests.proxy.recalling import JSON, LARGE, RULES, STREAM, Listener, Pair, chat, head_of, pair
from tests.serving import served_here
from tests.thorough import THOROUGH
from tests.upstream import prompt

pytestmark = pytest.mark.anyio

KINDS = pytest.mark.parametrize("request_", [JSON, STREAM], ids=["JSON", "a stream"])
GET = b"GET /v1/second HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
OTHER = JSON.replace(b"one and one", b"one and two")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def servers(anyio_backend: str) -> AsyncIterator[Pair]:
    async with pair() as both:
        yield both


@pytest.fixture
def both(servers: Pair) -> Pair:
    servers.recalling.whole_ways = servers.plain.whole_ways = 0
    return servers


@pytest.mark.parametrize("request_", [JSON, STREAM, LARGE], ids=["JSON", "a stream", "a stream of many pieces"])
async def test_a_request_with_a_known_head_is_answered_as_ever(both: Pair, request_: bytes) -> None:
    said = await both.say_the_same(request_)

    assert b"; hit; " in said
    assert (both.recalling.whole_ways, both.plain.whole_ways) == (0, 1)


@KINDS
async def test_a_request_may_be_cut_anywhere(both: Pair, request_: bytes) -> None:
    boundary = len(head_of(request_))
    cuts = range(1, len(request_)) if THOROUGH else {1, 7, boundary - 2, boundary, boundary + 1, len(request_) - 1}
    expected = await both.plain.said(request_)

    assert [cut for cut in cuts if await both.recalling.said(request_[:cut], request_[cut:]) != expected] == []
    both.recalling.whole_ways = 0
    for cut in range(boundary, len(request_), 1 if THOROUGH else 40):
        assert await both.recalling.said(request_[:cut], request_[cut:]) == expected
    assert both.recalling.whole_ways == 0


@KINDS
async def test_a_body_may_come_byte_by_byte(both: Pair, request_: bytes) -> None:
    head = head_of(request_)
    body = request_[len(head) :]

    await both.say_the_same(head, *[body[at : at + 1] for at in range(len(body))])

    assert both.recalling.whole_ways == 0


@KINDS
async def test_a_request_may_come_byte_by_byte(both: Pair, request_: bytes) -> None:
    await both.say_the_same(*[request_[at : at + 1] for at in range(len(request_))])


@pytest.mark.parametrize("is_in_two", [False, True], ids=["in one piece", "in two"])
async def test_on_one_connection_too_a_head_becomes_known(both: Pair, is_in_two: bool) -> None:
    """As an SDK has it: nothing but one connection, which was used before."""
    body = prompt(f"on one connection, {is_in_two}")
    pieces = (head_of(chat(body)), body) if is_in_two else (chat(body),)
    async with await both.recalling.connect() as stream:
        for _ in range(5):
            await both.recalling.send(stream, *pieces)
            await stream.receive()

    assert both.recalling.whole_ways == 3  # a miss, a hit, and another one: then it comes again


async def test_another_body_behind_a_known_head_is_recalled_once_it_was_hit(both: Pair) -> None:
    another = JSON.replace(b"one and one", b"two and two")

    said = [await both.recalling.said(another) for _ in range(4)]

    assert [b"; hit; " in each for each in said] == [False, True, True, True]
    assert both.recalling.whole_ways == 2


NEXT = {
    "two in one": (JSON * 2,),
    "three in one": (JSON + STREAM + JSON,),
    "five in one": (JSON * 5,),
    "two, not waited for": (JSON, JSON),
    "five, not waited for": (JSON, STREAM, JSON, STREAM, LARGE),
    "the start of another behind": (JSON + JSON[:9], JSON[9:]),
    "the head of another behind": (JSON + head_of(JSON), JSON[len(head_of(JSON)) :]),
    "another begins where the body ends": (head_of(JSON), JSON[len(head_of(JSON)) :] + STREAM[:50], STREAM[50:]),
    "an empty line before": (b"\r\n" + JSON, JSON),
    "an empty line alone before": (b"\r\n", JSON, JSON),
    "an empty line behind": (JSON + b"\r\n", JSON),
    "an empty line alone behind": (JSON, b"\r\n", JSON),
    "half an empty line behind": (JSON, b"\r", JSON),
    "another request between": (JSON, GET, JSON),
    "another request with the same head between": (JSON, OTHER, JSON, OTHER, OTHER, OTHER, JSON),
    "a request in the same piece as another": (GET + JSON, JSON),
    "another request in its piece": (JSON + GET, JSON),
}


@pytest.mark.parametrize("pieces", NEXT.values(), ids=NEXT.keys())
async def test_what_is_before_and_behind_a_request_changes_nothing(both: Pair, pieces: tuple[bytes, ...]) -> None:
    await both.plain.said(OTHER)  # the first is a miss

    await both.say_the_same(*pieces)


WRONG = {
    "garbage behind": (JSON + b"garbage\r\n\r\n",),
    "garbage alone behind": (JSON, b"garbage\r\n\r\n"),
    "a byte too many": (JSON + b"x",),
    "a byte too many with the body": (head_of(JSON), JSON[len(head_of(JSON)) :] + b"x"),
    "a byte too few, and then another request": (JSON[:-1], JSON),
    "a request for a body of one that was answered before": (
        GET.replace(b"/v1/second", b"/healthz").replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(JSON)),
        JSON,
        JSON,
    ),
    "a request for the value of a field": (JSON, GET[:-2] + b"X-A: ", JSON, JSON),
    "garbage in place of the rest of a body": (JSON[:-5], b"\x00\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
    "half a head": (JSON, JSON[:80]),
}


@pytest.mark.parametrize("pieces", WRONG.values(), ids=WRONG.keys())
async def test_what_is_no_request_is_refused_as_ever(both: Pair, pieces: tuple[bytes, ...]) -> None:
    await both.say_the_same(*pieces)


BODY = prompt("what is told to the connection")
UNUSUAL = {
    "closes": chat(BODY, b"Connection: close\r\n"),
    "closes, in other words": chat(BODY, b"Connection: keep-alive, close\r\n"),
    "connection twice": chat(BODY, b"Connection: keep-alive\r\nConnection: keep-alive\r\n"),
    "expects": chat(BODY, b"Expect: 100-continue\r\n"),
    "te": chat(BODY, b"TE: trailers\r\n"),
    "trailer": chat(BODY, b"Trailer: x-a\r\n"),
    "upgrades": chat(BODY, b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    "upgrades alone": chat(BODY, b"Upgrade: h2c\r\n"),
    "HTTP/1.0": chat(BODY, version=b"1.0"),
    "HTTP/1.0, kept alive": chat(BODY, b"Connection: keep-alive\r\n", version=b"1.0"),
    "chunked": chat(b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY), length=b"Transfer-Encoding: chunked\r\n"),
    "chunked, with a trailer": chat(
        b"%x\r\n%s\r\n0\r\nX-A: b\r\n\r\n" % (len(BODY), BODY), length=b"Transfer-Encoding: chunked\r\n"
    ),
    "an empty line before": b"\r\n" + chat(BODY),
}


@pytest.mark.parametrize("request_", UNUSUAL.values(), ids=UNUSUAL.keys())
async def test_a_head_that_says_more_of_its_connection_is_never_known(both: Pair, request_: bytes) -> None:
    await both.plain.said(request_)  # the first is a miss

    for _ in range(4):
        await both.say_the_same(request_)
    await both.say_the_same(head_of(request_), request_[len(head_of(request_)) :])

    assert both.recalling.whole_ways == 5


def head(*fields: bytes, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"POST / HTTP/" + version, *fields, b"", b""])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (head(), True),
        (head(b"Host: a", b"Content-Length: 1"), True),
        (head(b"Connection: keep-alive"), True),
        (head(b"connection:Keep-Alive "), True),
        (head(b"X-Connection: close", b"X-TE: a", b"Tea: a"), True),
        (head(b"Connection: close"), False),
        (head(b"Connection:"), False),
        (head(b"Connection: keep-alive, upgrade"), False),
        (head(b"Connection: keep-alive", b"Connection: keep-alive"), False),
        (head(b"Upgrade: h2c"), False),
        (head(b"EXPECT: 100-continue"), False),
        (head(b"Expect : 100-continue"), False),
        (head(b"X: a\nTransfer-Encoding: chunked"), False),
        (head(b"Transfer-Encoding: chunked"), False),
        (head(b"TE: trailers"), False),
        (head(b"Trailer: a"), False),
        (head(b"X: a", b" folded"), False),
        (head(version=b"1.0"), False),
        (b"\r\n" + head(), False),
    ],
)
def test_a_head_that_may_be_known_only_leaves_its_connection_open(text: bytes, expected: bool) -> None:
    assert leaves_open(text) is expected


def table() -> KnownHeads:
    proxy = Proxy(HttpUpstream("http://api.example", api_key="k"), store=MemoryStore())
    return KnownHeads(proxy.recaller, proxy.bodies, ())


def sight(
    heads: KnownHeads, text: bytes, recalled: Recalled, *, body: bytes = b"", size: int | None = None, is_whole: bool = True
) -> None:
    sighting = Sighting(heads, text, heads.digest(text))
    sighting.size, sighting.is_whole = len(text) + len(body) if size is None else size, is_whole
    sighting.learn(recalled, body)


def knows(heads: KnownHeads, text: bytes) -> bool:
    return heads.get(heads.digest(text)) is not None


async def test_a_head_is_known_once_it_was_hit(both: Pair) -> None:
    recalled, heads = await recalled_by(both), table()
    sight(heads, head(), recalled)
    assert not knows(heads, head())
    sight(heads, head(), recalled)

    assert knows(heads, head())


async def test_what_was_not_alone_in_its_bytes_teaches_nothing(both: Pair) -> None:
    recalled, heads = await recalled_by(both), table()
    for size in (len(head()), len(head()) + 4):
        for _ in range(3):
            sight(heads, head(), recalled, body=b"abc", size=size)
            sight(heads, head(), recalled, is_whole=False)

    assert not knows(heads, head())


async def test_heads_that_come_once_drive_none_out_that_comes_again(both: Pair) -> None:
    recalled, heads = await recalled_by(both), table()
    for _ in range(2):
        sight(heads, head(), recalled)
    for at in range(100_000 if THOROUGH else 3 * SEEN_HEADS):
        sight(heads, head(b"traceparent: %d" % at), recalled)

    assert knows(heads, head())
    assert (len(heads._known), len(heads._seen)) == (1, SEEN_HEADS)


async def test_of_known_heads_those_go_that_were_asked_for_longest_ago(both: Pair) -> None:
    recalled, heads = await recalled_by(both), table()
    for at in range(100_000 if THOROUGH else KNOWN_HEADS + 10):
        for _ in range(2):
            sight(heads, head(b"X: %d" % at), recalled)
        assert knows(heads, head(b"X: 0"))

    assert not knows(heads, head(b"X: 1"))
    assert len(heads._known) == KNOWN_HEADS


@pytest.mark.parametrize(
    ("request_", "expected"), [(OTHER, [True, False]), (GET + OTHER, [False] * 3), (OTHER * 2, [False] * 3)]
)
async def test_only_a_request_alone_in_its_bytes_may_say_what_it_is_given(request_: bytes, expected: list[bool]) -> None:
    async with pair(known=()) as both:
        await both.recalling.said(request_)  # and the last one, of which nothing is remembered
        scopes = both.recalling.scopes

    assert [ALSO in scope for scope in scopes] == expected


async def recalled_by(both: Pair) -> Recalled:
    """Return some hit."""
    heads = both.recalling.gate.known_heads
    assert heads is not None
    found = heads.find(heads.digest(heads.digest(head_of(JSON)), JSON[len(head_of(JSON)) :]))
    assert found is not None
    return found[0]


async def test_every_hit_is_counted(both: Pair) -> None:
    both.recalling.proxy.recaller.tally.tell()
    both.recalling.reports.clear()
    for _ in range(7):
        await both.recalling.said(JSON, STREAM)
    both.recalling.proxy.recaller.tally.tell()

    assert sum(report.count for report in both.recalling.reports) == 14
    assert both.recalling.whole_ways == 0


async def test_a_server_counts_what_is_recalled_and_says_its_own_fields(both: Pair) -> None:
    gate, counts = both.recalling.gate, Listener(both.recalling.gate, both.recalling.proxy, [])
    with listen("127.0.0.1", 0) as listener:
        counts.port = int(url_of(listener).rpartition(":")[2])
        config = configured(gate, None, protocol=counts.protocol)
        config.headers = [("x-server", "ours")]
        async with served_here(config, listener) as server:
            said = await counts.said(JSON, JSON)

            assert said.count(b"\r\nx-server: ours\r\n") == 3
            assert server.server_state.total_requests == 3
            assert counts.whole_ways == 0
    assert b"x-server" not in await both.recalling.said(JSON)


@pytest.mark.parametrize("member", ["app", "root_path", "limit_concurrency", "access_log"])
async def test_the_door_is_shut_where_the_bytes_do_not_say_it_all(both: Pair, member: str) -> None:
    app: ASGIApp = both.recalling.gate
    counts = Listener(both.recalling.gate, both.recalling.proxy, [])
    with listen("127.0.0.1", 0) as listener:
        counts.port = int(url_of(listener).rpartition(":")[2])
        config = configured(Switch(app) if member == "app" else app, None, protocol=counts.protocol)
        changes = {"root_path": "/v1", "limit_concurrency": 1000, "access_log": True}
        if member in changes:
            setattr(config, member, changes[member])
        async with served_here(config, listener):
            await counts.said(JSON, JSON)

    assert counts.whole_ways >= 2  # under a root path the last one has another path


class Encrypted(asyncio.Transport):
    """A connection that may have shown a certificate, which is not in its bytes."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return object() if name == "sslcontext" else default

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize(("transport", "is_shut"), [(Encrypted(), True), (asyncio.Transport(), False)], ids=["TLS", "plain"])
async def test_the_door_is_shut_where_the_listener_speaks_tls(both: Pair, transport: asyncio.Transport, is_shut: bool) -> None:
    config = configured(both.recalling.gate, None, protocol=GuardedProtocol)
    protocol = GuardedProtocol(config=config, server_state=ServerState(), app_state={})
    protocol.connection_made(transport)
    protocol.connection_lost(ConnectionResetError())

    assert (protocol._door is None) is is_shut


def test_where_nothing_is_recalled_there_are_no_known_heads() -> None:
    upstream = HttpUpstream("http://api.example", api_key="k")
    limits = Limits(recall_bytes=0)
    off = Proxy(upstream, store=MemoryStore(), limits=limits)
    by_function = Proxy(upstream, store=MemoryStore(), policy=Policy(partition=lambda _: b"a"))

    assert [Gate(proxy, RULES, recaller=proxy.recaller).known_heads for proxy in (off, by_function)] == [None, None]
    assert Gate(off, RULES).known_heads is None
