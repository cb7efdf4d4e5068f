"""The health of a target or a key: what cools it, for how long, who finds out, and what is measured; all by a clock of ours."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cachemw.gateway.failure_kinds import TREATMENTS, Cools
from cachemw.gateway.failures import Failure, FailureKind
from cachemw.gateway.health import FRESH, GONE, Gone, Good, Standing, answering, begun, ended, health_of, readiness

K = FailureKind
OK = Good(0.2, 100.0)


def failing(kind: FailureKind, hint: float | None = None) -> Failure:
    return Failure(kind, None, hint, TREATMENTS[kind].scope)


BROKEN, BUSY, LIMITED = failing(K.BROKEN), failing(K.OVERLOAD), failing(K.RATE)


def after(
    results: Iterable[Good | Failure | Gone], *, at: float = 1000.0, each: float = 0.0, start: Standing = FRESH
) -> Standing:
    """Return a standing after attempts one by one, `each` seconds apart."""
    standing = start
    for number, result in enumerate(results):
        now = at + number * each
        standing = ended(begun(standing, now), result, now, began=now)
    return standing


@pytest.mark.parametrize(
    ("kind", "first", "second", "cap"),
    [
        *((K.UNREACHABLE, 5, 10, 60), (K.OVERLOAD, 5, 10, 60), (K.RATE, 5, 10, 60), (K.QUOTA, 300, 600, 3600)),
        *((K.AUTH, 300, 300, 300), (K.NO_MODEL, 600, 600, 600)),
    ],
)
def test_a_kind_that_cools_at_once_doubles_with_every_strike(kind: FailureKind, first: int, second: int, cap: int) -> None:
    lengths, now, standing = [], 1000.0, FRESH
    for _ in range(20):
        standing = after([failing(kind)], at=now, start=standing)
        lengths.append(standing.until - now)
        now = standing.until

    assert (lengths[0], lengths[1], lengths[-1]) == (first, second, cap)
    assert standing.why is kind


def test_a_429_without_a_hint_cools_too_and_a_hint_is_obeyed_to_the_second() -> None:
    """G12: and is neither doubled nor spread."""
    assert after([LIMITED]).until == 1005.0

    standing = ended(begun(FRESH, 1000.0), failing(K.RATE, 7.5), 1000.0, roll=0.99)
    assert standing.until == 1007.5
    standing = ended(begun(standing, 1008.0), failing(K.RATE, 3.0), 1008.0, roll=0.0)
    assert standing.until == 1011.0


def test_failures_with_a_hint_are_no_strikes() -> None:
    standing = after([failing(K.RATE, 1.0)] * 20, each=2.0)

    assert standing.strikes == 0
    assert after([LIMITED], at=1100.0, start=standing).until == 1105.0
    assert ended(standing, LIMITED, standing.until - 0.5).until == standing.until + 4.5


@pytest.mark.parametrize(("roll", "seconds"), [(0.0, 4.0), (0.5, 5.0), (0.999999, 6.0)])
def test_a_cooldown_without_a_hint_is_spread_by_a_fifth(roll: float, seconds: float) -> None:
    assert ended(FRESH, BUSY, 0.0, roll=roll).until == pytest.approx(seconds, abs=0.001)


def test_a_later_failure_extends_a_cooldown_and_never_shortens_it() -> None:
    """G11."""
    standing = after([failing(K.RATE, 60.0)])

    shorter = ended(standing, failing(K.RATE, 1.0), 1010.0, began=999.0)
    assert (shorter.until, shorter.why) == (1060.0, K.RATE)
    longer = ended(shorter, failing(K.OVERLOAD, 80.0), 1020.0, began=999.0)
    assert (longer.until, longer.why) == (1100.0, K.OVERLOAD)


def test_failures_of_what_was_asked_before_a_cooldown_are_one_strike() -> None:
    standing = FRESH
    for _ in range(100):
        standing = begun(standing, 1000.0)
    for number in range(100):
        standing = ended(standing, BUSY, 1001.0 + number / 100, began=1000.0)

    assert standing.strikes == 1
    assert standing.until == pytest.approx(1006.99)


def test_the_first_request_after_a_cooldown_finds_out_however_often_it_was_looked_at() -> None:
    """G11: to skip a cooled target does not cool it again."""
    standing = after([BUSY])

    assert {readiness(standing, 1000.0 + tenth / 10) for tenth in range(50)} == {"cooling"}
    assert readiness(standing, 1005.0) == "probe"
    assert readiness(begun(standing, 1005.0), 1005.0) == "cooling"


def test_twenty_failures_in_a_row_are_waited_for_three_times() -> None:
    """G13: and the sixth request no longer waits."""
    standing, asked = FRESH, []
    for number in range(20):
        now = 1000.0 + number / 10
        if readiness(standing, now) == "ready":
            asked.append(number)
            standing = after([BROKEN], at=now, start=standing)

    assert asked == [0, 1, 2]


def test_a_target_that_fails_every_other_time_is_left_as_one_that_always_does() -> None:
    """G13: failures in a row alone would never tell."""
    flapping: list[Good | Failure | Gone] = [BROKEN, OK, BROKEN, OK]

    assert readiness(after(flapping, each=1.0), 1004.0) == "ready"
    tripped = after([*flapping, BROKEN], each=1.0)
    assert (readiness(tripped, 1004.0), tripped.until) == ("cooling", 1009.0)
    again = after([OK, BROKEN], at=1009.0, each=1.0, start=tripped)
    assert again.until == 1020.0


@pytest.mark.parametrize("kind", [kind for kind, treatment in TREATMENTS.items() if treatment.cools is Cools.BY_RATE])
def test_what_cools_by_rate_needs_half_of_at_least_five(kind: FailureKind) -> None:
    """G21: and an answer with nothing in it is no success, however many there are."""
    bad = failing(kind)

    assert after([bad] * 4).why is None
    assert after([bad] * 5).why is kind
    assert after([OK, OK, OK, bad, bad]).why is None
    assert after([OK, OK, OK, bad, bad, bad]).why is kind
    assert after([bad] * 5, each=8.0).why is None


@pytest.mark.parametrize("kind", [kind for kind, treatment in TREATMENTS.items() if treatment.cools is Cools.NEVER])
def test_what_is_the_fault_of_the_request_changes_nothing(kind: FailureKind) -> None:
    """G22: nor does a refusal, or a parameter that a target does not take."""
    assert after([failing(kind)] * 100) == FRESH


def test_a_client_that_leaves_is_nobodys_failure_and_gives_a_probe_back() -> None:
    """E7, G8: so do a loser that is cancelled, and our own deadline."""
    assert after([GONE] * 100) == FRESH

    probing = begun(after([BUSY]), 1005.0)
    given_back = ended(probing, GONE, 1006.0, began=1005.0)
    assert readiness(given_back, 1006.0) == "probe"
    assert given_back == after([BUSY])


def test_only_the_one_that_finds_out_gives_the_probe_back() -> None:
    standing = begun(after([BUSY]), 1000.5)
    probing = begun(standing, 1005.0)

    assert readiness(ended(probing, GONE, 1006.0, began=1000.5), 1006.0) == "cooling"
    assert readiness(ended(probing, GONE, 1006.0), 1006.0) == "probe"


def test_a_probe_that_goes_well_lets_all_in_as_soon_as_it_is_answered() -> None:
    probing = begun(after([BUSY]), 1005.0)

    assert readiness(answering(probing, 1005.0), 1005.5) == "ready"
    assert readiness(ended(probing, OK, 1006.0, began=1005.0), 1006.0) == "ready"


@pytest.mark.parametrize("kind", [K.BROKEN, K.SLOW, K.BAD_OUTPUT, K.OVERLOAD])
def test_a_probe_that_fails_cools_again_at_once_and_for_longer(kind: FailureKind) -> None:
    probing = begun(after([BROKEN] * 3), 1005.0)
    failed = ended(probing, failing(kind), 1006.0, began=1005.0)

    assert failed.until == 1006.0 + 2 * TREATMENTS[kind].first
    assert readiness(failed, failed.until) == "probe"


def test_an_answer_that_was_asked_for_before_a_cooldown_does_not_end_it() -> None:
    standing = begun(after([BUSY]), 999.0)

    for now in (1002.0, 1006.0):
        assert ended(standing, OK, now, began=999.0).why is K.OVERLOAD
    assert answering(standing, 999.0) == standing


def test_an_answer_to_what_was_asked_in_a_cooldown_ends_it_for_all() -> None:
    """Who asks although it cools has no other choice, or asks by its name."""
    standing = begun(after([failing(K.QUOTA, 3600.0)]), 1001.0)

    well = ended(standing, OK, 1002.0, began=1001.0)
    assert readiness(well, 1002.0) == "ready"
    assert ended(begun(well, 1003.0), BUSY, 1003.0, began=1003.0).until < 1015.0

    failed_again = after([BUSY], at=1001.5, start=standing)
    assert readiness(ended(failed_again, OK, 1002.0, began=1001.0), 1002.0) == "cooling"


def test_a_probe_that_is_never_heard_of_again_lapses() -> None:
    probing = begun(after([BUSY]), 1005.0)

    assert readiness(probing, 1124.0) == "cooling"
    assert readiness(probing, 1125.0) == "probe"


@pytest.mark.parametrize(("quiet", "strikes"), [(0.0, 5), (299.0, 5), (300.0, 3), (600.0, 2), (900.0, 1), (1e9, 1)])
def test_strikes_halve_with_every_five_minutes_of_quiet(quiet: float, strikes: int) -> None:
    standing = Standing(until=1000.0, strikes=4)

    assert after([BUSY], at=1000.0 + quiet, start=standing).strikes == strikes


def test_what_was_measured_fades_by_half_in_a_minute_and_what_is_worse_counts_at_once() -> None:
    standing = ended(FRESH, Good(1.0, 100.0), 1000.0)
    faster = ended(standing, Good(0.5, 200.0), 1060.0)
    slower = ended(faster, Good(3.0, 20.0), 1060.0)

    assert faster.first_token == pytest.approx(0.75)
    assert faster.rate == pytest.approx(150.0)
    assert (slower.first_token, slower.rate) == (3.0, 20.0)


def test_only_good_answers_are_measured_and_only_what_is_to_be_seen_of_them() -> None:
    failed = after([BROKEN, LIMITED, GONE, failing(K.SLOW)])

    assert (failed.first_token, failed.rate, failed.recent) == (None, None, ())
    assert after([Good(None, 50.0)]).first_token is None
    assert after([Good(0.3)]).rate is None


def test_the_quantiles_are_of_the_last_64_answers_and_there_are_none_of_a_few() -> None:
    assert after([Good(1.0)] * 7).quantiles is None
    assert after([Good(1.0)] * 8).quantiles == (1.0, 1.0, 1.0, 1.0)

    standing = after([Good(float(number)) for number in range(1, 101)])
    assert len(standing.recent) == 64
    assert standing.quantiles == (68.0, 94.0, 97.0, 100.0)


def test_what_is_usual_is_the_median_of_the_last_31_answers_whatever_one_of_them_took() -> None:
    standing = after([Good(9.0, 9.0)] * 40 + [Good(1.0, 100.0)] * 16 + [Good(50.0, 1.0)] * 15)

    health = health_of([standing], standing, 1000.0)

    assert (health.usual_first_token, health.usual_rate) == (1.0, 100.0)
    assert (health.first_token, health.rate) == (50.0, 1.0)
    assert after([Good(1.0, 100.0)] * 7).usual_first_token is after([Good(1.0, 100.0)] * 7).usual_rate is None


@pytest.mark.parametrize(
    ("results", "quiet", "is_unproven"),
    [
        ([], 0.0, False),
        ([OK], 0.0, False),
        ([BROKEN], 0.0, False),
        ([BUSY], 0.0, True),
        ([BUSY, *[OK] * 7], 10.0, True),
        ([BUSY, *[OK] * 8], 10.0, False),
        ([BUSY, *[OK] * 7, BROKEN, *[OK] * 7], 10.0, True),
        ([BUSY], 310.0, False),
        ([failing(K.RATE, 30.0)], 31.0, False),
    ],
)
def test_a_target_that_cooled_is_unproven_until_it_answered_eight_times_or_was_quiet_for_five_minutes(
    results: list[Good | Failure], quiet: float, is_unproven: bool
) -> None:
    standing = after(results)

    assert health_of([FRESH, standing], FRESH, 1000.0 + quiet).is_unproven is is_unproven


def test_the_worst_of_its_standings_is_the_health_of_a_target() -> None:
    cooling, longer = after([LIMITED]), after([failing(K.QUOTA)])
    measured = after([OK, OK])

    assert health_of([FRESH, measured], measured, 1000.0).readiness == "ready"
    health = health_of([longer, cooling, measured], begun(measured, 1000.0), 1000.0)
    assert (health.readiness, health.until, health.why) == ("cooling", 1300.0, "quota")
    assert (health.first_token, health.rate, health.busy) == (0.2, 100.0, 1)
    assert health_of([cooling, FRESH], FRESH, 1005.0).readiness == "probe"
    assert health_of([cooling, longer], FRESH, 1005.0).readiness == "cooling"
    assert health_of([longer, cooling], FRESH, 1005.0).readiness == "cooling"


def test_while_one_finds_out_the_others_are_told_to_wait_a_moment() -> None:
    probing = begun(after([BUSY]), 1005.0)

    health = health_of([probing], FRESH, 1007.0)
    assert (health.readiness, health.until, health.why) == ("cooling", 1008.0, "overload")


RESULTS = st.one_of(
    st.just(GONE),
    st.builds(Good, st.none() | st.floats(0.001, 100.0), st.none() | st.floats(0.1, 1e4)),
    st.builds(failing, st.sampled_from(FailureKind), st.none() | st.floats(0.001, 86_400.0)),
)
STEPS = st.lists(st.tuples(st.floats(0.0, 100.0), RESULTS, st.floats(0.0, 50.0), st.floats(0.0, 0.999)), max_size=40)


@given(STEPS)
@example([(0.0, failing(FailureKind.UNREACHABLE, 86_351.0), 50.0, 0.0), (0.0, GONE, 0.0, 0.0)])
def test_whatever_fails_a_cooldown_ends_later_only_and_what_is_kept_is_bounded(steps: list[tuple[Any, ...]]) -> None:
    """G11."""
    standing, now, latest = FRESH, 1000.0, 0.0
    for wait, result, took, roll in steps:
        now += wait
        latest = max(latest, now + took)  # what began sooner may end later
        before = standing
        standing = ended(begun(standing, now), result, now + took, began=now, roll=roll)
        is_cooling = before.why is not None and now + took < before.until

        is_well = isinstance(result, Good) and standing.why is None

        assert standing.until >= before.until or is_well
        assert not is_cooling or is_well or readiness(standing, now + took) == "cooling"
        assert standing.until <= latest + 86_400.0
        assert (standing.busy, len(standing.slots) <= 10, len(standing.recent) <= 64) == (0, True, True)
        assert len(standing.recent_rates) <= 31
        assert readiness(standing, standing.until + 121.0) != "cooling"
