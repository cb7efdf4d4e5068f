"""The port of translations: a call as another dialect has it, and a view of its answers in the dialect of who asked."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from cachemw.errors import CacheError
from cachemw.messages import Usage
from cachemw.redaction import redacted_repr
from cachemw.wire.sse import Event

Changes = tuple[tuple[str, str], ...]
"""What is not exactly as it was asked for: members, and what became of each, such as `dropped`. Both are tokens."""


class Untranslatable(msgspec.Struct, frozen=True):
    """A request that cannot be said in the other dialect: the member that cannot, and why, in plain words."""

    member: str
    why: str

    __repr__ = redacted_repr


class CannotSay(CacheError):
    """A member of a request that cannot be said in the other dialect, and why. It never leaves this package."""

    def __init__(self, member: str, why: str) -> None:
        super().__init__(why)
        self.member, self.why = member, why


class Unsayable(msgspec.Struct, frozen=True):
    """An answer that cannot be said in the dialect of who asked, and why, in plain words that hold nothing of it."""

    why: str

    __repr__ = redacted_repr


class EventTranslator(Protocol):
    """Translates one stream, event by event. `fault` says, in plain words, why no more can be said, once that is so.

    `ping` is sent where nothing else has been to say for a while. `held` is how many characters wait for their turn.
    """

    fault: str | None
    ping: bytes
    held: int

    def feed(self, event: Event) -> bytes:
        """Return the events that one event becomes, as bytes of a stream; often none.

        Where it says that the stream is over, that is said at once: an upstream may wait for its client to hang up then.
        """

    def end(self) -> bytes:
        """Return what is left to say where the upstream has ended without a word for it; a `fault` where that was no end."""


class View(Protocol):
    """A view of the answers to one request, in the dialect of who asked: a value, by which the same answer is seen the same.

    It is a pure function of the request and the answer.
    """

    def answer(self, body: bytes) -> bytes | Unsayable:
        """Return a whole answer, one document."""

    def stream(self, known: Usage | None) -> EventTranslator:
        """Return a translator of a stream; of a stored one it is `known` what it took."""

    def error(self, status: int, body: bytes) -> bytes:
        """Return the body of an error, whichever shape it came in."""


class Translated(msgspec.Struct, frozen=True):
    """A request as the other dialect has it: its body, what is told of it, and the view of its answers."""

    body: bytes
    told: Changes
    view: View

    __repr__ = redacted_repr


Members = Mapping[str, Any]
"""The members of a request's body, as they were read."""
