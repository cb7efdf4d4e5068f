"""The behaviour of stores when their process forks."""

import functools
import os
import threading
from itertools import count
from typing import Protocol
from weakref import WeakValueDictionary


class Forking(Protocol):
    """Has something that may not be carried over a fork as it is."""

    def before_fork(self) -> None:
        """Put it in order, and let nobody touch it."""

    def after_fork(self) -> None:
        """Go on, in either process."""


_living: WeakValueDictionary[int, Forking] = WeakValueDictionary()
_numbers = count()
_prepared: list[Forking] = []
_one_at_a_time = threading.Lock()


def on_fork(store: Forking) -> None:
    """Tell a store of every fork, as long as there is that store: after those that were here before it.

    A store's thread ends what it began before the fork, and needs for that the locks of what was built on the store.
    """
    _begin()
    with _one_at_a_time:
        _living[next(_numbers)] = store


def _before() -> None:
    _one_at_a_time.acquire()
    for store in list(_living.values()):
        store.before_fork()
        _prepared.append(store)


def _after() -> None:
    while _prepared:
        _prepared.pop().after_fork()
    _one_at_a_time.release()


@functools.cache
def _begin() -> None:
    """Hear of forks. What was imported before this is told later than we: `before` may wait for threads that need its locks."""
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
