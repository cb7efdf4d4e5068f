"""Tell hooks of hits that were recalled: one report for all that one entry gave within a second."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from cachemw.cache.recall import Moment
from cachemw.drivers.hooks import call_hooks
from cachemw.drivers.metering import Meter
from cachemw.ledger.ledger import Ledger
from cachemw.report import ExchangeReport, Hook
from cachemw.stores.forks import on_fork

TALLY_TIME = 1.0
"""How long hits are counted before they are told of, where there were others shortly before."""

FIRST_TIME = 0.2
"""How long they are counted where there were none."""

GATHERED_AT_MOST = 1_000
"""How many different hits wait for the store's thread: it may hang."""


class _Count:
    """The report of the first of several hits, and how many there were."""

    __slots__ = ("first", "number")

    def __init__(self, first: ExchangeReport) -> None:
        self.first, self.number = first, 1


class Tally:
    """Counts recalled hits. A ledger alone is told soon, by its store's thread; other hooks are told of those of an event
    loop within a second, and of all others at once.

    What was counted in a loop that has ended is told of with whatever is next.
    """

    def __init__(self, hooks: Iterable[Hook], clock: Callable[[], float]) -> None:
        self._hooks, self._clock = tuple(hooks), clock
        self._ledger = _alone(self._hooks)
        self._told_at, self._is_gathered = 0.0, False
        self._counted: dict[tuple[asyncio.AbstractEventLoop | None, Moment], _Count] = {}
        self._lock, self._counts_for = threading.Lock(), os.getpid()
        on_fork(self)

    def add(self, moment: Moment, size: int) -> None:
        """Count a hit, whose body has this size."""
        if not self._hooks:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # there is none, or it is trio's
            loop = None
        counted_as = loop, moment  # another loop may end before it tells
        with self._lock:
            counted = self._counted.get(counted_as)
            if counted is None:
                self._counted[counted_as] = _Count(_first(moment, size, self._clock()))
            else:
                counted.number += 1
        if counted is None:
            self._tell_soon(loop)

    def _tell_soon(self, loop: asyncio.AbstractEventLoop | None) -> None:
        is_first = time.monotonic() - self._told_at > TALLY_TIME
        seconds = min(FIRST_TIME, TALLY_TIME) if is_first else TALLY_TIME
        if self._ledger is not None and len(self._counted) < GATHERED_AT_MOST:
            if not self._is_gathered:
                self._is_gathered = True
                self._ledger.gather(self.tell, seconds)  # in its time, though the loop ends before
        elif loop is not None:
            loop.call_later(seconds, self.tell)
        else:
            self.tell()

    def tell(self) -> None:
        """Tell the hooks of what was counted."""
        with self._lock:
            counted, self._counted = self._counted, {}
            self._is_gathered = False
        self._told_at = time.monotonic()
        for count in counted.values():
            call_hooks(self._hooks, replace(count.first, count=count.number))

    def before_fork(self) -> None:
        """Let no other thread be in the middle of something: in the child there is nobody to end it."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Go on; what was counted before is the parent's to tell."""
        if self._counts_for != os.getpid():
            self._counts_for, self._counted, self._is_gathered = os.getpid(), {}, False
        self._lock.release()


def _alone(hooks: tuple[Hook, ...]) -> Ledger | None:
    """Return the ledger, where nobody else is to be told."""
    return hooks[0] if len(hooks) == 1 and isinstance(hooks[0], Ledger) else None


def _first(moment: Moment, size: int, now: float) -> ExchangeReport:
    meter = Meter(now)
    meter.start(moment.head)
    meter.sent(size)
    return meter.complete(moment.report)
