"""The nearest of many sketches."""

import os
import random

from hypothesis import given
from hypothesis import strategies as st

from cachemw.cache.differences import compare
from cachemw.cache.nearest import NEWEST, SketchIndex
from tests.cache.sketching import Members, changed, sketch, traffic

CHANGED = int(os.environ.get("TESTS_CHANGED", "100"))
"""How many requests are changed in one part: the whole of O5 is 1,000, over 10,000 sketches."""


def test_of_requests_that_differ_in_one_part_that_part_is_named() -> None:
    """O5: for at least 99 of 100; here it is for all."""
    chance, requests = random.Random(7), traffic(min(NEWEST, 10 * CHANGED), seed=1)
    index = SketchIndex(map(sketch, requests))

    named = []
    for _ in range(CHANGED):
        members, name = changed(chance.choice(requests), chance)
        asked = sketch(members)
        place = index.nearest(asked)
        assert place is not None
        named.append(compare(asked, index[place]).names == (name,))

    assert sum(named) >= 0.99 * CHANGED


def test_one_that_differs_in_one_part_is_found_however_old_it_is_and_however_common_its_parts_are() -> None:
    """O5: of no part is it among the last ones."""
    names = ("model", "temperature", "top_p")
    common: list[Members] = [{name: 1, "seed": f"{name} {number}", "stop": number} for number in range(1000) for name in names]
    index = SketchIndex(sketch(members) for members in ({**dict.fromkeys(names, 1), "seed": 1}, *common))

    assert index.nearest(sketch({**dict.fromkeys(names, 1), "seed": 2})) == 0


def test_of_requests_that_differ_in_two_parts_few_are_taken_for_farther_ones() -> None:
    """By the count of equal parts alone most were, for what all have in common is in the lists of the newest only."""
    chance, requests = random.Random(8), traffic(1000, seed=2)
    index = SketchIndex(map(sketch, requests))

    farther = 0
    for _ in range(100):
        members, _ = changed(changed(chance.choice(requests), chance)[0], chance)
        asked = sketch(members)
        place = index.nearest(asked)
        assert place is not None
        farther += len(compare(asked, index[place]).names) > 2

    assert farther <= 5


def test_where_nothing_is_shared_there_is_none() -> None:
    index = SketchIndex([sketch({"model": "a"}, url="https://a/")])

    assert index.nearest(sketch({"model": "a"}, caller="another", url="https://a/")) is None
    assert SketchIndex().nearest(sketch({"model": "a"})) is None


def test_the_same_for_another_caller_is_found_by_the_whole_and_the_same_elsewhere_by_the_body() -> None:
    index = SketchIndex(map(sketch, traffic(10, seed=3)))
    asked = sketch(traffic(10, seed=3)[4], caller="another", url="https://elsewhere/")

    assert index.same_for_anybody(sketch(traffic(10, seed=3)[4], caller="another")) == 4
    assert index.same_for_anybody(asked) is None
    assert index.same_body(asked.body) == 4
    assert index.same_body(b"another") is None


def test_of_two_that_are_as_near_the_longer_conversation_is_taken_and_then_the_newer_one() -> None:
    turns = [f"turn {number}" for number in range(4)]
    early = {"model": "a", "messages": ["another", *turns[1:]]}
    late = {"model": "a", "messages": [*turns[:3], "another"]}
    index = SketchIndex(map(sketch, (late, early, late, early)))

    assert index.nearest(sketch({"model": "a", "messages": turns})) == 2


def test_a_conversation_that_goes_on_is_nearest_to_itself_and_not_to_a_short_one() -> None:
    turns = [f"turn {number}" for number in range(20)]
    short = [{"model": "a", "seed": seed, "messages": turns[:1]} for seed in range(100)]
    index = SketchIndex(map(sketch, [{"model": "a", "seed": 5, "messages": turns[:18]}, *short]))
    asked = sketch({"model": "a", "seed": 6, "messages": turns})

    place = index.nearest(asked)

    assert place == 0
    assert compare(asked, index[place]).names == ("seed", "messages[18]", "messages[19]")


MEMBERS: st.SearchStrategy[Members] = st.dictionaries(
    st.sampled_from(["model", "seed", "temperature", "messages"]),
    st.integers(0, 2) | st.lists(st.integers(0, 2), min_size=1, max_size=4),
    min_size=1,
)


@given(st.lists(MEMBERS, min_size=1, max_size=20), MEMBERS)
def test_no_other_differs_in_fewer_parts(requests: list[Members], members: Members) -> None:
    """As long as no list is cut short."""
    index, asked = SketchIndex(map(sketch, requests)), sketch(members)

    place = index.nearest(asked)

    distances = [len(compare(asked, one).names) for one in map(sketch, requests)]
    assert place is not None
    assert distances[place] == min(distances)
