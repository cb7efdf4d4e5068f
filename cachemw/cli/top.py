"""`cachemw top`: the requests that come again and again, and those that cost most, by their keys."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cachemw.cli.figures import ago, at_least_words, iso_time, short_count, short_dollars, shown_name, wide_console
from cachemw.cli.filtering import FilterOptions, filter_of, takes_filters
from cachemw.cli.options import AsJson, Directory, Since, since_moment
from cachemw.cli.store import directory_of
from cachemw.gateway.estimates import priced_keys
from cachemw.gateway.price_tables import PriceTables
from cachemw.inventory.filters import Subject
from cachemw.ledger.keys import KeysBy, KeySums
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import Condition, drops
from cachemw.money import in_dollars

_KEY_DIGITS = 8
_LONGEST_MODEL = 18


@takes_filters(Subject.EXCHANGES)
def top(
    *,
    by: Annotated[KeysBy, typer.Option(help="What there is most of.")] = KeysBy.MISSES,
    since: Since = None,
    limit: Annotated[int, typer.Option(help="How many.", min=1, metavar="NUMBER")] = 20,
    as_json: AsJson = False,
    directory: Directory = "",
    **options: FilterOptions,
) -> None:
    """Show the requests that were asked most, or cost most, by their keys, as far as exchanges are kept one by one.

    By misses: what upstreams were asked for again and again, and why the answers were not kept.
    """
    place, now = directory_of(directory), time.time()
    start = since_moment(since)
    tables = PriceTables(datetime.fromtimestamp(now, UTC).date())
    with closing(LedgerReader(place)) as reader:
        found = priced_keys(reader, tables, by, _since(filter_of(options).where(now), start), limit=limit)
        dropped = drops(reader, start)
    if as_json:
        typer.echo("\n".join(_lines(found, dropped)), nl=bool(found))
    elif found:
        wide_console().print(_table(found, now))
        typer.echo(at_least_words(dropped) if dropped else "", nl=bool(dropped))
    else:
        typer.echo(f"the ledger in {place} has nothing of that yet")


def _since(where: Condition, start: float | None) -> Condition:
    return where if start is None else (f"{where[0]} AND at_ms >= ?", (*where[1], int(start * 1000)))


def _table(found: Sequence[KeySums], now: float) -> Table:
    """Show keys, each in one line: no figure is cut, and names are where there is no room."""
    rows = [tuple(_cells(one, now)) for one in found]
    shown = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    shown.add_column("key", min_width=_KEY_DIGITS, no_wrap=True)
    shown.add_column("model", min_width=10, max_width=_LONGEST_MODEL, no_wrap=True)
    for place, heading in enumerate(("requests", "here", "asked", "tokens in/out", "USD", "saved", "last"), 2):
        figures = [str(row[place]) for row in rows]
        shown.add_column(heading, justify="right", no_wrap=True, min_width=max(map(len, (heading, *figures))))
    shown.add_column("not kept", no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    return shown


def _cells(one: KeySums, now: float) -> Iterator[str | Text]:
    yield one.key[:_KEY_DIGITS]
    yield Text(shown_name(one.model or one.endpoint))  # a string may have markup
    yield f"{one.requests:,}"
    yield f"{one.answered_here:,}"
    yield f"{one.asked:,}"
    yield f"{short_count(one.input_tokens)} / {short_count(one.output_tokens)}"
    yield f"{'≥' if one.is_least else ''}{short_dollars(one.cost)}"
    yield short_dollars(one.saved)
    yield ago(now - one.at_ms / 1000)
    yield f"{one.not_kept:,}: {one.detail or '?'}" if one.not_kept else ""


def _lines(found: Iterable[KeySums], dropped: int) -> Iterator[str]:
    for one in found:
        told = {
            "key": one.key,
            **{name: getattr(one, name) or None for name in ("target", "model", "endpoint")},
            **{name: getattr(one, name) for name in ("requests", "answered_here", "asked", "not_kept", "detail")},
            **{name: getattr(one, name) for name in ("input_tokens", "output_tokens")},
            **{name: getattr(one, name) for name in ("saved_input_tokens", "saved_output_tokens")},
            "spent_usd": in_dollars(one.cost),
            "at_least": one.is_least or bool(dropped),
            "saved_usd": in_dollars(one.saved),
            "unpriced": one.unpriced,
            "last": iso_time(one.at_ms / 1000),
            "last_place": one.place,
        }
        yield msgspec.json.encode(told).decode()
