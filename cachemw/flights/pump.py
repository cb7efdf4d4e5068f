"""The pump of a flight: reads the upstream's response to its end, whoever reads the flight, and stores it."""

import math
from collections.abc import Callable

import anyio
import anyio.lowlevel

from cachemw.cache.live_response import LiveResponse, begin
from cachemw.cache.recording import Terms
from cachemw.errors import TruncatedResponse
from cachemw.flights.flight import Flight
from cachemw.messages import Head
from cachemw.stores.guard import AsyncStore
from cachemw.upstreams.push import Answer, End


class Pump:
    """Runs in a task of its own, in the task group of the request that leads, and in a scope that only its flight cancels.

    `terms_for` tells by its head on which terms an answer is kept.
    """

    def __init__(
        self, flight: Flight, terms_for: Callable[[Head], Terms], store: AsyncStore, clock: Callable[[], float]
    ) -> None:
        self._flight, self._terms_for, self._store, self._clock = flight, terms_for, store, clock
        self._limit_bytes = 0

    async def run(self, answer: Answer) -> None:
        """Pump until the upstream returns. Raises nothing: an exception is kept for who leads."""
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
        if flight.is_complete or (isinstance(event, Head) and flight.response is not None):
            return  # what an app sends out of turn reaches nobody
        if isinstance(event, Head):
            flight.show(self._begun(event))
        elif flight.response is None:
            raise TruncatedResponse("a body without a head")
        elif isinstance(event, End):
            await self._store_record(flight.response)
        else:
            flight.response.feed(event, self._clock())
            self._hold(flight.response)
        flight.wake()
        if flight.response is not None and not flight.is_over:
            await self._let_read(flight.response)

    def _begun(self, head: Head) -> LiveResponse:
        terms = self._terms_for(head)
        self._limit_bytes = terms.limit_bytes
        response = begin(head, terms, self._clock())
        if self._flight.table.is_full:
            response.drop("busy")
        return response

    def _hold(self, response: LiveResponse) -> None:
        """Note what is held back, and from when on."""
        flight = self._flight
        flight.weigh()
        if response.hold_seconds is not None and flight.release_at == math.inf:
            flight.release_at = anyio.current_time() + response.hold_seconds

    async def _let_read(self, response: LiveResponse) -> None:
        """Offer every reader what has come before more is read. Wait for none of them while it may be kept whole."""
        if over_limit := self._excess(response):
            await self._make_room(response, over_limit)
        elif not (self._flight.readers or response.is_recorded):
            self._flight.stop()  # nobody reads it, and nobody is going to
        await anyio.lowlevel.checkpoint()
        while self._flight.woken:  # trio, unlike asyncio, lets tasks run in any order
            await anyio.lowlevel.checkpoint()

    def _excess(self, response: LiveResponse) -> str | None:
        return response.over_limit(self._limit_bytes, self._flight.table.is_full)

    async def _make_room(self, response: LiveResponse, over_limit: str) -> None:
        """Hold only what somebody has yet to read: from here on the slowest reader sets the pace."""
        flight = self._flight
        response.drop(over_limit)
        flight.close_to_new()
        if not flight.readers:
            flight.stop()
        while self._excess(response):
            response.forget(min((reader.at for reader in flight.readers), default=response.end))
            flight.weigh()
            if self._excess(response):
                flight.has_space = anyio.Event()
                await flight.has_space.wait()

    async def _store_record(self, response: LiveResponse) -> None:
        self._flight.complete()
        try:
            put = response.finish(self._clock())
        except TruncatedResponse as cut:
            self._flight.end(cut)
            return
        response.close(None if put is None else await self._store.put(put))
        self._flight.end(None)
