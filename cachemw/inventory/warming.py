"""Warm a store: ask many requests, at the pace that their upstream bears, and for no more money than was meant."""

import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import msgspec

from cachemw.inventory.asking import Asker, ClientQuestion, WholeReply
from cachemw.inventory.batches import BatchRequest
from cachemw.messages import Headers
from cachemw.redaction import redacted_repr
from cachemw.wire.strict_json import UNREADABLE

PATIENT_ATTEMPTS = 20
"""How often a request is made that is told to wait, before it has failed."""

FAILING_ATTEMPTS = 3
"""How often a request is made that fails in a way that may pass."""

_SLOWING = (429, 503, 529)
_PASSING = (408, 409, 500, 502, 504)
_SHUT = 401
_TOO_LATE = 504
_LATE = "store-slow"
"""What an answer says whose store is still at work on it when it ends."""

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 120.0
_WORD = msgspec.json.Decoder(dict[str, msgspec.Raw])

Hint = Callable[[Headers, float], float | None]
"""Returns in how many seconds an upstream says that it may be asked again."""


class AskingPace:
    """The number of requests that may be under way at once, and the time before which none is made.

    It grows by about one with each round of answers, and is halved when an upstream has had too many (AIMD, as in TCP).
    """

    def __init__(self, most: int) -> None:
        self._most, self._limit = most, float(most)
        self.not_before = self._slowed_at = 0.0
        self._in_a_row = 0

    @property
    def limit(self) -> int:
        return int(self._limit)

    def answered(self) -> None:
        """Take in that an answer came."""
        self._in_a_row = 0
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def slowed(self, began: float, now: float, wait: float | None) -> None:
        """Take in that a request which `began` then was one too many, and for how long to wait, if that was said.

        Those that were under way together are one such time, and not several.
        """
        if began >= self._slowed_at:
            self._limit, self._slowed_at = max(1.0, self._limit / 2), now
            self._in_a_row += 1
        guess = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (self._in_a_row - 1))
        self.not_before = max(self.not_before, now + (guess if wait is None else wait))


@dataclass(slots=True)
class WarmSums:
    """The sums of warming: what was there already, what came anew, what was not kept, and what has failed, by its id.

    `spent` are nano-dollars; `unpriced` answers are those of which nobody knows what they cost. `left` were not asked, and
    `stopped` says why.
    """

    total: int
    hits: int = 0
    fetched: int = 0
    not_kept: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[str, str]] = field(default_factory=list)
    spent: int = 0
    unpriced: int = 0
    stopped: str = ""

    __repr__ = redacted_repr

    @property
    def done(self) -> int:
        return self.hits + self.fetched + self.not_kept.total() + len(self.failed)

    @property
    def left(self) -> int:
        return self.total - self.done


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """The money that may be spent, in nano-dollars: `most_of` is the most that a request can cost, `cost_of` what one did cost.

    Either is `None` where nobody knows.
    """

    most_of: Callable[[BatchRequest], int | None]
    cost_of: Callable[[BatchRequest, WholeReply], int | None]
    limit: int | None = None

    __repr__ = redacted_repr

    def refusal(self, requests: Sequence[BatchRequest]) -> str | None:
        """Return why it cannot be held to its limit; `None` where it can."""
        if self.limit is None:
            return None
        unknown = next((one.id for one in requests if self.most_of(one) is None), None)
        return None if unknown is None else f"nobody knows the most that {unknown} can cost"


class Warming:
    """Asks requests, and counts what comes of them."""

    def __init__(
        self,
        asker: Asker,
        requests: Sequence[BatchRequest],
        allowance: Allowance,
        *,
        concurrency: int,
        hint: Hint,
        note: Callable[[BatchRequest, WholeReply], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.sums = WarmSums(len(requests))
        self._asker, self._allowance, self._hint, self._note, self._clock = asker, allowance, hint, note, clock
        self._waiting, self._most = deque(requests), concurrency
        self._pace, self._under_way, self._reserved = AskingPace(concurrency), 0, 0
        self._changed = anyio.Event()

    async def run(self) -> WarmSums:
        """Ask all, as far as the money goes."""
        async with anyio.create_task_group() as tasks:
            for _ in range(min(self._most, len(self._waiting))):
                tasks.start_soon(self._work)
        return self.sums

    async def _work(self) -> None:
        while self._waiting and not self.sums.stopped:
            request = self._waiting[0]
            most = self._allowance.most_of(request) or 0
            if self._is_too_dear(most):
                if not self._reserved:
                    self.sums.stopped = "the next request could cost more than is left of the money"
                    self._tell_change()
                    return
                await self._changed.wait()  # what is under way may cost less than it could
                continue
            self._waiting.popleft()
            self._reserved += most
            try:
                reply = await self._answered(request)
                self._take(request, reply)
            finally:
                self._reserved -= most
                self._tell_change()

    def _is_too_dear(self, most: int) -> bool:
        limit = self._allowance.limit
        return limit is not None and self.sums.spent + self._reserved + most > limit

    async def _answered(self, request: BatchRequest) -> WholeReply:
        """Ask until there is an answer, or no hope of one."""
        question, attempts = ClientQuestion(request.endpoint, request.path, request.body), 0
        while True:
            async with self._turn():
                began = self._clock()
                reply = await self._asker.ask(question)
            attempts += 1
            wait = self._hint(reply.headers, self._clock())
            if reply.is_answer:
                self._pace.answered()
                return reply
            is_slowing = reply.status in _SLOWING and (wait is not None or reply.status != 503)
            may_pass = is_slowing or reply.status is None or reply.status in (*_PASSING, 503)
            if may_have_cost(reply):
                self._pay_for_nothing(request)
                may_pass = may_pass and not self._is_too_dear(0)
            if not may_pass or attempts >= (PATIENT_ATTEMPTS if is_slowing else FAILING_ATTEMPTS):
                return reply
            self._pace.slowed(began, self._clock(), wait)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for one's turn: there may be too many under way, or an upstream that wants to be left alone."""
        while self._under_way >= self._pace.limit or self._clock() < self._pace.not_before:
            rest = self._pace.not_before - self._clock()
            with anyio.move_on_after(rest if rest > 0 else None):
                await self._changed.wait()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._tell_change()

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _take(self, request: BatchRequest, reply: WholeReply) -> None:
        """Count what came of a request."""
        sums, standing = self.sums, reply.standing
        if not reply.is_answer:
            sums.failed.append((request.id, why_failed(reply)))
            if reply.status == _SHUT:
                sums.stopped = "nobody is let in with this key, or without one: status 401"
        elif standing.is_hit:
            sums.hits += 1
        else:
            self._pay(request, reply)
            if standing.detail not in ("", _LATE) and not standing.is_stored:
                sums.not_kept[standing.detail] += 1
            else:
                sums.fetched += 1
        self._note(request, reply)

    def _pay_for_nothing(self, request: BatchRequest) -> None:
        """Count the most that an attempt may have cost that came to no answer."""
        self.sums.unpriced += 1
        self.sums.spent += self._allowance.most_of(request) or 0

    def _pay(self, request: BatchRequest, reply: WholeReply) -> None:
        cost = self._allowance.cost_of(request, reply)
        self.sums.unpriced += cost is None
        self.sums.spent += (self._allowance.most_of(request) or 0) if cost is None else cost


def may_have_cost(reply: WholeReply) -> bool:
    """Say whether an upstream may have to be paid for what is no answer: it had begun one, or nobody knows what it did."""
    return not reply.is_answer and (reply.status in (None, _TOO_LATE) or reply.standing.fwd_status == 200)


def why_failed(reply: WholeReply) -> str:
    """Say why there is no answer: by the status, and the code in the error; no more of what an upstream says."""
    if reply.status is None:
        return reply.why
    code = _error_code(reply.body)
    return f"status {reply.status}{f', {code}' if code else ''}"


def _error_code(body: bytes) -> str:
    try:
        error = msgspec.json.decode(_WORD.decode(body).get("error", msgspec.Raw(b"{}")), type=dict[str, msgspec.Raw])
        words = (msgspec.json.decode(error[name]) for name in ("code", "type") if name in error)
        return next((word for word in words if isinstance(word, str) and word.isidentifier() and len(word) < 50), "")
    except UNREADABLE:
        return ""
