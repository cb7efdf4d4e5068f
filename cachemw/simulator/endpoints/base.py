"""The port of endpoints: how a request to one is read, and what is said to it in each form."""

from typing import ClassVar, Literal, Protocol, TypeVar

from cachemw.simulator.asking import Ask, AskedBody, SimulatedBody
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.failures import ErrorWithin
from cachemw.simulator.script import Json, ScriptEvent

B = TypeVar("B", bound=SimulatedBody)

HollowReason = Literal["stop", "content_filter"] | None
"""Why nothing is said; for no reason, there is not even a place for it."""


class Spoken(Protocol):
    """An answer that can be put on the wire."""

    @property
    def tokens(self) -> int:
        """Return how many tokens are written one after another."""

    def whole(self) -> Json:
        """Return the answer as one object."""

    def events(self) -> tuple[ScriptEvent, ...]:
        """Return the answer as a stream, of which the last event is the end mark."""

    def failure(self, error: ErrorWithin, place: int) -> bytes:
        """Return what a stream says when the provider gives up after so many events."""


class SimulatedEndpoint(Protocol[B]):
    """An endpoint of a provider."""

    name: ClassVar[str]
    """How dialects list it."""

    path: ClassVar[str]
    """Below the version segment."""

    home: ClassVar[str]
    """The dialect of its headers and errors at a server that imitates nobody."""

    streams: ClassVar[bool]

    @property
    def asked(self) -> type[B]:
        """Return what a request's body is read as."""

    def prompt(self, body: B) -> AskedBody:
        """Return the request as one for chat."""

    def sound(self, ask: Ask[B], dialect: Dialect) -> Spoken:
        """Return the answer to a request."""

    def hollow(self, ask: Ask[B], dialect: Dialect, reason: HollowReason) -> Spoken:
        """Return an answer in which nothing is said."""
