"""`cachemw export`: write records as files that people read and compare, and that a cassette is made of."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Annotated

import msgspec
import typer

from cachemw.cli.filtering import FilterOptions, filter_of, takes_filters
from cachemw.cli.options import AsJson, Directory
from cachemw.cli.progress import progress_bar
from cachemw.cli.store import opened
from cachemw.errors import RecordError, StoreError
from cachemw.inventory.entries import read_entries
from cachemw.inventory.exporting import ExportFolder, ExportForm, ExportSums, IndexedRecord, export, line_of, written
from cachemw.inventory.filters import Filter, Subject
from cachemw.stores import Store
from cachemw.stores.base import records


@takes_filters(Subject.RECORDS)
def export_records(
    folder: Annotated[str, typer.Argument(help="Where to: it is made.", metavar="DIR", show_default=False)] = "",
    no_times: Annotated[bool, typer.Option("--no-times", help="Leave times out, as a cassette does.")] = False,
    only_with_request: Annotated[
        bool, typer.Option("--only-with-request", help="Leave out what can go back into this store alone.")
    ] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Write a line for each record to standard output.")] = False,
    as_json: AsJson = False,
    directory: Directory = "",
    **options: FilterOptions,
) -> None:
    """Write stored answers as files of JSON, one each: to keep, to compare, or to be a cassette.

    The same store gives the same files. Prompts and answers are in them; whose they were is not.
    """
    if bool(folder) is jsonl:
        raise typer.BadParameter("give either a directory, or --jsonl", param_hint="DIR")
    meant = filter_of(options)
    with opened(directory, reading=True) as store:
        way = ExportForm(times=not no_times, only_with_request=only_with_request, secret=secret_of(store))
        if jsonl:
            _write_lines(store, meant, way)
            return
        sums = _export(store, meant, ExportFolder(folder), way)
    typer.echo(_in_json(sums) if as_json else _in_words(sums, str(ExportFolder(folder).path)))


def secret_of(store: Store) -> bytes | None:
    """Return a store's secret, `None` where it has none, or none yet."""
    try:
        return store.secret() if store.keeps_secret else None
    except StoreError:
        return None


def _export(store: Store, meant: Filter, folder: ExportFolder, way: ExportForm) -> ExportSums:
    with progress_bar("exporting") as tell:
        return export(_records(store, meant, tell), folder, way)


def _write_lines(store: Store, meant: Filter, way: ExportForm) -> None:
    """Write the lines, and beside them what was left out: that is no line of theirs."""
    left_out: Counter[str] = Counter()
    for record in _records(store, meant, lambda done, total: None):
        line = written(record, way)
        if isinstance(line, str):
            left_out[line] += 1
        else:
            sys.stdout.write(f"{line_of(line)}\n")
    for told in _left_out_words(left_out):
        typer.echo(told, err=True)


def _records(store: Store, meant: Filter, note: Callable[[int, int], None]) -> Iterator[IndexedRecord]:
    """Yield the records that are meant; a damaged one is yielded as nothing that can be read."""
    now = time.time()
    for entry in read_entries(store, now, meant, progress=note):
        if meant.fits(entry, now):
            try:
                record = store.get(entry.index)
            except RecordError:
                record = b""
            if record is not None:
                yield entry.index, record


def _in_words(sums: ExportSums, place: str) -> str:
    lines = [f"{records(sums.exported)} exported to {place}"]
    if sums.unchanged:
        lines.append(f"{sums.unchanged:,} of them were there already, byte for byte")
    return "\n".join([*lines, *_left_out_words(sums.left_out)])


def _left_out_words(left_out: Counter[str]) -> list[str]:
    return [f"left out: {count:,} {why}" for why, count in sorted(left_out.items())]


def _in_json(sums: ExportSums) -> str:
    left_out: Counter[str] = sums.left_out
    return msgspec.json.encode(
        {"exported": sums.exported, "written": sums.written, "unchanged": sums.unchanged, "left_out": dict(left_out)}
    ).decode()
