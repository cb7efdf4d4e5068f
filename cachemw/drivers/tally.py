"""Tell hooks of hits that were recalled: one report for all that one entry gave within a second."""

import asyncio
import threading
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from cachemw.cache.recall import Moment
from cachemw.drivers.hooks import call_hooks
from cachemw.drivers.metering import Meter
from cachemw.report import ExchangeReport, Hook

TALLY_TIME = 1.0
"""How long hits are counted before they are told of."""


class Tally:
    """Counts recalled hits. Those of an event loop are told of within a second, all others at once."""

    def __init__(self, hooks: Iterable[Hook], clock: Callable[[], float]) -> None:
        self._hooks, self._clock = tuple(hooks), clock
        self._counted: dict[Moment, ExchangeReport] = {}
        self._lock = threading.Lock()

    def add(self, moment: Moment, size: int) -> None:
        """Count a hit, whose body has this size."""
        if not self._hooks:
            return
        with self._lock:
            counted = self._counted.get(moment)
            self._counted[moment] = _first(moment, size, self._clock()) if counted is None else _one_more(counted)
        if counted is None:
            self._tell_soon()

    def tell(self) -> None:
        """Tell the hooks of what was counted."""
        with self._lock:
            counted, self._counted = self._counted, {}
        for report in counted.values():
            call_hooks(self._hooks, report)

    def _tell_soon(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # there is none, or it is trio's
            self.tell()
        else:
            loop.call_later(TALLY_TIME, self.tell)


def _first(moment: Moment, size: int, now: float) -> ExchangeReport:
    meter = Meter(now)
    meter.start(moment.head)
    meter.sent(size)
    return meter.complete(moment.report)


def _one_more(report: ExchangeReport) -> ExchangeReport:
    return replace(report, count=report.count + 1)
