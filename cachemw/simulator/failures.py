"""The values that say how a request fails; the failures of a provider stand in the file of its dialect."""

from dataclasses import dataclass
from typing import Literal

from cachemw.simulator.asking import Simulate
from cachemw.simulator.script import Json, RawHeaders, ResponseScript


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error as an answer of its own. A media type is given where the body is no JSON, and no provider's."""

    status: int
    content: Json | list[Json] | bytes
    headers: RawHeaders = ()  # instead of the dialect's own of these names
    media_type: bytes = b"application/json"

    __repr__ = object.__repr__  # it holds what is said


@dataclass(frozen=True, slots=True)
class ErrorWithin:
    """An error under way: in a stream an event inside a 200, else an answer, which may be a 200 as well."""

    whole: ErrorAnswer
    event: Json  # its members; those of a chunk are added where there is an entry
    entry: Json | None = None
    name: str = ""
    after: int = 0  # events that come before it

    __repr__ = object.__repr__  # it holds what is said


@dataclass(frozen=True, slots=True)
class Hollow:
    """A 200 in which nothing is said, for this reason; for none, it has no choices either."""

    reason: Literal["stop", "content_filter"] | None

    __repr__ = object.__repr__


@dataclass(frozen=True, slots=True)
class Unspoken:
    """A request that gets no answer at all: what becomes of its connection."""

    script: ResponseScript

    __repr__ = object.__repr__


@dataclass(frozen=True, slots=True)
class Disguised:
    """An error as it goes with this status, in the body of a 200 that is no stream."""

    status: int


@dataclass(frozen=True, slots=True)
class Foreign:
    """A sound answer in the form of another endpoint: chat's, or Anthropic's to a chat request."""


SimulatedFailure = ErrorAnswer | ErrorWithin | Hollow | Unspoken | Disguised | Foreign | Simulate
"""Who sends `simulate` asks for the last; one that asks for nothing is no failure."""


def at_once(status: int, content: Json | list[Json], **headers: str) -> ErrorAnswer:
    """Return an error of a provider. Fields are named as Python has names: `retry_after="7"`."""
    fields = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    return ErrorAnswer(status, content, fields)
