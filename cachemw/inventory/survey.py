"""A survey of a store: how many records it holds, of which sorts, how old, and of which models. Pure."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cachemw.inventory.entry import Entry, Role
from cachemw.redaction import redacted_repr

AGES = (60.0, 900.0, 3_600.0, 21_600.0, 86_400.0, 172_800.0, 604_800.0, 2_592_000.0)
"""The bounds of the histogram of ages, in seconds: a minute, a quarter of an hour, 1 h, 6 h, 1 d, 2 d, 7 d, 30 d."""


@dataclass(frozen=True, slots=True)
class Held:
    """The records of one model: how many, and their bytes."""

    records: int
    size: int


@dataclass(frozen=True, slots=True)
class Stats:
    """The content of a store, counted. Sizes in bytes, times in seconds since the epoch.

    `streams`, `json` and `damaged` are all the records there are; `parts` of them only help to make answers to many inputs.
    `ages` counts the sound ones below each bound of `AGES`, and above the last; `models` are the largest first.
    """

    streams: int = 0
    json: int = 0
    damaged: int = 0
    fresh: int = 0
    parts: int = 0
    size: int = 0
    body_bytes: int = 0
    stored_at: tuple[float, float] | None = None  # the oldest, the newest
    ages: tuple[int, ...] = (0,) * (len(AGES) + 1)
    models: Mapping[str, Held] = field(default_factory=dict)

    __repr__ = redacted_repr

    @property
    def records(self) -> int:
        return self.streams + self.json + self.damaged

    @property
    def stale(self) -> int:
        return self.streams + self.json - self.fresh


def survey(entries: Iterable[Entry], now: float) -> Stats:
    """Count records."""
    streams = json = damaged = fresh = parts = size = body_bytes = 0
    times: tuple[float, float] | None = None
    ages = [0] * (len(AGES) + 1)
    counts, sizes = Counter[str](), Counter[str]()
    for entry in entries:
        size += entry.size
        if entry.is_damaged or entry.stored_at is None:
            damaged += 1
            continue
        streams, json = streams + entry.is_stream, json + (not entry.is_stream)
        fresh, parts = fresh + entry.is_fresh(now), parts + (entry.role in (Role.PART, Role.BATCH))
        body_bytes += entry.body_bytes
        oldest, newest = times or (entry.stored_at, entry.stored_at)
        times = min(oldest, entry.stored_at), max(newest, entry.stored_at)
        ages[bisect_right(AGES, now - entry.stored_at)] += 1
        counts[entry.model or ""] += 1
        sizes[entry.model or ""] += entry.size
    models = {name: Held(counts[name], taken) for name, taken in sizes.most_common()}
    return Stats(streams, json, damaged, fresh, parts, size, body_bytes, times, tuple(ages), models)
