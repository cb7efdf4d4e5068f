"""Charts, as far as they are arithmetic: bars, and the marks of their axes. Templates draw them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cachemw.redaction import redacted_repr

HEIGHT = 168
"""The height of a plot, in pixels; its width is whatever there is, so places across are in per cent."""

FEW = 6
"""So many marks below a chart have room on any screen."""

_STEPS = (1, 2, 2.5, 5, 10)
_LEAST = 1e-9


@dataclass(frozen=True, slots=True)
class AxisMark:
    """A mark of an axis: where it is, in pixels from above or per cent from the left, and what it says."""

    at: float
    text: str
    is_minor: bool = False

    __repr__ = redacted_repr


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle: `left` and `width` in per cent, `top` and `height` in pixels; `kind` is its class, `title` says more."""

    left: float
    width: float
    top: float
    height: float
    kind: str
    title: str

    __repr__ = redacted_repr


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its axes. `summary` says in words what it shows, for who does not see it."""

    bars: tuple[Bar, ...]
    up: tuple[AxisMark, ...]
    along: tuple[AxisMark, ...]
    unit: str
    summary: str
    height: int = HEIGHT

    __repr__ = redacted_repr

    @property
    def is_empty(self) -> bool:
        """Say whether there is nothing to be seen."""
        return not any(bar.height for bar in self.bars)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of stacked values, from the bottom up; `label` stands below it, and `title` beside the pointer."""

    values: tuple[float, ...]
    title: str
    label: str = ""

    __repr__ = redacted_repr


def stacked(columns: Sequence[Column], kinds: Sequence[str], *, unit: str, summary: str, whole: bool = True) -> Chart:
    """Return a chart of columns; `kinds` are the classes of their parts, from the bottom. `whole`: no mark has a fraction."""
    top, marks = scale(max((sum(column.values) for column in columns), default=0), whole=whole)
    slot = 100 / max(len(columns), 1)
    bars = [bar for place, column in enumerate(columns) for bar in _bars(column, kinds, place * slot, slot, top)]
    up = tuple(AxisMark(_neat(HEIGHT - at / top * HEIGHT), text) for at, text in marks)
    return Chart(tuple(bars), up, _along(columns, slot), unit, summary)


def _bars(column: Column, kinds: Sequence[str], left: float, slot: float, top: float) -> Iterator[Bar]:
    floor = float(HEIGHT)
    for kind, value in zip(kinds, column.values, strict=True):
        height = value / top * HEIGHT
        floor -= height
        if value:
            yield Bar(_neat(left + 0.1 * slot), _neat(0.8 * slot), _neat(floor), _neat(height), kind, column.title)


def _along(columns: Sequence[Column], slot: float) -> tuple[AxisMark, ...]:
    """Return the marks below the columns; where they are many, every other one is left out on a narrow screen."""
    labelled = [(place, column.label) for place, column in enumerate(columns) if column.label]
    return tuple(
        AxisMark(_neat((place + 0.5) * slot), label, is_minor=len(labelled) > FEW and bool(number % 2))
        for number, (place, label) in enumerate(labelled)
    )


def scale(largest: float, *, whole: bool = True, marks: int = 4) -> tuple[float, tuple[tuple[float, str], ...]]:
    """Return where an axis ends that has to reach the largest value, and the marks on it: round numbers, nought among them."""
    if largest < _LEAST:
        return 1.0, ((0.0, "0"),)
    rough = largest / marks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in _STEPS if factor * power >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, float(math.ceil(step)))
    count = max(1, math.ceil(largest / step - 1e-9))
    return step * count, tuple((step * place, short(step * place)) for place in range(count + 1))


def short(value: float) -> str:
    """Return a round number as a mark has it: as in `0`, `0.05`, `250`, `1.5k`."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def _neat(value: float) -> float:
    """Round what nobody sees."""
    return round(value, 2)
