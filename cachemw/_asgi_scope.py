"""A request as an ASGI server hands it over: its scope, and a body that is read within a limit and then handed on."""

from collections.abc import AsyncIterator
from functools import cached_property
from urllib.parse import quote

import anyio
from starlette.types import Message, Receive, Scope

from cachemw.budget import Budget
from cachemw.cache.context import CALLER, attested_in_scope
from cachemw.cache.header_rules import HeaderRules
from cachemw.drivers.recalling import Door, Recaller
from cachemw.errors import ClientLeftError
from cachemw.limits import PIECE_BYTES, Timeouts
from cachemw.messages import Headers, Unread
from cachemw.upstreams.base import UpstreamRequest
from cachemw.upstreams.push import Ending


class AsgiRequest:
    """A request as the server hands it over. Its body is read here within a limit, then handed on to whoever answers.

    `path` and `raw_path` are below `root_path`.
    """

    def __init__(self, scope: Scope, receive: Receive, budget: Budget) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.headers: Headers = tuple(map(tuple, scope["headers"]))
        self._receive, self._budget = receive, budget
        self._held = bytearray()  # what was read; one buffer, for the memory of many small ones is never given back
        self._whole: bytes | None = None
        self._taken = 0
        self._has_more = True
        self._handed_over: anyio.Event | None = None

    @cached_property
    def path(self) -> str:
        return path_below(self.scope)

    @cached_property
    def raw_path(self) -> bytes:
        return raw_path_below(self.scope)

    @property
    def root(self) -> bytes:
        return str(self.scope.get("root_path", "")).encode(errors="surrogatepass")

    @property
    def query(self) -> bytes:
        query: bytes = self.scope["query_string"]
        return query

    @property
    def target(self) -> bytes:
        """Path and query as they were sent."""
        return self.raw_path + b"?" + self.query if self.query else self.raw_path

    @property
    def is_whole(self) -> bool:
        """Say whether all of the body has been read."""
        return not self._has_more

    async def read(self, limit_bytes: int | None) -> bytes | Unread:
        """Return the body, if it is within the limit; 0 only looks whether there is one, `None` does not even that.

        Raises `ClientLeftError`.
        """
        if limit_bytes is None:
            return Unread.LEFT_ALONE
        size = 0
        while self._has_more:
            chunk = self._body_of(await self._receive())
            size += len(chunk)
            is_within_budget = self._hold(chunk)
            if size > limit_bytes or not is_within_budget:
                return Unread.TOO_LARGE if size > limit_bytes else Unread.BUSY
        return self._in_one() if self._whole is None else self._whole

    def replayed(self) -> Receive:
        """Return a `receive` that first gives what was read, then what the server gives: the rest, or a real disconnect."""
        read = None if self._has_more else self._in_one()
        has_begun = False

        async def replay() -> Message:
            nonlocal has_begun
            if has_begun and not (self._has_more and self._held):
                return await self._receive()
            has_begun = True
            return {"type": "http.request", "body": self._hand_on() if read is None else read, "more_body": self._has_more}

        return replay

    def until(self, ending: Ending) -> Receive:
        """Return a `receive` that gives the body in one message, and then a disconnect when that is due."""
        messages: list[Message] = [{"type": "http.request", "body": self._in_one(), "more_body": False}]

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await ending()
            return {"type": "http.disconnect"}

        return receive

    def outgoing(self, rules: HeaderRules, timeouts: Timeouts) -> UpstreamRequest:
        """Return it as an upstream is asked; its body is whole, or what was read and then piece by piece."""
        body = self._pieces() if self._has_more else self._in_one()
        return UpstreamRequest(self.method, self.raw_path, self.query, self.headers, body, rules, timeouts=timeouts)

    def door(self, recaller: Recaller) -> Door:
        """Return its door to what was decided before."""
        get = self.scope.get
        root, path = str(get("root_path", "")), self.scope["path"].encode(errors="surrogatepass")
        asked = (self.method, root.encode(errors="surrogatepass"), path, get("raw_path"), get("query_string"))
        return recaller.door(asked, self.headers, attested_in_scope(self.scope), get(CALLER))

    def let_go(self) -> None:
        """Hold nothing more of the body: the request is over."""
        self._held, self._whole = bytearray(), None
        self._budget.give_back(self._taken)
        self._taken = 0

    async def left(self) -> None:
        """Return when the client has left. Nobody can tell before the body is handed over."""
        if self._has_more:
            self._handed_over = anyio.Event()
            await self._handed_over.wait()
        if (await self._receive())["type"] != "http.disconnect":
            await anyio.sleep_forever()  # a `receive` that goes on giving the body cannot tell

    async def _pieces(self) -> AsyncIterator[bytes]:
        while self._held:
            yield self._hand_on()
        while self._has_more:
            yield self._body_of(await self._receive())
        if self._handed_over is not None:
            self._handed_over.set()

    def _hold(self, chunk: bytes) -> bool:
        """Hold what came; say whether all requests together hold no more than they may."""
        if self._has_more or self._held:
            self._held += chunk
        else:
            self._whole = chunk  # as most bodies are: in one piece
        self._taken += len(chunk)
        return self._budget.take(len(chunk))

    def _hand_on(self) -> bytes:
        """Return a piece of what was read, and hold it no longer."""
        chunk = bytes(self._held[:PIECE_BYTES])
        del self._held[:PIECE_BYTES]
        self._taken -= len(chunk)
        self._budget.give_back(len(chunk))
        return chunk

    def _in_one(self) -> bytes:
        """Return all that was read, which may be asked for again."""
        if self._whole is None:
            self._whole, self._held = bytes(self._held), bytearray()
        return self._whole

    def _body_of(self, message: Message) -> bytes:
        if message["type"] != "http.request":
            raise ClientLeftError
        self._has_more = message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body


def path_below(scope: Scope) -> str:
    """Return the request's path below `root_path`."""
    root, path = scope.get("root_path"), scope["path"]
    return _below(path, root) if root else str(path)


def raw_path_below(scope: Scope) -> bytes:
    """Return the path below `root_path` as it was sent."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        return quote(path_below(scope), safe="/:@!$&'()*+,;=~").encode()
    if not scope.get("root_path"):
        return raw
    return _below(raw.decode("latin-1"), quote(scope.get("root_path", ""))).encode("latin-1")


def _below(path: str, root: str) -> str:
    below = path.removeprefix(root)
    return below if root and below[:1] in ("", "/") else path
