"""A fault that is tried many times, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

ALL = 0
"""The number of trials of a fault that is tried in every place there is."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of trials.

    `wrong`: answers that are not what the upstream says, or not whole and shown as whole, and records of such; `failed`:
    requests that were not answered as they would be without us; `leaks`: tasks, threads, descriptors, connections, files
    and bytes that are left; `note`: a figure worth telling. `examples` say what was wrong, a few of them.
    """

    trials: int = 0
    wrong: int = 0
    failed: int = 0
    leaks: int = 0
    note: str = ""
    examples: tuple[str, ...] = ()

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.trials + other.trials,
            self.wrong + other.wrong,
            self.failed + other.failed,
            self.leaks + other.leaks,
            other.note or self.note,
            (*self.examples, *other.examples)[:5],
        )

    @property
    def is_clean(self) -> bool:
        """Say whether nothing went wrong, failed or is left."""
        return self.trials > 0 and not (self.wrong or self.failed or self.leaks)


def never() -> str | None:
    """Nothing keeps a fault from being tried."""
    return None


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table. `small` trials run in CI, `large` ones in `python -m tests.faults`.

    `why_not` returns the reason where this machine does not let it be tried.
    """

    name: str
    how: str
    small: int
    large: int
    run: Callable[[int], Tally] = field(repr=False)
    why_not: Callable[[], str | None] = field(default=never, repr=False)
