"""Whether what is stored under a key may answer. How a request restricts that is in the table of `test_exchange`."""

from typing import Any

import pytest
from msgspec.structs import replace

from cachemw.cache import record as codec
from cachemw.cache.directives import UNRESTRICTED, Abandon, CacheControl, Directives, Mode
from cachemw.cache.lookup import Match, NoMatch, Query, VerifiedRecords, select
from cachemw.cache.policy import FINISH_REASONS, Policy
from cachemw.endpoints.base import ApiCall
from cachemw.endpoints.chat.transcode import derive
from cachemw.errors import RecordError
from cachemw.limits import Limits
from cachemw.messages import StoredResponse
from cachemw.report import ExchangeReport
from tests.cache.answers import COMPLETION, DONE_EVENT, EVENTS, STREAM, STREAM_WITH_USAGE, chat, key, record_of, request, terms

WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
UNPADDED = {"stream": True, "stream_options": {"include_obfuscation": False}}

FRESH, STALE = 30.0, 90.0  # seconds after it was stored, for 60


def stored(body: bytes | None = None, **members: Any) -> StoredResponse:
    """Return the stored answer to a request with these members; `body` takes the place of what was complete."""
    complete = record_of([complete_answer(chat(**members))], terms(**members))
    assert isinstance(complete, StoredResponse)
    return complete if body is None else replace(complete, body=body)


def query(
    mode: Mode = Mode.READ_WRITE,
    store_when: frozenset[str] = FINISH_REASONS,
    control: CacheControl = UNRESTRICTED,
    policy: Policy | None = None,
    **members: Any,
) -> Query:
    """Return what a request with these members looks for, from an operator who allows no stale answers."""
    asked = chat(**members)
    policy = policy or Policy(stale_if_error=0, store_when=store_when)
    return Query(
        key(asked), asked, Directives(mode, control=control), policy, Limits(), Abandon.FINISH, request(), ExchangeReport()
    )


def judged(
    response: StoredResponse, sought: Query, now: float = FRESH, verified: VerifiedRecords | None = None
) -> Match | NoMatch:
    """Judge a record; a fresh match holds it, and is returned without."""
    record = codec.encode(response)
    found = select(record, sought, verified or VerifiedRecords(), now)
    assert not isinstance(found, Match) or found.record in (record, b"")
    return replace(found, record=b"") if isinstance(found, Match) else found


def complete_answer(asked: ApiCall) -> bytes:
    if asked.wants_usage:
        return STREAM_WITH_USAGE
    return STREAM if asked.kind.stream else COMPLETION


@pytest.mark.parametrize("members", [{}, {"stream": True}], ids=["JSON", "stream"])
def test_what_was_recorded_for_a_request_answers_it(members: dict[str, Any]) -> None:
    assert judged(stored(**members), query(**members)) == Match(stored(**members))


# The proof.


def test_every_bit_of_the_proof_counts() -> None:
    """K7: xxh3-128 is an index and proves nothing; not even a replay takes a record without its proof."""
    proof = key(chat()).proof
    flipped = [(int.from_bytes(proof) ^ 1 << bit).to_bytes(len(proof)) for bit in range(8 * len(proof))]

    for other in (*flipped, b"", proof[:-1], proof + b"\0", key(chat(seed=1)).proof):
        for mode in (Mode.READ_WRITE, Mode.REPLAY):
            assert judged(replace(stored(), proof=other), query(mode)) == NoMatch("miss", "key-mismatch")


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
    verified = VerifiedRecords()

    for _ in range(2):
        with pytest.raises(RecordError):
            judged(response, replace(sought, asked=Directives(mode)), verified=verified)


def test_what_this_operator_would_not_store_is_not_served_either() -> None:
    """R2, R3."""
    with pytest.raises(RecordError):
        judged(stored(), query(store_when=frozenset({"tool_calls"})))


# Another kind.


@pytest.mark.parametrize(
    ("has", "asks"),
    [
        ({}, {"stream": True}),
        (WITH_USAGE, {}),
        (WITH_USAGE, {"stream": True}),
        ({"stream": True}, UNPADDED),
        (UNPADDED, {"stream": True}),
    ],
    ids=["a stream of JSON", "JSON of a stream", "without usage", "unpadded", "padded, which it need not be"],
)
def test_a_record_of_another_kind_answers_where_that_can_be_derived(has: dict[str, Any], asks: dict[str, Any]) -> None:
    """S4, S5."""
    derived = derive(stored(**has), chat(**asks).kind)

    assert isinstance(derived, StoredResponse)
    assert judged(stored(**has), query(**asks)) == Match(derived, ("transcoded",))


@pytest.mark.parametrize(
    ("has", "asks", "detail"),
    [
        ({}, WITH_USAGE, "no-usage"),
        ({"stream": True}, {}, "no-usage"),
        ({"stream": True}, WITH_USAGE, "no-usage"),
        (WITH_USAGE, {"stream": True, "stream_options": {"x": 1}}, "other-kind"),
        ({}, {"stream": False, "stream_options": {"include_usage": True}}, "other-kind"),
    ],
    ids=[
        "JSON without usage, which is due",
        "a stream without usage, and JSON has it",
        "a stream without usage, which is due",
        "an option that nobody knows",
        "stream options without a stream",
    ],
)
@pytest.mark.parametrize("now", [FRESH, STALE])
def test_a_record_of_another_kind_is_a_miss_where_something_would_be_lost_and_not_a_bad_record(
    has: dict[str, Any], asks: dict[str, Any], detail: str, now: float
) -> None:
    """S4, S5: what this request is due is no fault of that record."""
    is_other = has.get("stream", False) != asks.get("stream", False)
    beside = codec.encode(stored(**has)) if is_other else None

    assert judged(stored(**has), query(**asks), now) == NoMatch("miss", detail, beside=beside)


def test_a_record_of_another_kind_is_judged_by_what_was_recorded() -> None:
    """R2: an empty answer is none in any form."""
    empty = stored(STREAM.replace(b"Hello", b""), stream=True)

    with pytest.raises(RecordError):
        judged(empty, query())


# Time.


@pytest.mark.parametrize(("has", "how"), [({}, ()), (WITH_USAGE, ("transcoded",))], ids=["its kind", "another kind"])
@pytest.mark.parametrize(
    ("policy", "mode", "control", "word"),
    [
        (Policy(stale_if_error=0), Mode.REPLAY, UNRESTRICTED, "replay"),
        (Policy(stale_if_error=0), Mode.READ_WRITE, CacheControl(max_stale=60), "max-stale"),
        (Policy(stale_while_revalidate=31), Mode.READ_WRITE, CacheControl(max_stale=60), "max-stale"),
        (Policy(stale_while_revalidate=31), Mode.READ_WRITE, UNRESTRICTED, "stale-while-revalidate"),
    ],
    ids=["replay", "max-stale", "max-stale, where a new one could be had", "stale-while-revalidate"],
)
def test_a_stale_record_that_answers_says_why_it_may_first(
    has: dict[str, Any], how: tuple[str, ...], policy: Policy, mode: Mode, control: CacheControl, word: str
) -> None:
    """E1: a newer one is fetched only where nothing else allows this one."""
    derived = derive(stored(**has), chat().kind)
    assert isinstance(derived, StoredResponse)

    found = judged(stored(**has), query(mode, policy=policy, control=control), STALE)

    assert found == Match(derived, (word, *how), revalidate=word == "stale-while-revalidate")


@pytest.mark.parametrize(("has", "how"), [({}, ()), (WITH_USAGE, ("transcoded",))], ids=["its kind", "another kind"])
def test_a_stale_record_may_stand_in(has: dict[str, Any], how: tuple[str, ...]) -> None:
    """H10, S4: a fresh one that is too old for the request does not."""
    derived = derive(stored(**has), chat().kind)
    assert isinstance(derived, StoredResponse)
    in_its_window = Policy(stale_if_error=31)

    unusable = [judged(stored(**has), query(policy=in_its_window), STALE + seconds) for seconds in (0.0, 1.0)]

    assert unusable == [NoMatch("stale", None, Match(derived, ("stale-if-error", *how))), NoMatch("stale")]
    assert judged(stored(), query(policy=in_its_window, control=CacheControl(max_age=10))) == NoMatch("request")


# What has been judged.


def test_a_body_is_judged_once() -> None:
    """Seen by an operator who changes his mind: what was judged good stays so while the process lives."""
    verified = VerifiedRecords()
    judged(stored(), query(), verified=verified)

    again = judged(stored(), query(store_when=frozenset()), verified=verified)

    assert again == Match(stored())


def test_another_record_under_the_same_key_is_judged_anew() -> None:
    """R2, R5."""
    verified = VerifiedRecords()
    judged(stored(), query(), verified=verified)

    with pytest.raises(RecordError):
        judged(stored(COMPLETION.replace(b"Hello", b"")), query(), verified=verified)


def test_what_was_judged_is_forgotten_when_there_is_too_much_of_it() -> None:
    verified = VerifiedRecords()
    marks = [at.to_bytes(4) for at in range(VerifiedRecords.LIMIT + 1)]

    for mark in marks[:-1]:
        verified.add(mark)
    assert all(mark in verified for mark in marks[:-1])

    verified.add(marks[-1])
    assert [mark in verified for mark in (marks[0], marks[-2], marks[-1])] == [False, False, True]
