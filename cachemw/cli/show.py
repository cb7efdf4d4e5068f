"""`cachemw show`: one record: what is known of it, how often it answered, its answer, and its request if that was kept."""

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cachemw.cli.figures import ago, iso_time, short_size, shown_name
from cachemw.cli.options import AsJson, Directory
from cachemw.cli.records import described, narrow_console, state_of
from cachemw.cli.store import opened
from cachemw.errors import BookError, CommandError
from cachemw.formats import lasting
from cachemw.inventory.answers import answer_text, answer_words, finish_reasons
from cachemw.inventory.demand import Demand, demand_of
from cachemw.inventory.entries import keys_beginning, read_entries
from cachemw.inventory.entry import Entry, Role, sound
from cachemw.inventory.filters import KEY_PREFIX, Filter
from cachemw.ledger.reader import LedgerReader
from cachemw.messages import StoredResponse, Usage
from cachemw.redaction import printable, redacted_repr
from cachemw.stores import Store
from cachemw.wire.strict_json import UNREADABLE

_NAMED_AT_MOST = 5
_WITHOUT_WORDS_AT_MOST = 1_000
_NAMES_WIDTH = 9


@dataclass(frozen=True, slots=True)
class ShownRecord:
    """A record that is shown: what is known of it, and what it holds; `None` where nobody can read that."""

    entry: Entry
    stored: StoredResponse | None

    __repr__ = redacted_repr


def show(
    key: Annotated[str, typer.Argument(help="A key, as Cache-Status has it, or the beginning of one.", metavar="KEY")],
    raw: Annotated[bool, typer.Option("--raw", help="Write the bytes of the answer, and nothing else.")] = False,
    as_json: AsJson = False,
    directory: Directory = "",
) -> None:
    """Show a record: what is known of it, its answer as text, and its request where that was kept."""
    now = time.time()
    with opened(directory, reading=True) as store:
        whole = _key(store, key, now)
        shown = list(_of_key(store, whole, now))
        demand = _demand(store, whole)
    if raw:
        _write_raw(shown[0])
    elif as_json:
        for one in shown:
            typer.echo(msgspec.json.encode(_members(one, demand, now)))
    else:
        for one in shown:
            _print(one, demand, now)


def _key(store: Store, prefix: str, now: float) -> str:
    """Return the one key that begins so. Raises `typer.BadParameter`, and `CommandError` where none does, or several do."""
    try:
        meant = KEY_PREFIX.from_text(prefix)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="KEY") from exc
    found = keys_beginning(store, meant, now)
    if len(found) > 1:
        named = ", ".join(found[:_NAMED_AT_MOST]) + (", …" if len(found) > _NAMED_AT_MOST else "")
        raise CommandError(f"{len(found):,} keys begin with {meant}: {named}; give more of the one that is meant")
    if not found:
        raise CommandError(f"the store in {store.place} has no record whose key begins with {meant}")
    return found[0]


def _of_key(store: Store, key: str, now: float) -> Iterator[ShownRecord]:
    """Yield what is stored under a key, the answers alone. Raises `CommandError` where that is nothing."""
    found = [entry for entry in read_entries(store, now, Filter(key=key)) if entry.role in (Role.ANSWER, Role.BESIDE)]
    if not found:
        raise CommandError(f"the store in {store.place} has no record of the key {key}")
    for entry in found:
        record = None if entry.is_damaged else store.get(entry.index)
        yield ShownRecord(entry, None if record is None else sound(record, now))


def _demand(store: Store, key: str) -> Demand | None:
    with closing(LedgerReader(Path(store.place))) as reader:
        try:
            return demand_of(reader, key)
        except BookError:
            return None


def _write_raw(shown: ShownRecord) -> None:
    if shown.stored is None:
        raise CommandError(f"the record of the key {shown.entry.key} is damaged: it has no answer that can be read")
    sys.stdout.flush()
    sys.stdout.buffer.write(shown.stored.body)
    sys.stdout.buffer.flush()


def _members(shown: ShownRecord, demand: Demand | None, now: float) -> dict[str, Any]:
    stored = shown.stored
    return {
        **described(shown.entry, now),
        "finish": [] if stored is None else finish_reasons(stored),
        "asked": None if demand is None else demand.asked,
        "answered_here": None if demand is None else demand.answered_here,
        "at_least": demand is not None and demand.is_least,
        "request": None if stored is None or stored.request is None else _request(stored.request),
        "answer": None if stored is None else answer_text(stored),
    }


def _request(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        return raw.decode(errors="backslashreplace")


def _print(shown: ShownRecord, demand: Demand | None, now: float) -> None:
    console = narrow_console()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=_NAMES_WIDTH)
    table.add_column(overflow="fold")
    for name, value in _rows(shown, demand, now):
        table.add_row(name, value if isinstance(value, Text) else Text(value))
    console.print(table)
    if (stored := shown.stored) is None:
        return
    if stored.request is not None:
        _print_section(console, "request", _pretty(stored.request))
    _print_section(console, "answer", answer_words(stored) or _beginning(stored.body))


def _rows(shown: ShownRecord, demand: Demand | None, now: float) -> Iterator[tuple[str, str | Text]]:
    """Yield what is known of a record, as people read it."""
    entry, stored = shown.entry, shown.stored
    yield "key", entry.key
    if stored is None:
        yield "state", state_of(entry, now)
        yield "size", short_size(entry.size)
        return
    yield "stored", f"{iso_time(stored.stored_at)}, {ago(now - stored.stored_at)} ago"
    yield "state", Text.assemble("fresh for ", state_of(entry, now)) if entry.is_fresh(now) else state_of(entry, now)
    asked = f", asked as {shown_name(entry.asked_endpoint)}" if entry.asked_endpoint else ""
    yield "endpoint", f"{shown_name(entry.endpoint)}{asked}"
    yield "target", shown_name(entry.target)
    yield "model", shown_name(entry.model or "")
    yield "answer", ", ".join(_form(stored))
    yield "usage", _usage(entry.usage)
    yield "took", "not known" if entry.took is None else lasting(entry.took)
    yield "asked for", _asked(demand, now)
    yield "request", "kept" if entry.has_request else "not kept (--keep-requests, or Policy(keep_requests=True), keeps them)"


def _form(stored: StoredResponse) -> Iterator[str]:
    yield f"a stream of {len(stored.event_ends):,} events" if stored.kind.stream else "JSON"
    yield short_size(len(stored.body))
    if reasons := finish_reasons(stored):
        yield f"finish {shown_name(' '.join(reasons))}"


def _usage(usage: Usage | None) -> str:
    if usage is None:
        return "not known"
    named = (
        (usage.input_tokens, "input tokens"),
        (usage.cached_tokens or None, "of these cached by the provider"),
        (usage.output_tokens, "output tokens"),
        (usage.reasoning_tokens or None, "of these reasoning"),
    )
    return ", ".join(f"{count:,} {name}" for count, name in named if count is not None) or "not known"


def _asked(demand: Demand | None, now: float) -> str:
    if demand is None:
        return "not known: there is no ledger beside the store, or nothing in it"
    last = "" if demand.last_at is None else f", last {ago(now - demand.last_at)} ago"
    return f"{demand.words}, {demand.answered_here:,} of them answered from here{last}"


def _pretty(request: bytes) -> str:
    value = _request(request)
    return value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _beginning(body: bytes) -> str:
    """Return how an answer without words begins, such as one of numbers."""
    rest = len(body) - _WITHOUT_WORDS_AT_MOST
    more = f"\n… and {short_size(rest)} more: --raw has all of it" if rest > 0 else ""
    return body[:_WITHOUT_WORDS_AT_MOST].decode(errors="backslashreplace") + more


def _print_section(console: Console, title: str, text: str) -> None:
    console.print(Text(f"\n{title}", "bold"))
    typer.echo(printable(text, but="\n\t"))
