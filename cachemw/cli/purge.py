"""`cachemw purge`: remove records from a store, after a look at what that takes."""

import sys
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cachemw.cli.figures import ago, iso_time, short_size
from cachemw.cli.filtering import FilterOptions, filter_of, takes_filters
from cachemw.cli.options import AsJson, Directory
from cachemw.cli.progress import progress_bar
from cachemw.cli.store import opened
from cachemw.errors import BookError
from cachemw.inventory.demand import Demand, demand_for
from cachemw.inventory.filters import Filter, Subject
from cachemw.inventory.removing import Removal, planned, remove, remove_all
from cachemw.ledger.reader import LedgerReader
from cachemw.stores import Store
from cachemw.stores.base import records

_UNASKED = ({"key"}, {"older-than"}, set[str]())
"""The filters with which scripts have always removed records, and everything, without a word."""


@takes_filters(Subject.RECORDS)
def purge(
    everything: Annotated[bool, typer.Option("--all", help="Every record, those too that nobody can read.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    directory: Directory = "",
    **options: FilterOptions,
) -> None:
    """Remove the records of a store for which every filter holds, and all else that is stored under their keys.

    On a terminal it says what would go, and asks. Elsewhere it does not, and takes filters other than a single --key or
    --older-than only with --yes.
    """
    meant, now = filter_of(options), time.time()
    if everything is not meant.is_empty:
        raise typer.BadParameter("say which records by filters, as --key or --model, or that all are meant by --all alone")
    asks = not (dry_run or yes or as_json) and sys.stdin.isatty() and sys.stdout.isatty()
    if not (asks or dry_run or yes) and set(meant.to_query()) not in _UNASKED:
        raise typer.BadParameter("nobody is there to be asked: give it, or --dry-run to see what would go", param_hint="--yes")
    with opened(directory, reading=dry_run) as store:
        if asks and not _is_wanted(store, meant, now):
            typer.echo("Nothing was removed.")
            raise typer.Exit(1)
        if dry_run:
            _tell_plan(store, meant, now, as_json)
        else:
            _tell_removed(remove_all(store, now) if everything else _removed(store, meant, now), as_json)


def _is_wanted(store: Store, meant: Filter, now: float) -> bool:
    """Ask whether what would go is to go; where that is nothing, there is nothing to ask."""
    removal = _planned(store, meant, now)
    if not removal.records:
        return True
    typer.echo(f"would remove {_words(removal, _demand(store, removal, now), now)}.")
    return typer.confirm("Remove this?")


def _tell_plan(store: Store, meant: Filter, now: float, as_json: bool) -> None:
    removal = _planned(store, meant, now)
    demand = _demand(store, removal, now)
    if not as_json:
        typer.echo(f"would remove {_words(removal, demand, now)}. Nothing was removed.")
        return
    told = {
        "records": removal.records,
        "size": removal.size,
        "oldest": None if removal.oldest is None else iso_time(removal.oldest),
        "asked_today": None if demand is None else demand.asked,
        "at_least": demand is not None and demand.is_least,
        "removed": 0,
    }
    typer.echo(msgspec.json.encode(told))


def _tell_removed(count: int, as_json: bool) -> None:
    typer.echo(msgspec.json.encode({"removed": count}) if as_json else f"{records(count)} removed")


def _planned(store: Store, meant: Filter, now: float) -> Removal:
    with progress_bar("reading") as progress:
        return planned(store, meant, now, progress=progress)


def _removed(store: Store, meant: Filter, now: float) -> int:
    """Remove what fits now: while somebody was asked, others may have come."""
    removal = _planned(store, meant, now)
    with progress_bar("removing") as progress:
        return remove(store, removal, now, progress=progress)


def _demand(store: Store, removal: Removal, now: float) -> Demand | None:
    """Return how often these were asked for today; `None` where nobody can say."""
    midnight = datetime.fromtimestamp(now).astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    with closing(LedgerReader(Path(store.place))) as reader:
        try:
            return demand_for(reader, removal.places, midnight.timestamp())
        except BookError:
            return None


def _words(removal: Removal, demand: Demand | None, now: float) -> str:
    oldest = "" if removal.oldest is None else f", oldest {ago(now - removal.oldest)}"
    asked = "" if demand is None else f"; asked for {demand.words} today"
    return f"{records(removal.records)}, {short_size(removal.size)}{oldest}{asked}"
