"""What was derived is kept for the next one who asks, within a bound."""

import tracemalloc

import pytest

from cachemw import Limits
from cachemw.cache.lookup import TranscodeCache, memory_of
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import ApiCall
from cachemw.messages import Kind, StoredResponse
from tests.cache.answers import COMPLETION, record_of, terms

JSON, PLAIN_STREAM = Kind(stream=False), Kind(stream=True)
WITH_USAGE = Kind(stream=True, options=b'{"include_usage":true}')


def called(kind: Kind) -> ApiCall:
    return ApiCall(CHAT, b"", kind)


def completion() -> StoredResponse:
    stored = record_of([COMPLETION], terms())
    assert isinstance(stored, StoredResponse)
    return stored


def test_another_kind_is_derived_once() -> None:
    """S4, S5."""
    derived, stored = TranscodeCache(), completion()

    first = derived.of(b"a", stored, called(PLAIN_STREAM))

    assert derived.of(b"a", stored, called(PLAIN_STREAM)) is first
    assert derived.of(b"b", stored, called(PLAIN_STREAM)) is not first  # another record, however alike they are


def test_the_oldest_go_when_there_is_too_much() -> None:
    """P3."""
    stored = completion()
    probe = TranscodeCache().of(b"probe", stored, called(PLAIN_STREAM))
    assert isinstance(probe, StoredResponse)
    derived = TranscodeCache(Limits(derived_bytes=3 * memory_of(probe)))

    kept = [derived.of(b"%d" % number, stored, called(PLAIN_STREAM)) for number in range(10)]

    again = [derived.of(b"%d" % number, stored, called(PLAIN_STREAM)) for number in (7, 8, 9, 0)]
    assert [one is another for one, another in zip(again, [*kept[7:], kept[0]], strict=True)] == [True, True, True, False]


def test_what_is_larger_than_all_of_it_is_not_kept() -> None:
    """P3."""
    derived, stored = TranscodeCache(Limits(derived_bytes=10)), completion()

    first = derived.of(b"a", stored, called(PLAIN_STREAM))

    assert derived.of(b"a", stored, called(PLAIN_STREAM)) is not first


@pytest.mark.parametrize("events", [1, 50, 1000])
def test_what_it_takes_in_memory_is_more_than_the_body(events: int) -> None:
    """F63, P3: thousands of small ones took three times as much as all their bodies."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        derived = [_stream_of(events, number) for number in range(50)]
        took = (tracemalloc.get_traced_memory()[0] - before) / 50
    finally:
        tracemalloc.stop()

    assert took / 2 < memory_of(derived[0]) < took * 4


def _stream_of(events: int, number: int) -> StoredResponse:
    ends, times = (tuple(float(number + at) for at in range(events)) for _ in range(2))
    return StoredResponse(200, (), bytes(events * 40), tuple(map(int, ends)), times, Kind(True), bytes(32), 0.0, 0.0, "chat")
