"""`cachemw verify`: ask a sample of what is stored anew, and say of which models the answers have drifted."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cachemw.cache import record as codec
from cachemw.cli.addressing import AddressBook
from cachemw.cli.asking import AsClient, KeyVariable, Through, asked_by
from cachemw.cli.figures import counted, shown_name
from cachemw.cli.filtering import FilterOptions, filter_of, takes_filters
from cachemw.cli.options import AsJson, Config, Directory, Upstream
from cachemw.cli.pricing import Pricing
from cachemw.cli.progress import progress_bar
from cachemw.cli.store import settings_of, translated_errors
from cachemw.cli.telling import failure_lines
from cachemw.cli.warm import ENDED_BY_SIGNAL, MaxUsd, dollars
from cachemw.endpoints import BY_NAME
from cachemw.errors import CommandError, RecordError
from cachemw.inventory.admitting import path_of
from cachemw.inventory.asking import WholeReply
from cachemw.inventory.batches import BatchRequest
from cachemw.inventory.drift import Likeness
from cachemw.inventory.entries import read_entries
from cachemw.inventory.filters import Filter, Subject
from cachemw.inventory.verifying import (
    DriftCandidate,
    DriftSums,
    Verification,
    candidate_of,
    drift_by_model,
    sample_of,
    verify,
    within,
)
from cachemw.messages import StoredResponse
from cachemw.money import in_dollars
from cachemw.proxy import Settings
from cachemw.stores import Store

SampleSize = Annotated[int, typer.Option("--sample", help="How many to ask for anew, at most.", min=1, metavar="NUMBER")]
Threshold = Annotated[
    float,
    typer.Option("--threshold", help="The share of a model's answers that may have drifted.", min=0, max=1, metavar="SHARE"),
]


@takes_filters(Subject.RECORDS)
def verify_records(
    sample: SampleSize = 50,
    max_usd: MaxUsd = "",
    yes: Annotated[bool, typer.Option("--yes", help="Spend the money without asking.")] = False,
    threshold: Threshold = 0.05,
    through: Through = "",
    key_env: KeyVariable = "",
    client: AsClient = "",
    upstream: Upstream = "",
    config: Config = "",
    as_json: AsJson = False,
    directory: Directory = "",
    **options: FilterOptions,
) -> None:
    """Ask a sample of the stored requests anew, and compare: has what a model says drifted?

    Nothing is stored of the new answers. Where an answer varies by itself, with a temperature, it is asked for twice. The exit
    code is 1 if more than the threshold of any model's answers have drifted, or if none could be compared.
    """
    settings, limit = settings_of(directory, upstream, config), dollars(max_usd)
    with closing(settings.store()) as store:
        if not store.exists():
            raise CommandError(f"there is no store in {store.place}")
        book = AddressBook(settings)
        with translated_errors(store):
            candidates, left_out = _candidates(store, filter_of(options), book, is_ours=not through)
        pricing = Pricing(book)
        chosen = _chosen(candidates, left_out, sample, pricing, limit)
        _agree(_price(chosen, pricing), is_agreed=yes)
        every, is_whole = _verified(settings, store, chosen, (through, key_env, client))
    sums = drift_by_model(every)
    if as_json:
        typer.echo("\n".join(_lines(every, sums)))
    else:
        _show(every, sums, left_out)
    has_drifted = any(one.share > threshold for one in sums.values()) or not any(one.compared for one in sums.values())
    raise typer.Exit(ENDED_BY_SIGNAL if not is_whole else 1 if has_drifted else 0)


def _candidates(store: Store, meant: Filter, book: AddressBook, *, is_ours: bool) -> tuple[list[DriftCandidate], Counter[str]]:
    """Return the stored answers that can be asked for again, and why others cannot."""
    now, candidates, left_out = time.time(), list[DriftCandidate](), Counter[str]()
    with progress_bar("reading") as tell:
        for entry in read_entries(store, now, meant, progress=tell):
            if entry.is_damaged or not meant.fits(entry, now):
                continue
            try:
                record = store.get(entry.index)
                stored = None if record is None else codec.decode(record)
            except RecordError:
                continue
            if stored is not None:
                found = _candidate(entry.index, stored, book, is_ours=is_ours)
                if isinstance(found, str):
                    left_out[found] += 1
                else:
                    candidates.append(found)
    return candidates, left_out


def _candidate(index: bytes, stored: StoredResponse, book: AddressBook, *, is_ours: bool) -> DriftCandidate | str:
    endpoint = BY_NAME.get(stored.endpoint)
    if endpoint is None:
        return "of no endpoint that is known here"
    path = path_of(endpoint)
    if not is_ours:
        return candidate_of(index, stored, path)
    known = book.by_name(stored.target, path.encode(), path.encode())
    if known is None or known.name is None and known.target != book.default.target(path.encode(), b""):
        return "answered by another upstream than that of the settings"
    return candidate_of(index, stored, path, known.name)


def _chosen(
    candidates: Sequence[DriftCandidate], left_out: Counter[str], sample: int, pricing: Pricing, limit: int | None
) -> list[DriftCandidate]:
    """Return what is asked for anew. Raises `CommandError` where that is nothing."""
    chosen = sample_of(candidates, sample)
    if not chosen:
        told = ", ".join(f"{count:,} {why}" for why, count in sorted(left_out.items()))
        raise CommandError(f"there is nothing to verify{f': {told}' if told else ''}")
    unknown = next((one for one in chosen if pricing.most_of(one.request) is None), None)
    if limit is not None and unknown is not None:
        raise CommandError(
            f"nobody knows the most that {shown_name(unknown.model)} can cost, so it cannot be held to ${in_dollars(limit)}:"
            " leave --max-usd out, give prices, or max_tokens in the request"
        )
    affordable = within(chosen, pricing.most_of, limit)
    if not affordable:
        raise CommandError(f"one request alone could cost more than ${in_dollars(limit or 0)} (--max-usd)")
    return affordable


def _price(chosen: Sequence[DriftCandidate], pricing: Pricing) -> str:
    """Say what it costs to ask for these, by what they cost before, and at most."""
    asked = sum(one.turns for one in chosen)
    most = [None if (one_most := pricing.most_of(one.request)) is None else one.turns * one_most for one in chosen]
    costs = [None if (cost := pricing.cost_of_usage(one.request, one.usage)) is None else one.turns * cost for one in chosen]
    said = f"{counted(len(chosen), 'stored answer')} to ask for anew, by {counted(asked, 'request')}"
    about = None if None in costs else sum(cost for cost in costs if cost is not None)
    if None in most:
        return f"{said}; nobody knows what that costs" if about is None else f"{said}: about ${in_dollars(about)}"
    at_most = f"at most ${in_dollars(sum(each for each in most if each is not None))}"
    return f"{said}: {at_most}" if about is None else f"{said}: about ${in_dollars(about)}, {at_most}"


def _agree(price: str, *, is_agreed: bool) -> None:
    """Say the price, and ask. Raises `CommandError` where there is nobody to ask, and nobody has agreed."""
    typer.echo(price, err=True)
    if is_agreed:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandError("there is no terminal to ask on: say --yes if that may be spent")
    if not typer.confirm("Ask them?", err=True):
        raise typer.Exit(1)


def _verified(
    settings: Settings, store: Store, chosen: Sequence[DriftCandidate], whom: tuple[str, str, str]
) -> tuple[list[Verification], bool]:
    """Return what came of each, and whether that is all: somebody may have ended it."""
    every: list[Verification] = []

    async def ask() -> None:
        async with asked_by(settings, store, *whom) as asked:
            async for one in verify(asked, chosen, _nothing):
                every.append(one)
                tell(len(every), len(chosen))

    with progress_bar("verifying") as tell:
        try:
            asyncio.run(ask())
        except KeyboardInterrupt:
            return every, False
    return every, True


def _nothing(request: BatchRequest, reply: WholeReply) -> None: ...


def _show(every: Sequence[Verification], sums: Mapping[str, DriftSums], left_out: Counter[str]) -> None:
    for name, one in sums.items():
        for change, count in sorted(one.changes.items()):
            typer.echo(f"{shown_name(name)}: in {count:,} of {one.compared:,} answers the {shown_name(change)}")
    Console().print(_table(sums))
    failed = [(one.candidate.key, one.why) for one in every if one.comparison is None]
    lines = [
        *failure_lines(failed, "could not be compared"),
        *(f"left out: {count:,} {why}" for why, count in sorted(left_out.items())),
    ]
    drifted = [one.candidate.key for one in every if one.comparison is not None and one.comparison.has_drifted]
    if drifted:
        lines.append(f"drifted: {' '.join(drifted[:3])}{f' and {len(drifted) - 3:,} more' if len(drifted) > 3 else ''}")
    typer.echo("\n".join(lines), nl=bool(lines))


def _table(sums: Mapping[str, DriftSums]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("model", overflow="fold", min_width=12)
    headings = ("compared", "equal", "but for\nblanks", "other\nwords", "other\ncalls", "another\nending", "alike", "drifted")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, one in sums.items():
        counts = [f"{one.likenesses[likeness.value]:,}" for likeness in Likeness]
        table.add_row(Text(shown_name(name)), f"{one.compared:,}", *counts, f"{one.mean_ratio:.0%}", f"{one.share:.1%}")
    return table


def _lines(every: Iterable[Verification], sums: Mapping[str, DriftSums]) -> Iterable[str]:
    for one in every:
        found, key, model = one.comparison, one.candidate.key, one.candidate.model
        if found is None:
            yield json.dumps({"key": key, "model": model, "why": one.why})
            continue
        said = {"likeness": found.likeness.name.lower(), "ratio": round(found.ratio, 4), "drifted": found.has_drifted}
        yield json.dumps({"key": key, "model": model, **said, "new_model": found.model, "new_fingerprint": found.fingerprint})
    for name, total in sums.items():
        counts = {"compared": total.compared, "drifted": total.drifted, "failed": total.failed}
        yield json.dumps({"model": name, **counts, "share": round(total.share, 4)})
