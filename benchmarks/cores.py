"""A core for the server and another for the load, so that neither takes the other's time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores are used; `None` where this system cannot say, or there is only one."""

    server: int | None
    load: int | None
    count: int

    @classmethod
    def of_this_machine(cls) -> Self:
        """Take the first two cores there are."""
        if not hasattr(os, "sched_getaffinity"):
            return cls(None, None, os.cpu_count() or 1)
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) == 1:
            return cls(None, None, 1)
        return cls(allowed[0], allowed[1], len(allowed))

    def told(self) -> str:
        """Say it in words."""
        if self.server is not None:
            return f"{self.count} cores: servers on core {self.server}, load on core {self.load}"
        if self.count == 1:
            return "only one core: server and load share it, and the ratios say little"
        return f"{self.count} cores: this system does not pin processes"


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Run on this core, and let what is started meanwhile stay there."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
