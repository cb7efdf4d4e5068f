"""Age, lifetime and what a request's `Cache-Control` makes of them."""

import math

import pytest

from cachemw.core.control import UNRESTRICTED, Restrictions
from cachemw.core.freshness import Keep, age, is_fresh, remaining, retention, satisfies
from cachemw.core.messages import Kind, StoredResponse


def stored_at_100(lifetime: float = 60.0) -> StoredResponse:
    return StoredResponse(200, (), b"{}", (), (), Kind(stream=False), bytes(32), stored_at=100.0, lifetime=lifetime)


@pytest.mark.parametrize(
    ("now", "seconds", "left", "fresh"),
    [
        (-1e9, 0, 60, True),
        (99.0, 0, 60, True),
        (100.0, 0, 60, True),
        (100.999, 0, 60, True),
        (101.0, 1, 59, True),
        (159.0, 59, 1, True),
        (159.999, 59, 1, True),
        (160.0, 60, 0, False),
        (161.0, 61, -1, False),
        (572.5, 472, -412, False),
    ],
)
def test_age_goes_up_and_what_is_left_goes_down(now: float, seconds: int, left: int, fresh: bool) -> None:
    stored = stored_at_100()

    assert (age(stored, now), remaining(stored, now), is_fresh(stored, now)) == (seconds, left, fresh)


def test_age_and_what_is_left_are_whole_seconds() -> None:
    stored = stored_at_100(lifetime=59.9)

    assert (age(stored, 101.5), remaining(stored, 101.5)) == (1, 58)
    assert isinstance(age(stored, 101.5), int)
    assert isinstance(remaining(stored, 101.5), int)


def test_a_broken_lifetime_lasts_to_the_second_it_breaks_in() -> None:
    assert is_fresh(stored_at_100(lifetime=0.5), 100.9)
    assert not is_fresh(stored_at_100(lifetime=0.5), 101.0)


def test_a_lifetime_of_nothing_is_never_fresh() -> None:
    assert not is_fresh(stored_at_100(lifetime=0), 100.0)


@pytest.mark.parametrize(
    ("asked", "from_second", "to_second"),
    [
        pytest.param(UNRESTRICTED, 0, 59, id="nothing"),
        pytest.param(Restrictions(no_store=True), 0, 59, id="no-store"),
        pytest.param(Restrictions(only_if_cached=True), 0, 59, id="only-if-cached"),
        pytest.param(Restrictions(max_age=10), 0, 10, id="max-age"),
        pytest.param(Restrictions(max_age=1000), 0, 59, id="max-age above the lifetime"),
        pytest.param(Restrictions(max_age=0), 1, 0, id="max-age=0"),
        pytest.param(Restrictions(min_fresh=20), 0, 40, id="min-fresh"),
        pytest.param(Restrictions(min_fresh=0), 0, 59, id="min-fresh=0"),
        pytest.param(Restrictions(min_fresh=60), 0, 0, id="min-fresh of the whole lifetime"),
        pytest.param(Restrictions(min_fresh=61), 1, 0, id="min-fresh above the lifetime"),
        pytest.param(Restrictions(min_fresh=math.inf), 1, 0, id="min-fresh=bad"),
        pytest.param(Restrictions(max_stale=20), 0, 80, id="max-stale"),
        pytest.param(Restrictions(max_stale=0), 0, 60, id="max-stale=0"),
        pytest.param(Restrictions(max_stale=math.inf), 0, 999, id="max-stale without a number"),
        pytest.param(Restrictions(max_age=70, max_stale=20), 0, 70, id="max-age narrows max-stale"),
        pytest.param(Restrictions(max_age=90, max_stale=20), 0, 80, id="max-stale narrows max-age"),
        pytest.param(Restrictions(max_age=10, min_fresh=20), 0, 10, id="max-age before min-fresh"),
        pytest.param(Restrictions(max_age=50, min_fresh=20), 0, 40, id="min-fresh before max-age"),
        pytest.param(Restrictions(min_fresh=20, max_stale=20), 0, 40, id="min-fresh wins over max-stale"),
    ],
)
def test_a_request_narrows_and_widens_what_may_answer_it(asked: Restrictions, from_second: int, to_second: int) -> None:
    stored = stored_at_100()

    served = [second for second in range(1000) if satisfies(stored, asked, 100.5 + second)]

    assert served == list(range(from_second, to_second + 1))


@pytest.mark.parametrize(
    ("keep", "lifetime", "kept"),
    [
        ("windows", 60.0, 86_460.0),
        ("windows", 0.0, 86_400.0),
        (None, 60.0, None),
        (1000.0, 60.0, 1000.0),
        (10.0, 60.0, 60.0),
        (0.0, 60.0, 60.0),
    ],
)
def test_a_record_is_kept_at_least_as_long_as_it_is_fresh(keep: Keep, lifetime: float, kept: float | None) -> None:
    assert retention(keep, lifetime) == kept
