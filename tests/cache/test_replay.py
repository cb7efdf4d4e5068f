"""A stored answer, sent again."""

import math
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw.cache import replay
from cachemw.limits import PIECE_BYTES
from cachemw.messages import Kind, StoredResponse
from cachemw.report import ExchangeReport

HIT = ExchangeReport(hit=True, ttl=40, key="1f0c")
STANDS_IN = ExchangeReport(fwd="stale", fwd_status=503, ttl=-412, key="1f0c", details=("stale-if-error",))
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
        endpoint="chat",
    )


# The head: its fields are in the tables of the mounts.


def test_what_another_request_brought_has_no_age_and_what_stands_in_for_a_failure_has() -> None:
    """E1, H10: RFC 9111 §5.1."""
    collapsed, stands_in = [dict(replay.head(stored(b"data: a\n\n"), said, 1472.5).headers) for said in (COLLAPSED, STANDS_IN)]

    assert b"age" not in collapsed
    assert stands_in[b"age"] == b"472"


@pytest.mark.parametrize(
    ("now", "age"), [(1000.0, b"0"), (1000.9, b"0"), (1001.0, b"1"), (1059.99, b"59"), (5000.5, b"4000"), (900.0, b"0")]
)
def test_age_is_whole_seconds_and_never_negative(now: float, age: bytes) -> None:
    assert dict(replay.head(stored(b"data: a\n\n"), HIT, now).headers)[b"age"] == age


# The body.

sizes = st.sampled_from([1, 100, 10_000, PIECE_BYTES // 2, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])


@given(st.lists(sizes, max_size=12), st.sampled_from([1, 100, PIECE_BYTES, 3 * PIECE_BYTES]))
def test_pieces_are_whole_events_as_many_as_fit(events: list[int], after: int) -> None:
    """S2, R7, S7: without events, as JSON is, in one; and no sleep unless `speed` asks."""
    response = stored(*(bytes([at]) * size for at, size in enumerate(events)), after=b"\xff" * after)

    pieces = list(replay.pieces(response))

    assert list(replay.paced(response, 0.0, 600.0)) == [(0.0, piece) for piece in pieces]
    ends = list(accumulate(map(len, pieces)))
    boundaries = {*response.event_ends, len(response.body)}
    assert b"".join(pieces) == response.body
    assert all(pieces)
    assert boundaries.issuperset(ends)
    for start, end in zip([0, *ends], ends, strict=False):
        assert end - start <= PIECE_BYTES or not boundaries.intersection(range(start + 1, end))
    for start, end in zip([0, *ends], ends[:-1], strict=False):
        assert min(boundary for boundary in boundaries if boundary > end) - start > PIECE_BYTES


# The pace.


def recorded(*arrivals: float) -> StoredResponse:
    """Return a stored stream of ten-byte events that arrived then, and of what came after the last."""
    return replace(stored(*(b"data: %02d\n\n" % at for at, _ in enumerate(arrivals)), after=b": bye\n"), arrivals=arrivals)


@pytest.mark.parametrize(
    ("arrivals", "speed", "longest", "dues"),
    [
        pytest.param((0.5, 1.0, 2.0), 1.0, 600.0, [0.5, 1.0, 2.0], id="as recorded"),
        pytest.param((0.5, 1.0, 2.0), 2.0, 600.0, [0.25, 0.5, 1.0], id="twice as fast"),
        pytest.param((0.5, 1.0, 2.0), 0.5, 600.0, [1.0, 2.0, 4.0], id="half as fast"),
        pytest.param((0.5, 1.0, 2.0), 0.0, 600.0, [0.0], id="at once"),
        pytest.param((0.0, 0.0, 0.0), 1.0, 600.0, [0.0], id="as recorded, which was at once"),
        pytest.param((0.5, 1.0, 2.0), 1.0, 2.0, [0.5, 1.0, 2.0], id="as long as it may"),
        pytest.param((0.5, 1.0, 2.0), 1.0, 1.0, [0.25, 0.5, 1.0], id="longer than it may"),
        pytest.param((0.5, 1.0, 2.0), 0.001, 1.0, [0.25, 0.5, 1.0], id="slower than it may"),
        pytest.param((1.5,), 1.0, 0.7, [0.7], id="and not by a rounding error longer"),
        pytest.param((0.5, 1.0, 2.0), 1.0, 0.0, [0.0], id="it may take no time"),
        pytest.param((0.5, 1.0, 2.0), 1.0, math.inf, [0.5, 1.0, 2.0], id="it may take any time"),
        pytest.param((0.5, 0.5, 2.0), 1.0, 600.0, [0.5, 2.0], id="two at a time"),
        pytest.param((1.0, 0.5, 2.0), 1.0, 600.0, [1.0, 2.0], id="a clock that was set back"),
        pytest.param((3.0, 0.5, 2.0), 1.0, 1.5, [1.5], id="set back for good"),
    ],
)
def test_every_event_is_due_as_it_came(arrivals: tuple[float, ...], speed: float, longest: float, dues: list[float]) -> None:
    """S7."""
    response = recorded(*arrivals)

    paced = list(replay.paced(response, speed, longest))

    assert [due for due, _ in paced] == dues
    assert b"".join(piece for _, piece in paced) == response.body


def test_what_is_due_together_is_cut_where_it_is_large() -> None:
    half, large = b"h" * (PIECE_BYTES // 2), b"l" * (2 * PIECE_BYTES)
    response = replace(stored(half, half, half, large, b"1"), arrivals=(1.0, 1.0, 1.0, 1.0, 2.0))

    assert list(replay.paced(response, 1.0, 600.0)) == [(1.0, half + half), (1.0, half), (1.0, large), (2.0, b"1")]


@given(
    events=st.lists(st.tuples(sizes, st.floats(0, 1e6) | st.integers(0, 3).map(float)), min_size=1, max_size=12),
    after=st.sampled_from([0, 1, 100]),
    speed=st.just(0.0) | st.floats(0.001, 1e12),
    longest=st.floats(0, 1e6),
)
def test_a_pace_changes_when_and_never_what(events: list[tuple[int, float]], after: int, speed: float, longest: float) -> None:
    """S2, S7: the same bytes, on event boundaries, later and later, and over in time."""
    response = replace(
        stored(*(bytes([at]) * size for at, (size, _) in enumerate(events)), after=b"\xff" * after),
        arrivals=tuple(arrival for _, arrival in events),
    )

    paced = list(replay.paced(response, speed, longest))

    dues, pieces = [due for due, _ in paced], [piece for _, piece in paced]
    assert b"".join(pieces) == response.body
    assert all(pieces)
    assert {*response.event_ends, len(response.body)}.issuperset(accumulate(map(len, pieces)))
    assert all(earlier <= later for earlier, later in pairwise([0.0, *dues]))
    assert dues[-1] <= longest
    if speed:
        assert dues[-1] == pytest.approx(min(max(response.arrivals) / speed, longest))
