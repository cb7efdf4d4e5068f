"""Requests with several bids: upstreams that do what a script says, a desk that remembers, and three ways to ask."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio

from cachemw.cache.plans import AskedBid, AskedBids, Bid, Plan
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import Endpoint
from cachemw.errors import Cause, TruncatedResponse, UpstreamError, UpstreamTimeout
from cachemw.gateway.failure_kinds import Failure
from cachemw.gateway.fallback import AsyncRoutedResponse, aopen_in_turn, open_in_turn
from cachemw.gateway.health import Gone, Good
from cachemw.gateway.race import aopen_hedged
from cachemw.limits import Timeouts
from cachemw.messages import ANONYMOUS_CALLER, Head, HttpRecipient, HttpTarget, Usage
from cachemw.routing import Bill, Routed, RoutedHead
from cachemw.upstreams.base import UpstreamRequest
from tests.upstream import EVENT_STREAM, JSON, completion, event, stream_events

Part = bytes | Head | UpstreamError | anyio.Event | None
"""Of a script: the head, a chunk, what is raised, an event to wait for, or `None`: silence."""

STREAM_HEAD = Head(200, EVENT_STREAM)
JSON_HEAD = Head(200, JSON)
SILENCE = None


def streamed(text: str = "hello there") -> list[Part]:
    """Return the script of a whole stream."""
    return [STREAM_HEAD, *stream_events(text)]


def whole(text: str = "hello") -> list[Part]:
    """Return the script of a whole completion."""
    return [JSON_HEAD, *[part for part in completion(text).parts if isinstance(part, bytes)]]


def refusal(status: int, body: bytes = b"{}", *fields: tuple[bytes, bytes]) -> list[Part]:
    """Return the script of an error."""
    return [Head(status, (*JSON, (b"content-length", b"%d" % len(body)), *fields)), body]


def unreachable(cause: Cause = Cause.REFUSED) -> list[Part]:
    """Return the script of a target that nobody reaches."""
    error = UpstreamError("nobody is there")
    error.cause = cause
    return [error]


def cut() -> TruncatedResponse:
    return TruncatedResponse("it broke off")


ROLE = event({"role": "assistant"})
ERROR_EVENT = b'data: {"error": {"message": "no", "type": "server_error"}}\n\n'
NO_CHOICES = b'{"id": "c1", "object": "chat.completion", "choices": []}'


class Scripted:
    """A response that does what its script says, with `await` or without."""

    def __init__(self, parts: Iterator[Part], head: Head, log: list[str], name: str) -> None:
        self.head, self._parts, self._log, self._name = head, parts, log, name
        self._is_closed = False

    async def read(self) -> bytes | None:
        part = await came(self._parts)
        assert not isinstance(part, Head)
        return part

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._log.append(f"{self._name} closed")

    async def aclose(self) -> None:
        self.close()


class SyncScripted(Scripted):
    """The same for threads."""

    def read(self, within: float | None) -> bytes | None:  # type: ignore[override]
        part = sync_came(self._parts, 5.0 if within is None else within)
        assert not isinstance(part, Head)
        return part


async def came(parts: Iterator[Part]) -> bytes | Head | None:
    for part in parts:
        if isinstance(part, UpstreamError):
            raise part
        if part is SILENCE:
            await anyio.sleep_forever()
        if isinstance(part, anyio.Event):
            await part.wait()
        else:
            await anyio.lowlevel.checkpoint()
            return part
    return None


def sync_came(parts: Iterator[Part], within: float) -> bytes | Head | None:
    for part in parts:
        if isinstance(part, UpstreamError):
            raise part
        if part is SILENCE:
            time.sleep(within)
            raise UpstreamTimeout("silence")
        assert not isinstance(part, anyio.Event)
        return part
    return None


@dataclass(slots=True)
class Scripts:
    """An upstream: its first call does what the first script says, and so on; the last one is done again."""

    name: str
    scripts: Sequence[Sequence[Part]]
    log: list[str]
    requests: list[UpstreamRequest] = field(default_factory=list)

    async def aopen(self, request: UpstreamRequest) -> Scripted:
        parts = self._parts(request)
        try:
            head = await came(parts)
        except BaseException as exc:
            if not isinstance(exc, UpstreamError):
                self.log.append(f"{self.name} cancelled")
            raise
        assert isinstance(head, Head)
        return Scripted(parts, head, self.log, self.name)

    def open(self, request: UpstreamRequest) -> SyncScripted:
        parts = self._parts(request)
        head = sync_came(parts, request.timeouts.first_byte)
        assert isinstance(head, Head)
        return SyncScripted(parts, head, self.log, self.name)

    def _parts(self, request: UpstreamRequest) -> Iterator[Part]:
        self.log.append(f"{self.name} asked")
        self.requests.append(request)
        return iter(self.scripts[min(len(self.requests), len(self.scripts)) - 1])


@dataclass(slots=True)
class Watched:
    """Notes what it sees, and says that it took ten tokens."""

    bill: Bill = field(default_factory=Bill)
    body: bytes = b""
    ends: list[bool] = field(default_factory=list)

    def feed(self, chunk: bytes) -> None:
        self.body += chunk

    def end(self, complete: bool) -> None:
        self.ends.append(complete)
        self.bill.usage = Usage(5, 10)


@dataclass(slots=True)
class FakeDesk:
    """Gives each target its script, and notes all that it is told. `cooling`: the seconds that each failure's target cools."""

    upstreams: dict[str, Scripts | Any]
    cooling: dict[str, float] = field(default_factory=dict)
    callers: frozenset[str] = frozenset()
    repeats: bool = True
    unpaid: frozenset[int] = frozenset()  # the attempts, by number, that the caller cannot pay for
    results: list[tuple[str, Good | Failure | Gone]] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    watches: list[Watched] = field(default_factory=list)
    unsettled: tuple[str, ...] = ()
    reserved: int = 0

    def is_callers(self, asked: AskedBid) -> bool:
        return asked.bid.name in self.callers

    def begun(self, asked: AskedBid) -> None:
        self.busy.append(asked.bid.name)

    def ended(self, asked: AskedBid, result: Good | Failure | Gone) -> float | None:
        self.busy.remove(asked.bid.name)
        self.results.append((asked.bid.name, result))
        return self.cooling.get(asked.bid.name) if isinstance(result, Failure) else None

    def may_repeat(self, asked: AskedBid) -> bool:
        return self.repeats

    def watch(self, asked: AskedBid, unsettled: tuple[AskedBid, ...]) -> Watched:
        self.unsettled = tuple(one.bid.name for one in unsettled)
        self.watches.append(Watched())
        return self.watches[-1]

    def contact(self, asked: AskedBid) -> Any:
        return self.upstreams[asked.bid.name]

    def reserve(self, asked: AskedBid) -> None:
        self.reserved += 1
        if self.reserved - 1 in self.unpaid:
            raise UpstreamError("no money")

    async def areserve(self, asked: AskedBid) -> None:
        self.reserve(asked)

    @property
    def words(self) -> list[str]:
        """Return what it was told, in words."""
        return [f"{name} {word_of(result)}" for name, result in self.results]


def word_of(result: Good | Failure | Gone) -> str:
    return result.kind.value if isinstance(result, Failure) else type(result).__name__.lower()


@dataclass(slots=True)
class Asking:
    """A request to targets that do what their scripts say, and its desk. All that is done stands in the `log`."""

    desk: FakeDesk
    request: UpstreamRequest
    log: list[str]

    def upstream(self, name: str) -> Scripts:
        found: Scripts = self.desk.upstreams[name]
        return found

    @property
    def asked(self) -> list[str]:
        """Return who was asked, in order."""
        return [line.removesuffix(" asked") for line in self.log if line.endswith(" asked")]


def asking(
    *,
    is_stream: bool = True,
    tiers: Sequence[int] = (),
    path: bytes = b"/v1/chat/completions",
    timeouts: Timeouts = Timeouts(),
    plan: dict[str, Any] | None = None,
    body: bytes | None = b'{"model": "%s"}',
    in_reserve: Literal["fresh", "stale"] | None = None,
    endpoint: Endpoint | None = CHAT,
    **scripts: Any,
) -> Asking:
    """Return a request for targets named `a`, `b`, …: each has its script, or a list with one for every call.

    `body` is what each is sent, with its name; `None`: what comes is passed on.
    """
    log: list[str] = []
    upstreams = {name: Scripts(name, _listed(script), log) for name, script in scripts.items()}
    bids = [bid_of(name, tier) for name, tier in zip(scripts, tiers or [0] * len(scripts), strict=True)]
    the_plan = Plan(tuple(bids), tuple(range(len(bids))), **{"route": "auto", **(plan or {})})
    asked = tuple(AskedBid(place, bid, body and body % bid.name.encode(), (), endpoint) for place, bid in enumerate(bids))
    group = AskedBids(the_plan, asked, is_stream, ANONYMOUS_CALLER, in_reserve)
    request = UpstreamRequest("POST", path, b"", (), b"{}", timeouts=timeouts, bids=group)
    return Asking(FakeDesk(upstreams), request, log)


def bid_of(name: str, tier: int = 0) -> Bid:
    return Bid(name, HttpTarget(f"https://{name}.example/v1/chat/completions", HttpRecipient(name)), tier=tier)


def _listed(script: Sequence[Any]) -> Sequence[Sequence[Part]]:
    return script if script and isinstance(script[0], list) else [script]


@dataclass(slots=True)
class Heard:
    """What a client hears: a head and a body, and the error that it ended with."""

    head: RoutedHead | None = None
    body: bytes = b""
    error: UpstreamError | None = None

    @property
    def routed(self) -> Routed:
        found = self.error.routed if self.head is None and self.error is not None else self.head and self.head.routed
        assert isinstance(found, Routed)
        return found

    @property
    def tried(self) -> list[str]:
        return [f"{one.name} {one.why}" for one in self.routed.tried]

    @property
    def status(self) -> int:
        assert self.head is not None, self.error
        return self.head.status

    def field(self, name: bytes) -> list[bytes]:
        fields = self.head.headers if self.head is not None else self.error.advice if self.error is not None else ()
        return [value for known, value in fields if known.lower() == name]


def hear(mode: str, asking: Asking) -> Heard:
    """Ask as `mode` says, and hear the answer out; the open response is closed in the end."""
    if mode == "sync":
        return hear_sync(asking)
    opener = aopen_hedged if mode.startswith("hedged") else aopen_in_turn
    heard: Heard = anyio.run(hear_async, asking, opener, backend=mode.rpartition(" ")[2])
    return heard


def hear_sync(asking: Asking) -> Heard:
    heard = Heard()
    try:
        with contextlib.closing(open_in_turn(asking.request, asking.desk)) as response:
            heard.head = response.head
            while (chunk := response.read(None)) is not None:
                heard.body += chunk
    except UpstreamError as error:
        heard.error = error
    return heard


async def hear_async(asking: Asking, opener: Any = aopen_in_turn) -> Heard:
    heard = Heard()
    response: AsyncRoutedResponse | None = None
    try:
        response = await opener(asking.request, asking.desk)
        heard.head = response.head
        while (chunk := await response.read()) is not None:
            heard.body += chunk
    except UpstreamError as error:
        heard.error = error
    finally:
        if response is not None:
            await response.aclose()
    return heard


def body_of(script: Sequence[Part]) -> bytes:
    """Return the body that a script tells."""
    return b"".join(part for part in script if isinstance(part, bytes))
