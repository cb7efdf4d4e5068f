"""A stored answer, sent again."""

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw.core import replay
from cachemw.core.limits import PIECE_BYTES
from cachemw.core.messages import Head, Kind, StoredResponse
from cachemw.core.report import ExchangeReport

HIT = ExchangeReport(hit=True, ttl=40, key="1f0c")
COLLAPSED = ExchangeReport(fwd="miss", fwd_status=200, collapsed=True, key="1f0c")


def stored(*events: bytes, after: bytes = b"") -> StoredResponse:
    """Return a stored stream of these events and of what came after the last."""
    return StoredResponse(
        status=200,
        headers=((b"content-type", b"text/event-stream"),),
        body=b"".join(events) + after,
        event_ends=tuple(accumulate(map(len, events))),
        arrivals=tuple(0.0 for _ in events),
        kind=Kind(stream=True),
        proof=b"",
        stored_at=1000.0,
        lifetime=60.0,
    )


def stored_json(body: bytes) -> StoredResponse:
    return replace(
        stored(body), headers=((b"content-type", b"application/json"),), event_ends=(), arrivals=(), kind=Kind(stream=False)
    )


# The head.


def test_the_head_of_a_stored_stream_has_no_length_and_is_not_to_be_buffered() -> None:
    """I5, H8."""
    assert replay.head(stored(b"data: a\n\n"), HIT, now=1020.5) == Head(
        200,
        (
            (b"content-type", b"text/event-stream"),
            (b"age", b"20"),
            (b"cache-control", b"private, no-store, no-transform"),
            (b"x-accel-buffering", b"no"),
            (b"cache-status", b'cachemw; hit; ttl=40; key="1f0c"'),
        ),
    )


def test_the_head_of_stored_json_has_the_length_of_what_is_sent() -> None:
    """I5."""
    assert replay.head(stored_json(b'{"a":1}'), HIT, now=1020.5) == Head(
        200,
        (
            (b"content-type", b"application/json"),
            (b"content-length", b"7"),
            (b"age", b"20"),
            (b"cache-control", b"private, no-store"),
            (b"cache-status", b'cachemw; hit; ttl=40; key="1f0c"'),
        ),
    )


def test_what_another_request_brought_has_no_age() -> None:
    head = replay.head(stored_json(b"{}"), COLLAPSED, now=1020.5)

    assert b"age" not in dict(head.headers)


@pytest.mark.parametrize(
    ("now", "age"), [(1000.0, b"0"), (1000.9, b"0"), (1001.0, b"1"), (1059.99, b"59"), (5000.5, b"4000"), (900.0, b"0")]
)
def test_age_is_whole_seconds_and_never_negative(now: float, age: bytes) -> None:
    assert dict(replay.head(stored(b"data: a\n\n"), HIT, now).headers)[b"age"] == age


# The body.


@pytest.mark.parametrize("size", [1, PIECE_BYTES, PIECE_BYTES + 1, 10 * PIECE_BYTES])
def test_json_is_sent_at_once(size: int) -> None:
    assert list(replay.pieces(stored_json(b"x" * size))) == [b"x" * size]


def test_a_small_stream_is_sent_at_once() -> None:
    """S7."""
    assert list(replay.pieces(stored(b"data: a\n\n", b"data: b\n\n", after=b": bye\n\n"))) == [
        b"data: a\n\ndata: b\n\n: bye\n\n"
    ]


def test_a_larger_one_is_cut_on_event_boundaries() -> None:
    half, most = b"h" * (PIECE_BYTES // 2), b"m" * (PIECE_BYTES - 1)

    assert list(replay.pieces(stored(half, half, half, most, b"1", b"2"))) == [half + half, half, most + b"1", b"2"]


def test_an_event_is_never_cut() -> None:
    small, large = b"s" * 10, b"l" * (3 * PIECE_BYTES)

    assert list(replay.pieces(stored(small, large, small, after=b": bye\n"))) == [small, large, small + b": bye\n"]


sizes = st.sampled_from([1, 100, 10_000, PIECE_BYTES // 2, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])


@settings(deadline=None)
@given(st.lists(sizes, min_size=1, max_size=12), st.sampled_from([0, 1, 100, PIECE_BYTES]))
def test_pieces_are_whole_events_as_many_as_fit(events: list[int], after: int) -> None:
    """S2, R7."""
    response = stored(*(bytes([at]) * size for at, size in enumerate(events)), after=b"\xff" * after)

    pieces = list(replay.pieces(response))

    ends = list(accumulate(map(len, pieces)))
    boundaries = {*response.event_ends, len(response.body)}
    assert b"".join(pieces) == response.body
    assert all(pieces)
    assert boundaries.issuperset(ends)
    for start, end in zip([0, *ends], ends, strict=False):
        assert end - start <= PIECE_BYTES or not boundaries.intersection(range(start + 1, end))
    for start, end in zip([0, *ends], ends[:-1], strict=False):
        assert min(boundary for boundary in boundaries if boundary > end) - start > PIECE_BYTES
