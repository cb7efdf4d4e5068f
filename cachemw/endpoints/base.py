"""The port of endpoints: what has to be known of an API call to cache it. `cachemw.endpoints` lists the ones there are."""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from cachemw.endpoints.errors import ErrorShape
from cachemw.limits import Work
from cachemw.messages import Headers, HttpTarget, Kind, Request, StoredResponse, Usage, values_of_two
from cachemw.redaction import redacted_repr
from cachemw.wire.sse import Event

CUT = frozenset({"incomplete", "unreadable-answer"})
"""The faults of an answer that may have been cut short."""


class Place(Enum):
    """The place in which a member of a request's body counts."""

    KEY = "key"
    TRANSPORT = "transport"  # how the answer travels: in the record's kind
    BOOKKEEPING = "bookkeeping"  # who pays and who is counted; not in the key where the upstream is known to take it so


class ApiCall(msgspec.Struct, frozen=True):
    """An API call, as far as it matters here: its canonical body, and what decides how its answer is judged.

    `model` is the one that is asked for; `choices` is how many answers; `bounded`: the caller itself limited their length.
    Of a call that goes to a gateway, which may be sent to many, there are also the `members` of its body as they were read, and
    by their names, in order, the `forms` in which they stand in a canonical body.
    """

    endpoint: "Endpoint"
    canonical: bytes
    kind: Kind
    model: str | None = None
    choices: int = 1
    bounded: bool = False
    wants_usage: bool = False
    members: Mapping[str, Any] | None = None
    forms: tuple[tuple[str, bytes], ...] = ()

    __repr__ = redacted_repr


class Bypass(msgspec.Struct, frozen=True):
    """A request that is not ours to cache, and the reason as `Cache-Status` tells it."""

    detail: str


class Demands(msgspec.Struct, frozen=True):
    """The demands on an answer that is to be kept: its finish reasons, and whether a stream must have come to its `[DONE]`.

    Where it need not, the body has to have ended by its own framing.
    """

    store_when: frozenset[str]
    done: bool = True

    __repr__ = redacted_repr


class Judge(Protocol):
    """Reads one answer, a stream by its events or a whole body, and says why it may not be kept.

    `model` is the one that the answer names, `usage` the JSON of what it says it took.
    """

    model: str | None
    usage: bytes | None

    def see(self, event: Event) -> None:
        """Take in one event of a stream."""

    def end(self) -> None:
        """Note that the stream ended by itself, and not within an event."""

    def read(self, body: bytes) -> None:
        """Take in an answer that is no stream."""

    def fault(self) -> str | None:
        """Return why the answer may not be kept; `None` where it may."""


class Endpoint(msgspec.Struct, frozen=True, eq=False):
    """One kind of API call, as data and a few functions. There is one value for each; they are compared by identity.

    `paths` are how the paths end that are posted to it; `fields` says of every documented member of its body where it counts.
    `read` takes the endpoint, a request, the members that its upstream only counts by, and whether an answer that the upstream
    is to store may be cached. `sent` gives one that was read and goes to a gateway as it goes to one of its targets, which has
    its own name for the model, unless that is `None`. `ends` matches the line of a stream
    at which clients hang up. `derive` gives an answer in another kind, or says why it cannot be had without loss. `usage` reads
    the JSON of what an answer took. `errors` is the shape in which its clients read errors. `Work` bounds what is
    read, judged and derived.
    """

    name: str
    paths: tuple[str, ...]
    fields: Mapping[str, Place]
    read: "Callable[[Endpoint, Request, frozenset[str], Work, bool], ApiCall | Bypass]"
    sent: Callable[[ApiCall, HttpTarget, str | None, frozenset[str]], ApiCall]
    judge: Callable[[ApiCall, Demands, Work], Judge]
    ends: re.Pattern[bytes] | None
    derive: Callable[[StoredResponse, Kind, Work], StoredResponse | str]
    usage: Callable[[bytes], Usage | None]
    errors: ErrorShape

    def __repr__(self) -> str:
        return f"Endpoint({self.name})"


def not_plain_json(headers: Headers) -> str | None:
    """Return why a body is not said to be JSON, in UTF-8 and no content coding; `None` where it is."""
    types, encodings = values_of_two(headers, b"content-type", b"content-encoding")
    if len(types) != 1 or not _names_json(types[0]):
        return "not-json"
    return "encoded-request" if any(value.strip().lower() not in (b"", b"identity") for value in encodings) else None


@lru_cache(64)
def _names_json(content_type: bytes) -> bool:
    media_type, _, parameters = content_type.lower().partition(b";")
    charset = parameters.partition(b"charset")[2].strip(b' \t="')
    return media_type.strip() == b"application/json" and charset in (b"", b"utf-8")
