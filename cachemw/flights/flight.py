"""One upstream response in progress: written by its pump, read by any number of readers.

Written: by its pump alone, a task of the request that leads. It sets `response`, feeds it, and wakes the readers. It waits
for none of them as long as a record may be kept; if that is too large, the slowest reader sets the pace.

Read: by every request that has joined, the leader's own among them. Each has a `Reader`, which says how far it has read: it
looks, waits for news, and looks again. One that joins late reads from the start.

Ended: by the upstream, with its response or a failure (`end`); by the last reader that leaves (`leave`: it is stopped, or goes
on detached for a while); or by a cancellation of the leader's task (`cancel_when_unread`). It is closed to new readers before
anything is cancelled, so nobody joins what is being stopped; and the leader's request stays until the pump is done.
"""

import logging
import math
from enum import Enum

import anyio
from msgspec.structs import replace

from cachemw.cache.directives import Abandon
from cachemw.cache.live_response import LiveResponse, Relay, last_left
from cachemw.cache.sharing import Course
from cachemw.errors import UpstreamError
from cachemw.flights.registry import FlightTable
from cachemw.flights.relay import Client, send
from cachemw.report import ExchangeReport
from cachemw.upstreams.base import as_upstream_error
from cachemw.upstreams.failures import log_failure

logger = logging.getLogger(__name__)


class Reader:
    """One that reads: how far it is, and what it wants should it be the last to leave."""

    __slots__ = ("at", "on_abandon")

    def __init__(self, on_abandon: Abandon) -> None:
        self.at, self.on_abandon = 0, on_abandon


class State(Enum):
    """The states of a flight."""

    CLAIMED = "its leader is yet to forward the request"
    OPEN = "forwarded; there is nothing to show yet"
    SHOWING = "readers are sent what comes"
    STORING = "all has come; the record is being put"
    OVER = "readers have the rest of it, or the failure"
    RELEASED = "it was never forwarded: the store had the answer, or nobody wanted it any more"


_OVER = (State.OVER, State.RELEASED)
_COMPLETE = (State.STORING, *_OVER)


class Flight:
    """One response in progress. `course` is what it can be followed for, if it can.

    CLAIMED ──begin──► OPEN ──show──► SHOWING      JSON that may be kept is shown no sooner than it is complete
       │                 └──complete──┬──┘
      end                             ▼
       ▼                           STORING
    RELEASED                          │
                                     end           with a failure from OPEN and SHOWING, too
                                      ▼
                                     OVER

    Across OPEN, SHOWING and STORING: with `stop` it is told to end, and cancelled after its notice; after
    `cancel_when_unread` it is cancelled when its last reader leaves. `tests/flights/test_states.py` is the same as a table.

    `failure` is what it ended in, `late_error` what an app raised later: a background task's.
    """

    def __init__(self, table: FlightTable["Flight"], course: Course | None = None) -> None:
        self.table, self.course = table, course
        self.response: LiveResponse | None = None
        self.failure: Exception | None = None
        self.late_error: Exception | None = None
        self.readers: set[Reader] = set()
        self.closed_to_new = anyio.Event()  # nobody can join any more
        self.ending = anyio.Event()  # over, or to be stopped
        self.pump_done = anyio.Event()  # the pump has returned
        self.has_space = anyio.Event()  # somebody has read on, or left
        self.scope = anyio.CancelScope(shield=True)  # the pump's
        self.release_at = math.inf  # when what is held back is let go
        self.woken = 0  # how many have yet to look at what they waited for
        self._state = State.CLAIMED
        self._news: anyio.Event | None = None  # where somebody waits for some
        self._waiting = 0  # how many do
        self._notice = 0.0
        self._held = 0
        self._is_stopped = self._is_cancelled_when_unread = self._is_contested = False
        self._bound = anyio.CancelScope()
        self._bound_at = math.inf

    @property
    def state(self) -> State:
        """Say how far it has come."""
        return State.SHOWING if self._state is State.OPEN and self._is_shown else self._state

    @property
    def is_over(self) -> bool:
        """Say whether nothing more comes."""
        return self._state in _OVER

    @property
    def is_complete(self) -> bool:
        """Say whether all has come of it that ever will."""
        return self._state in _COMPLETE

    @property
    def _is_shown(self) -> bool:
        return self.response is not None and self.response.is_open

    def join(self, on_abandon: Abandon) -> Reader:
        """Add a reader, at the beginning."""
        reader = Reader(on_abandon)
        self.readers.add(reader)
        self._attach()
        return reader

    async def shown(self) -> LiveResponse | None:
        """Wait for something to show; `None` where it never began. Raises what it failed with before that."""
        while not (self.is_over or self._is_shown):
            await self._wait()
        if self.failed_unseen is not None:
            raise self.failed_unseen
        return self.response

    @property
    def failed_unseen(self) -> UpstreamError | None:
        """The failure before there was anything to show; `None` where there was something, or is no failure."""
        return None if self.failure is None or self._is_shown else self.error_of(self.failure)

    async def read(self, reader: Reader, relay: Relay, client: Client) -> None:
        """Send a client everything, as it comes. One that broke off has no end."""
        while not (self.is_over and relay.has_had_all):
            before, parts = relay.at, relay.take()
            reader.at = relay.at
            self.has_space.set()
            if self.is_over and self.failure is None and relay.has_had_all:
                await send(client, (*parts, *relay.finish()), last=not relay.is_cut)
                return
            if parts:
                await send(client, parts)
            elif relay.at == before:
                await self._wait()
        if self.failure is None:
            await send(client, relay.finish(), last=not relay.is_cut)
        else:
            await send(client, relay.broken(self.error_of(self.failure)), last=relay.comes_whole)

    async def _wait(self) -> None:
        """Wait for news; what is held back too long is let go."""
        news = self._news = self._news or anyio.Event()
        self._waiting += 1
        try:
            if self.release_at == math.inf:
                await news.wait()
                return
            with anyio.CancelScope(deadline=self.release_at):
                await news.wait()
        finally:
            if news.is_set():
                self.woken -= 1
            else:
                self._waiting -= 1
        if self.response is not None and self.release_at < math.inf and not news.is_set():
            self.release_at = math.inf
            self.response.release_held()
            self.wake()

    def leave(self, reader: Reader) -> Abandon | None:
        """Remove a reader. The last one decides what becomes of the flight, which is returned."""
        self.readers.discard(reader)
        self.has_space.set()
        self._forget_when_read()
        if self.readers or self.is_over or self._state is State.CLAIMED:  # then its leader is yet to join
            return None
        if self._is_cancelled_when_unread:
            self.scope.cancel()
        elif self._may_go_on(reader.on_abandon):
            logger.info("every reader has left a response in progress: it is read on to its end")
            self.detach()
            return Abandon.FINISH
        else:
            self.stop()
        return Abandon.CANCEL

    def _may_go_on(self, wish: Abandon) -> bool:
        is_open = self._is_contested and self.response is None
        return not is_open and last_left(wish, self.response, self.table.may_detach) is Abandon.FINISH

    def begin(self, stop_notice: float, *, is_contested: bool = False) -> None:
        """Note that it is forwarded; its upstream is told of a stop so many seconds before it is cancelled.

        `is_contested`: one of several will answer, and until one does there is nothing that could be read on (G7).
        """
        assert self._state is State.CLAIMED  # noqa: S101
        self._is_contested = is_contested
        self._notice, self._state = stop_notice, State.OPEN

    def show(self, response: LiveResponse) -> None:
        """Let readers have what may be shown of a response."""
        assert self._state is State.OPEN  # noqa: S101
        assert self.response is None  # noqa: S101
        self.response = response

    def complete(self) -> None:
        """Note that all of it has come, and is being stored."""
        assert self._state is State.OPEN  # noqa: S101
        assert self.response is not None  # noqa: S101
        self._state, self.release_at = State.STORING, math.inf

    def detach(self) -> None:
        """Go on without readers, for a while."""
        self.table.detached += 1
        self._bound_at = self._bound.deadline = anyio.current_time() + self.table.limits.abandon_grace

    def stop(self) -> None:
        """Ask it to end, and see that it does. Nobody joins what is being stopped."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self.close_to_new()
        self._attach()
        self.ending.set()
        self.scope.deadline = anyio.current_time() + self._notice

    def cancel_when_unread(self) -> None:
        """Obey a cancellation from outside at once; where others read, when the last of them leaves."""
        self.close_to_new()
        self._is_cancelled_when_unread = True
        if self.is_over or not self.readers:
            self.scope.cancel()

    async def wait_until_done(self) -> None:
        """Stay until the pump has returned; one that goes on without readers is stopped in time."""
        while not self.pump_done.is_set():
            with anyio.CancelScope(deadline=self._bound_at) as self._bound:
                await self.pump_done.wait()
            if not (self.pump_done.is_set() or self.readers or self.ending.is_set()):
                self.stop()

    def end(self, failure: Exception | None) -> None:
        """Let the readers have the rest, and nobody join. May be called twice."""
        if self.is_over:
            return
        self._state = State.RELEASED if self._state is State.CLAIMED else State.OVER
        self.failure = failure
        error = None if failure is None or self._is_stopped else self.error_of(failure)
        log_failure(error)
        if failure is not None and self.response is not None:
            self.response.fail(error)
        self.scope.deadline = math.inf  # background tasks run on to their end
        self._attach()
        self.close_to_new()
        self._forget_when_read()
        self.ending.set()
        self.wake()

    def close_to_new(self) -> None:
        """Let nobody join any more."""
        self.table.close(self)

    def wake(self) -> None:
        """Wake whoever waits for news."""
        if self._news is not None:
            self._news.set()
            self._news = None
            self.woken, self._waiting = self.woken + self._waiting, 0

    def weigh(self) -> None:
        """Tell the table how much is held in memory."""
        held = 0 if self.response is None else self.response.held
        self.table.weigh(held - self._held)
        self._held = held

    def _forget_when_read(self) -> None:
        if self.is_over and not self.readers and self.response is not None:
            self.response.forget(self.response.end)
            self.weigh()

    def _attach(self) -> None:
        if self._bound_at < math.inf:  # it was detached
            self.table.detached -= 1
        self._bound_at = self._bound.deadline = math.inf

    def final_report(self, report: ExchangeReport) -> ExchangeReport:
        """Return the report of an exchange, with what has become of this flight."""
        if self.response is not None:
            report = self.response.final_report(report)
        is_lost = self.failure is not None and report.stored is None and not report.collapsed
        return replace(report, stored=False) if is_lost else report

    def error_of(self, failure: Exception) -> UpstreamError:
        """Return what readers are told of a failure, with the status it had shown by then."""
        error = as_upstream_error(failure)
        error.status = None if self.response is None else self.response.head.status
        return error
