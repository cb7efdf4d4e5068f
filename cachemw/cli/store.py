"""`cachemw stats` and `cachemw purge`: look into a store, and remove records from it."""

import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.table import Column, Table

from cachemw.cache import record as codec
from cachemw.cache.freshness import is_fresh
from cachemw.cache.lookup import is_sound
from cachemw.errors import CommandError, RecordError, StoreError
from cachemw.messages import StoredResponse
from cachemw.proxy import Settings
from cachemw.stores import Store


@contextmanager
def opened(directory: str) -> Iterator[Store]:
    """Open the store that the proxy would have, if it exists. Raises `CommandError` and `ConfigurationError`."""
    with closing(Settings.read({"dir": directory} if directory else {}, os.environ).store()) as store:
        if not store.exists():
            raise CommandError(f"there is no store in {store.place}")
        try:
            yield store
        except StoreError as exc:
            raise CommandError(f"the store in {store.place} does not work: {exc.__cause__ or exc}") from exc


def directory_of(directory: str) -> Path:
    """Return the directory that the proxy's store would have. Raises `ConfigurationError`."""
    return Path(Settings.read({"dir": directory} if directory else {}, os.environ).store().place)


@dataclass(frozen=True, slots=True)
class Stats:
    """The content of a store, counted. Sizes in bytes, times in seconds since the epoch."""

    streams: int = 0
    json: int = 0
    damaged: int = 0
    fresh: int = 0
    body_bytes: int = 0
    stored_at: tuple[float, float] | None = None  # the oldest, the newest

    @property
    def records(self) -> int:
        return self.streams + self.json + self.damaged

    @property
    def stale(self) -> int:
        return self.streams + self.json - self.fresh


def survey(records: Iterable[bytes], now: float) -> Stats:
    """Count records."""
    streams = json = damaged = fresh = body_bytes = 0
    stored_at = None
    for record in records:
        stored = _sound(record, now)
        if stored is None:
            damaged += 1
            continue
        streams, json = streams + stored.kind.stream, json + (not stored.kind.stream)
        fresh += is_fresh(stored, now)
        body_bytes += len(stored.body)
        oldest, newest = stored_at or (stored.stored_at, stored.stored_at)
        stored_at = min(oldest, stored.stored_at), max(newest, stored.stored_at)
    return Stats(streams, json, damaged, fresh, body_bytes, stored_at)


def table(stats: Stats, disk_bytes: int) -> Table:
    """Show what a store holds."""
    oldest, newest = map(_moment, stats.stored_at) if stats.stored_at else ("-", "-")
    shown = Table(Column(), Column(overflow="fold"), show_header=False)
    for name, value in (
        ("records", f"{stats.records:,}"),
        ("of these streams", f"{stats.streams:,}"),
        ("JSON", f"{stats.json:,}"),
        ("damaged", f"{stats.damaged:,}"),
        ("fresh", f"{stats.fresh:,}"),
        ("stale", f"{stats.stale:,}"),
        ("bytes of bodies", f"{stats.body_bytes:,}"),
        ("bytes on disk", f"{disk_bytes:,}"),
        ("oldest", oldest),
        ("newest", newest),
    ):
        shown.add_row(name, value)
    return shown


def _sound(record: bytes, now: float) -> StoredResponse | None:
    """Return what a record holds; `None` for one that is damaged, or that no recording comes to."""
    try:
        stored = codec.decode(record)
    except RecordError:
        return None
    return stored if is_sound(stored, now) else None


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
