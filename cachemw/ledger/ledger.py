"""The ledger: what every exchange took and cost, in a file beside the store. Nobody ever waits for it."""

import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from cachemw.cache.policy import Policy
from cachemw.errors import BookError, StoreError
from cachemw.ledger.book import book_of
from cachemw.ledger.schema import BOUGHT, DETAILS, LATENCIES, NOT_WRITTEN, OF_WHOM, SUMS, listed
from cachemw.messages import Usage
from cachemw.report import ExchangeReport, as_reported
from cachemw.stores.base import Store, Submit
from cachemw.stores.disk.store import DiskStore
from cachemw.stores.forks import on_fork

logger = logging.getLogger(__name__)

QUEUED = 10_000
"""How many reports wait to be written before further ones are dropped, and counted."""

RING = 100_000
"""How many exchanges are kept one by one; the sums of all are kept longer."""

SURPLUS = 1_000
"""How many exchanges more than that there are before the oldest go, at once."""

GATHERED = 0.25
"""For how many seconds reports are gathered before they are written, while the store's thread has nothing else to do."""

BATCH = 200
"""How many reports are written in one transaction: the store's own work waits no longer."""

TRY_AGAIN = 2.0
"""The seconds after which a ledger that could not be written is tried again."""

CLOSING_SECONDS, CLOSING_ATTEMPTS = 2.0, 10

_MINUTES_OF = {"hour": 60, "day": 24 * 60}
_MINUTES_KEPT, _HOURS_KEPT = 2 * _MINUTES_OF["day"], 366 * _MINUTES_OF["day"]
_UPKEEP_SECONDS = 3600.0
_LARGEST_JUMP = 86_400.0
_LONGEST_NAME = 200
_LARGEST_SUM = 2**48  # of one row, in nano-dollars a quarter of a million dollars: SQLite adds up to 2**63

_UNKNOWN = Usage()
_ADDED = f"ON CONFLICT DO UPDATE SET {listed(f'{name} = {name} + excluded.{name}' for name in SUMS)}"
_MARKS = listed("?" * len((*OF_WHOM, *SUMS)))
_ADD = f"INSERT INTO minutes ({listed((*OF_WHOM, *SUMS))}) VALUES ({_MARKS}) {_ADDED}"  # noqa: S608 - of constants
_APPEND = f"INSERT INTO exchanges ({listed(DETAILS)}) VALUES ({listed('?' * len(DETAILS))})"  # noqa: S608 - of constants
_FOLD = (
    f"INSERT INTO minutes ({listed((*OF_WHOM, *SUMS))})"  # noqa: S608 - of constants
    f" SELECT minute - minute % 60, {listed(OF_WHOM[1:])}, {listed(f'sum({name})' for name in SUMS)} FROM minutes"
    f" WHERE minute < ? AND minute % 60 GROUP BY 1, {listed(OF_WHOM[1:])} {_ADDED}"
)
_DELETE_FOLDED = "DELETE FROM minutes WHERE minute < ? AND minute % 60"
_DELETE_OLD = "DELETE FROM minutes WHERE minute < ?"
_PLACES = "SELECT coalesce(max(place) - min(place) + 1, 0), max(place) FROM exchanges"
_DELETE_SURPLUS = "DELETE FROM exchanges WHERE place <= ?"


def ledger_beside(store: Store, policy: Policy) -> "Ledger | None":
    """Return the ledger of a store; `None` for one that does not write in a thread, or from which is only replayed."""
    if not isinstance(store, DiskStore) or policy.replays:
        return None
    ledger = Ledger(store.path, store)
    store.closes_with(ledger.let_go)
    return ledger


class StoreThread(Protocol):
    """A store that works in a thread of its own, and has calls made there."""

    @property
    def submit(self) -> Submit:
        """Have a call made after those before it, and do not wait. Raises `StoreError`."""

    def submit_later(self, call: Callable[[], object], seconds: float, /) -> None:
        """Have a call made in so many seconds; what else is to be done there goes before. Raises `StoreError`."""


class Ledger:
    """A hook that writes down exchanges: never what was said, nor header fields, nor credentials.

    It is written by the store's own `thread`, in batches. What does not get there in time is dropped, and
    counted; where it cannot be written at all, one line in the log says so.
    """

    def __init__(self, directory: Path, thread: StoreThread, *, clock: Callable[[], float] = time.time) -> None:
        self._book, self._thread, self._clock = book_of(directory), thread, clock
        self._queue: deque[ExchangeReport] = deque()
        self._dropped = 0
        self._is_begun = self._is_closed = self._is_made = False
        self._was_there = directory.is_dir()
        self.lost = 0
        """How many exchanges this process could not write down one by one."""
        self._tended_at, self._epoch = 0.0, clock() - time.monotonic()
        self._is_failing = False
        self._pid = os.getpid()
        on_fork(self)

    def __call__(self, report: ExchangeReport, /) -> None:
        """Take a report, to be written soon."""
        if self._is_closed:
            return
        is_there = self._is_there(report)
        if len(self._queue) >= QUEUED:
            self._dropped += report.count
            self.lost += report.count
            return
        self._queue.append(report)
        if is_there and not self._is_begun:
            self._is_begun, self._was_there = True, self._was_there or self._book.path.parent.is_dir()
            self._hand_over(self._thread.submit_later, GATHERED)

    def gather(self, tell: Callable[[], None], seconds: float) -> None:
        """Have exchanges told of in so many seconds by who counts them until then, in the store's thread, and write them."""

        def told_and_written() -> None:
            tell()
            self._write()

        try:
            self._thread.submit_later(told_and_written, seconds)
        except StoreError:  # it is closed
            tell()

    def close(self) -> None:
        """Write what waits, and close the file; no more is written then. It may be called twice, while the store is open."""
        self._is_closed = True
        failures = 0
        while self._is_made and (self._queue or self._dropped) and failures < CLOSING_ATTEMPTS:
            try:
                failures += not self._thread.submit(self._write).result(CLOSING_SECONDS)
            except (StoreError, TimeoutError):
                break
        self._book.close()

    def let_go(self) -> None:
        """Have no file open; the next exchange opens it again."""
        self._book.let_go()

    def before_fork(self) -> None:
        """There is nothing to put in order: the book does that for itself."""

    def after_fork(self) -> None:
        """Go on; what waited before is the parent's to write."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._queue, self._dropped, self._is_begun = deque(), 0, False

    def _is_there(self, report: ExchangeReport) -> bool:
        """Say whether there is a ledger to write in: who has cached nothing finds no file made for what merely passed."""
        self._is_made = self._is_made or report.opted_in or report.route is not None or self._book.path.exists()
        return self._is_made

    def _hand_over(self, submit: Callable[..., object], *seconds: float) -> None:
        try:
            submit(self._write, *seconds)
        except StoreError:  # it is closed: what is left is written by `close`, or not at all
            self._is_begun = False

    def _write(self) -> bool:
        """Write one batch, and say whether that could be done. What cannot be written stays in the queue."""
        self._is_begun = False  # what comes from here on may come too late for this batch
        if self._was_there and not self._book.path.parent.is_dir():  # who removed it is not to find it again
            self._queue.clear()
        dropped, reports = self._dropped, [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        if not reports and not dropped:
            return True
        try:
            with self._book.transact() as book:
                self._record(book, [as_reported(report) for report in reports], dropped)
        except BookError as exc:
            self._queue.extendleft(reversed(reports))
            self._note(exc)
            self._is_begun = not self._is_closed
            if self._is_begun:
                self._hand_over(self._thread.submit_later, TRY_AGAIN)
            return False
        self._dropped -= dropped
        self._is_failing = False
        if self._queue and not self._is_begun:
            self._is_begun = True
            self._hand_over(self._thread.submit)  # after what waits for the store's thread
        return True

    def _record(self, book: sqlite3.Connection, reports: Sequence[ExchangeReport], dropped: int) -> None:
        now = self._clock()
        book.executemany(_APPEND, [_details(report, self._pid, now) for report in reports])
        sums = _summed(reports, now)
        if dropped:
            nobody = (int(now) // 60, *[""] * (len(OF_WHOM) - 2), NOT_WRITTEN)
            sums[nobody] = [dropped, *[0] * (len(SUMS) - 1)]
        book.executemany(_ADD, [(*of_whom, *numbers) for of_whom, numbers in sums.items()])
        ((count, last),) = book.execute(_PLACES)
        if count > RING + SURPLUS:
            book.execute(_DELETE_SURPLUS, (last - RING,))
        has_jumped = abs(now - time.monotonic() - self._epoch) > _LARGEST_JUMP  # what is old by such a clock may be new
        if now - self._tended_at >= _UPKEEP_SECONDS and not has_jumped:
            self._tended_at = now
            _tend(book, int(now) // 60)

    def _note(self, exc: BookError) -> None:
        if not self._is_failing:
            self._is_failing = True
            logger.warning("the ledger in %s is not written: %s", self._book.path, exc)


def _tend(book: sqlite3.Connection, minute: int) -> None:
    """Make hours of the minutes of more than two days ago, and forget what is older than a year."""
    folded = (minute - _MINUTES_KEPT) // 60 * 60
    book.execute(_FOLD, (folded,))
    book.execute(_DELETE_FOLDED, (folded,))
    book.execute(_DELETE_OLD, (minute - _HOURS_KEPT,))


def _summed(reports: Iterable[ExchangeReport], now: float) -> dict[tuple[object, ...], list[int]]:
    """Return what these exchanges add to the sums, by whose they are."""
    sums: dict[tuple[object, ...], list[int]] = {}
    for report in reports:
        numbers = sums.setdefault(_of_whom(report, now), [0] * len(SUMS))
        for place, number in enumerate(_counted(report)):
            numbers[place] += number
        if report.total is not None:
            power = min(int(report.total * 1000).bit_length(), len(LATENCIES) - 1)
            numbers[power - len(LATENCIES)] += report.count
    return sums


def _of_whom(report: ExchangeReport, now: float) -> tuple[object, ...]:
    """Return whose sums an exchange is in. A model counts by its name only where one of that name has answered."""
    model = _name(report.model) if _has_answered(report) else ""
    minute = int(now if report.at is None else report.at) // 60
    names = _name(report.client), _name(report.route), _target(report), model, _name(report.endpoint)
    return minute, *names, report.outcome


def _counted(report: ExchangeReport) -> tuple[int, ...]:
    """Return what an exchange counts for; one that stands for several hits counts for all of them."""
    usage, count, outcome = report.usage or _UNKNOWN, report.count, report.outcome
    is_unpriced = report.cost is None and outcome in BOUGHT and _has_answered(report)
    return (
        count,
        min((usage.input_tokens or 0) * count, _LARGEST_SUM),
        min((usage.output_tokens or 0) * count, _LARGEST_SUM),
        min((usage.cached_tokens or 0) * count, _LARGEST_SUM),
        min(report.cost or 0, _LARGEST_SUM),
        min((report.saved or 0) * count, _LARGEST_SUM),
        _ms_saved(report),
        count if is_unpriced else 0,
        int(report.cost_at_least),
        int(report.cost_basis == "estimated"),
    )


def _details(report: ExchangeReport, worker: int, now: float) -> tuple[Any, ...]:
    usage = report.usage or _UNKNOWN
    return (
        report.id,
        int((now if report.at is None else report.at) * 1000),
        worker,
        report.outcome,
        report.detail,
        report.key,
        *(_name(report.client), _name(report.route), _target(report)),
        *(_name(report.model), _name(report.answered_model), _name(report.endpoint)),
        *(report.namespace and _name(report.namespace), report.status, report.fwd, report.fwd_status),
        *(None if report.stored is None else int(report.stored), _in_ms(report.kept_for), report.bytes_in, report.bytes_out),
        *(usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens, usage.cache_write_tokens),
        *(report.cost, report.cost_basis, int(report.cost_at_least), report.saved),
        *(_in_ms(report.first_byte), _in_ms(report.total), _in_ms(report.took), report.attempts, report.count, report.sketch),
    )


def _ms_saved(report: ExchangeReport) -> int:
    """Return how much longer the stored answer had taken than this one took."""
    if report.took is None or report.total is None:
        return 0
    return min(max(0, int((report.took - report.total) * 1000)) * report.count, _LARGEST_SUM)


def _has_answered(report: ExchangeReport) -> bool:
    return report.status is not None and report.status < 400


def _target(report: ExchangeReport) -> str:
    """Return the name of a target; of a URL without its path, where that may be anything that a client asks for."""
    name = _name(report.target)
    if "://" not in name or report.endpoint is not None and _has_answered(report):
        return name
    return "/".join(name.split("/", 3)[:3])


def _in_ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


def _name(text: str | None) -> str:
    if text is None:
        return ""
    if len(text) > _LONGEST_NAME:
        text = text[:_LONGEST_NAME]
    return text if text.isascii() else text.encode(errors="replace").decode()  # half a character would not be written
