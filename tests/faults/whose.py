"""A2: callers whom a path, a host, a credential or the server tells apart ask one store the same. Each gets their own."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import anyio
import anyio.to_thread
import httpx
from starlette.authentication import SimpleUser, UnauthenticatedUser
from starlette.routing import Mount, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw import MemoryStore, Policy, asgi, wsgi
from cachemw._wsgi_environ import Environ, StartResponse, WsgiApp
from cachemw.httpx import CacheTransport
from cachemw.proxy import Proxy
from cachemw.proxy.admission import AccessRules
from cachemw.proxy.gate import Gate
from cachemw.upstreams import HttpUpstream
from cachemw.upstreams.checking import Credentials
from tests import wsgi_driver
from tests.asgi_driver import Reply, call
from tests.faults.credentials import CREDENTIALS, PLACEHOLDER, THE_SERVERS, Fields, said_in, who
from tests.faults.fault import Fault, Tally
from tests.faults.reflecting import ORIGIN, PATH, Inner, asked_here, is_hit
from tests.mounts.wsgi_upstream import WsgiUpstream
from tests.upstream import Asked, Told, Upstream, completion, prompt, stream

Named = dict[str, Any]
"""Of whom something is, in the words of who answers."""

ROUND = 1_000
AT_ONCE = 16
POOL = 40
TEXTS = 5
COST = 0.001
"""Seconds an answer takes, so that others ask the same meanwhile."""

TENANTS = ("", "acme", "globex")
PEOPLE = ("ada", "ben")
HOSTS = ("host", "x-forwarded-host", "forwarded")
VOUCHED_ASGI = ("user", "anonymous user", "session", "tls name", "tls chain")
VOUCHED_WSGI = ("REMOTE_USER", "SSL_CLIENT_S_DN", "session")
KEYS = (b"sk-client-1", b"sk-client-2")
BY_HEADER: tuple[Fields, ...] = (
    (),
    (PLACEHOLDER,),
    ((b"authorization", b"Bearer sk-ada"),),
    ((b"authorization", b"Bearer sk-ben"),),
    *(((name, b"sk-ada"),) for name in CREDENTIALS[1:]),
)
BY_CLIENT_KEY: tuple[Fields, ...] = tuple(
    field for key in KEYS for field in (((b"authorization", b"Bearer " + key),), ((b"x-api-key", key),))
)


@dataclass(frozen=True, slots=True)
class Caller:
    """One who asks: below which prefix and how that is said, at which host, who the server says it is, what the fields say."""

    tenant: str = ""
    is_whole_path: bool = True
    is_routed: bool = False
    hosts: Fields = ((b"host", b"bot.example"),)
    vouched: tuple[str, str] = ("", "")
    credential: Fields = ()

    @property
    def session(self) -> str | None:
        return self.vouched[1] if self.vouched[0] == "session" else None

    @property
    def fields(self) -> Fields:
        """What it sends to say who it is; the session is in a cookie, as those of all frameworks are."""
        cookies = () if self.session is None else ((b"cookie", b"session=" + self.session.encode()),)
        return (*self.hosts, *self.credential, *cookies)

    def scope(self, scope: Scope) -> Scope:
        """Return a scope as a server and what stands before us would make it."""
        by, name = self.vouched
        root = f"/{self.tenant}" if self.tenant else ""
        path = root + scope["path"] if root and (self.is_routed or self.is_whole_path) else scope["path"]
        more: Scope = {"path": path, "raw_path": path.encode(), "root_path": "" if self.is_routed else root}
        if by == "user":
            more["user"] = SimpleUser(name)
        elif by == "anonymous user":
            more["user"] = UnauthenticatedUser()
        elif by == "session":
            more["session"] = {"user": name}
        elif by == "tls name":
            more["extensions"] = {"tls": {"client_cert_name": f"CN={name}", "client_cert_chain": [], "tls_version": 0x0304}}
        elif by == "tls chain":
            more["extensions"] = {"tls": {"client_cert_name": None, "client_cert_chain": [name], "tls_version": 0x0304}}
        return {**scope, **more}

    def environ(self, environ: Environ) -> Environ:
        """Return an environment as a server would make it."""
        by, name = self.vouched
        more = {"SCRIPT_NAME": f"/{self.tenant}" if self.tenant else ""}
        if by == "REMOTE_USER":
            more |= {"REMOTE_USER": name, "AUTH_TYPE": "Basic"}
        elif by == "SSL_CLIENT_S_DN":
            more |= {"SSL_CLIENT_S_DN": f"CN={name}", "SSL_CLIENT_VERIFY": "SUCCESS"}
        return {**environ, **more}


def named_by_scope(scope: Scope) -> Named:
    """Return all that an ASGI app sees of who asks."""
    tls = scope.get("extensions", {}).get("tls", {})
    user = scope.get("user")
    return {
        "tenant": scope["root_path"],
        "user": user.display_name if user is not None and user.is_authenticated else None,
        "session": scope.get("session"),
        "certificate": [tls.get("client_cert_name"), tls.get("client_cert_chain")],
        **named_by_fields(scope["headers"]),
    }


def named_by_environ(environ: Environ) -> Named:
    """Return all that a WSGI app sees of who asks."""
    members = ("SCRIPT_NAME", "REMOTE_USER", "AUTH_TYPE", "SSL_CLIENT_S_DN", "SSL_CLIENT_VERIFY", "HTTP_COOKIE")
    fields = [
        (name[5:].replace("_", "-").lower().encode(), value.encode())
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    return {name: environ.get(name) for name in members} | named_by_fields(fields)


def named_by_fields(fields: Iterable[tuple[bytes, bytes]]) -> Named:
    """Return what the header fields say of who asks, and where."""
    lower = tuple((name.lower(), value) for name, value in fields)
    hosts = sorted([name.decode(), value.decode()] for name, value in lower if name.decode() in HOSTS)
    return {"hosts": hosts, "credential": who(lower)}


@dataclass(slots=True)
class Telling:
    """Answers with a number, with whom it saw, and with the question."""

    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def told(self, named: Named, asked: Asked) -> Told:
        said = json.loads(asked.body)
        text = json.dumps([next(self.numbers), named, said["messages"][-1]["content"]])
        return stream(text) if said.get("stream") else completion(text)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(COST)
        await Upstream(partial(self.told, named_by_scope(scope)))(scope, receive, send)

    def wsgi_app(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        time.sleep(COST)
        return WsgiUpstream(Upstream(partial(self.told, named_by_environ(environ))))(environ, start_response)

    def over_http(self) -> "Waiting":
        return Waiting(lambda asked: self.told(named_by_fields(asked.headers), asked))


class Waiting(Inner):
    """An upstream's end of an HTTP request, which takes its time."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep(COST)
        return await super().handle_async_request(request)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        time.sleep(COST)
        return super().handle_request(request)


@dataclass(frozen=True, slots=True)
class Asks:
    """A mount as its callers ask it."""

    send: Callable[[Caller, bytes, Fields], Any]
    is_async: bool


def around_asgi(telling: Telling) -> Asks:
    cache = asgi.CacheMiddleware(telling.app, name="bot", store=MemoryStore())
    return to_asgi(cache, Router([Mount("/{tenant}", app=cache)]))


def beside_asgi(telling: Telling) -> Asks:
    cache = asgi.CacheMiddleware(telling.app, upstream=_upstream(telling), store=MemoryStore())
    return to_asgi(cache, Router([Mount("/{tenant}", app=cache)]))


def proxy(telling: Telling) -> Asks:
    rules = AccessRules(Policy(), client_keys=KEYS)
    gate = Gate(Proxy(_upstream(telling, credentials="lend"), store=MemoryStore()), rules)
    return to_asgi(gate, gate)


def around_wsgi(telling: Telling) -> Asks:
    cache = wsgi.CacheMiddleware(telling.wsgi_app, name="bot", store=MemoryStore())

    def send(caller: Caller, body: bytes, fields: Fields) -> Reply:
        return wsgi_driver.call(entered_here(cache, caller), "POST", PATH, body, fields, is_validated=False)

    return Asks(send, is_async=False)


def transport(telling: Telling) -> Asks:
    mount = CacheTransport(telling.over_http(), store=MemoryStore())
    return Asks(lambda _, body, fields: asked_here(mount, PATH, body, list(fields)), is_async=False)


def to_asgi(app: ASGIApp, router: ASGIApp) -> Asks:
    async def send(caller: Caller, body: bytes, fields: Fields) -> Reply:
        return await call(entered(router if caller.is_routed else app, caller), "POST", PATH, body, fields)

    return Asks(send, is_async=True)


def entered(app: ASGIApp, caller: Caller) -> ASGIApp:
    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        await app(caller.scope(scope), receive, send)

    return enter


def entered_here(app: WsgiApp, caller: Caller) -> WsgiApp:
    return lambda environ, start_response: app(caller.environ(environ), start_response)


def _upstream(telling: Telling, *, credentials: Credentials = "replace") -> HttpUpstream:
    return HttpUpstream(f"{ORIGIN}/v1", api_key="sk-of-the-server", credentials=credentials, transport=telling.over_http)


MOUNTS: dict[str, Callable[[Telling], Asks]] = {
    "ASGI around an app": around_asgi,
    "WSGI around an app": around_wsgi,
    "ASGI with an upstream": beside_asgi,
    "transport": transport,
    "client keys": proxy,
}


def drawn(kind: str, random: Random) -> Caller:
    """Return a caller whom this kind of mount can tell from another."""
    if kind == "client keys":
        return Caller(hosts=((b"host", b"127.0.0.1"),), credential=random.choice(BY_CLIENT_KEY))
    if kind == "transport":
        return Caller(hosts=((b"host", random.choice(TENANTS[1:]).encode()),), credential=random.choice(BY_HEADER))
    tenant = random.choice(TENANTS)
    credential = random.choice(BY_HEADER) if random.random() < 0.5 else ()
    return Caller(
        tenant=tenant,
        is_whole_path=random.random() < 0.5,
        is_routed=tenant != "" and random.random() < 0.3,
        hosts=hosts_of(random),
        vouched=vouched_for(kind, credential, random),
        credential=credential,
    )


def vouched_for(kind: str, credential: Fields, random: Random) -> tuple[str, str]:
    """Return how a server says who somebody is, and who. Where there is a credential, that alone decides who is the user."""
    ways = VOUCHED_WSGI if kind.startswith("WSGI") else VOUCHED_ASGI
    by, name = random.choice([*ways, ""]), random.choice(PEOPLE)
    if ways is VOUCHED_ASGI and by in ("user", "anonymous user", "") and credential:
        return ("user", "ada") if credential[0][1].endswith(b"sk-ada") else ("anonymous user", "")
    return by, name if by else ""


def hosts_of(random: Random) -> Fields:
    """Return the fields that say at which host somebody asks."""
    host, by = f"{random.choice(TENANTS[1:])}.example".encode(), random.choice(HOSTS)
    if by == "host":
        return ((b"host", host),)
    return (b"host", b"bot.example"), (by.encode(), b"for=192.0.2.1;host=" + host if by == "forwarded" else host)


def named_of(kind: str, caller: Caller) -> list[Named]:
    """Return as whom an answer may name its asker: an upstream with a key of its own may be sent that one."""
    fields = [(b"content-type", b"application/json"), *caller.fields]
    if kind == "ASGI around an app":
        routed = {**caller.scope({"path": PATH, "headers": fields, "extensions": {}})}
        return [named_by_scope({**routed, "root_path": f"/{caller.tenant}" if caller.tenant else ""})]
    if kind == "WSGI around an app":
        return [named_by_environ(caller.environ(wsgi_driver.environ_for("POST", PATH, fields)))]
    if kind == "transport":
        return [named_by_fields(fields)]
    own = () if kind == "client keys" else tuple(each for each in caller.credential if each != PLACEHOLDER)
    return [{"credential": who(sent)} for sent in ([own] if own else []) + [THE_SERVERS]]


def partition_of(kind: str, caller: Caller) -> object:
    """Return what two callers have in common who may get one answer."""
    if kind == "client keys":
        return caller.credential[0][1].removeprefix(b"Bearer ")
    if kind == "ASGI with an upstream":
        own = tuple(each for each in caller.credential if each != PLACEHOLDER)
        attests = ("tls name", "tls chain") if own else ("user", "tls name", "tls chain")
        return own, caller.vouched if caller.vouched[0] in attests else None
    return json.dumps(named_of(kind, caller))


def is_nameless(kind: str, caller: Caller) -> bool:
    """Say whether somebody is authenticated by something that is in no key: that is not cached."""
    is_placeholder = kind == "ASGI with an upstream" and caller.credential == (PLACEHOLDER,)
    is_attested = bool(caller.credential) and not is_placeholder
    return caller.vouched[0] == "user" and not is_attested


class Load:
    """Random requests of a few callers at one mount, and what came of them."""

    def __init__(self, kind: str, number: int) -> None:
        self.kind, self.hits, self.collapsed, self.tally = kind, 0, 0, Tally()
        self.asks = MOUNTS[kind](Telling())
        self._random, self._lock = Random(f"{kind} {number}"), threading.Lock()
        self._callers = [drawn(kind, self._random) for _ in range(POOL)]
        self._named = {caller: named_of(kind, caller) for caller in self._callers}
        self._partitions = {caller: partition_of(kind, caller) for caller in self._callers}
        self._owners: dict[int, object] = {}
        self._asked = 0

    async def ask(self, count: int) -> None:
        """Ask so many questions, one after the other; all who ask meanwhile ask much the same."""
        for _ in range(count):
            with self._lock:
                random = Random(self._random.random())
                text, self._asked = f"question {self._asked * TEXTS // ROUND}", self._asked + 1
            caller, is_stream = random.choice(self._callers), random.random() < 0.3
            body = prompt(text, **({"stream": True} if is_stream else {}))
            fields = [(b"content-type", b"application/json"), (b"cachemw", b"on"), *caller.fields]
            sent = self.asks.send(caller, body, tuple(fields))
            reply: Reply = await sent if self.asks.is_async else sent
            with self._lock:
                self.hits += is_hit(reply)
                self.collapsed += b"collapsed" in reply.headers.get(b"cache-status", b"")
                self.tally += self._judge(caller, text, reply)

    def _judge(self, caller: Caller, text: str, reply: Reply) -> Tally:
        if reply.status != 200 or not reply.complete:
            return Tally(1, failed=1, examples=(f"{self.kind}: {reply.status} {reply.body[:200]!r} for {caller}",))
        number, named, about = json.loads(said_in(reply))
        status = reply.headers.get(b"cache-status", b"")
        if is_nameless(self.kind, caller) != (b"detail=no-partition" in status):
            return Tally(1, wrong=1, examples=(f"{self.kind}: {caller} was told {status!r}",))
        own = self._partitions[caller]
        is_named = any(may_be == {name: named[name] for name in may_be} for may_be in self._named[caller])
        if is_named and about == text and self._owners.setdefault(number, own) == own:
            return Tally(1)
        return Tally(1, wrong=1, examples=(f"{self.kind}: {caller} got what was said to {named}",))


async def mixed_load(kind: str, number: int) -> Load:
    """Ask a round of questions, `AT_ONCE` at a time, in tasks or in threads."""
    load = Load(kind, number)
    async with anyio.create_task_group() as tasks:
        for each in range(AT_ONCE):
            share = ROUND // AT_ONCE + (each < ROUND % AT_ONCE)
            if load.asks.is_async:
                tasks.start_soon(load.ask, share)
            else:
                tasks.start_soon(anyio.to_thread.run_sync, partial(anyio.run, load.ask, share))
    return load


def run(trials: int) -> Tally:
    """Put every mount under load, in rounds. Raises where too few were hits, or none collapsed, to show anything."""
    kinds = list(MOUNTS)
    loads = [anyio.run(mixed_load, kinds[number % len(kinds)], number) for number in range(max(len(kinds), trials // ROUND))]
    tally, asked = sum((load.tally for load in loads), Tally()), dict.fromkeys(kinds, 0)
    hits, collapsed = dict(asked), sum(load.collapsed for load in loads)
    for load in loads:
        asked[load.kind] += ROUND
        hits[load.kind] += load.hits
    if tally.is_clean and not (collapsed and all(asked[kind] // 4 < hits[kind] < asked[kind] for kind in kinds)):
        raise RuntimeError(f"{hits} hits, {collapsed} collapsed, in {asked} requests show nothing")
    return tally + Tally(note=f"{sum(hits.values()):,} hits, {collapsed:,} collapsed")


FAULTS = (
    Fault(
        "tenants, users, hosts, credentials, mounts",
        "random requests of many callers; each answer says who it saw asking",
        5_000,
        100_000,
        run,
    ),
)
