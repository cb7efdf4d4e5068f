"""Ask a second target before the first has failed, where that takes long: the first sound answer wins, the rest is closed."""

import math

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from cachemw.cache.plans import AskedBid
from cachemw.errors import UpstreamTimeout
from cachemw.gateway.attempts import after_failure, attempt
from cachemw.gateway.bout import Attempted, Shown
from cachemw.gateway.desk import AsyncDesk, bout_of
from cachemw.gateway.failures import of_error
from cachemw.gateway.fallback import AsyncPerformer, AsyncRoutedResponse, clock_here
from cachemw.gateway.health import GONE
from cachemw.upstreams.base import UpstreamRequest


async def aopen_hedged(request: UpstreamRequest, desk: AsyncDesk) -> AsyncRoutedResponse:
    """Ask the bids of a request, more than one at a time where its plan says so. No task of it is left when it returns.

    Raises `UpstreamError` where none gave a response.
    """
    race = Race(request, desk, anyio.current_time())
    try:
        return await race.run()
    finally:
        await race.close()


class Entrant:
    """One attempt of a race: `attempted` is what came of it, `escaped` what it raised."""

    def __init__(self, asked: AskedBid, performer: AsyncPerformer, began: float, patience: float) -> None:
        self.asked, self.performer, self.began, self.leave_at = asked, performer, began, began + patience
        self.scope = anyio.CancelScope()
        self.attempted: Attempted | None = None
        self.escaped: Exception | None = None
        self.is_over = False


class Race:
    """Runs the attempts of one request, each in a task of its own."""

    def __init__(self, request: UpstreamRequest, desk: AsyncDesk, now: float) -> None:
        self._request, self._desk = request, desk
        self._bout = bout_of(request, desk, now)
        hedge = self._bout.plan.hedge
        self._after, self._most = (math.inf, 1) if hedge is None else (hedge.after, hedge.most)
        self._performers: list[AsyncPerformer] = []
        self._running: list[Entrant] = []
        self._last_began = now
        self._last_failed: AskedBid | None = None
        self._news = anyio.Event()
        self._now = clock_here()

    async def run(self) -> AsyncRoutedResponse:
        """Return the response of the one that won, or what is shown when all have failed."""
        winner, escaped = None, None
        async with anyio.create_task_group() as tasks:
            try:
                winner = await self._winner(tasks)
            except Exception as exc:  # noqa: BLE001 - raised again: from in here it would arrive in a group
                escaped = exc
            tasks.cancel_scope.cancel()
        if escaped is not None:
            raise escaped
        for entrant in self._running:
            await self._lose(entrant)
        if winner is None or winner.attempted is None:
            return await self._without_winner()
        return await winner.performer.show(self._bout, self._bout.sound(winner.attempted))

    async def close(self) -> None:
        """Close what is open still, and tell that nothing came of it."""
        for performer in self._performers:
            await performer.give_up(GONE)

    async def _winner(self, tasks: TaskGroup) -> Entrant | None:
        """Return whose answer is shown; `None`: all have failed."""
        self._start(tasks)
        while self._running:
            with anyio.CancelScope(deadline=self._next_due):
                await self._news.wait()
            self._news = anyio.Event()
            for entrant in [entrant for entrant in self._running if entrant.is_over]:
                self._running.remove(entrant)
                if self._has_won(entrant):
                    return entrant
                self._replace(tasks)
                await entrant.performer.close()
            self._leave_silent(tasks)
            if self._now() >= self._hedge_at:
                self._replace(tasks)
        return None

    def _start(self, tasks: TaskGroup) -> None:
        asked = self._bout.take()
        if asked is None:
            return
        now = self._now()
        performer = AsyncPerformer(self._request, self._desk)
        entrant = Entrant(asked, performer, now, self._bout.patience(asked))
        self._performers.append(performer)
        self._running.append(entrant)
        self._last_began = now
        tasks.start_soon(self._enter, entrant)

    async def _enter(self, entrant: Entrant) -> None:
        try:
            with entrant.scope:
                steps = attempt(self._bout, entrant.asked, math.inf, lambda: not self._may_leave)
                entrant.attempted = await entrant.performer.run(steps)
        except Exception as exc:  # noqa: BLE001 - raised again by who waits: from in here it would arrive in a group
            entrant.escaped = exc
        finally:
            if entrant.attempted is None:
                await entrant.performer.close()
            entrant.is_over = True
            self._news.set()

    def _replace(self, tasks: TaskGroup) -> None:
        """Start the next one, where there is room."""
        if self._has_room:
            self._start(tasks)

    @property
    def _has_room(self) -> bool:
        """Say whether one more may be asked: a spare only where nobody runs whom it stands in for."""
        following = self._bout.following
        if following is None or len(self._running) >= self._most:
            return False
        is_first = self._bout.plan.pick == "first"  # where each stands in for the one before it
        return is_first or all(entrant.asked.bid.tier >= following.bid.tier for entrant in self._running)

    @property
    def _hedge_at(self) -> float:
        """Return when one more is asked."""
        return self._last_began + self._after if self._has_room else math.inf

    @property
    def _next_due(self) -> float:
        """Return when something is to be done though nothing has come."""
        leaves = [entrant.leave_at for entrant in self._running] if self._may_leave else []
        return min([self._hedge_at, *leaves])

    @property
    def _may_leave(self) -> bool:
        """Say whether there is somebody else: the last one is never left (G5)."""
        return len(self._running) > 1 or not self._bout.is_at_last

    def _leave_silent(self, tasks: TaskGroup) -> None:
        """Leave those that have been silent for too long."""
        now = self._now()
        for entrant in [entrant for entrant in self._running if now >= entrant.leave_at and not entrant.is_over]:
            if self._may_leave:
                entrant.scope.cancel()
                self._running.remove(entrant)
                error = UpstreamTimeout("it began no answer in time, and another one is asked")
                self._fail(entrant, Attempted(entrant.asked, entrant.began, now, failure=of_error(error), error=error))
                self._replace(tasks)

    def _has_won(self, entrant: Entrant) -> bool:
        """Say whether what came of an attempt is shown. Raises what escaped from it."""
        if entrant.escaped is not None:
            raise entrant.escaped
        attempted = entrant.attempted
        if attempted is None:
            return False
        if attempted.failure is not None:
            return self._fail(entrant, attempted)
        if attempted.head is None:
            self._note_unpaid(attempted)
        return attempted.head is not None

    def _note_unpaid(self, attempted: Attempted) -> None:
        """Ask nobody else: the caller cannot pay for it. Raises what says so, if it is the first."""
        self._bout.close()
        if not self._bout.attempts and attempted.error is not None:
            raise attempted.error

    def _fail(self, entrant: Entrant, attempted: Attempted) -> bool:
        """Note a failure; say whether it is one that is shown, because nobody else may be asked."""
        assert attempted.failure is not None  # noqa: S101 - it failed
        cooling = entrant.performer.tell(attempted.failure)
        stops = self._bout.stops_at(attempted)
        if stops and attempted.head is not None and attempted.error is None:
            return True
        if stops:
            self._bout.close()
        self._last_failed = entrant.asked
        self._bout.note(attempted, cooling)
        return False

    async def _lose(self, entrant: Entrant) -> None:
        """Give up one that was not the first."""
        attempted = entrant.attempted
        if attempted is not None and attempted.failure is not None:
            self._bout.note(attempted, entrant.performer.tell(attempted.failure))
        elif entrant.performer.is_under_way:
            self._bout.lose(entrant.asked)
        await entrant.performer.give_up(GONE)

    async def _without_winner(self) -> AsyncRoutedResponse:
        """Ask the last one the same again, where that may help, or show the first one's error."""
        await anyio.lowlevel.checkpoint()  # its client may have left: then they were cancelled, and nobody has failed
        assert self._last_failed is not None  # noqa: S101 - all have failed
        performer = AsyncPerformer(self._request, self._desk)
        self._performers.append(performer)
        shown: Shown = await performer.run(after_failure(self._bout, self._last_failed, self._now()))
        return await performer.show(self._bout, shown)
