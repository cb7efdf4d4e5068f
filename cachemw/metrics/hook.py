"""The hook that counts exchanges for `/metrics`, and writes what it counted beside the store, once a second."""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from cachemw.endpoints import ENDPOINTS
from cachemw.errors import PlaceRefused
from cachemw.ledger.ledger import Ledger
from cachemw.metrics.counting import Counter
from cachemw.metrics.slots import WorkerSlot
from cachemw.metrics.sums import CountedSums, Labelled, SlotRecord, encode
from cachemw.metrics.table import LEDGER_DROPPED
from cachemw.report import ExchangeReport
from cachemw.stores.base import Store
from cachemw.stores.disk.store import DiskStore
from cachemw.upstreams.providers import PROVIDERS

logger = logging.getLogger(__name__)

WRITTEN_EVERY = 0.9
"""The seconds between one time that it is written and the next: what a kill loses is of the last second."""

TOUCH_SECONDS = 5.0
"""How often a worker says that it is alive where nothing has changed."""

WAITING = 10_000
"""How many exchanges, or calls, wait to be counted before who brings one more counts a few."""

A_FEW = 20

COUNTED_AT_ONCE = 100
"""How many are counted before the event loop has its turn: it waits for half a millisecond."""

ENDPOINT_NAMES = frozenset(endpoint.name for endpoint in ENDPOINTS)

Gauges = Mapping[Labelled, float]


def metrics_beside(store: Store, is_provider: Callable[[str], bool] = PROVIDERS.__contains__) -> "Metrics | None":
    """Return what counts for a store, `None` for one that is not in a directory of its own."""
    return Metrics(store.path, is_provider) if isinstance(store, DiskStore) else None


class Metrics:
    """A hook that counts exchanges, and is told of the store's calls. Nobody waits for it.

    What it is told waits until it is counted, in a thread, while `written` goes on. Only names that `is_provider` knows are
    labels.
    """

    def __init__(self, store_directory: Path, is_provider: Callable[[str], bool] = PROVIDERS.__contains__) -> None:
        self._slot, self._directory = WorkerSlot(store_directory), store_directory
        self._counter = Counter(is_provider, ENDPOINT_NAMES)
        self._exchanges: deque[ExchangeReport] = deque()
        self._calls: deque[tuple[str, float, BaseException | None]] = deque()
        self._counting = threading.Lock()
        self._gauges: Gauges = {}
        self._touched_at = 0.0
        self._is_failing = self._is_unwritten = False
        self.sample: Callable[[], Gauges] = dict
        """Says, in the event loop, what is the case now; whoever has something to tell tells it first."""
        self.ledger: Ledger | None = None
        """The ledger whose losses are counted."""
        self._lost = 0

    def __call__(self, report: ExchangeReport, /) -> None:
        """Take the report of an exchange, to be counted soon."""
        self._exchanges.append(report)
        if len(self._exchanges) > WAITING:
            self._make_room()

    def note_call(self, call: str, seconds: float, fault: BaseException | None) -> None:
        """Take note of a call of the store."""
        self._calls.append((call, seconds, fault))
        if len(self._calls) > WAITING:
            self._make_room()

    @contextlib.asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        """Write what is counted once a second as long as this lasts, and at its end."""
        over = asyncio.Event()
        writing = asyncio.get_running_loop().create_task(self._go_on_writing(over))
        try:
            yield
        finally:
            over.set()
            await writing
            await asyncio.to_thread(self._write, {}, is_last=True)

    async def _go_on_writing(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await asyncio.to_thread(self._write, self.sample())  # not the store's thread: when that hangs, it is to be seen
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), WRITTEN_EVERY)

    def _write(self, gauges: Gauges, *, is_last: bool = False) -> None:
        """Count what waits, and write it if that is possible. A store that was removed does not come back for this."""
        self._take_in()
        try:
            if self._directory.is_dir():
                self._put_down(gauges, is_last)
            self._is_failing = False
        except (OSError, PlaceRefused) as exc:
            self._note(exc)
        if is_last:
            self._slot.release()
            self._counter.sums = CountedSums()  # whoever has the slot next goes on with them

    def _take_in(self) -> None:
        """Count what waits."""
        with self._counting:
            waiting = max(len(self._exchanges), len(self._calls))
            for _ in range(0, waiting, COUNTED_AT_ONCE):
                self._count_some(COUNTED_AT_ONCE)
                time.sleep(0)  # the event loop's turn: it waits for who computes in a thread
            self._is_unwritten |= self._count_lost() + waiting > 0

    def _put_down(self, gauges: Gauges, is_last: bool) -> None:
        """Write what there is, where any of it is new. Raises `OSError` and `PlaceRefused`."""
        if (found := self._slot.take()) is not None:
            with self._counting:
                self._counter.resume(found)
            self._is_unwritten = True
        if self._is_unwritten or is_last or gauges != self._gauges:
            self._slot.write(self._encoded(gauges))
            self._is_unwritten, self._gauges, self._touched_at = False, gauges, time.monotonic()
        elif time.monotonic() - self._touched_at >= TOUCH_SECONDS:
            self._slot.touch()
            self._touched_at = time.monotonic()

    def _count_lost(self) -> int:
        lost = 0 if self.ledger is None else self.ledger.lost - self._lost
        self._lost += lost
        if lost:
            self._counter.sums.add((LEDGER_DROPPED.name,), lost)
        return lost

    def _encoded(self, gauges: Gauges) -> bytes:
        with self._counting:
            return encode(
                SlotRecord(self._slot.boot, self._counter.sums, {labelled: float(value) for labelled, value in gauges.items()})
            )

    def _make_room(self) -> None:
        if self._counting.acquire(blocking=False):
            try:
                self._count_some(A_FEW)
            finally:
                self._counting.release()

    def _count_some(self, most: int) -> None:
        with contextlib.suppress(IndexError):
            for _ in range(most):
                self._counter.add_exchange(self._exchanges.popleft())
        with contextlib.suppress(IndexError):
            for _ in range(most):
                self._counter.add_call(*self._calls.popleft())

    def _note(self, exc: Exception) -> None:
        if not self._is_failing:
            self._is_failing = True
            logger.warning("the metrics in %s are not written: %s", self._directory, exc)
