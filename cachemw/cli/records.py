"""What commands tell of a record: for people in few words, for programs as one JSON object."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from cachemw.cli.figures import ago, iso_time
from cachemw.inventory.entry import Entry
from cachemw.messages import Usage

WIDEST = 100
"""The columns beyond which nothing is printed, however wide a terminal is."""

_NO_USAGE = Usage()


def narrow_console() -> Console:
    """Return a console on which nothing is too wide to be read; what is no terminal has all of that width."""
    console = Console()
    return Console(width=min(console.width, WIDEST) if console.is_terminal else WIDEST)


def described(entry: Entry, now: float) -> Mapping[str, Any]:
    """Return what is known of a record as programs read it; times in seconds, sizes in bytes, what is not known is null."""
    usage = entry.usage or _NO_USAGE
    return {
        "key": entry.key,
        "role": entry.role.value,
        "damaged": entry.is_damaged,
        "kind": None if entry.is_damaged else "stream" if entry.is_stream else "json",
        "endpoint": entry.endpoint or None,
        "asked_endpoint": entry.asked_endpoint or None,
        "target": entry.target or None,
        "model": entry.model,
        "size": entry.size,
        "body_bytes": None if entry.is_damaged else entry.body_bytes,
        "stored_at": None if entry.stored_at is None else iso_time(entry.stored_at),
        "age": entry.age(now),
        "lifetime": None if entry.is_damaged else entry.lifetime,
        "fresh": entry.is_fresh(now),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "took": entry.took,
        "has_request": entry.has_request,
    }


def state_of(entry: Entry, now: float) -> Text:
    """Return for how long a record is fresh; in colour where it is not."""
    age = entry.age(now)
    if entry.is_damaged or age is None:
        return Text("damaged", "red")
    return Text(ago(entry.lifetime - age)) if entry.is_fresh(now) else Text("stale", "yellow")


def tokens_of(usage: Usage | None) -> str:
    """Return the tokens of the input and of the output; a dash where one is not known."""
    counts = (None, None) if usage is None else (usage.input_tokens, usage.output_tokens)
    return "/".join("-" if count is None else f"{count:,}" for count in counts) if any(counts) else "-"
