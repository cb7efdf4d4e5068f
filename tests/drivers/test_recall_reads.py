"""C1: what a decision reads of a request is under the digest. Where the answers of two requests differ, their digests do."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.authentication import SimpleUser, UnauthenticatedUser
from starlette.types import Message, Scope

from cachemw import Limits, MemoryStore, Policy
from cachemw._asgi_scope import AsgiRequest
from cachemw.asgi import CacheMiddleware
from cachemw.budget import Budget
from cachemw.cache.context import CALLER, DOOR, EXTENSIONS, SCOPE
from cachemw.cache.header_rules import ROWS, Counts
from cachemw.messages import URL_RECIPIENT, Caller, Headers, Inside
from cachemw.proxy import Gate, Proxy
from cachemw.proxy.admission import AccessRules
from cachemw.upstreams import HttpUpstream
from tests.asgi_driver import scope_for
from tests.upstream import Upstream, prompt

NOW = 1_800_000_000.5
BODY = prompt("what is read")
CHAT = "/v1/chat/completions"
FIELDS: Headers = (
    (b"host", b"localhost"),
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(BODY)),
    (b"authorization", b"Bearer sk-alice"),
    (b"cachemw", b"on"),
    (b"cache-control", b"only-if-cached"),
    (b"connection", b"keep-alive"),
    (b"cookie", b"a=1"),
    (b"x-tenant", b"1"),
    (b"openai-beta", b"b"),
    (b"accept-language", b"en"),
    (b"traceparent", b"00-1"),
)
OPERATORS = Policy(vary=("user-agent", "x-request-id"), inert=("x-tenant", "cookie"), forward=("x-real-ip", "accept-language"))


@dataclass
class Place:
    """A mount that decides everything, what it has stored, and what tells one recalled request from others before it."""

    app: Any
    recaller: Any
    store: MemoryStore
    loop: asyncio.Runner = field(default_factory=asyncio.Runner)
    kept: dict[bytes, bytes] = field(default_factory=dict)

    def ask_first(self) -> list[Message]:
        """Store the answer to the first request, and return it as a hit."""
        fields = [(name, b"max-stale" if name == b"cache-control" else value) for name, value in FIELDS]
        self.loop.run(answered(self.app, base(headers=fields), BODY))
        self.kept = dict(self.store.scan())
        return self.answer(base())

    def told(self, scope: Scope) -> bytes:
        """Return the digest of a request's head."""
        incoming = AsgiRequest(scope, _nothing, Budget(0))
        return incoming.door(self.recaller).head

    def answer(self, scope: Scope) -> list[Message]:
        """Return all that is sent to a request, as if only the first one had ever been asked."""
        sent = self.loop.run(answered(self.app, scope, BODY))
        if dict(self.store.scan()) != self.kept:
            self.store.clear()
            for index, record in self.kept.items():
                self.store.put(index, record, None)
        return sent


async def _nothing() -> Message:
    raise AssertionError("nothing is read")


async def answered(app: Any, scope: Scope, body: bytes) -> list[Message]:
    """Return all that is sent to a request."""
    requests: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        return requests.pop() if requests else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def over_http() -> HttpUpstream:
    """Return an upstream that is reached without a socket."""

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]})

    return HttpUpstream("https://api.example/v1", api_key="sk-server", transport=partial(httpx.MockTransport, respond))


def around_an_app(policy: Policy) -> Place:
    store = MemoryStore(clock=lambda: NOW)
    make = partial(CacheMiddleware, Upstream(), name="bot", store=store, policy=policy)
    off, on = make(limits=Limits(recall_bytes=0)), make(limits=Limits(recall_bytes=1_000_000))
    off.driver.clock = lambda: NOW
    return Place(off, on.driver.recaller, store)


def behind_the_gate(policy: Policy, **rules: Any) -> Place:
    store = MemoryStore(clock=lambda: NOW)
    access, http = AccessRules(policy, **rules), over_http()
    off, on = (Proxy(http, store=store, policy=policy, limits=Limits(recall_bytes=size)) for size in (0, 1_000_000))
    off._cache.driver.clock = lambda: NOW
    return Place(Gate(off, access, recaller=off.recaller), on.recaller, store)


PLACES = {
    "an app": partial(around_an_app, Policy()),
    "an app, with rules": partial(around_an_app, OPERATORS),
    "the gate": partial(behind_the_gate, Policy()),
    "the gate, with rules": partial(behind_the_gate, OPERATORS),
    "the gate, with keys": partial(behind_the_gate, Policy(), client_keys=(b"sk-alice", b"sk-bob"), max_body=5_000),
}


def base(**members: Any) -> Scope:
    return {**scope_for("POST", CHAT, FIELDS), "session": {"who": "alice"}, **members}


@dataclass
class Asked:
    """A place, and what the first request is answered there, and told by."""

    place: Place
    answer: list[Message]
    told: bytes

    def differs(self, changed: Scope) -> tuple[bool, bool]:
        """Say whether a changed request has another answer, and whether it has another digest."""
        return self.place.answer(changed) != self.answer, self.place.told(changed) != self.told


@pytest.fixture(params=PLACES, scope="module")
def asked(request: pytest.FixtureRequest) -> Iterator[Asked]:
    """A mount that was asked the first request."""
    place: Place = PLACES[request.param]()
    hit = place.ask_first()
    assert b"hit" in dict(hit[0]["headers"])[b"cache-status"]
    yield Asked(place, hit, place.told(base()))
    place.loop.close()


NAMES = sorted(
    {name.replace("*", "x").encode() for row in ROWS for name in row.names.split()}
    | {b"x-real-ip", b"x-nobodys", b"sec-fetch-site"}
)
VALUES = [
    *(b"", b"1", b"sk-bob", b"Bearer sk-bob", b"Bearer cachemw", b"on", b"off", b"on, speed=1", b"sample=1", b"mode=replay"),
    *(b"no-cache", b"max-age=0", b"only-if-cached", b"localhost", b"evil.example", b"https://evil.example", b"cross-site"),
    *(b"gzip", b"text/plain", b"application/json; charset=utf-8", b"close, x-tenant", b"openai-beta", b"chunked", b"99999"),
    *(b"100-continue", b"host=evil.example", b"multipart/form-data", b"h2c", b"trailers", b"identity", b"Bearer"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_field_by_which_an_answer_changes_is_under_the_digest(name: bytes, asked: Asked) -> None:
    """C1: one more of it, in its place, or without it; every field of the table, and any value that means something."""
    ways: list[Headers] = [(*FIELDS, (name, value)) for value in VALUES]
    if name in dict(FIELDS):
        ways += [tuple((known, value if known == name else was) for known, was in FIELDS) for value in VALUES]
        ways.append(tuple(field for field in FIELDS if field[0] != name))

    for headers in ways:
        has_another_answer, has_another_digest = asked.differs(base(headers=list(headers)))
        assert has_another_digest or not has_another_answer, headers


fields = st.tuples(st.sampled_from(NAMES) | st.binary(min_size=1, max_size=5), st.sampled_from(VALUES) | st.binary(max_size=8))


@given(
    added=st.lists(st.tuples(st.integers(0, len(FIELDS)), fields), max_size=3),
    removed=st.sets(st.integers(0, len(FIELDS) - 1), max_size=2),
)
@example(added=[(0, (b"connection", b"x-tenant"))], removed=set())
def test_whatever_is_changed_of_the_fields(
    added: list[tuple[int, tuple[bytes, bytes]]], removed: set[int], asked: Asked
) -> None:
    """C1"""
    headers = [field for at, field in enumerate(FIELDS) if at not in removed]
    for at, another in added:
        headers.insert(at, another)

    has_another_answer, has_another_digest = asked.differs(base(headers=headers))

    assert has_another_digest or not has_another_answer


CERTIFICATE = {"tls": {"client_cert_chain": ["PEM"], "client_cert_name": "CN=alice"}}
CHANGES: dict[str, list[Any]] = {name: ["anything"] for name in SCOPE} | {
    CALLER: [Caller(((b"authorization", b"Bearer sk-bob"),)), Caller(name="bob"), Caller(), None],
    "path": ["/v1/x/chat/completions", "/v1/embeddings"],
    "raw_path": [b"/v1/chat%2Fcompletions", b"/v1/../v1/chat/completions", None],
    "query_string": [b"a=1"],
    "root_path": ["/v1", "/other"],
    "session": [{}, None, {"who": "bob"}, {"who": object()}],
    "user": [SimpleUser("alice"), UnauthenticatedUser(), "alice", None],
    "extensions": [None, CERTIFICATE, {name: {} for name in EXTENSIONS if name != "tls"}],
    "auth": ["anything"],
    "asgi": [{"version": "3.0", "spec_version": "2.1"}],
    "http_version": ["1.0", "2"],
    "method": ["GET", "PUT"],
    "scheme": ["https"],
    "server": [("other", 1), None],
    "client": [("192.0.2.1", 1), None],
    "state": [{"a": 1}],
    "cookies": [{"a": "2"}],
}


@pytest.mark.parametrize("name", sorted(SCOPE.keys() - {"headers", "type", DOOR}))
def test_a_member_of_the_scope_by_which_an_answer_changes_is_under_the_digest(name: str, asked: Asked) -> None:
    """C1, A2: every member of the table."""
    for value in CHANGES[name]:
        has_another_answer, has_another_digest = asked.differs(base(**{name: value}))
        assert has_another_digest or not has_another_answer, value
        if SCOPE[name].counts is Counts.INERT and name != "method":
            assert not has_another_digest, value


def test_a_request_that_is_not_ours_is_read_no_further_than_without_recall() -> None:
    """H1: a session that is looked at makes a middleware say `Vary: Cookie`, and a user may be looked up in a database."""

    class Noting(dict[str, Any]):
        def __init__(self, scope: Scope) -> None:
            super().__init__(scope)
            self.read: set[str] = set()

        def __getitem__(self, name: str) -> Any:
            self.read.add(name)
            return super().__getitem__(name)

        def get(self, name: str, default: Any = None) -> Any:
            self.read.add(name)
            return super().get(name, default)

    plain = [field for field in FIELDS if field[0] != b"cachemw"]
    for more in ({"headers": plain}, {"path": "/login"}, {"method": "GET"}):
        noting = Noting(base(**more))
        app = CacheMiddleware(Upstream(), name="bot", store=MemoryStore(), limits=Limits(recall_bytes=1_000_000))
        asyncio.run(answered(app, noting, BODY))
        assert noting.read.isdisjoint({"session", "user", "extensions", "auth", "state"})


def test_the_gate_takes_no_upstream_for_granted() -> None:
    """C1: it does not know which provider's fields are sent on."""
    assert behind_the_gate(Policy()).recaller._recipient == URL_RECIPIENT
    assert around_an_app(Policy()).recaller._recipient is Inside.APP
