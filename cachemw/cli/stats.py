"""`cachemw stats`: what a store holds, what it answered, what that saved, and why the rest was not answered from it."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from textwrap import wrap
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cachemw.cache.differences import listed
from cachemw.cli.figures import (
    NARROWEST,
    ago,
    at_least_words,
    counted,
    iso_time,
    named,
    share,
    short_count,
    short_dollars,
    short_size,
    shown_name,
    wide_console,
)
from cachemw.cli.options import AsJson, Directory, FiguresBy, seconds
from cachemw.cli.store import opened, settings_of
from cachemw.formats import lasting
from cachemw.gateway.estimates import priced_sums
from cachemw.gateway.price_tables import PriceTables
from cachemw.inventory.entries import read_entries
from cachemw.inventory.survey import Stats, survey
from cachemw.ledger.miss_reasons import FIELDS, ReasonCounts, count_reasons
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import not_kept
from cachemw.ledger.sums import Sums, SumsBy, in_all, span_start
from cachemw.money import in_dollars
from cachemw.redaction import redacted_repr
from cachemw.stores import FileStore

_NOT_ASKED = {
    "refreshes": "no-cache",
    "bypasses": "bypass",
    "passed": "did not opt in",
    "refused": "refused",
}
"""What of the sums was not answered from the store, and was no miss, in words."""

_MOST_PARTS = 4
_HELD = "\x00"
"""Stands for a space at which no line is broken."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A store as it is: where, what it holds, and the bytes that it takes, and may take if there is a limit."""

    place: str
    stats: Stats
    disk_bytes: int
    size_limit: int | None

    __repr__ = redacted_repr


@dataclass(frozen=True, slots=True)
class Traffic:
    """The exchanges of a span, and why they were not answered from the store, or their answers were not kept."""

    sums: Sequence[Sums]
    misses: ReasonCounts
    not_kept: Mapping[str, int]

    __repr__ = redacted_repr


def stats(
    by: FiguresBy = SumsBy.MODEL,
    since: Annotated[str, typer.Option(help="How far back to look, as in 90m, 24h or 7d.", metavar="DURATION")] = "24h",
    as_json: AsJson = False,
    directory: Directory = "",
) -> None:
    """Show what a store holds, what it answered and saved, and why the rest was not answered from it."""
    now = time.time()
    span = min(seconds(since, "--since"), now)
    held = _holding(directory, now)
    with closing(LedgerReader(Path(held.place))) as reader:
        traffic = _traffic(reader, by, span_start(now, span), now)
    if as_json:
        typer.echo("\n".join(_lines(held, traffic, by)))
        return
    console = wide_console()
    _say(console, _store_words(held, now))
    if not traffic.sums:
        typer.echo(f"the ledger has nothing of the last {lasting(span)} yet")
        return
    console.print(_table(traffic.sums, by, span))
    _say(console, _reason_words(traffic))


def _holding(directory: str, now: float) -> Holding:
    limit = settings_of(directory).size_limit
    with opened(directory, reading=True) as store:
        has_limit = not isinstance(store, FileStore)
        return Holding(store.place, survey(read_entries(store, now), now), store.size(), limit if has_limit else None)


def _traffic(reader: LedgerReader, by: SumsBy, start: float, now: float) -> Traffic:
    sums = priced_sums(reader, PriceTables(datetime.fromtimestamp(now, UTC).date()), by, start)
    return Traffic(sums, count_reasons(reader, start), not_kept(reader, start))


def _say(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _store_words(held: Holding, now: float) -> Iterator[str]:
    seen = held.stats
    ages = [f"   {word} {ago(now - then)}" for word, then in zip(("oldest", "newest"), seen.stored_at or (), strict=False)]
    yield f"store   {shown_name(held.place)}"
    size = short_size(held.disk_bytes) + ("" if held.size_limit is None else f" of {short_size(held.size_limit)}")
    yield f"        {counted(seen.records, 'record')}   {size}{''.join(ages)}"
    yield (
        f"        {seen.fresh:,} fresh   {seen.stale:,} stale   {seen.damaged:,} damaged"
        f"   {counted(seen.streams, 'stream')}   {seen.json:,} JSON"
    )


def _table(sums: Sequence[Sums], by: SumsBy, span: float) -> Table:
    """Show the traffic, as people read it, with the sum below: no figure is cut, and long names take more lines."""
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    shown.add_column(f"last {lasting(span)}", overflow="fold", min_width=12)
    for heading in ("requests", "answered here", "tokens saved", "USD saved", "USD spent", "time saved"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for summed in sums:
        shown.add_row(*_cells(summed, named(summed.name, by)))
    if len(sums) > 1:
        shown.add_row(*_cells(in_all(sums), "in all"), style="bold")
    return shown


def _cells(summed: Sums, name: str) -> Iterator[str | Text]:
    mark = "at least " if summed.is_least else ""
    yield Text(f"  {shown_name(name)}")  # a string may have markup
    yield f"{summed.requests:,}"
    yield share(summed.answered_here, summed.requests)
    yield f"{short_count(summed.saved_tokens)} of {short_count(summed.tokens + summed.saved_tokens)}"
    yield short_dollars(summed.saved)
    yield f"{mark}{short_dollars(summed.spent)}"
    yield lasting(summed.ms_saved / 1000)


def _reason_words(traffic: Traffic) -> Iterator[str]:
    """Yield why not all was answered from the store, and not all kept; of many misses, why the last ones were not."""
    total, misses = in_all(traffic.sums), traffic.misses
    missed, others = total.misses + total.not_cached, _counted_words(_others(total))
    if misses.looked_at >= missed:
        yield from _wrapped("not answered here:", [*_miss_words(misses), *others])
    else:
        yield from _wrapped("not answered here:", [f"misses {missed:,}", *others])
        yield from _wrapped(f"the last {misses.looked_at:,}:", _miss_words(misses))
    yield from _wrapped("not kept:", _counted_words(traffic.not_kept))
    if total.dropped:
        yield at_least_words(total.dropped)


def _others(total: Sums) -> dict[str, int]:
    return {word: getattr(total, name) for name, word in _NOT_ASKED.items()}


def _miss_words(misses: ReasonCounts) -> list[str]:
    """Return the reasons of misses, and with them the parts that differed most often."""
    parts = ", ".join(f"{listed([name])} {count:,}" for name, count in list(misses.parts.items())[:_MOST_PARTS])
    words = {"field": "differs in one part", FIELDS: "differs in several"}
    return [
        f"{words.get(word, word)} {count:,}{f' ({parts})' if word == 'field' else ''}" for word, count in misses.reasons.items()
    ]


def _counted_words(counts: Mapping[str, int]) -> list[str]:
    return [f"{shown_name(word)} {count:,}" for word, count in counts.items() if count]


def _wrapped(heading: str, words: Sequence[str]) -> list[str]:
    """Return words after a heading, in lines that fit."""
    joined = " · ".join(word.replace(" ", _HELD) for word in words)
    lines = wrap(joined, NARROWEST, initial_indent=f"{heading:19}", subsequent_indent=" " * 19) if words else []
    return [text.replace(_HELD, " ") for text in lines]


def _lines(held: Holding, traffic: Traffic, by: SumsBy) -> Iterator[str]:
    """Yield it as programs read it, one JSON object a line: the store, each name, and the reasons; amounts are exact texts."""
    yield msgspec.json.encode({"store": _store_members(held)}).decode()
    for summed in traffic.sums:
        yield msgspec.json.encode(_members(summed, by)).decode()
    misses = {"looked_at": traffic.misses.looked_at, "reasons": traffic.misses.reasons, "parts": traffic.misses.parts}
    others = _others(in_all(traffic.sums))
    yield msgspec.json.encode({"misses": misses, "others": others, "not_kept": traffic.not_kept}).decode()


def _store_members(held: Holding) -> dict[str, object]:
    seen = held.stats
    oldest, newest = map(iso_time, seen.stored_at) if seen.stored_at else (None, None)
    return {
        "place": held.place,
        **{name: getattr(seen, name) for name in ("records", "fresh", "stale", "damaged", "streams", "json")},
        "disk_bytes": held.disk_bytes,
        "size_limit": held.size_limit,
        "oldest": oldest,
        "newest": newest,
    }


def _members(summed: Sums, by: SumsBy) -> dict[str, object]:
    counts = ("requests", "answered_here", "hits", "stale", "collapsed", "misses", "refreshes", "bypasses")
    tokens = ("input_tokens", "output_tokens", "saved_input_tokens", "saved_output_tokens")
    return {
        by.value: named(summed.name, by) or None,
        **{name: getattr(summed, name) for name in (*counts, "not_cached", "refused", "passed", *tokens)},
        "spent_usd": in_dollars(summed.spent),
        "at_least": summed.is_least,
        "saved_usd": in_dollars(summed.saved),
        **{name: getattr(summed, name) for name in ("ms_saved", "unpriced", "estimated", "dropped")},
    }
