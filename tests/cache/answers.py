"""A chat request, answers to it, and what becomes of them: small enough to be read in a test."""

import json
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from cachemw.cache.key import ANONYMOUS, Key, caller_of, fingerprint
from cachemw.cache.order import Order
from cachemw.cache.policy import FINISH_REASONS, Policy
from cachemw.cache.recording import Recording, Terms, start
from cachemw.cache.refusals import LastRefusals
from cachemw.cache.sharing import Course, Sender
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import ApiCall, Demands
from cachemw.endpoints.chat.request import read_chat
from cachemw.limits import Limits
from cachemw.messages import Head, Headers, HttpTarget, Request, StoredResponse
from cachemw.report import ExchangeReport

ORDER = Order(generation=7, puts=3, began=1_000)
"""Where the forwards of tests stand."""

NOBODY = Sender((), ((b"content-type", b"application/json"),))
"""Who sends no more than the tables' request has."""

NO_REFUSALS = LastRefusals()
"""What stands in terms that are compared."""

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "Say hello."}]}

JSON_HEAD = Head(200, ((b"content-type", b"application/json"),))
STREAM_HEAD = Head(200, ((b"content-type", b"text/event-stream"),))

COMPLETION = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'

EVENTS = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
)
STREAM = b"".join(EVENTS)
DONE_EVENT = EVENTS[-1]

TARGET = HttpTarget("https://api.example/v1/chat/completions")

USAGE_EVENT = b'data: {"choices":[],"usage":{"total_tokens":7}}\n\n'
STREAM_WITH_USAGE = b"".join((*EVENTS[:-1], USAGE_EVENT, DONE_EVENT))


def request(*headers: tuple[bytes, bytes], body: bytes | None = None, **members: Any) -> Request:
    """Return a chat request; `members` are added to its body, or `body` stands in for it."""
    fields = ((b"content-type", b"application/json"), *headers)
    read = json.dumps(QUESTION | members).encode() if body is None else body
    return Request("POST", "/v1/chat/completions", fields, read, TARGET, caller=caller_of(fields, TARGET.recipient))


def as_told(report: ExchangeReport) -> ExchangeReport:
    """Return of a report only what `Cache-Status` tells."""
    names = ("opted_in", "hit", "fwd", "fwd_status", "ttl", "stored", "collapsed", "key", "details", "abandoned")
    return ExchangeReport(**{name: getattr(report, name) for name in names})


def as_agreed(of: Terms | None) -> Terms | None:
    """Return terms without who is told of refusals, so that they can be compared."""
    return None if of is None else replace(of, refusals=NO_REFUSALS)


def chat(**members: Any) -> ApiCall:
    """Return what matters of a chat request with these members."""
    read = read_chat(CHAT, request(**members))
    assert isinstance(read, ApiCall)
    return read


def key(of: ApiCall) -> Key:
    """Return the key under which a caller without credentials finds the answer."""
    return fingerprint(request(), of.canonical, ANONYMOUS, None, 0, Policy().header_rules)


def course(of: ApiCall, sender: Sender = NOBODY, *, is_apart: bool = False) -> Course:
    """Return what a forward for a caller without credentials can be followed for."""
    return Course(key(of).parts, of.kind, ORDER.generation, sender, is_apart)


def terms(
    *,
    limit_bytes: int = 1_000_000,
    store_when: frozenset[str] = FINISH_REASONS,
    done: bool = True,
    keep_request: bool = False,
    limits: Limits = Limits(),
    **members: Any,
) -> Terms:
    """Return the terms on which the answer to a request with these members is kept."""
    asked = chat(**members)
    return Terms(
        asked,
        key(asked),
        60.0,
        600.0,
        Demands(store_when, done),
        limit_bytes,
        limits,
        keep_request,
        ORDER,
        waits=True,
        target=TARGET.url,
        asked_at=0.0,
        index=key(asked).index,
    )


def recording(of: Terms, head: Head | None = None) -> Recording:
    """Begin to record at time 0."""
    return start(head or (STREAM_HEAD if of.call.kind.stream else JSON_HEAD), of, 0.0)


def record_of(chunks: Iterable[bytes], of: Terms, head: Head | None = None) -> StoredResponse | str:
    """Record an answer that comes in these chunks, all at time 0, and ends: the record, or why there is none."""
    under_way = recording(of, head)
    for chunk in chunks:
        under_way.feed(chunk, 0.0)
        if under_way.dropped:
            return under_way.dropped
    return under_way.finish(0.0)


def with_headers(head: Head, *more: tuple[bytes, bytes]) -> Head:
    """Return the head with more fields."""
    return Head(head.status, (*head.headers, *more), head.delimited)


def lower(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return fields with their names in lower case."""
    return [(name.lower(), value) for name, value in headers]


def cut_in_two(body: bytes) -> list[tuple[bytes, bytes]]:
    """Return a body cut after every one of its bytes."""
    return [(body[:at], body[at:]) for at in range(len(body) + 1)]


def one_by_one(body: bytes) -> list[bytes]:
    """Return a body's bytes, each alone."""
    return [body[at : at + 1] for at in range(len(body))]
