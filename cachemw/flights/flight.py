"""One upstream response in progress: written by its pump, read by any number of readers."""

import logging
import math

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

logger = logging.getLogger(__name__)


class Reader:
    """A reader's place: how far it has read, and what it wants should it be the last to leave."""

    __slots__ = ("at", "on_abandon")

    def __init__(self, on_abandon: Abandon) -> None:
        self.at, self.on_abandon = 0, on_abandon


class Flight:
    """Made by who leads; readers look, wait for news, and look again. `course` is what it can be followed for, if it can.

    `failure` is what it ended in, `late_error` what an app raised later: a background task's.
    """

    def __init__(self, table: FlightTable["Flight"], course: Course | None = None) -> None:
        self.table, self.course = table, course
        self.response: LiveResponse | None = None
        self.failure: Exception | None = None
        self.late_error: Exception | None = None
        self.has_begun = self.is_over = self.is_landing = False
        self.readers: set[Reader] = set()
        self.closed_to_new = anyio.Event()  # nobody can join any more
        self.ending = anyio.Event()  # over, or to be stopped
        self.pump_done = anyio.Event()  # the pump has returned
        self.has_space = anyio.Event()  # somebody has read on, or left
        self.scope = anyio.CancelScope(shield=True)  # the pump's
        self.release_at = math.inf  # when what is held back is let go
        self._news: anyio.Event | None = None  # where somebody waits for some
        self._waiting = 0  # how many do
        self.woken = 0  # and how many have yet to look at what they waited for
        self._notice = 0.0
        self._held = 0
        self._is_stopped = self._is_doomed = False
        self._bound = anyio.CancelScope()
        self._bound_at = math.inf

    def join(self, on_abandon: Abandon) -> Reader:
        """Take a seat, at the beginning."""
        reader = Reader(on_abandon)
        self.readers.add(reader)
        self._attach()
        return reader

    async def shown(self) -> LiveResponse | None:
        """Wait for something to show; `None` where it never began. Raises what it failed with before that."""
        while not (self.is_over or (self.response is not None and self.response.is_open)):
            await self._wait()
        if self.failed_unseen is not None:
            raise self.failed_unseen
        return self.response

    @property
    def failed_unseen(self) -> UpstreamError | None:
        """What it failed with before there was anything to show."""
        if self.failure is None or (self.response is not None and self.response.is_open):
            return None
        return self.error_of(self.failure)

    async def read(self, reader: Reader, relay: Relay, client: Client) -> None:
        """Send a client everything, as it comes. One that broke off has no end."""
        while not (self.is_over and relay.has_had_all):
            parts = relay.take()
            reader.at = relay.at
            self.has_space.set()
            is_last = self.is_over and self.failure is None and relay.has_had_all
            if parts:
                await send(client, parts, last=is_last)
                if is_last:
                    return
            else:
                await self._wait()
        if self.failure is None:
            await client.write(b"", False)
        elif broken := relay.response.broken(self.error_of(self.failure)):
            await client.write(broken, True)

    async def _wait(self) -> None:
        """Wait for news; what is held back too long is let go."""
        news = self._news = self._news or anyio.Event()
        self._waiting += 1
        try:
            if self.is_landing or self.release_at == math.inf:
                await news.wait()
                return
            with anyio.CancelScope(deadline=self.release_at):
                await news.wait()
        finally:
            if news.is_set():
                self.woken -= 1
            else:
                self._waiting -= 1
        if self.response is not None and not (news.is_set() or self.is_landing):
            self.release_at = math.inf
            self.response.release_held()
            self.wake()

    def leave(self, reader: Reader) -> Abandon | None:
        """Give up a seat. The last one out decides what becomes of it, and is told."""
        self.readers.discard(reader)
        self.has_space.set()
        self._forget_when_read()
        if self.readers or self.is_over or not self.has_begun:  # who has claimed it is yet to take a seat
            return None
        if self._is_doomed:
            self.scope.cancel()
        elif last_left(reader.on_abandon, self.response, self.table.may_detach) is Abandon.FINISH:
            logger.info("every reader has left a response in progress: it is read on to its end")
            self.detach()
            return Abandon.FINISH
        else:
            self.stop()
        return Abandon.CANCEL

    def begin(self, stop_notice: float) -> None:
        """Say that it is going to be pumped; who answers is told of a stop so many seconds before it is cancelled."""
        self._notice, self.has_begun = stop_notice, True

    def detach(self) -> None:
        """Fly on without readers, for a while."""
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
        self._is_doomed = True
        if self.is_over or not self.readers:
            self.scope.cancel()

    async def wait_until_done(self) -> None:
        """Stay until the pump has returned; one that flies without readers is stopped in time."""
        while not self.pump_done.is_set():
            with anyio.CancelScope(deadline=self._bound_at) as self._bound:
                await self.pump_done.wait()
            if not (self.pump_done.is_set() or self.readers or self.ending.is_set()):
                self.stop()

    def end(self, failure: Exception | None) -> None:
        """Let the readers have the rest, and nobody join. May be called twice."""
        if self.is_over:
            return
        self.is_over, self.failure = True, failure
        if failure is not None and self.response is not None:
            self.response.fail(None if self._is_stopped else self.error_of(failure))
        self.scope.deadline = math.inf  # background tasks run on to their end
        self._attach()
        self.close_to_new()
        self._forget_when_read()
        self.ending.set()
        self.wake()

    def close_to_new(self) -> None:
        """Let nobody join any more."""
        self.table.close(self)
        self.closed_to_new.set()

    def wake(self) -> None:
        """Wake whoever waits for news."""
        if self._news is not None:
            self._news.set()
            self._news = None
            self.woken, self._waiting = self.woken + self._waiting, 0

    def weigh(self) -> None:
        """Let the traffic know how much is held in memory."""
        held = 0 if self.response is None else self.response.held
        self.table.held += held - self._held
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
        """Return what is said of an exchange, with what has become of this flight."""
        if self.response is not None:
            report = self.response.final_report(report)
        is_lost = self.failure is not None and report.stored is None and not report.collapsed
        return replace(report, stored=False) if is_lost else report

    def error_of(self, failure: Exception) -> UpstreamError:
        """Return what readers are told of a failure, with the status it had shown by then."""
        error = as_upstream_error(failure)
        error.status = None if self.response is None else self.response.head.status
        return error
