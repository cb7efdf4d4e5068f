"""Record a response chunk by chunk: say what may leave now, and in the end give the record, or the reason why there is none."""

import re
from array import array
from typing import Protocol

import msgspec

from cachemw.cache.header_rules import storable
from cachemw.cache.key import Key
from cachemw.cache.order import ALONE, Order, Others
from cachemw.cache.refusals import LastRefusals
from cachemw.endpoints.base import ApiCall, Demands, Judge
from cachemw.limits import Limits
from cachemw.messages import Head, StoredResponse, Usage, header_values
from cachemw.redaction import redacted_repr
from cachemw.wire.sse import Event, Parser
from cachemw.wire.strict_json import TOO_COMPLEX

_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 §5.5


class KeptRequest(msgspec.Struct, frozen=True):
    """The request that a record holds: its canonical body, and the name of the endpoint that its caller asked."""

    endpoint: str
    body: bytes

    __repr__ = redacted_repr


class Terms(msgspec.Struct, frozen=True):
    """The terms on which an answer is kept; `keep` is how long the store holds it, in seconds, `None` until it is evicted.

    `order` is where its forward stands among others; where the store cannot say, it is why not, and nothing is kept.
    """

    call: ApiCall
    key: Key
    lifetime: float
    keep: float | None
    demands: Demands
    limit_bytes: int
    limits: Limits
    keep_request: bool
    """Whether the record holds the request: as its caller made it, see `received`."""
    order: Order | str
    waits: bool
    """Whether the end of the answer waits, for a moment, until it is kept."""
    target: str
    """The name of who answers."""
    asked_at: float
    """When the forward began, in seconds since the epoch."""
    index: bytes
    """Where the record is put: the key's index, or beside that."""
    others: Others = ALONE
    refusals: LastRefusals = msgspec.field(default_factory=LastRefusals)
    """Who is told that it is not kept."""
    host: str = ""
    """Where the upstream is, as logs have it; empty for a wrapped app."""
    received: KeptRequest | None = None
    """The request as it came, where `call` is what was made of it for an upstream of another dialect."""
    sketch: bytes | None = None
    """A code of each part of the key, where the policy lets it be kept."""
    is_of_some: bool = False
    """Whether it answers some inputs only: nothing of it leaves before it is whole, and its parts alone are kept."""

    __repr__ = redacted_repr

    def refuse(self, detail: str) -> None:
        """Note that the answer is not kept, and why."""
        generation = self.order.generation if isinstance(self.order, Order) else None
        self.refusals.note(detail, self.call.endpoint.name, self.key.index, generation, self.host)

    def judge(self) -> Judge:
        """Return a judge of the answer."""
        return self.call.endpoint.judge(self.call, self.demands, self.limits.work)


class Recording(Protocol):
    """An answer being recorded: the first `left` bytes of `body` may leave. `dropped` says why nothing is kept any more."""

    terms: Terms
    body: bytearray
    left: int
    dropped: str | None

    @property
    def hold_seconds(self) -> float | None:
        """Return how many seconds what is held now may be held; `None` where nothing is."""

    def feed(self, chunk: bytes, now: float) -> None:
        """Take in what came."""

    def release_held(self) -> None:
        """Let go what was held that long."""

    def finish(self, now: float) -> StoredResponse | str:
        """Return the record if the answer was complete, else why it is not kept."""

    @property
    def answered(self) -> tuple[str | None, Usage | None]:
        """The model that the answer names, and what it took; known when it is finished."""


def head_fault(head: Head, stream: bool) -> str | None:
    """Return why an answer with this head is not recorded; `None` where it is."""
    if head.status != 200:
        return "not-200"
    kept = storable(head.headers)
    media_types = [value.lower().partition(b";")[0].strip() for value in header_values(kept, b"content-type")]
    if media_types != [b"text/event-stream" if stream else b"application/json"]:
        return "content-type"
    if not all(_FIELD_VALUE.fullmatch(value) for _, value in kept):  # an app in this process may say anything
        return "content-type"
    return "encoded-answer" if is_coded(head) else None


def is_coded(head: Head) -> bool:
    """Say whether the body is not what it says, but a coding of it."""
    return any(value.strip().lower() != b"identity" for value in header_values(head.headers, b"content-encoding"))


def start(head: Head, terms: Terms, now: float) -> Recording:
    """Begin to record an answer whose head came `now`."""
    return StreamRecording(head, terms, now) if terms.call.kind.stream else JsonRecording(head, terms)


class JsonRecording:
    """JSON is held until it is complete, for half of it is of no use: then its head can say whether it was stored."""

    def __init__(self, head: Head, terms: Terms) -> None:
        self._head, self.terms = head, terms
        self.body, self.left = bytearray(), 0
        self.dropped: str | None = None
        self._judge, self._is_late = terms.judge(), False

    @property
    def hold_seconds(self) -> float | None:
        return self.terms.limits.json_hold if self.left < len(self.body) and not self.terms.is_of_some else None

    def feed(self, chunk: bytes, now: float) -> None:
        self.body += chunk
        if len(self.body) > self.terms.limit_bytes:
            self.dropped = "record-too-large"
        if self._is_late:
            self.left = len(self.body)

    def release_held(self) -> None:
        """Let it leave as it comes: it can still be kept, but its head cannot say so."""
        if not self.terms.is_of_some:
            self._is_late, self.left = True, len(self.body)

    def finish(self, now: float) -> StoredResponse | str:
        body = bytes(self.body)
        self._judge.read(body)
        fault = _length_fault(self._head, body) or self._judge.fault()
        return fault or _stored(self._head, body, (), (), self.terms, self.answered, now)

    @property
    def answered(self) -> tuple[str | None, Usage | None]:
        return _answered(self.terms, self._judge)


class StreamRecording:
    """A stream leaves as it comes, but for the bytes from `data: [DONE]` on: clients hang up there."""

    def __init__(self, head: Head, terms: Terms, now: float) -> None:
        self._head, self.terms, self._began = head, terms, now
        self.body, self.left = bytearray(), 0
        self.dropped: str | None = None
        self._work = terms.limits.work
        self._parser, self._judge = Parser(self.body, terms.call.endpoint.ends), terms.judge()
        self._ends, self._arrivals = array("Q"), array("d")
        self._lines = 0

    @property
    def hold_seconds(self) -> float | None:
        return self.terms.limits.done_hold if self.left < len(self.body) else None

    def feed(self, chunk: bytes, now: float) -> None:
        self.body += chunk
        if len(self.body) > self.terms.limit_bytes:
            self.dropped = "record-too-large"
        elif self._has_too_many_lines(chunk):
            self.dropped = TOO_COMPLEX
        else:
            self._read_on(now)

    def _read_on(self, now: float) -> None:
        self._note(self._parser.read_on(), now)
        done_at = self._parser.done_at()
        self.left = len(self.body) if done_at is None else max(self.left, done_at)

    def release_held(self) -> None:
        """Give it up: an answer whose end was not seen is not kept."""
        self.dropped = "no-end"

    def finish(self, now: float) -> StoredResponse | str:
        self._end(now)
        body = bytes(self.body)
        fault = _length_fault(self._head, body) or self._judge.fault()
        return fault or _stored(self._head, body, tuple(self._ends), tuple(self._arrivals), self.terms, self.answered, now)

    @property
    def answered(self) -> tuple[str | None, Usage | None]:
        return _answered(self.terms, self._judge)

    def _end(self, now: float) -> None:
        """Take in the end of the body: where the connection's end is all there is, it may be a cut."""
        if not self._head.delimited:
            self._note(self._parser.close(), now)
            return
        self._note(self._parser.end(), now)
        if not self._parser.is_within_event:
            self._judge.end()

    def _has_too_many_lines(self, chunk: bytes) -> bool:
        lines = chunk.count(b"\n") + chunk.count(b"\r") - chunk.count(b"\r\n")
        self._lines += lines
        return lines > self._work.lines_at_once or self._lines > self._work.lines

    def _note(self, events: list[Event], now: float) -> None:
        for event in events:
            self._judge.see(event)
            self._ends.append(event.end)
            self._arrivals.append(max(0.0, now - self._began))


def _length_fault(head: Head, body: bytes) -> str | None:
    said = header_values(head.headers, b"content-length")
    return "incomplete" if said and said != [b"%d" % len(body)] else None


def _answered(terms: Terms, judge: Judge) -> tuple[str | None, Usage | None]:
    return judge.model, None if judge.usage is None else terms.call.endpoint.usage(judge.usage)


def _kept_request(terms: Terms) -> KeptRequest | None:
    if not terms.keep_request:
        return None
    return terms.received or KeptRequest(terms.call.endpoint.name, terms.call.canonical)


def _stored(
    head: Head,
    body: bytes,
    ends: tuple[int, ...],
    arrivals: tuple[float, ...],
    terms: Terms,
    answered: tuple[str | None, Usage | None],
    now: float,
) -> StoredResponse:
    (model, usage), request = answered, _kept_request(terms)
    return StoredResponse(
        status=head.status,
        headers=storable(head.headers),
        body=body,
        event_ends=ends,
        arrivals=arrivals,
        kind=terms.call.kind,
        proof=terms.key.proof,
        stored_at=now,
        lifetime=terms.lifetime,
        request=None if request is None else request.body,
        endpoint=terms.call.endpoint.name,
        target=terms.target,
        model=model,
        usage=usage,
        took=max(0.0, now - terms.asked_at),
        sketch=terms.sketch,
        asked_endpoint="" if request is None or request is not terms.received else request.endpoint,
    )
