"""Push answers: a wrapped app does so by itself, and the response of an upstream is read and pushed here."""

import math
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from typing import Protocol

import anyio

from cachemw.cache.plans import Outbound
from cachemw.errors import UpstreamError, UpstreamTimeout
from cachemw.messages import Head, host_in
from cachemw.upstreams.base import AsyncUpstream, UpstreamRequest, sent_as


class End(Enum):
    """The end of an answer's body."""

    END = "end"


END = End.END

Emit = Callable[[Head | bytes | End], Awaitable[None]]

Answer = Callable[[Emit], Awaitable[None]]
"""Emits the head, then chunks, then `END`. An upstream raises `UpstreamError`, an app what it likes."""

Ending = Callable[[], Awaitable[None]]
"""Returns when a flight's answer is over, or is to be stopped."""


class PushUpstream(Protocol):
    """An upstream that pushes its answer to one request.

    `stop_notice`: how many seconds one that is to be stopped has before it is cancelled. `hears_client`: on its own it is
    handed the client's `receive`, so that it sees a disconnect itself.
    """

    stop_notice: float
    hears_client: bool

    def alone(self, outbound: Outbound) -> Answer:
        """Answer one client."""

    def in_flight(self, ending: Ending, outbound: Outbound) -> Answer:
        """Answer all who read it; it may be recorded, and so comes without content coding."""


class PulledUpstream:
    """An upstream whose response to one request is pulled, and pushed on. A hit never makes that `request`."""

    stop_notice, hears_client = 0.0, False

    def __init__(self, upstream: AsyncUpstream, request: Callable[[], UpstreamRequest]) -> None:
        self._upstream, self._request = upstream, request

    def alone(self, outbound: Outbound) -> Answer:
        """Answer in any content coding that the client takes; what is to be translated comes in none."""
        return partial(pushed, self._upstream, sent_as(self._request(), outbound, recorded=outbound.is_read))

    def in_flight(self, ending: Ending, outbound: Outbound) -> Answer:
        """Answer in no content coding."""
        return partial(pushed, self._upstream, sent_as(self._request(), outbound, recorded=True))


async def pushed(upstream: AsyncUpstream, request: UpstreamRequest, emit: Emit) -> None:
    """Open a response and emit it. Raises `UpstreamError`, which says at which host."""
    try:
        await _pushed(upstream, request, emit)
    except UpstreamError as error:
        error.host = error.host or host_in(upstream.place)
        raise


async def _pushed(upstream: AsyncUpstream, request: UpstreamRequest, emit: Emit) -> None:
    """Do so; one scope keeps both deadlines, for one around each read would cost more than the read."""
    timeouts = request.timeouts
    latest = anyio.current_time() + timeouts.total
    response = await upstream.aopen(request)
    try:
        with anyio.CancelScope() as patience:
            event: Head | bytes | None = response.head
            while event is not None:
                patience.deadline = math.inf  # a client that is slow to read is not a slow upstream
                await emit(event)
                patience.deadline = min(anyio.current_time() + timeouts.idle, latest)
                event = await response.read()
        if patience.cancelled_caught:
            raise UpstreamTimeout("the upstream fell silent, or took too long in all")
    finally:
        await response.aclose()
    await emit(END)
