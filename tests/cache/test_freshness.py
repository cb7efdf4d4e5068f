"""Age, lifetime and what a request's `Cache-Control` makes of them."""

import math

import pytest

from cachemw.cache.directives import UNRESTRICTED, CacheControl
from cachemw.cache.freshness import Keep, age, is_fresh, remaining, retention, satisfies, stands_in, while_revalidating
from cachemw.messages import Kind, StoredResponse


def stored_at_100(lifetime: float = 60.0) -> StoredResponse:
    return StoredResponse(200, (), b"{}", (), (), Kind(stream=False), bytes(32), 100.0, lifetime, "chat")


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

    assert (age(stored, now), remaining(stored, age(stored, now)), is_fresh(stored, now)) == (seconds, left, fresh)


def test_age_and_what_is_left_are_whole_seconds() -> None:
    stored = stored_at_100(lifetime=59.9)

    assert (age(stored, 101.5), remaining(stored, age(stored, 101.5))) == (1, 58)
    assert isinstance(age(stored, 101.5), int)
    assert isinstance(remaining(stored, age(stored, 101.5)), int)


def test_a_broken_lifetime_lasts_to_the_second_it_breaks_in() -> None:
    assert is_fresh(stored_at_100(lifetime=0.5), 100.9)
    assert not is_fresh(stored_at_100(lifetime=0.5), 101.0)


def test_a_lifetime_of_nothing_is_never_fresh() -> None:
    assert not is_fresh(stored_at_100(lifetime=0), 100.0)


@pytest.mark.parametrize(
    ("asked", "from_second", "to_second"),
    [
        pytest.param(UNRESTRICTED, 0, 59, id="nothing"),
        pytest.param(CacheControl(no_store=True), 0, 59, id="no-store"),
        pytest.param(CacheControl(only_if_cached=True), 0, 59, id="only-if-cached"),
        pytest.param(CacheControl(max_age=10), 0, 10, id="max-age"),
        pytest.param(CacheControl(max_age=1000), 0, 59, id="max-age above the lifetime"),
        pytest.param(CacheControl(max_age=0), 1, 0, id="max-age=0"),
        pytest.param(CacheControl(min_fresh=20), 0, 40, id="min-fresh"),
        pytest.param(CacheControl(min_fresh=0), 0, 59, id="min-fresh=0"),
        pytest.param(CacheControl(min_fresh=60), 0, 0, id="min-fresh of the whole lifetime"),
        pytest.param(CacheControl(min_fresh=61), 1, 0, id="min-fresh above the lifetime"),
        pytest.param(CacheControl(min_fresh=math.inf), 1, 0, id="min-fresh=bad"),
        pytest.param(CacheControl(max_stale=20), 0, 80, id="max-stale"),
        pytest.param(CacheControl(max_stale=0), 0, 60, id="max-stale=0"),
        pytest.param(CacheControl(max_stale=math.inf), 0, 999, id="max-stale without a number"),
        pytest.param(CacheControl(max_age=70, max_stale=20), 0, 70, id="max-age narrows max-stale"),
        pytest.param(CacheControl(max_age=90, max_stale=20), 0, 80, id="max-stale narrows max-age"),
        pytest.param(CacheControl(max_age=10, min_fresh=20), 0, 10, id="max-age before min-fresh"),
        pytest.param(CacheControl(max_age=50, min_fresh=20), 0, 40, id="min-fresh before max-age"),
        pytest.param(CacheControl(min_fresh=20, max_stale=20), 0, 40, id="min-fresh wins over max-stale"),
    ],
)
def test_a_request_narrows_and_widens_what_may_answer_it(asked: CacheControl, from_second: int, to_second: int) -> None:
    stored = stored_at_100()

    served = [second for second in range(1000) if satisfies(stored, asked, 100.5 + second)]

    assert served == list(range(from_second, to_second + 1))


@pytest.mark.parametrize(
    ("keep", "lifetime", "window", "kept"),
    [
        ("windows", 60.0, 100.0, 160.0),
        ("windows", 0.0, 100.0, 100.0),
        ("windows", 60.0, 0.0, 60.0),
        ("windows", 60.0, math.inf, 2**31),
        (None, 60.0, 100.0, None),
        (None, math.inf, math.inf, None),
        (1000.0, 60.0, 100.0, 1000.0),
        (10.0, 60.0, 100.0, 60.0),
        (0.0, 60.0, 100.0, 60.0),
        (math.inf, 60.0, 100.0, 2**31),
        (10.0, math.inf, 100.0, 2**31),
    ],
)
def test_a_record_is_kept_at_least_as_long_as_it_is_fresh(
    keep: Keep, lifetime: float, window: float, kept: float | None
) -> None:
    assert retention(keep, lifetime, window) == kept


# When the upstream fails (RFC 5861 §4), and while it is asked anew (§3).


def seconds_of(span: tuple[int, int] | None) -> list[int]:
    return [] if span is None else list(range(span[0], span[1] + 1))


@pytest.mark.parametrize(
    ("asked", "window", "span"),
    [
        pytest.param(UNRESTRICTED, 100, (0, 159), id="nothing"),
        pytest.param(UNRESTRICTED, math.inf, (0, 999), id="a window without an end"),
        pytest.param(UNRESTRICTED, 0, (0, 59), id="no window"),
        pytest.param(CacheControl(stale_if_error=20), 100, (0, 79), id="stale-if-error"),
        pytest.param(CacheControl(stale_if_error=200), 100, (0, 159), id="stale-if-error above the window"),
        pytest.param(CacheControl(stale_if_error=0), 100, (0, 59), id="stale-if-error=0"),
        pytest.param(CacheControl(no_cache=True), 100, None, id="no-cache"),
        pytest.param(CacheControl(no_cache=True, stale_if_error=20), 100, None, id="no-cache, stale-if-error"),
        pytest.param(CacheControl(no_store=True), 100, (0, 159), id="no-store"),
        pytest.param(CacheControl(max_age=10), 100, (0, 10), id="max-age"),
        pytest.param(CacheControl(max_age=0), 100, None, id="max-age=0"),
        pytest.param(CacheControl(max_age=100), 100, (0, 100), id="max-age beyond the lifetime"),
        pytest.param(CacheControl(max_age=100, stale_if_error=20), 100, (0, 79), id="stale-if-error narrows max-age"),
        pytest.param(CacheControl(max_age=70, stale_if_error=20), 100, (0, 70), id="max-age narrows stale-if-error"),
        pytest.param(CacheControl(min_fresh=20), 100, (0, 40), id="min-fresh"),
        pytest.param(CacheControl(min_fresh=math.inf), 100, None, id="min-fresh=bad"),
        pytest.param(CacheControl(max_stale=5), 100, (0, 159), id="max-stale is another permission"),
    ],
)
def test_a_request_only_narrows_what_stands_in_for_a_failure(
    asked: CacheControl, window: float, span: tuple[int, int] | None
) -> None:
    stored = stored_at_100()

    answering = [second for second in range(1000) if stands_in(stored, asked, window, 100.5 + second)]

    assert answering == seconds_of(span)


@pytest.mark.parametrize(
    ("asked", "window", "span"),
    [
        pytest.param(UNRESTRICTED, 100, (60, 159), id="nothing"),
        pytest.param(UNRESTRICTED, 0, None, id="no window"),
        pytest.param(CacheControl(no_cache=True), 100, None, id="no-cache"),
        pytest.param(CacheControl(no_store=True), 100, None, id="no-store"),
        pytest.param(CacheControl(only_if_cached=True), 100, None, id="only-if-cached"),
        pytest.param(CacheControl(max_age=10), 100, None, id="max-age"),
        pytest.param(CacheControl(max_age=100), 100, (60, 100), id="max-age beyond the lifetime"),
        pytest.param(CacheControl(min_fresh=0), 100, (60, 60), id="min-fresh=0"),
        pytest.param(CacheControl(min_fresh=1), 100, None, id="min-fresh"),
        pytest.param(CacheControl(stale_if_error=5), 100, (60, 159), id="stale-if-error is another permission"),
    ],
)
def test_only_what_is_stale_answers_while_a_new_answer_is_fetched(
    asked: CacheControl, window: float, span: tuple[int, int] | None
) -> None:
    stored = stored_at_100()

    answering = [second for second in range(1000) if while_revalidating(stored, asked, window, 100.5 + second)]

    assert answering == seconds_of(span)


def test_what_was_stored_for_the_windows_alone_is_in_them_from_the_start() -> None:
    stored = stored_at_100(lifetime=0)

    assert not satisfies(stored, UNRESTRICTED, 100.0)
    for answers in (stands_in, while_revalidating):
        assert [answers(stored, UNRESTRICTED, 20, now) for now in (99.0, 100.0, 119.9, 120.0)] == [True, True, True, False]
