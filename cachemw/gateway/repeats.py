"""A budget of attempts that ask a target the same again: one in ten requests, and one a second (a retry budget)."""

import threading
import time
from collections.abc import Callable

SHARE, PER_SECOND, MOST = 0.1, 1.0, 10.0
"""The attempts that a request earns, and a second, and how many are kept."""


class Repeats:
    """The budgets of all providers; thread-safe. The clock is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._credits: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def note(self, provider: str) -> None:
        """Earn what a request to a provider is worth."""
        with self._lock:
            self._earn(provider, SHARE)

    def take(self, provider: str) -> bool:
        """Say whether there is an attempt, and take it."""
        with self._lock:
            credit = self._earn(provider, 0.0)
            if credit < 1.0:
                return False
            self._credits[provider] = credit - 1.0, self._credits[provider][1]
            return True

    def _earn(self, provider: str, more: float) -> float:
        now = self._clock()
        credit, since = self._credits.get(provider, (1.0, now))
        credit = min(MOST, credit + more + PER_SECOND * (now - since))
        self._credits[provider] = credit, now
        return credit
