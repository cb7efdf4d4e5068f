"""What is read whole just now while others wait for it, in mounts that start no thread and no task."""

import os
import threading
from collections.abc import Callable
from typing import Any

import anyio
from anyio.lowlevel import RunVar

from cachemw.core.effects import Claim, Claimed
from cachemw.core.pull import Landing
from cachemw.core.sharing import Course
from cachemw.flights import Traffic, is_of_now


class Awaited(Landing):
    """A landing, and the event that says that it is over: a thread's, or an event loop's."""

    def __init__(self, course: Course, over: Any) -> None:
        super().__init__(course)
        self.over = over


class SharedLandings:
    """Those of all threads, or of one event loop."""

    def __init__(self, event: Callable[[], Any]) -> None:
        self._event = event
        self._lock = threading.Lock()
        self._traffic: Traffic[Awaited] = Traffic()

    @property
    def is_full(self) -> bool:
        return self._traffic.is_full

    def claim(self, claim: Claim, after: Landing | None) -> tuple[Claimed | None, Landing | None]:
        after = None if claim.course.is_apart else after
        with self._lock:
            if after is not None and after.successor is not None and is_of_now(after.successor, claim.course):
                return None, after.successor
            found = self._traffic.claim(claim)
            if isinstance(found, Awaited):
                if after is not None:
                    after.successor = found
                return None, found
            if found is not Claimed.LEAD:
                return found, None
            led = Awaited(claim.course, self._event())
            self._traffic.announce(led)
            if after is not None:
                after.successor = led
            return found, led

    def land(self, landing: Landing) -> None:
        assert isinstance(landing, Awaited)  # noqa: S101 - it came from here
        with self._lock:
            self._traffic.close(landing)
        landing.end()
        landing.over.set()

    def weigh(self, more: int) -> None:
        with self._lock:
            self._traffic.held += more


class LandingsByProcess:
    """Those of each process: in a forked child nothing of its parent's ever lands."""

    def __init__(self) -> None:
        self._landings: dict[int, SharedLandings] = {}

    def here(self) -> SharedLandings:
        """Return this process's."""
        landings = self._landings.get(os.getpid())
        return landings or self._landings.setdefault(os.getpid(), SharedLandings(threading.Event))


class LandingsByLoop:
    """Those of each event loop."""

    def __init__(self) -> None:
        self._landings: RunVar[SharedLandings] = RunVar(f"cachemw landings {id(self)}")

    def here(self) -> SharedLandings:
        """Return the running event loop's."""
        landings = self._landings.get(None)
        if landings is None:
            landings = SharedLandings(anyio.Event)
            self._landings.set(landings)
        return landings
