"""The ASGI mount: `Middleware(CacheMiddleware, upstream=cerebras())`, or around an app, with `name="support-bot"`.

Pure ASGI. Mount it outside of `BaseHTTPMiddleware`, which hides from the server that a transfer was broken off, and
inside of what authenticates callers: who is refused there learns nothing of what is stored.
"""

from collections.abc import Awaitable, Iterable
from functools import partial
from types import MappingProxyType

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw._asgi_scope import AsgiRequest
from cachemw.budget import Budget
from cachemw.cache.classify import (
    Classified,
    NotOptedIn,
    OptedIn,
    OtherRequest,
    body_limit,
    classify,
    exchange_for,
    is_read_through,
)
from cachemw.cache.context import CALLER, DOOR, attested_in_scope
from cachemw.cache.directives import CONTROL_HEADER
from cachemw.cache.key import caller_of
from cachemw.cache.plans import Outbound
from cachemw.cache.policy import Policy
from cachemw.drivers.push import PushDriver
from cachemw.drivers.recalling import Door
from cachemw.errors import ClientLeftError
from cachemw.ledger.ledger import ledger_beside
from cachemw.limits import Limits
from cachemw.messages import URL_RECIPIENT, AppTarget, Head, Headers, Inside, Request, Target, Unread
from cachemw.report import Hook
from cachemw.stores import DiskStore, Store
from cachemw.upstreams.base import AsyncGateway, AsyncUpstream, answerer
from cachemw.upstreams.push import END, Answer, Emit, Ending, PulledUpstream, PushUpstream
from cachemw.wire.fields import without


class AsgiClient:
    """The server's `send`, as a client to answer."""

    def __init__(self, send: Send, incoming: AsgiRequest) -> None:
        self._send, self._incoming = send, incoming
        self._has_ended = False

    def start(self, head: Head) -> Awaitable[None]:
        return self._send({"type": "http.response.start", "status": head.status, "headers": list(head.headers)})

    def write(self, chunk: bytes, more: bool) -> Awaitable[None]:
        self._has_ended = not more
        return self._send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def left(self) -> None:
        """Return when the client has left; one that has its whole answer, which servers tell in the same way, has not."""
        await self._incoming.left()
        if self._has_ended:
            await anyio.sleep_forever()


class AsgiAppUpstream:
    """Let a wrapped app answer."""

    hears_client = True

    def __init__(self, app: ASGIApp, incoming: AsgiRequest, stop_notice: float) -> None:
        self._app, self._incoming, self.stop_notice = app, incoming, stop_notice

    def alone(self, outbound: Outbound) -> Answer:
        """Answer in the request's own task, with the server's own `receive`: it sees a real disconnect."""
        return self._answer(self._incoming.headers, self._incoming.replayed())

    def in_flight(self, ending: Ending, outbound: Outbound) -> Answer:
        """Answer in a task of its own, which is told of a disconnect when nobody wants its answer any more, or all have it."""
        headers = without(self._incoming.headers, (b"accept-encoding",))
        return self._answer((*headers, (b"accept-encoding", b"identity")), self._incoming.until(ending))

    def _answer(self, headers: Headers, receive: Receive) -> Answer:
        async def answer(emit: Emit) -> None:
            scope, fields = self._incoming.scope, list(without(headers, (CONTROL_HEADER,)))
            offered = {name: member for name, member in (scope.get("extensions") or {}).items() if name == "tls"}
            await self._app({**scope, "headers": fields, "extensions": offered}, receive, _emitting(emit))

        return answer


def _emitting(emit: Emit) -> Send:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            fields = tuple((bytes(name), bytes(value)) for name, value in message.get("headers", ()))
            await emit(Head(message["status"], fields))
        elif message["type"] == "http.response.body":
            if chunk := bytes(message.get("body", b"")):
                await emit(chunk)
            if not message.get("more_body", False):
                await emit(END)

    return send


async def give_again(door: Door, body: bytes | Unread, send: Send, also: Headers = ()) -> bool:
    """Give a request again what the like of it was given, with these fields; say so where there was nothing."""
    found = door.find(body)
    if found is None:
        return False
    recalled, moment = found
    *pieces, last = recalled.pieces
    try:
        await send({"type": "http.response.start", "status": moment.head.status, "headers": [*moment.head.headers, *also]})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": last, "more_body": False})
    except OSError:  # the client left, as ASGI 2.4 says it
        pass
    finally:
        door.tally.add(moment, recalled.body_size)
    return True


class CacheMiddleware:
    """Caches what an ASGI app answers to API calls, or an HTTP upstream beside it.

    With `upstream` every API call goes there and everything else to `app`, with `gateway` to one of several; with `name`
    the app answers misses, and the name is in the key: change it when the app's prompts change. The default store is
    `DiskStore()`, the default policy off unless asked. A `ledger` beside such a store says what every exchange came to.
    Raises `ConfigurationError` without any of these.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        upstream: AsyncUpstream | None = None,
        gateway: AsyncGateway | None = None,
        name: str | None = None,
        store: Store | None = None,
        policy: Policy | None = None,
        limits: Limits = Limits(),
        hooks: Iterable[Hook] = (),
        ledger: bool = True,
    ) -> None:
        self.app, self._name = app, name or ""
        self._upstream, self._planner = answerer(upstream, gateway, name), gateway
        self._owns_store = store is None
        self._store = DiskStore() if store is None else store
        recipient, policy = Inside.APP if self._upstream is None else URL_RECIPIENT, policy or Policy()
        self._ledger = ledger_beside(self._store, policy) if ledger else None
        hooks = (*hooks, self._ledger) if self._ledger else hooks
        self.driver = PushDriver(self._store, policy, limits, hooks, recipient, gateway)
        self.policy = self.driver.policy
        self._recaller = self.driver.recaller if self.driver.recaller.is_on else None
        self.bodies = Budget(limits.requests_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, self._observing(send) if scope["type"] == "lifespan" else send)
            return
        incoming = AsgiRequest(scope, receive, self.bodies)
        match classify(incoming.method, incoming.path, incoming.headers, self.policy):
            case OtherRequest(asked, headers):
                await self.app(scope if asked is None else {**scope, "headers": list(headers)}, receive, send)
            case NotOptedIn() if self._upstream is None:
                await self.app(scope, receive, send)
            case classified:
                await self._run(classified, incoming, send)

    async def aclose(self) -> None:
        """Close the upstream's connections, and the store if it is our own. May be called twice."""
        self.driver.recaller.tally.tell()
        if self._upstream is not None:
            await self._upstream.aclose()
        if self._ledger is not None:
            self._ledger.close()
        if self._owns_store:
            self._store.close()

    def _observing(self, send: Send) -> Send:
        async def observe(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await self.aclose()
            await send(message)

        return observe

    async def _run(self, classified: Classified, incoming: AsgiRequest, send: Send) -> None:
        door: Door | None = None
        if self._recaller is not None and isinstance(classified, OptedIn):
            door = incoming.scope.get(DOOR) or incoming.door(self._recaller)
        try:
            body = await incoming.read(
                body_limit(
                    classified, self.policy, is_read=not isinstance(classified, OptedIn) and self.reads(classified, incoming)
                )
            )
            if door is None or not door.is_known or not await give_again(door, body, send):
                await self.drive(classified, self.request(incoming, body), incoming, send, door)
        except ClientLeftError:
            pass
        finally:
            incoming.let_go()

    def reads(self, classified: Classified, incoming: AsgiRequest) -> bool:
        """Say whether a request's body has to be read though it is not cached."""
        if self._upstream is None:
            return False
        target = self._upstream.target(incoming.raw_path, incoming.query)
        return is_read_through(classified, incoming.method, incoming.headers, target)

    def drive(
        self, classified: Classified, request: Request, incoming: AsgiRequest, send: Send, door: Door | None = None
    ) -> Awaitable[None]:
        """Answer a request that has been read."""
        target = None if self._upstream is None else incoming.target
        exchange = exchange_for(classified, request, self.policy, self.driver.limits, self.driver.verified, target)
        if door is not None:
            door.begin(request.body)
        return self.driver.run(exchange, self._push_upstream(incoming), AsgiClient(send, incoming), door)

    def _push_upstream(self, incoming: AsgiRequest) -> PushUpstream:
        if self._upstream is None:
            return AsgiAppUpstream(self.app, incoming, self.driver.limits.stop_notice)
        outgoing = partial(incoming.outgoing, self.policy.header_rules, self.driver.limits.timeouts)
        return PulledUpstream(self._upstream, outgoing)

    def request(self, incoming: AsgiRequest, body: bytes | Unread) -> Request:
        """Return a request as a value."""
        scope, raw_path = incoming.scope, incoming.raw_path
        path = incoming.path.encode(errors="surrogatepass")
        target: Target
        if self._upstream is None:
            target = AppTarget(self._name, incoming.root, path, raw_path, incoming.query)
        else:
            target = self._upstream.target(raw_path, incoming.query)
        attested, headers = attested_in_scope(scope), incoming.headers
        caller = scope.get(CALLER) or caller_of(headers, target.recipient, attested)
        return Request(incoming.method, incoming.path, headers, body, target, attested, caller, MappingProxyType(scope))
