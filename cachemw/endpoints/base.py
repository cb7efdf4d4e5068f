"""The port of endpoints: what has to be known of an API call to cache it. `cachemw.endpoints` lists the ones there are."""

import math
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Protocol

import msgspec

from cachemw.endpoints.errors import ErrorShape
from cachemw.limits import Work
from cachemw.messages import HttpTarget, Kind, Request, StoredResponse, Usage
from cachemw.redaction import redacted_repr
from cachemw.wire.sse import Event

PLAIN = Kind(stream=False)
"""The kind of an answer that is one document."""

CUT = frozenset({"incomplete", "unreadable-answer"})
"""The faults of an answer that may have been cut short."""


class Place(Enum):
    """The place in which a member of a request's body counts."""

    KEY = "key"
    ECHOED = "echoed"  # the answer repeats it, so that it is in the key whoever only counts by it
    TRANSPORT = "transport"  # how the answer travels: in the record's kind
    BOOKKEEPING = "bookkeeping"  # who pays and who is counted; not in the key where the upstream is known to take it so


RawMembers = dict[str, msgspec.Raw]
"""The members of an object, by their names; none of them has been read."""


class ApiCall(msgspec.Struct, frozen=True):
    """An API call, as far as it matters here: its canonical body, and what decides how its answer is judged.

    `model` is the one that is asked for; `choices` is how many answers; `bounded`: the caller itself limited their length;
    `longest` is for how many seconds an answer may be fresh at most.

    A call that goes to a gateway, which may be sent to many, also has the `members` of its body as they were read, and the
    `forms` in which they stand in a canonical body, by name and in order. `divides`: the answer to each of its inputs is the
    one that this would have alone.
    """

    endpoint: "Endpoint"
    canonical: bytes
    kind: Kind
    model: str | None = None
    choices: int = 1
    bounded: bool = False
    wants_usage: bool = False
    longest: float = math.inf
    members: Mapping[str, Any] | None = None
    forms: tuple[tuple[str, bytes], ...] = ()
    divides: bool = False

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


class Saying(Enum):
    """How much an event says by which a stream begins, or a whole answer."""

    NOTHING = "nothing yet"
    SOMETHING = "some of the answer, or more than can be looked at"
    ERROR = "that there is no answer"
    UNREADABLE = "what is no part of an answer"


class Beginning(msgspec.Struct, frozen=True):
    """The beginning of an answer: how much it says, how many choices it has, and for which reasons they are over."""

    saying: Saying
    choices: int = 0
    finish_reasons: tuple[str, ...] = ()

    __repr__ = redacted_repr


class Beginner(Protocol):
    """Reads how an answer begins."""

    def __call__(self, raw: bytes, *, is_whole: bool) -> Beginning:
        """Return what an event says by which a stream begins, or an answer that `is_whole`."""


class Endpoint(msgspec.Struct, frozen=True, eq=False):
    """One kind of API call, as data and a few functions. There is one value for each; they are compared by identity.

    paths    how the paths end that are posted to it
    fields   in which place every documented member of its body counts
    read     reads a request, given the endpoint, the members that its upstream only counts by, a bound of work, and whether an
             answer may be cached that the upstream is to store
    sent     makes of a call that goes to a gateway the one that a target of it is sent, by that one's name for the model, or
             `None` for the caller's; without it the body that is sent there is read anew
    judge    reads an answer, and says why it may not be kept
    begins   says of the first events of a stream, and of a whole answer, whether it could be shown
    ends     matches the line of a stream at which clients hang up; without it there are no streams
    derive   gives an answer in another kind, or says why it cannot be had without loss
    usage    reads the JSON of what an answer took
    errors   the shape in which its clients read errors
    is_free  whether nobody charges for its calls
    """

    name: str
    paths: tuple[str, ...]
    fields: Mapping[str, Place]
    read: "Callable[[Endpoint, Request, frozenset[str], Work, bool], ApiCall | Bypass]"
    sent: Callable[[ApiCall, HttpTarget, str | None, frozenset[str]], ApiCall] | None
    judge: Callable[[ApiCall, Demands, Work], Judge]
    begins: Beginner
    ends: re.Pattern[bytes] | None
    derive: Callable[[StoredResponse, Kind, Work], StoredResponse | str]
    usage: Callable[[bytes], Usage | None]
    errors: ErrorShape
    is_free: bool = False

    @property
    def writes(self) -> bool:
        """Say whether its answers are written token by token, so that their length is charged for."""
        return self.ends is not None

    def __repr__(self) -> str:
        return f"Endpoint({self.name})"
