"""What differs in two requests that were kept."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.ledger.changes import LONGEST_VALUE, MOST, Change, changes_between

LONG = "word " * 100


def changes(there: Any, here: Any) -> list[Change]:
    return list(changes_between(json.dumps(there).encode(), json.dumps(here).encode()))


@pytest.mark.parametrize(
    ("there", "here", "told"),
    [
        ({}, {}, []),
        ({"seed": 1}, {"seed": 2}, [Change("seed", "1", "2")]),
        ({"seed": 1}, {"seed": True}, [Change("seed", "1", "true")]),
        ({"seed": 1}, {}, [Change("seed", "1", None)]),
        ({}, {"seed": None}, [Change("seed", None, "null")]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3, 4]}}, [Change("a.b[1]", "2", "3"), Change("a.b[2]", None, "4")]),
        ({"a": [1, 2]}, {"a": [1]}, [Change("a[1]", "2", None)]),
        ({"a": "x"}, {"a": ["x"]}, [Change("a", '"x"', '["x"]')]),
        ({"a": "the 1st day"}, {"a": "the 2nd day"}, [Change("a", '"the 1st day"', '"the 2nd day"')]),
        ({"a": ""}, {"a": "x"}, [Change("a", '""', '"x"')]),
        ([1], {"a": 1}, [Change("", "[1]", '{"a":1}')]),
    ],
)
def test_every_change_is_told_by_its_path(there: Any, here: Any, told: list[Change]) -> None:
    assert changes(there, here) == told


def test_of_a_long_text_the_words_are_shown_that_changed_and_some_around_them() -> None:
    [change] = changes({"a": f"{LONG}the date is 2026-11-29 {LONG}"}, {"a": f"{LONG}the date is 2026-11-30 {LONG}"})

    assert change.there is not None
    assert change.here is not None
    assert "the date is 2026-11-29 word" in change.there
    assert "the date is 2026-11-30 word" in change.here
    assert change.here.startswith('"…')
    assert change.here.endswith('…"')


def test_of_a_change_that_is_longer_than_what_is_shown_the_beginning_is_shown_from_its_first_word() -> None:
    [change] = changes({"a": f"{LONG}same-{'x' * 300}"}, {"a": f"{LONG}same-{'y' * 300}"})

    assert change.here == f'"…same-{"y" * (LONGEST_VALUE - 5)}…"'


def test_what_is_no_json_has_no_changes_that_could_be_told() -> None:
    assert changes_between(b"{", b"{}") == changes_between(b"{}", b"\xff") == ()


def test_there_is_an_end_to_what_is_told() -> None:
    assert len(changes(list(range(100)), list(range(100, 200)))) == MOST


TEXTS = st.text(st.sampled_from('ab \n"é😀'), max_size=500)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@given(VALUES, VALUES)
def test_equal_requests_have_no_changes_and_others_have_some_that_are_short(there: Any, here: Any) -> None:
    told = changes(there, here)

    assert bool(told) == (json.dumps(there, sort_keys=True) != json.dumps(here, sort_keys=True))
    for change in told:
        assert change.there != change.here
        for value in (change.there, change.here):
            assert value is None or len(value) <= 2 * (LONGEST_VALUE + 2) + 2  # escapes take more than what they stand for


@given(TEXTS, TEXTS)
def test_what_is_shown_of_two_texts_is_in_them_and_differs(there: str, here: str) -> None:
    for change in changes({"a": there}, {"a": here}):
        shown = [json.loads(value).removeprefix("…").removesuffix("…") for value in (change.there or '""', change.here or '""')]

        assert shown[0] in there
        assert shown[1] in here
        assert change.there != change.here
