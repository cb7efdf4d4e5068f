"""Read a record as JSON, and refuse to derive what would lose something."""

import string
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from cachemw.endpoints.deriving import PADDING, JsonObject, Loss, read_answer
from cachemw.redaction import redacted_repr
from cachemw.wire.sse import Event, Parser, is_done

NO_USAGE = "no-usage"

ALPHABETS = tuple(
    letters + string.digits
    for letters in (string.ascii_lowercase, string.ascii_letters, string.ascii_lowercase.replace("c", ""))
)
"""What others pad with, in a member `p`: Mistral, and whoever is behind Cloudflare. They begin anew at the end."""

OTHER_PADDING = "p"

_NAMES = (b"", b"message")  # an event of another name is no chunk


class Stream(msgspec.Struct, frozen=True):
    """The chunks of a stream, each with its event, and the events that ended it: one as a rule, none from some upstreams."""

    chunks: list[tuple[Event, JsonObject]]
    ends: list[Event]

    __repr__ = redacted_repr


def read_stream(body: bytes, event_ends: Sequence[int], limit: int) -> Stream:
    """Read a stream that has chunks and then `[DONE]`, and nothing else; `limit` is how much work a chunk may be."""
    events = _plain_events(body, event_ends) or _events(body)
    count = next((at for at, event in enumerate(events) if is_done(event.data)), len(events))
    chunks, ends = events[:count], events[count:]
    if not chunks or any(event.name not in _NAMES for event in events) or not all(is_done(event.data) for event in ends):
        raise Loss
    return Stream([(event, read_answer(event.data, limit)) for event in chunks], ends)


def _events(body: bytes) -> list[Event]:
    parser = Parser()
    return [*parser.feed(body), *parser.end()]


def is_padding(name: str, value: Any) -> bool:
    """Say whether this member of a chunk only hides how long it is."""
    if name == OTHER_PADDING and isinstance(value, str):
        return any((alphabet * (len(value) // len(alphabet) + 1)).startswith(value) for alphabet in ALPHABETS)
    return name == PADDING


def _plain_events(body: bytes, event_ends: Sequence[int]) -> list[Event] | None:
    """Return the events where each is but one line of data, as upstreams send them: that needs no parser."""
    events = []
    for start, end in pairwise((0, *event_ends)):
        raw = body[start:end]
        if not (raw.startswith(b"data: ") and raw.endswith(b"\n\n") and raw.count(b"\n") == 2) or b"\r" in raw:
            return None
        events.append(Event(b"", raw[6:-2], start, end))
    return events


def choices_of(members: JsonObject) -> list[JsonObject]:
    """Return the choices of a completion or of a chunk; an absent list is an empty one."""
    choices = members.get("choices")
    if choices is None:
        return []
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise Loss
    return choices


def index_of(members: JsonObject) -> int:
    """Return the index of a choice or of an entry of a list."""
    index = members.get("index")
    if type(index) is not int or index < 0:
        raise Loss
    return index
