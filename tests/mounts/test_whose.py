"""Whose answer a mount gives, and whose key it sends."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest
from starlette.authentication import SimpleUser
from starlette.routing import Mount, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw import MemoryStore, Policy
from cachemw.asgi import CacheMiddleware
from cachemw.budget import Budget
from cachemw.cache.context import CALLER
from cachemw.httpx import CacheTransport
from cachemw.messages import Caller
from cachemw.upstreams import HttpUpstream
from cachemw.wsgi import CacheMiddleware as WsgiMiddleware
from tests import wsgi_driver
from tests.asgi_driver import Reply, answered, call, scope_for
from tests.mounts.mounting import PATH
from tests.mounts.wsgi_upstream import WsgiUpstream
from tests.upstream import Asked, Told, Upstream, completion, prompt

pytestmark = pytest.mark.anyio

JSON = (b"content-type", b"application/json")
ON = (JSON, (b"cachemw", b"on"))


def says(reply: Reply) -> str:
    """Return the first words of what was said of it: a hit, a miss, a bypass and why."""
    said = reply.headers[b"cache-status"].decode().removeprefix("cachemw; ")
    return "hit" if said.startswith("hit") else said.replace("fwd-status=200; ", "").partition("; key")[0]


async def asked_as(app: ASGIApp, **members: Any) -> Reply:
    """Send the same request, with these members of its scope."""
    return await answered(app, {**scope_for("POST", PATH, ON), **members}, prompt())


# Whose answer, around an app.


async def test_tenants_in_a_mounts_path_have_answers_of_their_own() -> None:
    """F89, I9."""
    cache = CacheMiddleware(Upstream(), name="bot", store=MemoryStore())
    app = Router([Mount("/{tenant}", app=cache)])

    replies = [await call(app, "POST", f"/{tenant}{PATH}", prompt(), ON) for tenant in ("acme", "globex", "acme")]

    assert list(map(says, replies)) == ["fwd=miss; stored", "fwd=miss; stored", "hit"]


@pytest.mark.parametrize("name", [b"host", b"x-forwarded-host"])
@pytest.mark.parametrize(("inert", "again"), [((), "fwd=miss; stored"), (("host", "x-forwarded-host"), "hit")])
async def test_tenants_in_a_hosts_name_have_answers_of_their_own(name: bytes, inert: tuple[str, ...], again: str) -> None:
    """F90, I14: unless the operator says that the name is of no matter."""
    app = CacheMiddleware(Upstream(), name="bot", store=MemoryStore(), policy=Policy(inert=inert))
    names = (b"acme.example", b"globex.example", b"acme.example")

    replies = [await call(app, "POST", PATH, prompt(), (*ON, (name, host))) for host in names]

    assert list(map(says, replies)) == ["fwd=miss; stored", again, "hit"]


@pytest.mark.parametrize("member", ["REMOTE_USER", "SSL_CLIENT_S_DN", "OIDC_CLAIM_sub"])
@pytest.mark.parametrize("beside", [False, True], ids=["around an app", "with an upstream"])
def test_whom_a_wsgi_server_vouches_for_is_told_apart(member: str, beside: bool) -> None:
    """F91, I10: mod_wsgi passes no `Authorization` on."""
    inner = WsgiUpstream(Upstream())
    upstream = HttpUpstream("http://up.example/v1", sync_transport=lambda: httpx.MockTransport(lambda _: httpx.Response(200)))
    app = WsgiMiddleware(inner, name="bot", upstream=upstream if beside else None, store=MemoryStore(), policy=Policy())
    said = []
    for user in ("alice", "bob", "alice"):
        server = wsgi_driver.Server()
        server.serve(app, wsgi_driver.environ_for("POST", PATH, ON, prompt()) | {member: user})
        said.append(server.reply().headers[b"cache-status"].partition(b'key="')[2][:32])

    assert (said[0] == said[2], said[0] == said[1]) == (True, False)


async def test_a_users_own_client_certificate_tells_them_apart_and_the_app_sees_it_in_a_flight() -> None:
    """F92, I10."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["extensions"])
        await Upstream()(scope, receive, send)

    cache = CacheMiddleware(app, name="bot", store=MemoryStore())
    people = [{"client_cert_name": f"CN={name}", "client_cert_chain": [name]} for name in ("alice", "bob", "alice")]

    replies = [await asked_as(cache, extensions={"tls": tls, "http.response.push": {}}) for tls in people]

    assert list(map(says, replies)) == ["fwd=miss; stored", "fwd=miss; stored", "hit"]
    assert seen == [{"tls": people[0]}, {"tls": people[1]}]


@pytest.mark.parametrize(
    ("headers", "policy", "expected"),
    [
        ((), Policy(), ["fwd=bypass; detail=no-partition"] * 2),
        (((b"cookie", b"session=5"),), Policy(), ["fwd=bypass; detail=no-partition"] * 2),
        (((b"authorization", b"Bearer a"),), Policy(), ["fwd=miss; stored", "hit"]),
        ((), Policy(partition="shared"), ["fwd=miss; stored", "hit"]),
        ((), Policy(partition=lambda request: request.context["user"].username.encode()), ["fwd=miss; stored", "hit"]),
    ],
)
async def test_an_apps_own_user_is_not_cached_until_somebody_says_how_to_tell_them_apart(
    headers: tuple[tuple[bytes, bytes], ...], policy: Policy, expected: list[str]
) -> None:
    """F93, I10."""
    app = CacheMiddleware(Upstream(), name="bot", store=MemoryStore(), policy=policy)
    scope = {**scope_for("POST", PATH, (*ON, *headers)), "user": SimpleUser("alice")}

    said = [says(await answered(app, scope, prompt())) for _ in range(2)]

    assert said == expected


async def test_what_a_session_holds_is_in_the_key() -> None:
    """F93, I10: whatever its cookie was."""
    app = CacheMiddleware(Upstream(), name="bot", store=MemoryStore())
    sessions: tuple[dict[str, object], ...] = ({"user": "alice"}, {"user": "bob"}, {"user": "alice"}, {}, {"user": object()})

    said = [says(await asked_as(app, session=session)) for session in sessions]

    assert said == [*["fwd=miss; stored"] * 2, "hit", "fwd=miss; stored", "fwd=bypass; detail=no-partition"]


async def test_whom_the_gate_names_asks_whatever_credential_was_sent() -> None:
    """A2, I10: what is mounted in front of us is believed, as with a session."""
    app = CacheMiddleware(Upstream(), name="bot", store=MemoryStore())
    ada, bob = (Caller(brought=((b"authorization", name),)) for name in (b"ada", b"bob"))

    said = [
        says(await asked_as(app, headers=[*ON, (b"authorization", sent)], **{CALLER: caller}))
        for caller, sent in ((ada, b"1"), (bob, b"1"), (ada, b"2"))
    ]

    assert said == ["fwd=miss; stored", "fwd=miss; stored", "hit"]


# Whose key, for an HTTP upstream.


class Wire(httpx.AsyncBaseTransport):
    """What an upstream is sent, and answers that are all alike."""

    def __init__(self, respond: Callable[[httpx.Request], httpx.Response] | None = None) -> None:
        self.sent: list[httpx.Headers] = []
        self.respond = respond or (lambda _: answer())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request.headers)
        return self.respond(request)


def answer() -> httpx.Response:
    [part] = completion().parts
    assert isinstance(part, bytes)
    return httpx.Response(200, headers=[JSON], content=part)


def mounted(wire: Wire, **how: Any) -> CacheMiddleware:
    upstream = HttpUpstream("http://up.example/v1", transport=lambda: wire, **how)
    return CacheMiddleware(Upstream(), upstream=upstream, store=MemoryStore())


@pytest.mark.parametrize(
    ("how", "sent"),
    [
        ({"api_key": "sk-ours"}, "Bearer sk-ours"),
        ({"api_key": "sk-ours", "credentials": "pass"}, "Bearer jwt-of-the-app"),
        ({"api_key": "sk-ours", "credentials": "lend"}, "Bearer sk-ours"),
        ({"credentials": "lend"}, None),
        ({}, "Bearer jwt-of-the-app"),
    ],
)
async def test_an_apps_session_token_does_not_go_to_the_provider_in_place_of_the_operators_key(
    how: dict[str, Any], sent: str | None
) -> None:
    """F86, I11: opted in or not."""
    wire = Wire()
    app = mounted(wire, **how)

    for headers in (ON, (JSON,)):
        await call(app, "POST", PATH, prompt(), (*headers, (b"authorization", b"Bearer jwt-of-the-app")))

    assert [headers.get("authorization") for headers in wire.sent] == [sent] * 2


async def test_callers_are_told_apart_by_what_they_bring_though_it_is_not_sent() -> None:
    """I11."""
    wire = Wire()
    app = mounted(wire, api_key="sk-ours")

    replies = [
        await call(app, "POST", PATH, prompt(), (*ON, (b"authorization", b"Bearer " + name))) for name in (b"a", b"b", b"a")
    ]

    assert list(map(says, replies)) == ["fwd=miss; stored", "fwd=miss; stored", "hit"]


async def test_no_two_questions_or_callers_meet_in_one_idempotency_key() -> None:
    """F87, I12: an upstream that honours it would give one the other's answer, and that would be kept."""
    wire = Wire()
    app = mounted(wire, api_key="sk-ours", credentials="lend")
    key = (b"Idempotency-Key", b"k1")

    for name, asked, headers in (
        (b"alice", prompt("one"), ON),
        (b"bob", prompt("one"), ON),
        (b"alice", prompt("two"), ON),
        (b"alice", prompt("two"), (JSON,)),
        (b"bob", prompt("two"), (JSON,)),
        (b"bob", prompt("three"), (JSON,)),
    ):
        await call(app, "POST", PATH, asked, (*headers, key, (b"authorization", b"Bearer " + name)))

    sent = [headers.get_list("idempotency-key") for headers in wire.sent]
    assert [len(values) for values in sent] == [1] * 6
    assert "k1" not in {value for (value,) in sent}
    assert len({value for (value,) in sent}) == 5
    assert sent[4] == sent[5]


KEYED = {"Content-Type": "application/json", "Idempotency-Key": "k1"}


def test_in_a_transport_the_value_fits_its_question_too() -> None:
    """I12."""
    sent: list[str | None] = []

    def respond(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("idempotency-key"))
        return answer()

    with httpx.Client(transport=CacheTransport(httpx.MockTransport(respond), store=MemoryStore())) as client:
        for asked in (prompt("one"), prompt("two")):
            client.post("http://up.example" + PATH, content=asked, headers=KEYED)
        client.post("http://up.example" + PATH, content=prompt(), headers={**KEYED, "Cachemw": "off"})

    assert sent[2] == "k1"
    assert len({*sent}) == 3


@pytest.mark.parametrize(("member", "value"), [("user", "alice"), ("metadata", {"guardrails": ["none"]})])
async def test_what_nobody_knows_to_be_bookkeeping_is_in_the_key(member: str, value: object) -> None:
    """F94, I18: a gateway may read guardrails there."""
    said = {}
    for named in ((), (member,)):
        upstream = HttpUpstream("http://up.example/v1", transport=Wire)
        policy = Policy(bookkeeping=frozenset(named))
        app = CacheMiddleware(Upstream(), upstream=upstream, store=MemoryStore(), policy=policy)
        first = json.dumps({**json.loads(prompt()), member: value}).encode()
        said[named] = [says(await call(app, "POST", PATH, body, ON)) for body in (first, prompt())]

    assert said == {(): ["fwd=miss; stored"] * 2, (member,): ["fwd=miss; stored", "hit"]}


# What followers share.


async def together(app: ASGIApp, upstream: "Picky", *fields: tuple[bytes, bytes] | None) -> list[Reply]:
    """Let the first one lead, the others come while it is answered, and answer when all are there."""
    replies: list[Reply] = []

    async def ask(field: tuple[bytes, bytes] | None) -> None:
        replies.append(await call(app, "POST", PATH, prompt(), (*ON, *([field] if field else []))))

    async with anyio.create_task_group() as tasks:
        for field in fields:
            tasks.start_soon(ask, field)
            await anyio.wait_all_tasks_blocked()
        upstream.gate.set()
    return replies


class Picky(Upstream):
    """Waits until it may answer, and refuses what has a field it does not like."""

    def __init__(self, disliked: bytes, status: int) -> None:
        super().__init__(self.judge)
        self.gate, self.disliked, self.status = anyio.Event(), disliked, status

    def judge(self, asked: Asked) -> Told:
        refused = asked.header(self.disliked) == b"bad"
        parts = (b'{"error": {"message": "no"}}',) if refused else completion().parts
        return Told((self.gate, *parts), self.status if refused else 200)


@pytest.mark.parametrize(("field", "status"), [(b"user-agent", 403), (b"accept", 406), (b"x-request-id", 400)])
async def test_who_sends_what_is_refused_is_refused_alone(field: bytes, status: int) -> None:
    """F84, I15: else anyone could keep an answer from everybody."""
    upstream = Picky(field, status)
    app = CacheMiddleware(upstream, name="bot", store=MemoryStore())

    replies = await together(app, upstream, (field, b"bad"), *[None] * 5)

    assert sorted(reply.status or 0 for reply in replies) == [*[200] * 5, status]
    assert upstream.calls == 2


async def test_a_hundred_with_traces_of_their_own_cost_a_limited_upstream_two_calls() -> None:
    """P1, A6."""
    upstream = Upstream(lambda _: Told((gate, b'{"error": {"message": "later"}}'), 429))
    gate = anyio.Event()
    app = CacheMiddleware(upstream, name="bot", store=MemoryStore())
    replies: list[Reply] = []

    async def ask(number: int) -> None:
        replies.append(await call(app, "POST", PATH, prompt(), (*ON, (b"traceparent", b"%d" % number))))

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(ask, number)
        await anyio.wait_all_tasks_blocked()
        gate.set()

    assert {reply.status for reply in replies} == {429}
    assert upstream.calls <= 2


async def test_those_who_are_refused_anothers_ask_four_at_a_time() -> None:
    """A6: a question is not asked forty times at once because forty traces differ."""
    at_once, most = 0, 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await anyio.sleep(0.01)
        at_once -= 1
        await Upstream(lambda _: Told((b'{"error": {"message": "no"}}',), 400))(scope, receive, send)

    cache = CacheMiddleware(app, name="bot", store=MemoryStore())
    replies: list[Reply] = []

    async def ask(number: int) -> None:
        replies.append(await call(cache, "POST", PATH, prompt(), (*ON, (b"traceparent", b"%d" % number))))

    async with anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(ask, number)

    assert [reply.status for reply in replies] == [400] * 40
    assert most <= 4


# How much of bodies is held.


@pytest.mark.parametrize("beside", [False, True], ids=["around an app", "with an upstream"])
async def test_beyond_what_all_requests_may_hold_a_body_is_passed_on_unread(beside: bool) -> None:
    """F95, I16, A7: whole, and when the others are over it is read again."""
    upstream, wire = Upstream(), Wire()
    app = mounted(wire) if beside else CacheMiddleware(upstream, name="bot", store=MemoryStore())
    app.bodies = Budget(2_000)
    large = prompt("x" * 1_500)

    held = app.bodies.take(1_000)
    busy = await call(app, "POST", PATH, large, ON)
    app.bodies.give_back(1_000)
    read = [await call(app, "POST", PATH, large, ON) for _ in range(2)]

    assert held
    assert list(map(says, [busy, *read])) == ["fwd=bypass; detail=busy", "fwd=miss; stored", "hit"]
    assert app.bodies.take(2_000)
    if not beside:
        assert [asked.body for asked in upstream.asked] == [large] * 2
