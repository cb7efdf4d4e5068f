"""The pump of a flight: reads the upstream's answer to its end, whoever reads the flight, and stores it."""

import math
from collections.abc import Callable

import anyio
import anyio.lowlevel

from cachemw.async_store import AsyncStore
from cachemw.core import transfer
from cachemw.core.messages import Head
from cachemw.core.recording import Terms
from cachemw.core.transfer import Transfer
from cachemw.errors import TruncatedResponse
from cachemw.flight import Flight
from cachemw.upstreams.base import Answer, End


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
                flight.afterwards = exc
            flight.end(exc)
        finally:  # a task that is cancelled natively, as when a loop shuts down, frees its readers too
            flight.end(TruncatedResponse("it was cancelled"))
            flight.gone.set()

    async def _emit(self, event: Head | bytes | End) -> None:
        flight = self._flight
        if flight.is_over or (isinstance(event, Head) and flight.transfer is not None):
            return  # what an app sends out of turn reaches nobody
        if isinstance(event, Head):
            flight.transfer = self._begun(event)
        elif flight.transfer is None:
            raise TruncatedResponse("a body without a head")
        elif isinstance(event, End):
            await self._land(flight.transfer)
        else:
            flight.transfer.feed(event, self._clock())
            self._hold(flight.transfer)
        flight.wake()
        if not flight.is_over:
            await self._let_read(flight.transfer)

    def _begun(self, head: Head) -> Transfer:
        begun = transfer.begin(head, self._terms, self._clock())
        if self._flight.traffic.is_full:
            begun.drop("busy")
        return begun

    def _hold(self, answer: Transfer) -> None:
        """Note what is held back, and from when on."""
        flight = self._flight
        flight.weigh()
        if answer.holds_for is not None and flight.release_at == math.inf:
            flight.release_at = anyio.current_time() + answer.holds_for

    async def _let_read(self, answer: Transfer) -> None:
        """Offer every reader what has come before more is read. Wait for none of them while it may be kept whole."""
        if excess := self._excess(answer):
            await self._make_room(answer, excess)
        elif not (self._flight.seats or answer.is_recorded):
            self._flight.stop()  # nobody reads it, and nobody is going to
        await anyio.lowlevel.checkpoint()
        while self._flight.woken:  # trio, unlike asyncio, lets tasks run in any order
            await anyio.lowlevel.checkpoint()

    def _excess(self, answer: Transfer) -> str | None:
        return answer.excess(self._terms.limit_bytes, self._flight.traffic.is_full)

    async def _make_room(self, answer: Transfer, excess: str) -> None:
        """Hold only what somebody has yet to read: from here on the slowest reader sets the pace."""
        flight = self._flight
        answer.drop(excess)
        flight.close_doors()
        flight.wake()
        if not flight.seats:
            flight.stop()
        while self._excess(answer):
            answer.forget(min((seat.at for seat in flight.seats), default=answer.end))
            flight.weigh()
            if self._excess(answer):
                flight.room = anyio.Event()
                await flight.room.wait()

    async def _land(self, answer: Transfer) -> None:
        self._flight.is_landing = True
        try:
            put = answer.finish(self._clock())
        except TruncatedResponse as cut:
            self._flight.end(cut)
            return
        answer.close(None if put is None else await self._store.put(put))
        self._flight.end(None)
