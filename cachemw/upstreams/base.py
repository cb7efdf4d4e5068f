"""The port of upstreams: who answers a miss, be it an HTTP upstream or a wrapped app."""

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Protocol

from cachemw.cache.effects import Outcome
from cachemw.errors import TruncatedResponse, UpstreamError
from cachemw.messages import Head, Headers


class End(Enum):
    """The end of an answer's body."""

    END = "end"


END = End.END

Emit = Callable[[Head | bytes | End], Awaitable[None]]

Answer = Callable[[Emit], Awaitable[None]]
"""Emits the head, then chunks, then `END`. An HTTP upstream raises `UpstreamError`, an app what it likes."""

Ending = Callable[[], Awaitable[None]]
"""Returns when a flight's answer is over, or is to be stopped."""


class Forwarding(Protocol):
    """Who answers one request.

    `stop_notice`: how many seconds one that is to be stopped has before it is cancelled. `hears_client`: on its own it is
    handed the client's `receive`, so that it sees a disconnect itself.
    """

    stop_notice: float
    hears_client: bool

    def alone(self, rewritten: Headers) -> Answer:
        """Answer one client. An HTTP upstream is sent the `rewritten` fields in the place of the client's."""

    def in_flight(self, ending: Ending, rewritten: Headers) -> Answer:
        """Answer whoever reads it; it may be recorded, and so comes without content coding."""


class Source(Protocol):
    """An answer that is pulled. `read` gives its chunks, none of them empty, then `None`; `close` may be called twice.

    Who can stop waiting does so `within` so many seconds, by an `UpstreamTimeout`.
    """

    @property
    def head(self) -> Head:
        """Its head."""

    def read(self, within: float | None) -> bytes | None:
        """Return the next chunk. Raises `UpstreamError`."""

    def close(self) -> None:
        """End it, wherever it is."""


class Opening(Protocol):
    """Who answers one request of a reader that pulls."""

    def open(self, recorded: bool, rewritten: Headers, push: Callable[[Head], Outcome]) -> Source:
        """Begin the answer; one that may be `recorded` comes without content coding. Raises `UpstreamError`.

        An HTTP upstream is sent the `rewritten` fields in the place of the client's.

        One that cannot be pulled is pushed: its head is told, and what becomes of it is returned.
        """


class AsyncSource(Protocol):
    """A `Source`, awaited."""

    @property
    def head(self) -> Head:
        """Its head."""

    async def read(self) -> bytes | None:
        """Return the next chunk. Raises `UpstreamError`."""

    async def aclose(self) -> None:
        """End it, wherever it is."""


class AsyncOpening(Protocol):
    """An `Opening`, awaited; its answers are always pulled."""

    async def open(self, recorded: bool, rewritten: Headers) -> AsyncSource:
        """Begin the answer; one that may be `recorded` comes without content coding. Raises `UpstreamError`."""


def as_upstream_error(escaped: Exception | None) -> UpstreamError:
    """Return what readers are told of an answerer that returned, or raised, before its answer was complete."""
    if isinstance(escaped, UpstreamError):
        return escaped
    error = TruncatedResponse("it returned, or raised, before its answer was complete")
    error.__cause__ = escaped
    return error
