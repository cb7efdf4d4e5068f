"""When a store that fails is asked no more, and when it is tried again."""

from cachemw.core import limits


class Breaker:
    """Closed, everything is asked. Open, after `STORE_FAULTS` failures in a row, one call in a while, to see.

    It rests for `STORE_FIRST_REST` seconds, and twice as long after each call that fails again, `STORE_REST` at most: many
    troubles are over at once, and others last for days. Times are seconds on any clock that never goes back.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._rest = limits.STORE_FIRST_REST
        self._tries_at = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= limits.STORE_FAULTS

    @property
    def is_spotless(self) -> bool:
        """Whether the last call went well."""
        return self._failures == 0

    def admits(self, now: float) -> bool:
        """Say whether a call may be made; it is the one that tries, where the breaker is open."""
        if not self.is_open:
            return True
        if now < self._tries_at:
            return False
        self._tries_at = now + self._rest
        self._rest = min(2 * self._rest, limits.STORE_REST)
        return True

    def succeeded(self) -> bool:
        """Take note of a call that went well; say whether that closes the breaker."""
        was_open, self._failures, self._rest = self.is_open, 0, limits.STORE_FIRST_REST
        return was_open

    def failed(self, now: float) -> bool:
        """Take note of one that did not; say whether that opens the breaker."""
        was_open = self.is_open
        self._failures += 1
        self._tries_at = now + self._rest
        return self.is_open and not was_open
