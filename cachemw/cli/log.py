"""`cachemw log`: the last exchanges, one a line, and with `-f` those that come, as they end."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from cachemw.cli.exchange_lines import heading, json_line, line, reason_words
from cachemw.cli.figures import NARROWEST, at_least_words, wide_console
from cachemw.cli.filtering import FilterOptions, filter_of, takes_filters
from cachemw.cli.options import AsJson, Directory
from cachemw.cli.store import directory_of
from cachemw.errors import BookError
from cachemw.gateway.estimates import priced_row
from cachemw.gateway.price_tables import PriceTables
from cachemw.inventory.filters import Subject
from cachemw.ledger.miss_reasons import MissReasons
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import Tail, drops, rows
from cachemw.ledger.row import Row

LOOK_EVERY = 0.1
"""The seconds between two looks at what has come: who writes gathers for 0.25 s, and all within half a second is at once."""

AT_ONCE = 1_000
"""How many exchanges are read at once."""

GIVE_UP = 10.0
"""The seconds for which a ledger that cannot be read is tried again, while it is followed."""

Show = Callable[[Row], None]


@takes_filters(Subject.EXCHANGES)
def log(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; Ctrl-C ends it.")] = False,
    limit: Annotated[int, typer.Option(help="How many of the last ones.", min=0, metavar="NUMBER")] = 50,
    as_json: AsJson = False,
    directory: Directory = "",
    **options: FilterOptions,
) -> None:
    """Show the last exchanges, the newest last, as the ledger beside the store has them."""
    place, chosen, now = directory_of(directory), filter_of(options), time.time()
    where = chosen.where(now)
    with closing(LedgerReader(place)) as reader:
        tables = PriceTables(datetime.fromtimestamp(now, UTC).date())
        tail = Tail(reader, where)
        found = rows(reader, where, limit=limit, before=tail.place + 1) if limit else []
        reasons = MissReasons(reader)
        show = _InJson(reasons, tables) if as_json else _InWords(reasons, tables, date.fromtimestamp(now))
        for row in reversed(found):
            show(row)
        if follow:
            tables.read()  # that takes a while, for which no exchange is to wait
            reasons.catch_up(tail.place + 1)
            _follow(tail, show)
        elif not as_json:
            _say_what_is_missing(reader, found, place, is_filtered=not chosen.is_empty)


def _follow(tail: Tail, show: Show) -> None:
    """Show what comes until somebody ends it. Raises `BookError` where the ledger cannot be read for long."""
    read_at = time.monotonic()
    while True:
        try:
            found = tail.rows(AT_ONCE)
            read_at = time.monotonic()
        except BookError:  # it may be in the making, or about to be another
            if time.monotonic() - read_at > GIVE_UP:
                raise
            found = []
        for row in found:
            show(row)
        if len(found) < AT_ONCE:
            time.sleep(LOOK_EVERY)


def _say_what_is_missing(reader: LedgerReader, found: Sequence[Row], place: Path, *, is_filtered: bool) -> None:
    if not found:
        typer.echo(f"the ledger in {place} has nothing{' that fits' if is_filtered else ' yet'}")
    elif dropped := drops(reader, found[-1].at):
        typer.echo(at_least_words(dropped))


class _InWords:
    """Shows one exchange after another in columns, with a line where another day begins."""

    def __init__(self, reasons: MissReasons, tables: PriceTables, today: date) -> None:
        self._reasons, self._tables, self._day = reasons, tables, today
        self._console = wide_console()
        self._width = max(self._console.width, NARROWEST)
        self._say(heading(self._width))

    def __call__(self, row: Row) -> None:
        day = datetime.fromtimestamp(row.at).date()
        if day != self._day:
            self._day = day
            self._say(Text(f"-- {day.isoformat()}", "bold"))
        self._say(line(priced_row(row, self._tables), reason_words(row, self._reasons.of(row)), self._width))

    def _say(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


class _InJson:
    """Writes one exchange after another as a line of JSON."""

    def __init__(self, reasons: MissReasons, tables: PriceTables) -> None:
        self._reasons, self._tables = reasons, tables

    def __call__(self, row: Row) -> None:
        typer.echo(json_line(priced_row(row, self._tables), self._reasons.of(row)))
