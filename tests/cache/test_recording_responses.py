"""What is held of the stream of a response, and when: clients hang up at its last event."""

import msgspec
import pytest

from cachemw.cache.recording import Recording, start
from cachemw.messages import StoredResponse
from cachemw.wire.sse import DONE, encode
from tests.cache.answers import STREAM_HEAD, terms
from tests.endpoints.responding import HELLO, asked, body_of, call_of, told

BEGUN, LAST = body_of(told(HELLO)[:-1]), body_of(told(HELLO)[-1:])


def recording() -> Recording:
    agreed = msgspec.structs.replace(terms(), call=call_of(asked(stream=True)))
    return start(STREAM_HEAD, agreed, 0.0)


@pytest.mark.parametrize("size", [1, 13, 100_000])
@pytest.mark.parametrize("more", [b"", encode(DONE)], ids=["nothing more", "`[DONE]`"])
def test_from_the_line_that_begins_the_last_event_on_nothing_leaves_before_the_body_ends(size: int, more: bytes) -> None:
    """S2, H8: who saw it would hang up, and its record would never be whole. A line that has begun may have left."""
    body, held = BEGUN + LAST + more, recording()

    for at in range(0, len(body), size):
        held.feed(body[at : at + size], 1.0)

    assert len(BEGUN) <= held.left < len(BEGUN) + len(b"event: response.completed\n")
    assert held.hold_seconds is not None
    stored = held.finish(2.0)
    assert isinstance(stored, StoredResponse)
    assert (stored.body, stored.endpoint, stored.model) == (body, "responses", "m-1")


def test_all_before_it_leaves_as_it_comes() -> None:
    """P1."""
    held = recording()

    held.feed(BEGUN, 1.0)

    assert held.left == len(BEGUN)
    assert held.hold_seconds is None


def test_one_whose_body_does_not_end_in_time_is_not_kept() -> None:
    """H8."""
    held = recording()

    held.feed(BEGUN + LAST, 1.0)
    held.release_held()

    assert held.dropped == "no-end"


@pytest.mark.parametrize("size", [len(BEGUN), len(BEGUN) + 30, len(BEGUN + LAST) - 1])
def test_one_that_was_cut_is_not_kept(size: int) -> None:
    """R2."""
    held = recording()

    held.feed((BEGUN + LAST)[:size], 1.0)

    assert held.finish(2.0) == "incomplete"
