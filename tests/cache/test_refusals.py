"""Why the last answer to a key was not kept."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cachemw.cache.live_response import begin
from cachemw.cache.recording import Terms
from cachemw.cache.refusals import REMEMBERED, LastRefusals
from cachemw.errors import TruncatedResponse
from cachemw.messages import Head
from tests.cache.answers import COMPLETION, EVENTS, JSON_HEAD, ORDER, STREAM, STREAM_HEAD, terms

ONE, OTHER = b"1" * 16, b"2" * 16


def noted(*details: str, generation: int | None = 7) -> LastRefusals:
    refusals = LastRefusals()
    for detail in details:
        refusals.note(detail, "chat", ONE, generation)
    return refusals


def test_the_last_one_is_remembered() -> None:
    """E1."""
    refusals = noted("empty-choice", "record-too-large")

    assert (refusals.last(ONE, 7), refusals.last(OTHER, 7)) == ("record-too-large", None)


def test_it_is_forgotten_when_an_answer_is_kept() -> None:
    refusals = noted("empty-choice")

    refusals.forget(ONE)
    refusals.forget(OTHER)

    assert refusals.last(ONE, 7) is None
    assert not refusals.by_key


def test_a_purge_forgets_it() -> None:
    """A1: what was refused before belongs to what was purged."""
    assert noted("empty-choice").last(ONE, 8) is None


@pytest.mark.parametrize("detail", ["not-200", "superseded", "purged"])
def test_what_says_so_by_itself_is_not_told_again(detail: str) -> None:
    assert noted("empty-choice", detail).last(ONE, 7) == "empty-choice"
    assert noted(detail).last(ONE, 7) is None


def test_of_a_store_that_cannot_say_its_order_nothing_is_remembered() -> None:
    """D1: that is the store's fault, and not the answer's."""
    assert noted("store-slow", generation=None).last(ONE, 7) is None


def test_each_is_counted_and_told() -> None:
    """E1: finish reasons are made up by upstreams, and are counted as one."""
    told: list[tuple[str, str, bytes, str]] = []
    refusals = LastRefusals(lambda *one: told.append(one))

    for detail in ("not-200", "finish-eos", "finish-other", "not-200"):
        refusals.note(detail, "chat", ONE, 7, "api.example")

    assert refusals.counts == {"not-200": 2, "finish-…": 2}
    assert told[1] == ("finish-eos", "chat", ONE, "api.example")
    assert len(told) == 4


def test_there_is_a_bound_and_the_oldest_go() -> None:
    """P3."""
    refusals = LastRefusals()

    for number in (0, *range(1, REMEMBERED), 0, REMEMBERED):
        refusals.note("empty-choice", "chat", number.to_bytes(16), 7)

    assert len(refusals.by_key) == REMEMBERED
    assert [refusals.last(number.to_bytes(16), 7) for number in (0, 1, 2)] == ["empty-choice", None, "empty-choice"]


def test_threads_may_use_it_at_once() -> None:
    """P5."""
    refusals = LastRefusals()

    def use(seed: int) -> None:
        for number in range(2 * REMEMBERED):
            refusals.note("empty-choice", "chat", (number * seed).to_bytes(16), 7)
            refusals.forget(number.to_bytes(16))
            refusals.last(number.to_bytes(16), 7)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(1, 5)))

    assert len(refusals.by_key) <= REMEMBERED


# What a response in progress notes.

KEY = terms().key.index


def put_to_the_end(of: Terms, head: Head, *chunks: bytes, fault: str | None = None) -> None:
    """Let an answer come, end, and be put; `fault` says why the store did not take it."""
    response = begin(head, of, 0.0)
    for chunk in chunks:
        response.feed(chunk, 0.0)
    if response.finish(0.0) is not None:
        response.close(fault)


@pytest.mark.parametrize(
    ("head", "body", "detail"),
    [
        (Head(200, ()), b"", "content-type"),
        (JSON_HEAD, b"{}", "missing-choice"),
        (JSON_HEAD, COMPLETION.replace(b"Hello", b""), "empty-choice"),
        (JSON_HEAD, COMPLETION.replace(b"stop", b"eos"), "finish-eos"),
        (JSON_HEAD, COMPLETION + b" " * 1_000_000, "record-too-large"),
        (STREAM_HEAD, EVENTS[0], "incomplete"),
        (STREAM_HEAD, STREAM.replace(b"Hello", b""), "empty-choice"),
        (STREAM_HEAD, STREAM + b" " * 1_000_000, "record-too-large"),
    ],
)
def test_an_answer_that_is_not_kept_is_noted_once(head: Head, body: bytes, detail: str) -> None:
    """E1: under the key's index, whichever kind it was."""
    of = terms(stream=head is STREAM_HEAD)

    put_to_the_end(of, head, body, b"")

    assert of.refusals.counts.total() == 1
    assert of.refusals.last(of.key.index, ORDER.generation) == detail


def test_an_answer_that_is_kept_ends_that_and_one_the_store_does_not_take_does_not() -> None:
    of = terms()

    put_to_the_end(of, JSON_HEAD, b"{}")
    put_to_the_end(of, JSON_HEAD, COMPLETION, fault="store-failed")
    assert of.refusals.last(KEY, ORDER.generation) == "store-failed"
    put_to_the_end(of, JSON_HEAD, COMPLETION)

    assert of.refusals.last(KEY, ORDER.generation) is None


def test_an_end_that_may_be_a_cut_is_noted() -> None:
    """R1: of an upstream that ends its streams with their connection, each time."""
    of = terms(stream=True)
    response = begin(Head(200, STREAM_HEAD.headers, delimited=False), of, 0.0)
    response.feed(EVENTS[0], 0.0)

    with pytest.raises(TruncatedResponse):
        response.finish(0.0)

    assert of.refusals.last(of.key.index, ORDER.generation) == "truncated"
