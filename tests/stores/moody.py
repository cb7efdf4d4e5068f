"""A store that does in every call what a test says."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from cachemw import MemoryStore
from cachemw.stores import Inline

CALLS = frozenset({"secret", "get", "put", "delete", "discard", "order"})


class Moody(MemoryStore):
    """Notes what it is asked and in which threads, and has its `mood`, before it does it."""

    inline: Inline = Inline.NONE

    def __init__(self, mood: Callable[[], object] = lambda: None, inline: Inline = Inline.NONE) -> None:
        super().__init__()
        self.mood, self.inline = mood, inline
        self.asked: list[str] = []
        self.threads: set[int] = set()

    def __getattribute__(self, name: str) -> Any:
        known = super().__getattribute__(name)
        return partial(self._asked, name, known) if name in CALLS else known

    def _asked(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        self.asked.append(name)
        self.threads.add(threading.get_ident())
        self.mood()
        return call(*arguments)


def raising(error: BaseException) -> Callable[[], None]:
    """Return the mood of a store that fails so."""

    def fail() -> None:
        raise error

    return fail
