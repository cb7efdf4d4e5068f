"""`cachemw spend`: what was spent and saved, by client, target, model, route, endpoint or day, as the ledger has it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import msgspec
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cachemw.errors import BookError, CommandError
from cachemw.ledger.schema import ANSWERED_HERE, BOUGHT, NOT_WRITTEN, book_of
from cachemw.money import in_dollars
from cachemw.redaction import redacted_repr

_DAY = 86_400
_SELECT = """
SELECT {by} AS name, sum(CASE WHEN outcome != ?1 THEN count ELSE 0 END),
    sum(CASE WHEN outcome IN {here} THEN count ELSE 0 END),
    sum(CASE WHEN outcome IN {bought} THEN input_tokens ELSE 0 END),
    sum(CASE WHEN outcome IN {bought} THEN output_tokens ELSE 0 END),
    sum(spent), sum(saved), sum(unpriced), sum(at_least), sum(estimated),
    sum(CASE WHEN outcome = ?1 THEN count ELSE 0 END)
FROM minutes WHERE minute >= ?2 GROUP BY name ORDER BY {order}
"""


class SpendBy(StrEnum):
    """What the figures are told apart by."""

    CLIENT = "client"
    TARGET = "target"
    MODEL = "model"
    ROUTE = "route"
    ENDPOINT = "endpoint"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Spent:
    """What was asked, spent and saved under one name, in requests, tokens and nano-dollars.

    `unpriced` are answers of which nobody knows the cost, `least` those that may have cost more, `estimated` those whose cost
    is by their sizes, and `lost` exchanges that the ledger could not write.
    """

    name: str
    requests: int
    answered_here: int
    input_tokens: int
    output_tokens: int
    nano: int
    saved: int
    unpriced: int
    least: int
    estimated: int
    lost: int

    __repr__ = redacted_repr

    @property
    def is_least(self) -> bool:
        """Say whether more may have been spent."""
        return bool(self.unpriced or self.least or self.lost)

    @property
    def notes(self) -> str:
        """Say how far the amount is known."""
        notes = (
            (self.unpriced, "answer of unknown price", "answers of unknown price"),
            (self.least, "that may have cost more", "that may have cost more"),
            (self.estimated, "estimated", "estimated"),
            (self.lost, "request not written down", "requests not written down"),
        )
        return ", ".join(f"{count:,} {one if count == 1 else more}" for count, one, more in notes if count)


def read_spending(directory: Path, by: SpendBy, since: float | None) -> list[Spent]:
    """Return what the ledger of the store in this directory has, dearest first, and days in order. Raises `CommandError`.

    `since` is in seconds since the epoch.
    """
    query = _SELECT.format(
        by="CAST(minute / 1440 AS TEXT)" if by is SpendBy.DAY else by.value,
        here=ANSWERED_HERE,
        bought=BOUGHT,
        order="min(minute)" if by is SpendBy.DAY else "sum(spent) DESC, sum(count) DESC, name",
    )
    with closing(book_of(directory)) as book:
        try:
            rows = book.rows(query, (NOT_WRITTEN, 0 if since is None else int(since) // 60))
        except BookError as exc:
            raise CommandError(f"the ledger in {book.path} cannot be read: {exc.__cause__ or exc}") from exc
    return [Spent(_day(row[0]) if by is SpendBy.DAY else row[0], *map(int, row[1:])) for row in rows]


def in_all(spending: Sequence[Spent]) -> Spent:
    """Return the sum of these."""
    nothing = Spent("in all", *[0] * (len(Spent.__dataclass_fields__) - 1))
    sums = (sum(values) for values in zip(*map(_numbers, (nothing, *spending)), strict=True))
    return Spent("in all", *sums)


def spending_table(spending: Sequence[Spent], by: SpendBy) -> Table:
    """Show what was spent, as people read it, with the sum below: no figure is cut, and long names take more lines."""
    rows = [tuple(_cells(spent)) for spent in (*spending, in_all(spending))]
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    shown.add_column(by.value, overflow="fold", min_width=12)
    for place, heading in enumerate(("requests", "from\nstore", "tokens\nin / out", "spent", "saved"), 1):
        figures = [word for row in rows for word in str(row[place]).split()]
        shown.add_column(heading, justify="right", min_width=max(map(len, (*figures, *heading.split()))))
    for row in rows[:-1]:
        shown.add_row(*row)
    shown.add_section()
    shown.add_row(*rows[-1])
    return shown


def spending_notes(spending: Iterable[Spent]) -> Iterator[str]:
    """Yield how far each amount is known, where that is not all."""
    yield from (f"{_shown(spent.name)}: {notes}" for spent in spending if (notes := spent.notes))


def spending_lines(spending: Iterable[Spent], by: SpendBy) -> Iterator[str]:
    """Yield what was spent as programs read it: one JSON object a line, amounts as texts, for they are exact."""
    for spent in spending:
        yield msgspec.json.encode(
            {
                by.value: spent.name or None,
                "requests": spent.requests,
                "answered_here": spent.answered_here,
                "input_tokens": spent.input_tokens,
                "output_tokens": spent.output_tokens,
                "spent_usd": in_dollars(spent.nano),
                "at_least": spent.is_least,
                "saved_usd": in_dollars(spent.saved),
                "unpriced": spent.unpriced,
                "estimated": spent.estimated,
                "dropped": spent.lost,
            }
        ).decode()


def _shown(name: str) -> str:
    """Return a name, which may be a client's text, as nothing that a terminal obeys."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in name) or "-"


def _cells(spent: Spent) -> Iterator[str | Text]:
    yield Text(_shown(spent.name))  # a string may have markup
    yield f"{spent.requests:,}"
    yield f"{spent.answered_here:,}"
    yield f"{spent.input_tokens:,} / {spent.output_tokens:,}"
    yield f"{'at least ' if spent.is_least else ''}${in_dollars(spent.nano)}"
    yield f"${in_dollars(spent.saved)}"


def _numbers(spent: Spent) -> tuple[int, ...]:
    names = tuple(Spent.__dataclass_fields__)[1:]
    return tuple(getattr(spent, name) for name in names)


def _day(number: str) -> str:
    return datetime.fromtimestamp(int(number) * _DAY, UTC).date().isoformat()
