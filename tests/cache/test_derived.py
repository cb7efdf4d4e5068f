"""What was derived is kept for the next one who asks, within a bound."""

import threading
import tracemalloc

import msgspec
import pytest

from cachemw import Limits
from cachemw.cache.lookup import TranscodeCache, memory_of
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import ApiCall
from cachemw.messages import Kind, StoredResponse
from tests.cache.answers import COMPLETION, STREAM, record_of, terms

JSON, PLAIN_STREAM = Kind(stream=False), Kind(stream=True)
WITH_USAGE = Kind(stream=True, options=b'{"include_usage":true}')


def called(kind: Kind) -> ApiCall:
    return ApiCall(CHAT, b"", kind)


def completion() -> StoredResponse:
    stored = record_of([COMPLETION], terms())
    assert isinstance(stored, StoredResponse)
    return stored


def test_the_kind_that_was_recorded_is_the_record() -> None:
    """S2: byte for byte."""
    stored = completion()

    assert TranscodeCache().of(b"a", stored, called(JSON)) is stored


def test_another_kind_is_derived_once() -> None:
    """S4."""
    derived, stored = TranscodeCache(), completion()

    first = derived.of(b"a", stored, called(PLAIN_STREAM))

    assert isinstance(first, StoredResponse)
    assert (first.kind, first.body[-14:]) == (PLAIN_STREAM, b"data: [DONE]\n\n")
    assert derived.of(b"a", stored, called(PLAIN_STREAM)) is first


def test_each_record_and_each_kind_has_its_own() -> None:
    """S5: the mark says which record, however alike two are."""
    derived, stored = TranscodeCache(), completion()
    other = msgspec.structs.replace(stored, body=COMPLETION.replace(b"Hello", b"Goodbye"), stored_at=1.0)

    first, second = derived.of(b"a", stored, called(PLAIN_STREAM)), derived.of(b"b", other, called(PLAIN_STREAM))

    assert isinstance(first, StoredResponse)
    assert isinstance(second, StoredResponse)
    assert (b"Hello" in first.body, b"Goodbye" in second.body, second.stored_at) == (True, True, 1.0)
    assert derived.of(b"a", stored, called(WITH_USAGE)) == "no-usage"


def test_what_cannot_be_derived_says_why_each_time() -> None:
    derived, stored = TranscodeCache(), record_of([STREAM], terms(stream=True))
    assert isinstance(stored, StoredResponse)

    assert [derived.of(b"a", stored, called(JSON)) for _ in range(2)] == ["no-usage", "no-usage"]


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


def test_event_loops_in_threads_may_share_it() -> None:
    """P3: what two of them count at once is held at most once."""
    derived, stored, raised = TranscodeCache(Limits(derived_bytes=3_000)), completion(), list[str]()

    def derive_many() -> None:
        try:
            for number in range(2_000):
                derived.of(b"%d" % (number % 7), stored, called(PLAIN_STREAM))
        except (KeyError, RuntimeError) as exc:
            raised.append(repr(exc))

    threads = [threading.Thread(target=derive_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert raised == []
    assert sum(len(answer.body) for answer in derived._kept.values()) <= 3_000


def test_what_was_counted_and_is_gone_is_forgotten() -> None:
    """P3: another thread may have taken the last one."""
    derived, stored = TranscodeCache(Limits(derived_bytes=3_000)), completion()
    derived._size = 1_000_000

    first, second = derived.of(b"a", stored, called(PLAIN_STREAM)), derived.of(b"a", stored, called(PLAIN_STREAM))

    assert first is not second
    assert derived.of(b"a", stored, called(PLAIN_STREAM)) is second


def body_of(answer: StoredResponse | str) -> bytes:
    assert isinstance(answer, StoredResponse)
    return answer.body


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
    return StoredResponse(200, (), bytes(events * 40), tuple(map(int, ends)), times, Kind(True), bytes(32), 0.0, 0.0)
