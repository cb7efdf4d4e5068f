"""The pump of a flight: reads the upstream's response to its end, whoever reads the flight, and stores it."""

import math
from collections.abc import Callable

import anyio
import anyio.lowlevel

from cachemw.cache import live_response as response
from cachemw.cache.live_response import LiveResponse
from cachemw.cache.recording import Terms
from cachemw.errors import TruncatedResponse
from cachemw.flights.flight import Flight
from cachemw.messages import Head
from cachemw.stores.guard import AsyncStore
from cachemw.upstreams.push import Answer, End


class Pump:
    """Runs in a task of its own, in the task group of the request that leads, and in a scope that only its flight cancels."""

    def __init__(self, flight: Flight, terms: Terms, store: AsyncStore, clock: Callable[[], float]) -> None:
        self._flight, self._terms, self._store, self._clock = flight, terms, store, clock

    async def run(self, answer: Answer) -> None:
        """Pump until the answerer returns. Raises nothing: an exception is kept for who leads."""
        flight = self._flight
        try:
            with flight.scope:
                await answer(self._emit)
            flight.end(TruncatedResponse("it returned before its answer was complete"))
        except Exception as exc:  # noqa: BLE001 - raised again by who leads: from in here it would arrive in a group
            if flight.is_over:
                flight.late_error = exc
            flight.end(exc)
        finally:  # a task that is cancelled natively, as when a loop shuts down, frees its readers too
            flight.end(TruncatedResponse("it was cancelled"))
            flight.pump_done.set()

    async def _emit(self, event: Head | bytes | End) -> None:
        flight = self._flight
        if flight.is_over or (isinstance(event, Head) and flight.response is not None):
            return  # what an app sends out of turn reaches nobody
        if isinstance(event, Head):
            flight.response = self._begun(event)
        elif flight.response is None:
            raise TruncatedResponse("a body without a head")
        elif isinstance(event, End):
            await self._land(flight.response)
        else:
            flight.response.feed(event, self._clock())
            self._hold(flight.response)
        flight.wake()
        if not flight.is_over:
            await self._let_read(flight.response)

    def _begun(self, head: Head) -> LiveResponse:
        begun = response.begin(head, self._terms, self._clock())
        if self._flight.table.is_full:
            begun.drop("busy")
        return begun

    def _hold(self, answer: LiveResponse) -> None:
        """Note what is held back, and from when on."""
        flight = self._flight
        flight.weigh()
        if answer.hold_seconds is not None and flight.release_at == math.inf:
            flight.release_at = anyio.current_time() + answer.hold_seconds

    async def _let_read(self, answer: LiveResponse) -> None:
        """Offer every reader what has come before more is read. Wait for none of them while it may be kept whole."""
        if over_limit := self._excess(answer):
            await self._make_room(answer, over_limit)
        elif not (self._flight.readers or answer.is_recorded):
            self._flight.stop()  # nobody reads it, and nobody is going to
        await anyio.lowlevel.checkpoint()
        while self._flight.woken:  # trio, unlike asyncio, lets tasks run in any order
            await anyio.lowlevel.checkpoint()

    def _excess(self, answer: LiveResponse) -> str | None:
        return answer.over_limit(self._terms.limit_bytes, self._flight.table.is_full)

    async def _make_room(self, answer: LiveResponse, over_limit: str) -> None:
        """Hold only what somebody has yet to read: from here on the slowest reader sets the pace."""
        flight = self._flight
        answer.drop(over_limit)
        flight.close_to_new()
        flight.wake()
        if not flight.readers:
            flight.stop()
        while self._excess(answer):
            answer.forget(min((reader.at for reader in flight.readers), default=answer.end))
            flight.weigh()
            if self._excess(answer):
                flight.has_space = anyio.Event()
                await flight.has_space.wait()

    async def _land(self, answer: LiveResponse) -> None:
        self._flight.is_landing = True
        try:
            put = answer.finish(self._clock())
        except TruncatedResponse as cut:
            self._flight.end(cut)
            return
        answer.close(None if put is None else await self._store.put(put))
        self._flight.end(None)
