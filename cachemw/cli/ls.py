"""`cachemw ls`: which records a store holds, one a line."""

import heapq
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cachemw.cli.figures import ago, short_size, shown_name
from cachemw.cli.filtering import FilterOptions, filter_of, takes_filters
from cachemw.cli.options import AsJson, Directory
from cachemw.cli.progress import progress_bar
from cachemw.cli.records import described, narrow_console, state_of, tokens_of
from cachemw.cli.store import opened
from cachemw.formats import lasting
from cachemw.inventory.entries import read_entries
from cachemw.inventory.entry import Entry, Role
from cachemw.inventory.filters import Filter, Subject
from cachemw.stores import Store
from cachemw.stores.base import records

KEY_SHOWN = 12
"""The digits of a key in a table: few to read, and enough to tell a million records apart."""

_SHOWN = 50
_HEADINGS = ("key", "age", "fresh for", "size", "kind", "endpoint", "model", "tokens in/out", "took")
_FIGURES = ("size", "tokens in/out", "took")
_LEFT_OUT = ("endpoint", "took")
_ALL_COLUMNS = 88
_MODEL_AT_LEAST = 10
_OF_ANSWERS = (Role.PART, Role.BATCH)


class Sort(StrEnum):
    """The records that come first."""

    NEWEST = "newest"
    OLDEST = "oldest"
    LARGEST = "largest"
    SLOWEST = "slowest"
    MODEL = "model"


_ORDERS: Mapping[Sort, Callable[[Entry], Any]] = {
    Sort.NEWEST: lambda entry: -(entry.stored_at or 0.0),
    Sort.OLDEST: lambda entry: entry.stored_at or 0.0,
    Sort.LARGEST: lambda entry: -entry.size,
    Sort.SLOWEST: lambda entry: -(entry.took or 0.0),
    Sort.MODEL: lambda entry: (entry.model or "", -(entry.stored_at or 0.0)),
}


@takes_filters(Subject.RECORDS)
def ls(
    limit: Annotated[
        int | None,
        typer.Option(help=f"How many to show at most.  [default: {_SHOWN}; with --json all]", min=1, metavar="NUMBER"),
    ] = None,
    sort: Annotated[
        Sort | None, typer.Option(help="What comes first.  [default: newest; with --json as they are stored]")
    ] = None,
    as_json: AsJson = False,
    directory: Directory = "",
    **options: FilterOptions,
) -> None:
    """List the records of a store: all of them, or those for which every filter holds."""
    meant, now = filter_of(options), time.time()
    with opened(directory, reading=True) as store, progress_bar("reading") as progress:
        fitting = (entry for entry in read_entries(store, now, meant, progress=progress) if meant.fits(entry, now))
        if as_json:
            for entry in _first(fitting, limit, sort):
                sys.stdout.write(f"{msgspec.json.encode(described(entry, now)).decode()}\n")  # typer flushes each line
            return
        count = _Count()
        shown = list(_first(count.answers(fitting), limit or _SHOWN, sort or Sort.NEWEST))
    if shown:
        console = narrow_console()
        console.print(_table(shown, now, is_narrow=console.width < _ALL_COLUMNS))
    typer.echo(count.words(len(shown)) if count.records else f"no record {_where(store, meant)}")


class _Count:
    """Counts the records that go by, and lets those through that are answers of their own."""

    def __init__(self) -> None:
        self.records = self.size = self.parts = 0

    def answers(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            self.records, self.size = self.records + 1, self.size + entry.size
            if entry.role in _OF_ANSWERS:
                self.parts += 1
            else:
                yield entry

    def words(self, shown: int) -> str:
        """Say how many there are, and why not all of them are shown."""
        notes = [f"{records(self.records)}, {short_size(self.size)}"]
        if self.parts:
            notes.append(f"{self.parts:,} of them {'is a part' if self.parts == 1 else 'are parts'} of answers to many inputs")
        if shown < self.records - self.parts:
            notes.append(f"{shown:,} are shown (--limit)")
        return "; ".join(notes)


def _where(store: Store, meant: Filter) -> str:
    """Say where nothing was found, and what was looked for."""
    return f"is in {store.place}" if meant.is_empty else f"in {store.place} fits {meant.words}"


def _first(entries: Iterable[Entry], limit: int | None, sort: Sort | None) -> Iterable[Entry]:
    """Return the first so many in an order, and never hold more than these."""
    if sort is None:
        return islice(entries, limit)
    order = _ORDERS[sort]
    return heapq.nsmallest(limit, entries, key=order) if limit else sorted(entries, key=order)


def _table(entries: Sequence[Entry], now: float, *, is_narrow: bool) -> Table:
    """Show them, so that no figure is cut; the names of models take more lines where they are long."""
    left_out = _LEFT_OUT if is_narrow else ()
    rows = [tuple(_cells(entry, now)) for entry in entries]
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    places = [place for place, heading in enumerate(_HEADINGS) if heading not in left_out]
    for place in places:
        heading = _HEADINGS[place]
        widest = max(len(word) for word in (*heading.split(), *(row[place] for row in rows)))
        least = min(widest, _MODEL_AT_LEAST) if heading == "model" else widest
        shown.add_column(heading, justify="right" if heading in _FIGURES else "left", overflow="fold", min_width=least)
    for row in rows:
        shown.add_row(*(row[place] for place in places))
    return shown


def _cells(entry: Entry, now: float) -> Iterator[str | Text]:
    yield entry.key[:KEY_SHOWN]
    yield "-" if entry.stored_at is None else ago(now - entry.stored_at)
    yield state_of(entry, now)
    yield short_size(entry.size)
    yield "-" if entry.is_damaged else "stream" if entry.is_stream else "JSON"
    yield Text(shown_name(entry.endpoint))
    yield Text(shown_name(entry.model or entry.asked_model or ""))  # a string may have markup
    yield tokens_of(entry.usage)
    yield "-" if entry.took is None else lasting(entry.took)
