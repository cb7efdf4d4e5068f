"""A scripted world of targets that fail, are slow and recover, by a clock of its own: what plans and health make of it."""

import heapq
import random
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from cachemw.cache.plans import Bid, Plan
from cachemw.gateway.failure_kinds import TREATMENTS, Failure, FailureKind
from cachemw.gateway.health import Good
from cachemw.gateway.needs import NO_NEEDS
from cachemw.gateway.plan import Circumstances, contenders_of, plan_of
from cachemw.gateway.routes import RouteEntry
from cachemw.gateway.standings import Standings
from cachemw.messages import HttpTarget

HOUR = 3600.0
DAY = 8 * HOUR
TOKENS = 300
SPREAD = 0.25
"""Seconds vary by a factor of `e` to a normal variable of this deviation."""


@dataclass(frozen=True, slots=True)
class Spell:
    """A time in which a target fails by this kind, in this share of its answers, or is so many times as slow."""

    target: str
    begin: float
    end: float
    kind: FailureKind | None = None
    share: float = 1.0
    hint: float | None = None
    slowness: float = 1.0

    @property
    def is_outage(self) -> bool:
        """Say whether nobody gets an answer there."""
        return self.kind is not None and self.share == 1.0


PEERS = {"ash": (0.3, 400.0), "birch": (0.5, 200.0), "cedar": (0.5, 190.0)}
SPARES = {"oak": (1.0, 80.0), "yew": (1.5, 60.0)}
"""The seconds to their first token, and the tokens a second."""

_PEERS_OUT = 4.5 * HOUR
_ALL_OUT = 5.4 * HOUR

SPELLS = (
    Spell("ash", 0.5 * HOUR, 0.8 * HOUR, FailureKind.OVERLOAD),
    Spell("ash", 1.2 * HOUR, 1.5 * HOUR, FailureKind.RATE, hint=20.0),
    Spell("ash", 2.0 * HOUR, 3.0 * HOUR, slowness=8.0),
    Spell("birch", 2.2 * HOUR, 2.4 * HOUR, FailureKind.BROKEN),
    Spell("ash", 3.3 * HOUR, 3.5 * HOUR, FailureKind.BROKEN, share=0.5),
    Spell("cedar", 3.6 * HOUR, 4.2 * HOUR, FailureKind.QUOTA, hint=0.6 * HOUR),
    Spell("ash", 3.8 * HOUR, 4.0 * HOUR, FailureKind.SLOW),
    *(Spell(peer, _PEERS_OUT, _PEERS_OUT + 600.0, FailureKind.UNREACHABLE) for peer in PEERS),
    *(Spell(target, _ALL_OUT, _ALL_OUT + 120.0, FailureKind.UNREACHABLE) for target in (*PEERS, *SPARES)),
)
OUTAGES = sum(spell.target in PEERS for spell in SPELLS)
"""How often the preferred target may have to change, and to change back."""


@dataclass(slots=True)
class Account:
    """What came of all requests. `answerable` are those that some target would have answered when they came.

    `known_down` are the attempts at a target that was down, and had failed since it was, while another one was up; `changes` is
    how often another target became the preferred one.
    """

    requests: int = 0
    answerable: int = 0
    answered: int = 0
    unanswered: int = 0
    attempts: int = 0
    known_down: int = 0
    changes: int = 0
    preferred: list[str] = field(default_factory=list)

    @property
    def answered_share(self) -> float:
        """Of those that some target would have answered, the share that was."""
        return 1.0 - self.unanswered / self.answerable

    @property
    def known_down_share(self) -> float:
        """The share of requests that were sent to a target known to be down."""
        return self.known_down / self.requests


class World:
    """Requests, targets and a clock. Every request is a generator of the seconds that it waits for."""

    def __init__(self, requests: int, seed: int = 1) -> None:
        self.account = Account()
        self._random = random.Random(seed)
        self._now = 0.0
        self._standings = Standings(clock=lambda: self._now, roll=self._random.random)
        self._route = RouteEntry("auto", tuple(PEERS), tuple(SPARES), pick="fastest")
        bids = {name: Bid(name, HttpTarget(f"https://{name}")) for name in (*PEERS, *SPARES)}
        self._contenders = contenders_of(self._route, bids, {})
        self._preferred: str | None = None
        self._failed_at: dict[str, float] = {}
        self._requests = requests

    def run(self) -> Account:
        """Let everything happen, in the order of time."""
        due: list[tuple[float, int, Iterator[float]]] = []
        arrivals = iter([DAY * number / self._requests for number in range(self._requests)])
        number, arrival = 0, next(arrivals, None)
        while due or arrival is not None:
            if arrival is not None and (not due or arrival <= due[0][0]):
                self._now, running, arrival = arrival, self._request(), next(arrivals, None)
            else:
                self._now, _, running = heapq.heappop(due)
            seconds = next(running, None)
            if seconds is not None:
                number += 1
                heapq.heappush(due, (self._now + seconds, number, running))
        return self.account

    def _request(self) -> Iterator[float]:
        self.account.requests += 1
        is_answerable = self._is_anyone_up()
        self.account.answerable += is_answerable
        plan = self._plan()
        yield plan.waits
        for place in plan.order:
            is_last = place == plan.order[-1]
            if (yield from self._attempt(plan.bids[place].name, plan.first_token if not is_last else plan.answer)):
                self.account.answered += 1
                return
        self.account.unanswered += is_answerable

    def _plan(self) -> Plan:
        names = [one.bid.name for one in self._contenders]
        healths = {name: self._standings.health(name, "m", "key") for name in names}
        circumstances = Circumstances(self._now, self._random.random(), self._preferred, mean_output=TOKENS)
        plan = plan_of(self._route, self._contenders, NO_NEEDS, healths, circumstances)
        if plan.preferred is not None and plan.preferred != self._preferred:
            self.account.changes += self._preferred is not None
            self.account.preferred.append(plan.preferred)
            self._preferred = plan.preferred
        return plan

    def _attempt(self, name: str, patience: float) -> Generator[float, None, bool]:
        self.account.attempts += 1
        self.account.known_down += self._is_down(name) and name in self._failed_at and self._is_anyone_up()
        attempt = self._standings.begun(name, "m", "key")
        spell = self._failing(name)
        if spell is not None and spell.kind is not None:
            yield patience if spell.kind is FailureKind.SLOW else 0.2
            if self._is_down(name):
                self._failed_at[name] = self._now
            failure = Failure(spell.kind, hint=self._hint_of(spell), scope=TREATMENTS[spell.kind].scope)
            self._standings.ended(attempt, failure)
            return False
        first_token, rate = (PEERS | SPARES)[name]
        first_token *= self._slowness(name) * self._random.lognormvariate(0.0, SPREAD)
        yield first_token
        self._failed_at.pop(name, None)
        self._standings.answering(attempt)
        rate *= self._random.lognormvariate(0.0, SPREAD)
        yield TOKENS / rate
        self._standings.ended(attempt, Good(first_token, rate))
        return True

    def _hint_of(self, spell: Spell) -> float | None:
        """Return what a target says of when it is there again: a quota comes back at once for all."""
        return max(0.0, spell.end - self._now) if spell.kind is FailureKind.QUOTA else spell.hint

    def _spells(self, name: str) -> list[Spell]:
        return [spell for spell in SPELLS if spell.target == name and spell.begin <= self._now < spell.end]

    def _is_down(self, name: str) -> bool:
        return any(spell.is_outage for spell in self._spells(name))

    def _is_anyone_up(self) -> bool:
        return any(not self._is_down(one.bid.name) for one in self._contenders)

    def _failing(self, name: str) -> Spell | None:
        """Return what makes this answer of a target fail, where it does."""
        return next((spell for spell in self._spells(name) if spell.kind and self._random.random() < spell.share), None)

    def _slowness(self, name: str) -> float:
        return max([spell.slowness for spell in self._spells(name)], default=1.0)
