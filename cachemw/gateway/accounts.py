"""The accounts of clients: what each has spent, reserved, and had forwarded in a period. They are waited for: it is money."""

import logging
import secrets
import threading
from pathlib import Path
from typing import Literal, Protocol

from cachemw.cache.plans import Closed
from cachemw.errors import BookError
from cachemw.gateway.budgets import (
    PeriodStart,
    Reservation,
    account_unreadable,
    begin_of,
    budget_spent,
    end_of,
    has_left,
    too_many_requests,
    without_bound,
)
from cachemw.gateway.routes import ClientEntry, Period, RequestLimit, SpendingLimit
from cachemw.ledger.book import Book

logger = logging.getLogger(__name__)

ACCOUNTS_FILE = "accounts.db"

LAPSE = 4 * 3600.0
"""The seconds after which a reservation that nobody settled is booked as it is: longer than any answer may take."""

ACCOUNT_PATIENCE = 2.0
"""The seconds for which another process that writes to the accounts is waited for."""

_KEPT = 31
"""How many periods that are over are kept: a clock that was wrong, and is set right, gives nobody a budget anew."""

_VERSION = 1
_SCHEMA = (
    "CREATE TABLE spent (client TEXT, per TEXT, since INTEGER, nano INTEGER, PRIMARY KEY (client, per, since)) WITHOUT ROWID",
    "CREATE TABLE reserved (id INTEGER PRIMARY KEY, client TEXT, per TEXT, since INTEGER, nano INTEGER, at REAL)",
    "CREATE INDEX reserved_client ON reserved (client)",
    "CREATE TABLE counted (client TEXT, per TEXT, requests INTEGER, since INTEGER, PRIMARY KEY (client, per)) WITHOUT ROWID",
)
_SPEND = (
    "INSERT INTO spent (client, per, since, nano) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (client, per, since) DO UPDATE SET nano = nano + excluded.nano"
)
_LAPSED = "SELECT id, client, per, since, nano FROM reserved WHERE at < ?"
_TAKEN = (
    "SELECT (SELECT coalesce(sum(nano), 0) FROM spent WHERE client = ?1 AND per = ?2 AND since = ?3)"
    " + (SELECT coalesce(sum(nano), 0) FROM reserved WHERE client = ?1 AND per = ?2 AND since = ?3)"
)
_COUNTED = "SELECT requests FROM counted WHERE client = ? AND per = ? AND since = ?"
_WORDS = {"refuse": "refused", "allow": "let through"}
_LARGEST = 2**53  # nano-dollars of one booking: nine million dollars, and sums of them are integers still


class Accounts(Protocol):
    """What clients have spent. Thread-safe; every method may block, and raise `BookError`. Times are since the epoch."""

    def reserve(self, client: str, limit: SpendingLimit, nano: int, now: float) -> Reservation | None:
        """Reserve what one attempt can cost at most; `None` where nothing of the budget is left."""

    def settle(self, reservation: Reservation, nano: int | None) -> None:
        """Book what it cost in the place of what was reserved; `None`: that stays. What is settled already stays, too."""

    def count(self, client: str, limit: RequestLimit, now: float) -> bool:
        """Count a request that is to be forwarded, and say whether it may be: one that may not is not counted."""

    def counted(self, client: str, limit: RequestLimit, now: float) -> int:
        """Return how many requests were counted in this period."""

    def taken(self, client: str, limit: SpendingLimit, now: float) -> int:
        """Return what is spent and reserved in this period, in nano-dollars."""

    def close(self) -> None:
        """Close what is open. May be called twice."""


class FileAccounts:
    """Accounts in a file, shared by all processes of this machine that open it.

    A reservation that nobody settles, for its process is gone, counts as what was reserved.
    """

    def __init__(self, directory: Path) -> None:
        self._book = Book(directory / ACCOUNTS_FILE, _SCHEMA, _VERSION, patience=ACCOUNT_PATIENCE)

    def reserve(self, client: str, limit: SpendingLimit, nano: int, now: float) -> Reservation | None:
        since = begin_of(limit.per, now)
        with self._book.transact() as book:
            for row in book.execute(_LAPSED, (now - LAPSE,)).fetchall():
                book.execute("DELETE FROM reserved WHERE id = ?", row[:1])
                book.execute(_SPEND, row[1:])
            book.execute(
                "DELETE FROM spent WHERE client = ? AND per = ? AND since < ?", (client, limit.per, _oldest(limit.per, now))
            )
            ((taken,),) = book.execute(_TAKEN, (client, limit.per, since))
            if not has_left(limit, taken):
                return None
            made = _reservation(client, limit.per, since, nano)
            values = made.id, client, limit.per, since, made.nano, now
            book.execute("INSERT INTO reserved (id, client, per, since, nano, at) VALUES (?, ?, ?, ?, ?, ?)", values)
        return made

    def settle(self, reservation: Reservation, nano: int | None) -> None:
        cost = _bounded(reservation.nano if nano is None else nano)
        with self._book.transact() as book:
            if book.execute("DELETE FROM reserved WHERE id = ?", (reservation.id,)).rowcount:
                book.execute(_SPEND, (reservation.client, reservation.per, reservation.since, cost))

    def count(self, client: str, limit: RequestLimit, now: float) -> bool:
        since = begin_of(limit.per, now)
        with self._book.transact() as book:
            found = book.execute(
                "SELECT since, requests FROM counted WHERE client = ? AND per = ?", (client, limit.per)
            ).fetchone()
            counted = found[1] if found and found[0] == since else 0
            if counted >= limit.requests:
                return False
            book.execute("INSERT OR REPLACE INTO counted VALUES (?, ?, ?, ?)", (client, limit.per, counted + 1, since))
        return True

    def counted(self, client: str, limit: RequestLimit, now: float) -> int:
        rows = self._book.rows(_COUNTED, (client, limit.per, begin_of(limit.per, now)))
        return int(rows[0][0]) if rows else 0

    def taken(self, client: str, limit: SpendingLimit, now: float) -> int:
        rows = self._book.rows(_TAKEN, (client, limit.per, begin_of(limit.per, now)))
        return int(rows[0][0]) if rows else 0

    def close(self) -> None:
        self._book.close()


def _oldest(per: Period, now: float) -> int:
    """Return when the oldest period began that is kept."""
    since, end = begin_of(per, now), end_of(per, now)
    return since if end is None else since - _KEPT * (end - since)


class MemoryAccounts:
    """Accounts in the memory of one process, for as long as that lives."""

    def __init__(self) -> None:
        self._spent: dict[tuple[str, Period], tuple[PeriodStart, int]] = {}
        self._reserved: dict[int, Reservation] = {}
        self._counted: dict[tuple[str, Period], tuple[PeriodStart, int]] = {}
        self._lock = threading.Lock()

    def reserve(self, client: str, limit: SpendingLimit, nano: int, now: float) -> Reservation | None:
        since = begin_of(limit.per, now)
        with self._lock:
            if not has_left(limit, self._taken(client, limit.per, since)):
                return None
            made = _reservation(client, limit.per, since, nano)
            self._reserved[made.id] = made
            return made

    def settle(self, reservation: Reservation, nano: int | None) -> None:
        with self._lock:
            if self._reserved.pop(reservation.id, None) is None:
                return
            account = reservation.client, reservation.per
            since, spent = self._spent.get(account, (reservation.since, 0))
            cost = _bounded(reservation.nano if nano is None else nano)
            if since == reservation.since:
                self._spent[account] = since, spent + cost
            elif since < reservation.since:
                self._spent[account] = reservation.since, cost

    def count(self, client: str, limit: RequestLimit, now: float) -> bool:
        account, since = (client, limit.per), begin_of(limit.per, now)
        with self._lock:
            begun, counted = self._counted.get(account, (since, 0))
            counted = counted if begun == since else 0
            if counted >= limit.requests:
                return False
            self._counted[account] = since, counted + 1
            return True

    def counted(self, client: str, limit: RequestLimit, now: float) -> int:
        since = begin_of(limit.per, now)
        with self._lock:
            begun, counted = self._counted.get((client, limit.per), (since, 0))
            return counted if begun == since else 0

    def taken(self, client: str, limit: SpendingLimit, now: float) -> int:
        with self._lock:
            return self._taken(client, limit.per, begin_of(limit.per, now))

    def close(self) -> None:
        """There is nothing to close."""

    def _taken(self, client: str, per: Period, since: PeriodStart) -> int:
        begun, spent = self._spent.get((client, per), (since, 0))
        open_ones = [
            made.nano for made in self._reserved.values() if (made.client, made.per, made.since) == (client, per, since)
        ]
        return sum(open_ones, spent if begun == since else 0)


def _reservation(client: str, per: Period, since: PeriodStart, nano: int) -> Reservation:
    """Return one whose number nobody else has, also where the file was taken away and there is another one."""
    return Reservation(secrets.randbits(62), client, per, since, _bounded(nano))


def _bounded(nano: int) -> int:
    return max(0, min(nano, _LARGEST))


class Treasurer:
    """Lets clients with limits have requests forwarded, or says why not.

    Where their accounts cannot be read, that is refused or allowed as `on_error` says; one line in the log tells of it.
    """

    def __init__(self, accounts: Accounts, on_error: Literal["refuse", "allow"]) -> None:
        self._accounts, self._on_error = accounts, on_error
        self._is_failing = False

    def closed(self, client: ClientEntry, now: float) -> Closed | None:
        """Return why nothing is forwarded for a client just now; nothing is reserved or counted."""
        try:
            if client.budget is not None and not has_left(client.budget, self._accounts.taken(client.name, client.budget, now)):
                return budget_spent(client.name, client.budget, now)
            rate = client.rate
            if rate is not None and self._accounts.counted(client.name, rate, now) >= rate.requests:
                return too_many_requests(client.name, rate, now)
        except BookError as exc:
            return self._failed(exc, client)
        return None

    def reserve(self, client: ClientEntry, target: str, most: int | None, now: float) -> Reservation | Closed | None:
        """Reserve the `most` that an attempt at a target can cost; `None` for a client without a budget.

        `most` is `None` where nobody knows.
        """
        if client.budget is None:
            return None
        if most is None:
            return without_bound(client.name, target)
        try:
            made = self._accounts.reserve(client.name, client.budget, most, now)
        except BookError as exc:
            return self._failed(exc, client)
        self._is_failing = False
        return made or budget_spent(client.name, client.budget, now)

    def count(self, client: ClientEntry, now: float) -> Closed | None:
        """Count a request that is to be forwarded; return what is said where it may not be."""
        if client.rate is None:
            return None
        try:
            may_go = self._accounts.count(client.name, client.rate, now)
        except BookError as exc:
            return self._failed(exc, client)
        self._is_failing = False
        return None if may_go else too_many_requests(client.name, client.rate, now)

    def settle(self, reservation: Reservation, nano: int | None) -> None:
        """Book what an attempt cost; where that cannot be, what was reserved stays so."""
        try:
            self._accounts.settle(reservation, nano)
        except BookError as exc:
            self._note(exc)

    def _failed(self, exc: BookError, client: ClientEntry) -> Closed | None:
        self._note(exc)
        return account_unreadable(client.name) if self._on_error == "refuse" else None

    def _note(self, exc: BookError) -> None:
        if not self._is_failing:
            self._is_failing = True
            logger.warning(
                "the accounts of clients fail: %s; until they work, who has a limit is %s", exc, _WORDS[self._on_error]
            )
