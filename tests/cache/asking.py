"""The request of the script's tables, what may be stored under its key, and what is said to it."""

from typing import Any

from msgspec.structs import replace

from cachemw.cache import record as codec
from cachemw.cache.effects import Outcome
from cachemw.cache.policy import Policy
from cachemw.endpoints.base import ApiCall
from cachemw.errors import StoreError
from cachemw.limits import Limits
from cachemw.messages import Headers, StoredResponse
from tests.cache.answers import COMPLETION, STREAM, STREAM_WITH_USAGE, chat, key, record_of, request, terms
from tests.cache.world import NOW, Answer, World, answer, decided

ASKED = chat()
KEY = key(ASKED)

WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
UNPADDED = {"stream": True, "stream_options": {"include_obfuscation": False}}

AS_JSON = (
    b'{"choices":[{"index":0,"message":{"content":"Hello","role":"assistant"},"finish_reason":"stop"}],'
    b'"usage":{"total_tokens":7},"object":"chat.completion"}'
)
"""What is made of the stream with its usage."""


def record(asked: ApiCall = ASKED, age: float = 20.0, **changed: Any) -> bytes:
    """Return a record of a complete answer, stored for 60 seconds."""
    body = STREAM_WITH_USAGE if asked.wants_usage else STREAM if asked.kind.stream else COMPLETION
    complete = record_of([body], replace(terms(), call=asked, lifetime=60.0))
    assert isinstance(complete, StoredResponse)
    return codec.encode(replace(complete, stored_at=NOW - age, **changed))


STORED = {
    "nothing": None,
    "fresh": record(),
    "stale": record(age=100.0),
    "other kind": record(chat(**WITH_USAGE)),
    "stale kind": record(chat(**WITH_USAGE), age=100.0),
    "no usage": record(chat(stream=True)),
    "damaged": record()[:-1],
    "mismatch": record(proof=b"another request's"),
    "unreadable": None,
}


def world(stored: str | bytes = "nothing", **more: Any) -> World:
    """Return a world whose store is in this state, or holds this record."""
    record = stored if isinstance(stored, bytes) else STORED[stored]
    error = StoreError("the disk is gone") if stored == "unreadable" else None
    return World(records={} if record is None else {KEY.index: record}, store_error=error, **more)


def saying(words: str) -> Headers:
    """Return the fields of a request that says this."""
    if words.startswith(("mode=", "ttl=", "on,")):
        members, _, directives = words.partition(" + ")
    else:
        members, directives = "on", words.replace("nothing", "")
    return (b"cachemw", members.encode()), (b"cache-control", directives.encode())


def ask(
    world: World,
    words: str = "nothing",
    *headers: tuple[bytes, bytes],
    policy: Policy | None = None,
    limits: Limits = Limits(),
) -> Answer:
    """Answer the tables' request."""
    return answer(request(*saying(words), *headers), world, policy, limits=limits)


def decide(world: World, words: str = "nothing", policy: Policy | None = None) -> Outcome:
    """Return what the tables' request ends in."""
    return decided(request(*saying(words)), world, policy)


def said(text: str) -> str:
    """Return a cell of a table as it travels."""
    return f"cachemw; {text}".replace("key=K", f'key="{KEY.index.hex()}"')
