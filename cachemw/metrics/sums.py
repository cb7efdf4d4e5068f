"""CountedSums of metrics, by their names and labels: plain dicts of numbers, and the bytes in which they lie in a file."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

import msgspec
import xxhash

from cachemw.errors import RecordError
from cachemw.metrics.table import BUCKETS
from cachemw.redaction import redacted_repr

Labelled = tuple[str, ...]
"""A metric's name, and the values of its labels."""

LARGEST_COUNT = 2**62
"""What a sum is at most in a file."""

_MAGIC = b"cachemw metrics 1\n"
_DIGEST = 16


class CountedSums(msgspec.Struct):
    """What was counted. Of a histogram there is a count for each bucket, one for what is beyond, and microseconds in all."""

    counters: dict[Labelled, int] = {}
    histograms: dict[Labelled, list[int]] = {}

    __repr__ = redacted_repr

    def add(self, labelled: Labelled, number: int) -> None:
        """Add to a counter."""
        counters = self.counters
        counters[labelled] = counters.get(labelled, 0) + number

    def observe(self, labelled: Labelled, seconds: float, count: int = 1) -> None:
        """Add to a histogram, so many times."""
        numbers = self.histograms.get(labelled)
        if numbers is None:
            numbers = self.histograms[labelled] = [0] * (len(BUCKETS) + 2)
        numbers[bisect_left(BUCKETS, seconds)] += count
        numbers[-1] += int(seconds * 1_000_000) * count

    def merge(self, others: "CountedSums") -> None:
        """Add all that others have."""
        for labelled, number in others.counters.items():
            self.counters[labelled] = self.counters.get(labelled, 0) + number
        for labelled, numbers in others.histograms.items():
            mine = self.histograms.get(labelled) or [0] * len(numbers)
            self.histograms[labelled] = [one + other for one, other in zip(mine, numbers, strict=True)]

    def bounded(self) -> "CountedSums":
        """Return them with no sum above the most that a file holds: none falls from there."""
        return CountedSums(
            {labelled: min(number, LARGEST_COUNT) for labelled, number in self.counters.items()},
            {labelled: [min(number, LARGEST_COUNT) for number in numbers] for labelled, numbers in self.histograms.items()},
        )


class SlotRecord(msgspec.Struct):
    """What a worker's file holds: its sums, its gauges, and since when the machine runs on which they were counted."""

    boot: str
    sums: CountedSums
    gauges: dict[Labelled, float] = {}

    __repr__ = redacted_repr


def encode(record: SlotRecord) -> bytes:
    """Return the bytes of a file."""
    payload = msgspec.msgpack.encode(SlotRecord(record.boot, record.sums.bounded(), record.gauges))
    return _MAGIC + xxhash.xxh3_128_digest(payload) + payload


def decode(written: bytes) -> SlotRecord:
    """Return what a file holds. Raises `RecordError` for one that is damaged, or another version's."""
    head = len(_MAGIC) + _DIGEST
    if not written.startswith(_MAGIC):
        raise RecordError("it is another version's, or no file of metrics")
    if xxhash.xxh3_128_digest(written[head:]) != written[len(_MAGIC) : head]:
        raise RecordError("it is damaged")
    try:
        record = msgspec.msgpack.decode(written[head:], type=SlotRecord)
    except msgspec.MsgspecError as exc:
        raise RecordError("it is not made as files of metrics are") from exc
    if any(len(numbers) != len(BUCKETS) + 2 for numbers in record.sums.histograms.values()):
        raise RecordError("it has other buckets")
    return record


def summed(all_sums: Iterable[CountedSums]) -> CountedSums:
    """Return what these have together."""
    total = CountedSums()
    for sums in all_sums:
        total.merge(sums)
    return total


def gauged(all_gauges: Iterable[Mapping[Labelled, float]]) -> dict[Labelled, float]:
    """Return the sums of gauges."""
    total: dict[Labelled, float] = {}
    for gauges in all_gauges:
        for labelled, value in gauges.items():
            total[labelled] = total.get(labelled, 0.0) + value
    return total
