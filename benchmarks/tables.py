"""Figures in rows, as text and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass

Cell = str | int | float | None
"""`None` is a figure that was not measured."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of a row says what was measured. `note` says how."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    note: str = ""

    def text(self) -> str:
        """Return the table as Markdown, aligned for a terminal."""
        shown = [self.columns, *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        head, *body = (_line(cells, widths) for cells in shown)
        rule = "|".join(["", f"{'-' * (widths[0] + 2)}", *(f"{'-' * (width + 1)}:" for width in widths[1:]), ""])
        return "\n".join([f"### {self.title}", *([self.note] if self.note else []), "", head, rule, *body])

    def values(self) -> dict[str, object]:
        """Return it with the columns' names at every figure."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "note": self.note, "rows": rows}


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return " | ".join([f"| {first}", *others]) + " |"


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or cell >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if cell >= 10 else f"{cell:.2f}"
