"""CountedSums, and the bytes in which they lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.errors import RecordError
from cachemw.metrics.sums import LARGEST_COUNT, CountedSums, SlotRecord, decode, encode, gauged, summed
from cachemw.metrics.table import BUCKETS

_labelled = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map(tuple)
_counts = st.integers(0, LARGEST_COUNT)
_sums = st.builds(
    CountedSums,
    st.dictionaries(_labelled, _counts, max_size=4),
    st.dictionaries(_labelled, _counts.map(lambda number: [number, *range(len(BUCKETS) + 1)]), max_size=2),
)
_records = st.builds(SlotRecord, st.text(max_size=40), _sums, st.dictionaries(_labelled, st.floats(0, 1e12), max_size=3))


@given(_records)
def test_a_file_holds_what_was_counted(record: SlotRecord) -> None:
    assert decode(encode(record)) == record


@given(_records, st.data())
def test_a_file_that_was_changed_anywhere_is_not_read(record: SlotRecord, draw: st.DataObject) -> None:
    written = encode(record)
    place = draw.draw(st.integers(0, len(written) - 1))
    changed = bytearray(written)
    changed[place] ^= draw.draw(st.integers(1, 255))

    with pytest.raises(RecordError):
        decode(bytes(changed))
    with pytest.raises(RecordError):
        decode(written[:place])


@given(_sums, _sums)
def test_it_does_not_matter_in_which_order_workers_are_summed(one: CountedSums, other: CountedSums) -> None:
    assert summed([one, other]) == summed([other, one])


def test_a_sum_stays_where_it_is_when_it_can_grow_no_more() -> None:
    sums = CountedSums({("a",): LARGEST_COUNT - 1})

    sums.add(("a",), 5)
    first = decode(encode(SlotRecord("", sums))).sums
    first.add(("a",), 2**70)

    assert first.counters == {("a",): LARGEST_COUNT + 2**70}
    assert decode(encode(SlotRecord("", first))).sums.counters == {("a",): LARGEST_COUNT}


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.0005, 0), (0.0006, 1), (81.92, len(BUCKETS) - 1), (82.0, len(BUCKETS))]
)
def test_an_observation_is_in_the_first_bucket_that_is_not_below_it(seconds: float, bucket: int) -> None:
    sums = CountedSums()

    sums.observe(("a",), seconds, 3)

    numbers = sums.histograms["a",]
    assert numbers[bucket] == sum(numbers[:-1]) == 3
    assert numbers[-1] == int(seconds * 1_000_000) * 3


def test_the_gauges_of_workers_are_added_up() -> None:
    assert gauged([{("a",): 1.0, ("b",): 2.0}, {("a",): 3.0}]) == {("a",): 4.0, ("b",): 2.0}


def test_a_file_with_other_buckets_is_another_versions() -> None:
    with pytest.raises(RecordError, match="buckets"):
        decode(encode(SlotRecord("", CountedSums({}, {("a",): [1, 2]}))))
