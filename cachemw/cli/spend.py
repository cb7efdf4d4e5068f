"""`cachemw spend`: what was spent and saved, by client, target, model, route, endpoint or time, as the ledger has it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cachemw.cli.figures import named, shown_name
from cachemw.cli.options import AsJson, Directory, FiguresBy, Since, since_moment
from cachemw.cli.store import directory_of
from cachemw.gateway.estimates import priced_sums
from cachemw.gateway.price_tables import PriceTables
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.sums import Sums, SumsBy, in_all
from cachemw.money import in_dollars


def spend(
    by: FiguresBy = SumsBy.TARGET,
    since: Since = None,
    as_json: AsJson = False,
    directory: Directory = "",
) -> None:
    """Show what was spent, and what answers from the store saved, as the ledger beside the store has it."""
    place = directory_of(directory)
    spending = read_spending(place, by, since_moment(since))
    if as_json:
        typer.echo("\n".join(spending_lines(spending, by)), nl=bool(spending))
    elif spending:
        typer.echo(place)
        Console().print(spending_table(spending, by))
        notes = list(spending_notes(spending, by))
        typer.echo("\n".join(notes), nl=bool(notes))
    else:
        of_when = "" if since is None else " of that time"
        typer.echo(f"the ledger in {place} has nothing{of_when}: what uses the store writes it")


def read_spending(directory: Path, by: SumsBy, since: float | None) -> list[Sums]:
    """Return what the ledger of the store in this directory has, dearest first, and times in order. Raises `BookError`.

    `since` is in seconds since the epoch.
    """
    with closing(LedgerReader(directory)) as reader:
        return priced_sums(reader, PriceTables(datetime.now(UTC).date()), by, since)


def spending_table(spending: Sequence[Sums], by: SumsBy) -> Table:
    """Show what was spent, as people read it, with the sum below: no figure is cut, and long names take more lines."""
    rows = [*(tuple(_cells(spent, named(spent.name, by))) for spent in spending), tuple(_cells(in_all(spending), "in all"))]
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


def spending_notes(spending: Iterable[Sums], by: SumsBy) -> Iterator[str]:
    """Yield how far each amount is known, where that is not all."""
    for spent in spending:
        if notes := doubts(spent):
            yield f"{shown_name(named(spent.name, by))}: {notes}"


def doubts(spent: Sums) -> str:
    """Say how far an amount is known; nothing where that is all."""
    notes = (
        (spent.unpriced, "answer of unknown price", "answers of unknown price"),
        (spent.least, "that may have cost more", "that may have cost more"),
        (spent.estimated, "estimated", "estimated"),
        (spent.dropped, "request not written down", "requests not written down"),
    )
    return ", ".join(f"{count:,} {one if count == 1 else more}" for count, one, more in notes if count)


def spending_lines(spending: Iterable[Sums], by: SumsBy) -> Iterator[str]:
    """Yield what was spent as programs read it: one JSON object a line, amounts as texts, for they are exact."""
    for spent in spending:
        yield msgspec.json.encode(
            {
                by.value: named(spent.name, by) or None,
                "requests": spent.requests,
                "answered_here": spent.answered_here,
                "input_tokens": spent.input_tokens,
                "output_tokens": spent.output_tokens,
                "spent_usd": in_dollars(spent.spent),
                "at_least": spent.is_least,
                "saved_usd": in_dollars(spent.saved),
                "unpriced": spent.unpriced,
                "estimated": spent.estimated,
                "dropped": spent.dropped,
            }
        ).decode()


def _cells(spent: Sums, name: str) -> Iterator[str | Text]:
    yield Text(shown_name(name))  # a string may have markup
    yield f"{spent.requests:,}"
    yield f"{spent.answered_here:,}"
    yield f"{spent.input_tokens:,} / {spent.output_tokens:,}"
    yield f"{'at least ' if spent.is_least else ''}${in_dollars(spent.spent)}"
    yield f"${in_dollars(spent.saved)}"
