"""Tell hooks of hits that were recalled: one report for all that one entry gave within a second."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from cachemw.cache.recall import Moment
from cachemw.drivers.hooks import call_hooks
from cachemw.drivers.metering import Meter
from cachemw.report import ExchangeReport, Hook
from cachemw.stores.forks import on_fork

TALLY_TIME = 1.0
"""How long hits are counted before they are told of."""


class Tally:
    """Counts recalled hits. Those of an event loop are told of within a second, all others at once.

    What was counted in a loop that has ended is told of with whatever is next.
    """

    def __init__(self, hooks: Iterable[Hook], clock: Callable[[], float]) -> None:
        self._hooks, self._clock = tuple(hooks), clock
        self._counted: dict[tuple[asyncio.AbstractEventLoop | None, Moment], ExchangeReport] = {}
        self._lock, self._counts_for = threading.Lock(), os.getpid()
        on_fork(self)

    def add(self, moment: Moment, size: int) -> None:
        """Count a hit, whose body has this size."""
        if not self._hooks:
            return
        loop = _running_loop()
        counted_as = loop, moment  # another loop may end before it tells
        with self._lock:
            counted = self._counted.get(counted_as)
            self._counted[counted_as] = _first(moment, size, self._clock()) if counted is None else _one_more(counted)
        if counted is None and loop is not None:
            loop.call_later(TALLY_TIME, self.tell)
        elif loop is None:
            self.tell()

    def tell(self) -> None:
        """Tell the hooks of what was counted."""
        with self._lock:
            counted, self._counted = self._counted, {}
        for report in counted.values():
            call_hooks(self._hooks, report)

    def before_fork(self) -> None:
        """Let no other thread be in the middle of something: in the child there is nobody to end it."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Go on; what was counted before is the parent's to tell."""
        if self._counts_for != os.getpid():
            self._counts_for, self._counted = os.getpid(), {}
        self._lock.release()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # there is none, or it is trio's
        return None


def _first(moment: Moment, size: int, now: float) -> ExchangeReport:
    meter = Meter(now)
    meter.start(moment.head)
    meter.sent(size)
    return meter.complete(moment.report)


def _one_more(report: ExchangeReport) -> ExchangeReport:
    return replace(report, count=report.count + 1)
