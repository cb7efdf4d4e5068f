"""A budget of bytes that all requests share."""

import threading


class Budget:
    """Bytes, up to a limit. For any number of threads; each who takes gives back what it took, and no more."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit, self._taken = limit_bytes, 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take so many bytes in any case, for they are there; say whether that is within the limit."""
        with self._lock:
            self._taken += size
            return self._taken <= self._limit

    def give_back(self, size: int) -> None:
        """Return bytes to the budget, for others to take."""
        with self._lock:
            self._taken -= size
