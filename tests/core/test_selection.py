"""Whether what is stored under a key may answer. How a request restricts that is in the table of `test_exchange`."""

from typing import Any

import pytest
from msgspec.structs import replace

from cachemw.core import codec
from cachemw.core.directives import Directives, Mode
from cachemw.core.messages import StoredResponse
from cachemw.core.policy import FINISH_REASONS
from cachemw.core.selection import Query, Unusable, Usable, Verified, select
from cachemw.errors import RecordError
from tests.core.answers import COMPLETION, DONE_EVENT, EVENTS, STREAM, chat, key, record_of, terms

FRESH, STALE = 30.0, 90.0  # seconds after it was stored, for 60


def stored(body: bytes | None = None, **members: Any) -> StoredResponse:
    """Return the stored answer to a request with these members; `body` takes the place of what was complete."""
    complete = record_of([STREAM if members.get("stream") else COMPLETION], terms(**members))
    assert isinstance(complete, StoredResponse)
    return complete if body is None else replace(complete, body=body)


def query(mode: Mode = Mode.READ_WRITE, store_when: frozenset[str] = FINISH_REASONS, **members: Any) -> Query:
    """Return what a request with these members looks for."""
    asked = chat(**members)
    return Query(key(asked), asked, Directives(mode), store_when)


def judged(response: StoredResponse, sought: Query, now: float = FRESH, verified: Verified | None = None) -> Usable | Unusable:
    return select(codec.encode(response), sought, verified or Verified(), now)


@pytest.mark.parametrize("members", [{}, {"stream": True}], ids=["JSON", "stream"])
def test_what_was_recorded_for_a_request_answers_it(members: dict[str, Any]) -> None:
    assert judged(stored(**members), query(**members)) == Usable(stored(**members))


# The proof.


def test_a_record_of_another_request_is_a_miss_though_it_has_the_same_index() -> None:
    """K7: xxh3-128 is an index and proves nothing."""
    other = stored(seed=1)

    assert other.proof != key(chat()).proof
    assert judged(other, query()) == Unusable("miss", "key-mismatch")


@pytest.mark.parametrize("bit", range(256))
def test_every_bit_of_the_proof_counts(bit: int) -> None:
    """K7."""
    proof = key(chat()).proof
    other = (int.from_bytes(proof) ^ 1 << bit).to_bytes(len(proof))

    assert judged(replace(stored(), proof=other), query()) == Unusable("miss", "key-mismatch")


@pytest.mark.parametrize("proof", [b"", key(chat()).proof[:-1], key(chat()).proof + b"\0"], ids=["none", "shorter", "longer"])
def test_part_of_a_proof_is_none(proof: bytes) -> None:
    """K7."""
    assert judged(replace(stored(), proof=proof), query()) == Unusable("miss", "key-mismatch")


@pytest.mark.parametrize("mode", Mode)
def test_not_even_a_replay_takes_a_record_without_its_proof(mode: Mode) -> None:
    """K7."""
    assert isinstance(judged(stored(seed=1), query(mode)), Unusable)


# The same judges as when it was recorded.


@pytest.mark.parametrize(
    ("response", "sought"),
    [
        pytest.param(replace(stored(), status=500), query(), id="an error's status"),
        pytest.param(stored(b'{"error":{"message":"m"}}'), query(), id="an error"),
        pytest.param(stored(b'{"choices":[]}'), query(), id="no choices"),
        pytest.param(stored(COMPLETION.replace(b"Hello", b"")), query(), id="nothing said"),
        pytest.param(stored(COMPLETION.replace(b"stop", b"content_filter")), query(), id="filtered"),
        pytest.param(stored(COMPLETION.replace(b"stop", b"length")), query(), id="cut by a limit the caller did not set"),
        pytest.param(stored(COMPLETION[:-1]), query(), id="half a JSON"),
        pytest.param(stored(b"<html>"), query(), id="HTML"),
        pytest.param(stored(STREAM), query(), id="a stream for JSON"),
        pytest.param(stored(STREAM.removesuffix(DONE_EVENT), stream=True), query(stream=True), id="no end"),
        pytest.param(stored(STREAM + EVENTS[0], stream=True), query(stream=True), id="an event after the end"),
        pytest.param(stored(EVENTS[0] + DONE_EVENT, stream=True), query(stream=True), id="unfinished"),
        pytest.param(stored(COMPLETION, stream=True), query(stream=True), id="JSON for a stream"),
    ],
)
@pytest.mark.parametrize("mode", [Mode.READ_WRITE, Mode.REPLAY])
def test_a_record_that_never_was_complete_is_none(response: StoredResponse, sought: Query, mode: Mode) -> None:
    """R2: though its checksum and its proof are right; twice, for what is bad is not remembered as good."""
    verified = Verified()

    for _ in range(2):
        with pytest.raises(RecordError):
            judged(response, replace(sought, asked=Directives(mode)), verified=verified)


def test_what_this_operator_would_not_store_is_not_served_either() -> None:
    """R2, R3."""
    with pytest.raises(RecordError):
        judged(stored(), query(store_when=frozenset({"tool_calls"})))


def test_a_record_that_is_damaged_is_none() -> None:
    """D8."""
    with pytest.raises(RecordError):
        select(codec.encode(stored())[:-1], query(), Verified(), FRESH)


# Another kind.

WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("has", "asks"),
    [({}, {"stream": True}), ({"stream": True}, {}), ({"stream": True}, WITH_USAGE)],
    ids=["JSON for a stream", "a stream for JSON", "a stream for one that is due its usage"],
)
def test_a_record_of_another_kind_is_a_miss_and_not_a_bad_record(has: dict[str, Any], asks: dict[str, Any]) -> None:
    """S5: what this request is due is no fault of that record."""
    assert judged(stored(**has), query(**asks)) == Unusable("miss", "other-kind")
    assert judged(stored(**has), query(Mode.REPLAY, **asks)) == Unusable("miss", "other-kind")


def test_a_stale_record_of_another_kind_is_just_a_miss() -> None:
    """It is of no use to anyone, and may be replaced."""
    assert judged(stored(stream=True), query(), STALE) == Unusable("miss")


# Time.


def test_a_stale_record_is_unusable_but_for_a_replay() -> None:
    assert judged(stored(), query(), STALE) == Unusable("stale")
    assert judged(stored(), query(Mode.REPLAY), STALE) == Usable(stored(), "replay")
    assert judged(stored(), query(Mode.REPLAY), FRESH) == Usable(stored())


# What has been judged.


def test_a_body_is_judged_once() -> None:
    """Seen by an operator who changes his mind: what was judged good stays so while the process lives."""
    verified = Verified()
    judged(stored(), query(), verified=verified)

    again = judged(stored(), query(store_when=frozenset()), verified=verified)

    assert again == Usable(stored())


def test_another_record_under_the_same_key_is_judged_anew() -> None:
    """R2, R5."""
    verified = Verified()
    judged(stored(), query(), verified=verified)

    with pytest.raises(RecordError):
        judged(stored(COMPLETION.replace(b"Hello", b"")), query(), verified=verified)


def test_what_was_judged_is_forgotten_when_there_is_too_much_of_it() -> None:
    verified = Verified()
    marks = [at.to_bytes(4) for at in range(Verified.LIMIT + 1)]

    for mark in marks[:-1]:
        verified.add(mark)
    assert all(mark in verified for mark in marks[:-1])

    verified.add(marks[-1])
    assert [mark in verified for mark in (marks[0], marks[-2], marks[-1])] == [False, False, True]
