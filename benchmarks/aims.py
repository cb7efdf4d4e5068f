"""What a figure should be, and whether it is."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.tables import Cell

COLUMNS = ("aim", "met")


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound in words, and whether what was measured keeps it: `None` where nothing was."""

    words: str
    is_met: bool | None


def at_least(figure: float | None, limit: float, unit: str) -> Aim:
    """Return the aim that a figure is no less than this."""
    return Aim(f"≥ {limit:g} {unit}", None if figure is None else figure >= limit)


def at_most(figure: float | None, limit: float, unit: str) -> Aim:
    """Return the aim that a figure is no more than this."""
    return Aim(f"≤ {limit:g} {unit}", None if figure is None else figure <= limit)


def cells(aims: Sequence[Aim]) -> tuple[Cell, Cell]:
    """Return the cells of `COLUMNS`: one aim that is missed is enough for a no, and one that is unknown for no yes."""
    found = {aim.is_met for aim in aims}
    met = "no" if False in found else "not measured" if None in found else "yes"
    return ", ".join(aim.words for aim in aims), met if aims else ""
