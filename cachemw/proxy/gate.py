"""The gate before the proxy: refuses a request that may not come in, and says why."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw._asgi_scope import AsgiRequest, raw_path_below
from cachemw.asgi import give_again
from cachemw.budget import Budget
from cachemw.cache.context import ALSO, CALLER, DOOR
from cachemw.cache.recall import RECALLED_BODY
from cachemw.drivers.recalling import Recaller
from cachemw.endpoints import errors as refusals
from cachemw.endpoints.errors import ErrorResponse
from cachemw.errors import ClientLeftError
from cachemw.limits import Limits
from cachemw.messages import Headers, Unread, header_values
from cachemw.proxy.admission import AccessRules, Admitted, Refused, admit, shape_at
from cachemw.proxy.known_heads import KnownHeads
from cachemw.proxy.lending import judge

SEALED: Headers = ((b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"sandbox"))
"""On every answer: a page among them, such as an upstream's 404, would be of our origin, and could ask with our key."""

_NEVER = frozenset(
    b"timing-allow-origin cross-origin-resource-policy x-content-type-options clear-site-data strict-transport-security alt-svc"
    b" service-worker-allowed set-cookie set-cookie2 nel report-to reporting-endpoints refresh public-key-pins expect-ct"
    b" accept-ch".split()
)
_NEVER_BEGINNING = (b"access-control-", b"content-security-policy", b"public-key-pins-")


class Gate:
    """An ASGI app that lets those in to another one who may come, by `rules`; what goes out opens it to no web page.

    It is the outermost of a server: what the server cancels when it ends is ended here. What it has to read of a body counts
    among the `bodies` that are held. With the app's `recaller` a request is not even admitted anew whose like was given a plain
    hit.
    """

    def __init__(
        self,
        app: ASGIApp,
        rules: AccessRules,
        *,
        limits: Limits = Limits(),
        bodies: Budget | None = None,
        recaller: Recaller | None = None,
    ) -> None:
        self.app = app
        self.recaller = recaller if recaller is not None and recaller.is_on else None
        self._rules, self._limits, self._bodies = rules, limits, bodies or Budget(limits.requests_bytes)
        self.known_heads = None if self.recaller is None else KnownHeads(self.recaller, self._bodies, SEALED)
        """What its listeners may answer by themselves."""
        self.meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext
        """Entered when the server starts, and left when it has ended."""

    @property
    def rules(self) -> AccessRules:
        """The rules of whom it answers now."""
        return self._rules

    def admit_by(self, rules: AccessRules) -> None:
        """Admit by other rules from now on; what was let in before goes on. Nothing is recalled of what the old ones let in."""
        self._rules = rules
        if self.recaller is not None:
            self.recaller.renew()
        if self.known_heads is not None:
            self.known_heads.renew()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            with self.meanwhile():
                await self.app(scope, receive, send)
        elif self.recaller is not None and scope.get("method") == "POST":
            await self._at_the_door(self.recaller, scope, receive, send)
        else:
            await self._decide(scope, receive, send)

    async def _at_the_door(self, recaller: Recaller, scope: Scope, receive: Receive, send: Send) -> None:
        """Give again what the like of this request was given; else decide, and remember."""
        incoming = AsgiRequest(scope, receive, self._bodies)
        door = incoming.door(recaller)
        door.also = scope.get(ALSO)
        if not door.is_known:
            await self._decide({**scope, DOOR: door}, receive, send)
            return
        try:
            if not await give_again(door, await incoming.read(RECALLED_BODY), send, SEALED):
                await self._decide({**scope, DOOR: door}, _handed_on(incoming), send)
        except ClientLeftError:
            pass
        except asyncio.CancelledError:  # as in `_let_in`, which lets none of what is decided come here
            if not incoming.is_whole:
                await _say(self._said(scope, refusals.shutting_down()), True, send)
        finally:
            incoming.let_go()

    def _decide(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        decided = admit(scope.get("method", "GET"), raw_path_below(scope), tuple(scope["headers"]), self._rules)
        if isinstance(decided, Refused):
            return _refuse(scope, decided, send)
        if scope["type"] == "websocket":
            return self.app(scope, receive, send)
        return self._let_in(scope, decided, receive, send)

    async def _let_in(self, scope: Scope, admitted: Admitted, receive: Receive, send: Send) -> None:
        """Let the app answer. Who has heard nothing when the server ends is told so; what has no end, the server breaks off."""
        inside = scope if admitted.caller is None else {**scope, CALLER: admitted.caller}
        outward, app = _Sealed(send), self._judged if admitted.by_body else self.app
        try:
            if admitted.sized:
                await app(inside, receive, outward.send)
            else:
                too_large = self._said(scope, refusals.body_too_large(self._rules.max_body))
                await _Measured(receive, outward.send, self._rules.max_body, too_large).run(app, inside)
        except asyncio.CancelledError:  # inside, it has undone everything; the server would call it a fault of ours
            if not outward.has_begun:
                await _say(self._said(scope, refusals.shutting_down()), True, send)
            elif outward.takes_event():
                body = refusals.parting_event(outward.is_at_boundary, shape_at(raw_path_below(scope), self._rules.policy))
                await send({"type": "http.response.body", "body": body, "more_body": True})

    async def _judged(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer if the body may be answered with a lent key."""
        incoming = AsgiRequest(scope, receive, self._bodies)
        try:
            body = await incoming.read(self._rules.policy.max_request_bytes)
            limit = self._limits.work.document
            answer = refusals.busy() if body is Unread.BUSY else judge(incoming.raw_path, incoming.headers, body, limit)
            if answer is None:
                await self.app(scope, incoming.replayed(), send)
            else:
                await _say(self._said(scope, answer), isinstance(body, Unread), send)
        except ClientLeftError:
            pass
        finally:
            incoming.let_go()

    def _said(self, scope: Scope, answer: ErrorResponse) -> ErrorResponse:
        """Return a refusal as those read it who ask for this path."""
        return refusals.said_in(shape_at(raw_path_below(scope), self._rules.policy), answer)


class _Measured:
    """A request whose body is measured as it comes. One that is `too_large` ends, for the app, as if its client had left."""

    def __init__(self, receive: Receive, send: Send, limit_bytes: int, too_large: ErrorResponse) -> None:
        self._receive, self._send, self._too_large = receive, send, too_large
        self._left = limit_bytes
        self._has_begun = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Let the app answer. Where it had begun to, and then too much came, the server breaks off what has no end."""
        await app(scope, self.receive, self.send)
        if self._left < 0 and not self._has_begun:
            await _say(self._too_large, True, self._send)

    async def receive(self) -> Message:
        if self._left >= 0:
            message = await self._receive()
            self._left -= len(message.get("body", b""))
            if self._left >= 0:
                return message
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._left >= 0:
            self._has_begun = True
            await self._send(message)


def _handed_on(incoming: AsgiRequest) -> Receive:
    """Return a `receive` that gives what was read; what is whole is counted by who receives it, and not twice."""
    receive = incoming.replayed()
    if incoming.is_whole:
        incoming.let_go()
    return receive


class _Sealed:
    """A `send` that keeps back what would let web pages read an answer, or browsers remember anything of us.

    An upstream may not say that for us.
    """

    def __init__(self, send: Send) -> None:
        self._send, self.has_begun = send, False
        self._fields: Headers = ()
        self._tail, self._has_ended = b"", False

    def takes_event(self) -> bool:
        """Say whether an event may follow: it is an open stream of events, not coded and of no known length."""
        kinds = header_values(self._fields, b"content-type")
        is_plain = not any(header_values(self._fields, name) for name in (b"content-encoding", b"content-length"))
        is_stream = any(kind.lower().startswith(b"text/event-stream") for kind in kinds)
        return is_stream and is_plain and not self._has_ended

    @property
    def is_at_boundary(self) -> bool:
        """Say whether what was sent ends between two events."""
        return not self._tail or self._tail.endswith((b"\n\n", b"\r\r", b"\r\n\r\n"))

    async def send(self, message: Message) -> None:
        self.has_begun = True
        if message["type"] == "http.response.body":
            self._tail = (self._tail + message.get("body", b"")[-4:])[-4:]
            self._has_ended = not message.get("more_body", False)
        if message["type"] == "http.response.start":
            fields = [
                field
                for field in message.get("headers", ())
                if (name := field[0].lower()) not in _NEVER and not name.startswith(_NEVER_BEGINNING)
            ]
            self._fields = tuple(fields)
            message = {**message, "headers": [*fields, *SEALED]}
        await self._send(message)


async def _refuse(scope: Scope, refused: Refused, send: Send) -> None:
    if scope["type"] != "websocket":
        await _say(refused.answer, refused.closes, send)
    elif "websocket.http.response" in (scope.get("extensions") or {}):
        await _say(refused.answer, refused.closes, send, "websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})


async def _say(answer: ErrorResponse, closes: bool, send: Send, kind: str = "http.response") -> None:
    head, body = answer
    fields = [*head.headers, *SEALED, *([(b"connection", b"close")] if closes else [])]
    await send({"type": f"{kind}.start", "status": head.status, "headers": fields})
    await send({"type": f"{kind}.body", "body": body})
