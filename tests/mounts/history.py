"""Random concurrent use of a cache, and rules that what came back must keep. Every event has its number in one order.

An upstream numbers its answers as it is asked, so an answer tells how old it is. What overlaps is not judged: a forward *was
asked for before* a moment if it had arrived upstream by then, and *after* it if its request began after it. An answer is
*known stored* when JSON that says `stored`, or a hit that shows it, has ended.

R1  What was asked for before a refresh (or `no-cache`) began is shown to nobody who begins after its answer is known stored.
R2  What was asked for before a purge of its key began is shown to nobody who begins after the purge: no hit, and no joining.
R3  An answer goes to the question that it was asked for with; each question has one key.
R4  `only-if-cached` and `replay` ask and join nobody: they get a hit or a 504.
R5  What failed, broke off or was incomplete is no hit, is not shown as whole, and not at all to who begins when it is over.
R6  What was asked for with `no-store` or `mode=read` is shown to nobody else.
R8  Hits never go back: R1 for a newer answer that no refresh asked for.
R9  `Cache-Status` is true: a hit asks nobody; what is no hit and not collapsed is one's own; a refresh's always is.
"""

import itertools
import math
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Protocol, Self

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx

from cachemw import Store, asgi, wsgi
from cachemw import httpx as mounts
from cachemw.upstreams import HttpUpstream
from tests.asgi_driver import Reply
from tests.mounts.gates import Gate
from tests.mounts.mounting import AsgiMount, AsyncTransportMount, Mount, Sent, TransportMount, WsgiMount
from tests.mounts.wsgi_upstream import WsgiUpstream
from tests.patience import PATIENT
from tests.upstream import DONE, EVENT_STREAM, JSON, Asked, Told, Upstream, completion, event, prompt

ORIGIN = "https://api.example"
TASKS = 8
OPERATIONS = 25
"""Of each task."""

QUESTIONS = ("apple", "birch")
"""What is asked again and again; half of all is new, and asked by a few."""

KINDS: dict[str, dict[str, Any]] = {
    "json": {},
    "stream": {"stream": True},
    "stream+usage": {"stream": True, "stream_options": {"include_usage": True}},
}
WHATS = {"get": 50, "refresh": 7, "no-cache": 7, "no-store": 7, "read": 7, "only-if-cached": 10, "replay": 10}
OUTCOMES = {"ok": 60, "slow": 20, "cut": 8, "429": 6, "500": 6}
TICK = 0.0002
"""Seconds that a thread waits where a task gives way once."""


NOTHING = Reply(None, {}, (), complete=False)


@dataclass(slots=True)
class Op:
    """A request: what was asked, when, and what came."""

    number: int
    what: str
    question: str
    kind: str
    began: int = 0
    ended: int = 0
    reply: Reply = NOTHING
    said: str = ""
    value: int | None = None

    keeps = property(lambda op: op.what not in ("no-store", "read"))
    is_new = property(lambda op: op.what in ("refresh", "no-cache"))
    only_stored = property(lambda op: op.what in ("only-if-cached", "replay"))
    hit = property(lambda op: "; hit" in op.said)
    from_store = property(lambda op: op.hit or "; ttl=" in op.said)
    joined = property(lambda op: "; collapsed" in op.said and not op.from_store)
    key = property(lambda op: "".join(re.findall(r'key="([0-9a-f]{32})"', op.said)))
    is_whole = property(lambda op: op.reply.status == 200 and op.reply.complete)

    def sent(self) -> Sent:
        """Return it as it is sent; `traceparent`, which is in no key, says which one it is."""
        mode = f", mode={self.what}" if self.what in ("refresh", "read", "replay") else ""
        fields = [
            (b"content-type", b"application/json"),
            (b"cachemw", b"on" + mode.encode()),
            (b"traceparent", b"00-%032x-%016x-01" % (self.number + 1, 1)),
        ]
        if self.what in ("no-cache", "no-store", "only-if-cached"):
            fields.append((b"cache-control", self.what.encode()))
        return Sent(prompt(self.question, **KINDS[self.kind]), fields)


@dataclass(slots=True)
class Forward:
    """A request as it came upstream, and what becomes of it there."""

    value: int
    op: int
    arrived: int
    outcome: str
    done: float = math.inf

    is_sound = property(lambda forward: forward.outcome in ("ok", "slow"))


@dataclass(slots=True)
class Purge:
    """Of a question, or of everything."""

    question: str | None
    began: int
    ended: float = math.inf


class Pause(Gate):
    """Where an upstream gives way to others so many times, and then does something."""

    def __new__(cls, *_: object) -> Self:
        return object.__new__(cls)

    def __init__(self, ticks: int, then: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._ticks, self._then = ticks, then

    async def wait(self) -> None:
        for _ in range(self._ticks):
            await anyio.lowlevel.checkpoint()
        self._then()

    def wait_here(self, seconds: float = 0.0) -> None:
        time.sleep(self._ticks * TICK)
        self._then()


@dataclass(slots=True)
class Book:
    """What was asked, forwarded and purged, and the upstream that numbers its answers."""

    seed: str
    now: Callable[[], int] = field(default_factory=lambda: itertools.count().__next__)
    ops: list[Op] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    purges: list[Purge] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, op: int) -> tuple[Forward, int]:
        """Note that a request has arrived; say how many ticks it takes, too."""
        dice = Random(f"{self.seed} {op}")
        (outcome,) = dice.choices(list(OUTCOMES), list(OUTCOMES.values()))
        with self._lock:
            forward = Forward(len(self.forwards), op, self.now(), outcome)
            self.forwards.append(forward)
        return forward, dice.randint(60, 200) if outcome == "slow" else dice.randint(0, 30)

    def respond(self, asked: Asked) -> Told:
        """Answer as the dice say."""
        forward, ticks = self.take(int((asked.header(b"traceparent") or b"").split(b"-")[1], 16) - 1)
        told, early = told_of(forward, b'"stream":true' in asked.body), Random(ticks).randint(0, ticks)
        *first, last = told.parts[: -1 if forward.outcome == "cut" else None]
        parts = (Pause(early), *first, Pause(ticks - early), last, Pause(0, lambda: self.over(forward)))
        return replace(told, parts=parts, ends=forward.outcome != "cut")

    def over(self, forward: Forward) -> None:
        forward.done = self.now()


def told_of(forward: Forward, is_stream: bool) -> Told:
    """Return a whole answer in two parts or more."""
    if forward.outcome in ("429", "500"):
        return Told((b'{"error": {"message": ', b'"value-%d."}}' % forward.value), int(forward.outcome))
    text, usage = f"value-{forward.value}.", {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    if is_stream:
        parts = [event({"role": "assistant"}), event({"content": text}), event({}, "stop", usage=usage), DONE]
        return Told(parts, headers=EVENT_STREAM)
    (whole,) = completion(text, usage=usage).parts
    assert isinstance(whole, bytes)
    return Told((whole[:-9], whole[-9:]), headers=JSON)


class Wire(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """The upstream's end of an HTTP request, whose answer comes piece by piece."""

    def __init__(self, book: Book) -> None:
        self._book = book

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self._response(request)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self._response(request)

    def _response(self, request: httpx.Request) -> httpx.Response:
        asked = Asked(request.method, request.url.path, b"", b"", tuple(request.headers.raw), request.content)
        told = self._book.respond(asked)
        return httpx.Response(told.status, headers=list(told.headers), stream=Pieces(told))


class Pieces(httpx.AsyncByteStream, httpx.SyncByteStream):
    """A body that may be cut."""

    def __init__(self, told: Told) -> None:
        self._told = told

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._told.parts:
            if isinstance(part, Pause):
                await part.wait()
            elif isinstance(part, bytes):
                yield part
        self._end()

    def __iter__(self) -> Iterator[bytes]:
        for part in self._told.parts:
            if isinstance(part, Pause):
                part.wait_here()
            elif isinstance(part, bytes):
                yield part
        self._end()

    def _end(self) -> None:
        if not self._told.ends:
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


class House(Protocol):
    """A cache to ask and to purge."""

    async def ask(self, op: Op) -> Reply:
        """Answer a request."""

    async def purge(self, key: str | None) -> None:
        """Forget what has this key, or everything."""


class Mounted:
    """A mount over a store."""

    def __init__(self, kind: str, book: Book, store: Store) -> None:
        self._mount, self._store = MAKERS[kind](book, store), store

    async def ask(self, op: Op) -> Reply:
        return await self._mount.send(op.sent())

    async def purge(self, key: str | None) -> None:
        await anyio.to_thread.run_sync(self._purge, key)

    def _purge(self, key: str | None) -> None:
        if key is not None:
            self._store.delete(bytes.fromhex(key))
        else:
            self._store.clear()


def _around(book: Book, store: Store) -> Mount:
    cache = asgi.CacheMiddleware(Upstream(book.respond), name="bot", store=store, limits=PATIENT)
    return AsgiMount(cache, cache)


def _before(book: Book, store: Store) -> Mount:
    upstream = HttpUpstream(f"{ORIGIN}/v1", transport=lambda: Wire(book))
    cache = asgi.CacheMiddleware(Upstream(), upstream=upstream, store=store, limits=PATIENT)
    return AsgiMount(cache, cache)


def _wsgi(book: Book, store: Store) -> Mount:
    mount = WsgiMount(wsgi.CacheMiddleware(WsgiUpstream(Upstream(book.respond)), name="bot", store=store, limits=PATIENT))
    mount.is_validated = False
    return mount


def _transport(book: Book, store: Store) -> Mount:
    transport = mounts.CacheTransport(Wire(book), store=store, limits=PATIENT)
    return TransportMount(transport, httpx.Client(transport=transport, trust_env=False), ORIGIN)


def _async_transport(book: Book, store: Store) -> Mount:
    transport = mounts.AsyncCacheTransport(Wire(book), store=store, limits=PATIENT)
    return AsyncTransportMount(transport, httpx.AsyncClient(transport=transport, trust_env=False), ORIGIN)


MAKERS: dict[str, Callable[[Book, Store], Mount]] = {
    "ASGI around an app": _around,
    "ASGI with an upstream": _before,
    "WSGI around an app": _wsgi,
    "httpx": _transport,
    "httpx async": _async_transport,
}


async def record(house: House, book: Book, operations: int = OPERATIONS) -> None:
    """Let some ask at random, and an operator purge, and note everything in the book."""
    keys: dict[str, str] = {}
    flying: dict[int, Op] = {}
    numbers = itertools.count()

    async def asks(task: int) -> None:
        dice = Random(f"{book.seed}, task {task}")
        for _ in range(operations):
            number, (what,) = next(numbers), dice.choices(list(WHATS), list(WHATS.values()))
            question = dice.choice([*QUESTIONS, *[f"new {number // 12}"] * len(QUESTIONS)])
            op = Op(number, what, question, dice.choice(list(KINDS)))
            flying[task] = op
            await _asked(house, book, op)
            keys.update({op.question: op.key} if op.key else {})
            await _pass(dice.randint(0, 20))
        del flying[task]

    async def operates() -> None:
        dice = Random(f"{book.seed}, operator")
        while flying:
            await _pass(dice.randint(10, 150))
            question = dice.choice([None, *(op.question for op in flying.values()), *(op.question for op in flying.values())])
            if question is None or question in keys:
                purge = Purge(question, book.now())
                book.purges.append(purge)
                await house.purge(question and keys[question])
                purge.ended = book.now()
            if dice.random() < 0.5:
                await _asked(house, book, Op(next(numbers), "get", question or QUESTIONS[0], dice.choice(list(KINDS))))

    async with anyio.create_task_group() as tasks:
        for task in range(TASKS):
            tasks.start_soon(asks, task)
        await anyio.lowlevel.checkpoint()
        tasks.start_soon(operates)


async def _asked(house: House, book: Book, op: Op) -> None:
    book.ops.append(op)
    op.began = book.now()
    op.reply = await house.ask(op)
    op.ended = book.now()
    op.said = op.reply.headers.get(b"cache-status", b"").decode()
    op.value = next((int(number) for number in re.findall(rb"value-(\d+)\.", op.reply.body)), None)


async def _pass(ticks: int) -> None:
    for _ in range(ticks + 1):
        await anyio.lowlevel.checkpoint()
