"""What is held of the stream of a message, and when: clients hang up at its last event."""

import pytest
from msgspec.structs import replace

from cachemw.cache.recording import Recording, start
from cachemw.messages import StoredResponse, Usage
from tests.cache.answers import STREAM_HEAD, terms
from tests.endpoints.messages import HELLO, asked, call_of, stream_of, told

BEGUN, LAST = stream_of(told(*HELLO)[:-1]), stream_of(told(*HELLO)[-1:])
LINE = b"event: message_stop\n"
NAMELESS = LAST.removeprefix(LINE)


def recording() -> Recording:
    agreed = replace(terms(), call=call_of(asked(stream=True)))
    return start(STREAM_HEAD, agreed, 0.0)


@pytest.mark.parametrize("size", [1, 13, 100_000])
@pytest.mark.parametrize(
    ("begun", "last"),
    [(BEGUN, LAST), (BEGUN, NAMELESS), (BEGUN.replace(b"\n", b"\r\n"), LAST.replace(b"\n", b"\r\n"))],
    ids=["named", "nameless", "CRLF"],
)
def test_from_the_line_that_begins_the_last_event_on_nothing_leaves_before_the_body_ends(
    begun: bytes, last: bytes, size: int
) -> None:
    """Who saw it would hang up, and its record would never be whole. A line that has begun may have left."""
    body, held = begun + last, recording()

    for at in range(0, len(body), size):
        held.feed(body[at : at + size], 1.0)

    assert len(begun) <= held.left < len(begun) + len(last.partition(b"\n")[0])
    assert held.hold_seconds is not None
    stored = held.finish(2.0)
    assert isinstance(stored, StoredResponse)
    assert (stored.body, stored.endpoint, stored.model) == (body, "messages", "claude-1")
    assert stored.usage == Usage(input_tokens=3, output_tokens=5)


def test_all_before_it_leaves_as_it_comes() -> None:
    held = recording()

    held.feed(BEGUN, 1.0)

    assert held.left == len(BEGUN)
    assert held.hold_seconds is None


def test_one_whose_body_does_not_end_in_time_is_not_kept() -> None:
    held = recording()

    held.feed(BEGUN + LAST, 1.0)
    held.release_held()

    assert held.dropped == "no-end"


@pytest.mark.parametrize("size", [*range(len(BEGUN), len(BEGUN + LAST), 7), len(BEGUN + LAST) - 1])
def test_one_that_was_cut_within_its_last_event_is_not_kept(size: int) -> None:
    held = recording()

    held.feed((BEGUN + LAST)[:size], 1.0)

    assert held.finish(2.0) == "incomplete"
