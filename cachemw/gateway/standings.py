"""Keep the health of all targets and keys: what every attempt says of them, and what that comes to."""

import logging
import math
import random
import threading
import time
from collections.abc import Callable

import msgspec

from cachemw.gateway.failure_kinds import Failure, FailureKind, ScopeKind
from cachemw.gateway.health import FRESH, GONE, Gone, Good, Health, Standing, answering, begun, ended, health_of, readiness
from cachemw.redaction import redacted_repr

logger = logging.getLogger(__name__)

STANDINGS_LIMIT = 4096
"""How many standings are kept of the operator's keys, and as many again of callers' own."""

Scope = tuple[ScopeKind, str, str, str]
"""What a failure is about: its kind, the provider, the model and the key, each as far as it matters."""


class BegunAttempt(msgspec.Struct, frozen=True):
    """An attempt that has begun, by the code of the key that it was made with.

    `is_callers`: that is a caller's own. `is_late`: the target is not to be asked by more than one now, and another one does:
    whoever can asks another target.
    """

    provider: str
    model: str
    key: str
    is_callers: bool
    began: float
    is_late: bool

    __repr__ = redacted_repr


class Standings:
    """The standings of one gateway, for all of its threads.

    A failure with a caller's own key, which may be the caller's fault, changes nothing for others.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, roll: Callable[[], float] = random.random) -> None:
        self._clock, self._roll = clock, roll
        self._ours: dict[Scope, Standing] = {}
        self._callers: dict[Scope, Standing] = {}
        self._refusing: set[str] = set()
        self._lock = threading.Lock()

    def begun(self, provider: str, model: str, key: str, *, is_callers: bool = False) -> BegunAttempt:
        """Note that an attempt begins. Each is to be ended, once."""
        scopes = _scopes(provider, model, key, is_callers)
        with self._lock:
            now = self._clock()
            kept = self._kept(is_callers)
            is_late = any(_is_late(kept[scope], now) for scope in scopes if scope in kept)
            for scope in scopes:
                if scope in kept or scope is scopes[-1]:
                    _put(kept, scope, begun(kept.get(scope, FRESH), now))
        began = math.nextafter(now, math.inf) if is_late else now  # never at the very time of the one that finds out
        return BegunAttempt(provider, model, key, is_callers, began, is_late)

    def answering(self, attempt: BegunAttempt) -> None:
        """Note that an attempt gets a sound answer, which may take long to end."""
        with self._lock:
            kept = self._kept(attempt.is_callers)
            for scope in _scopes_of(attempt):
                if scope in kept:
                    kept[scope] = answering(kept[scope], attempt.began)

    def ended(self, attempt: BegunAttempt, result: Good | Failure | Gone) -> float | None:
        """Note how an attempt ended. Return for how many seconds its target cools now; `None`: it does not."""
        scopes = _scopes_of(attempt)
        struck = _struck(scopes, result)
        with self._lock:
            now, roll = self._clock(), self._roll()
            kept = self._kept(attempt.is_callers)
            was_cooling = struck in kept and now < kept[struck].until
            for scope in scopes:
                if scope in kept or scope in (struck, scopes[-1]):
                    told = result if scope == struck or isinstance(result, Good) else GONE
                    _put(kept, scope, ended(kept.get(scope, FRESH), told, now, began=attempt.began, roll=roll))
            health = _health(kept, scopes, now)
        if not was_cooling:
            self._log(attempt, result)
        return health.until - now if health.readiness == "cooling" else None

    def health(self, provider: str, model: str, key: str, *, is_callers: bool = False) -> Health:
        """Return the health of a target for the key of this code."""
        scopes = _scopes(provider, model, key, is_callers)
        with self._lock:
            return _health(self._kept(is_callers), scopes, self._clock())

    def _log(self, attempt: BegunAttempt, result: Good | Failure | Gone) -> None:
        """Log what only the operator can change, and nobody would notice while another target answers."""
        if attempt.is_callers or not isinstance(result, Failure):
            return
        if result.kind is FailureKind.AUTH:
            logger.warning("there is no key that the provider %s takes: it is left alone for a while", attempt.provider)
        elif result.kind is FailureKind.UNSUPPORTED and attempt.provider not in self._refusing:
            self._refusing.add(attempt.provider)
            logger.info("the provider %s does not take a parameter that it was sent: `drop` leaves it out", attempt.provider)

    def _kept(self, is_callers: bool) -> dict[Scope, Standing]:
        return self._callers if is_callers else self._ours


def _scopes(provider: str, model: str, key: str, is_callers: bool) -> tuple[Scope, ...]:
    """Return what an attempt says something about, the last of which has its measures."""
    of_key: Scope = (ScopeKind.KEY, provider, "", key)
    of_both: Scope = (ScopeKind.KEY_MODEL, provider, model, key)
    return (of_key, of_both) if is_callers else (of_key, of_both, (ScopeKind.PROVIDER_MODEL, provider, model, ""))


def _scopes_of(attempt: BegunAttempt) -> tuple[Scope, ...]:
    return _scopes(attempt.provider, attempt.model, attempt.key, attempt.is_callers)


def _struck(scopes: tuple[Scope, ...], result: Good | Failure | Gone) -> Scope | None:
    """Return what a failure is about; with a caller's own key it is never more than that key with the model."""
    if not isinstance(result, Failure) or result.scope is None:
        return None
    return next((scope for scope in scopes if scope[0] is result.scope), scopes[-1])


def _is_late(standing: Standing, now: float) -> bool:
    """Say whether a target has ended to cool, and another attempt finds out how it is."""
    return now >= standing.until and readiness(standing, now) == "cooling"


def _health(kept: dict[Scope, Standing], scopes: tuple[Scope, ...], now: float) -> Health:
    found = [kept.get(scope, FRESH) for scope in scopes]
    return health_of(found, found[-1], now)


def _put(kept: dict[Scope, Standing], scope: Scope, standing: Standing) -> None:
    """Keep a standing as the latest; above the limit the oldest that nobody needs just now goes."""
    kept.pop(scope, None)
    kept[scope] = standing
    if len(kept) > STANDINGS_LIMIT:
        oldest = next((name for name, one in kept.items() if not one.busy), None)
        if oldest is not None:
            del kept[oldest]
