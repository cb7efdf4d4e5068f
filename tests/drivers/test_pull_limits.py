"""An answer that its reader pulls: a request with a limit of its own, one that is stopped, and JSON that takes too long."""

from collections.abc import Callable
from typing import NoReturn

import pytest

from cachemw import Limits
from cachemw.cache.effects import ClaimResult, Failed
from cachemw.cache.policy import Policy
from cachemw.drivers.pull_effects import Open, WaitFor, WaitResult
from cachemw.errors import UpstreamError, UpstreamTimeout
from cachemw.flights.pulled import PulledFlight
from cachemw.report import ExchangeReport
from tests.cache.answers import COMPLETION, as_told, course, request
from tests.cache.asking import ASKED, KEY
from tests.cache.world import NOW
from tests.drivers.puller import Flights, Puller, flight_for

JSON = request((b"cachemw", b"on"))
MISS = "fwd=miss; fwd-status=200; key"
STORED = "fwd=miss; fwd-status=200; stored; key"
SLOW = UpstreamTimeout("slow")


def unknown_flight() -> PulledFlight:
    return flight_for(course(ASKED))


def waiting(*ends: Callable[[PulledFlight], WaitResult], **more: object) -> Puller:
    """Wait for another request that is under way as long as there are ends to its waits."""
    flights = Flights(open=[unknown_flight()])

    def ended(end: Callable[[PulledFlight], WaitResult], is_last: bool) -> Callable[[PulledFlight], WaitResult]:
        def wait(known: PulledFlight) -> WaitResult:
            if is_last:
                flights.open.clear()
            return end(known)

        return wait

    waits = [ended(end, number == len(ends)) for number, end in enumerate(ends, 1)]
    return Puller(waits=waits, flights=flights, **more)  # type: ignore[arg-type]


def flight_of(leader: Puller) -> PulledFlight:
    [flight] = leader.flights.closed
    return flight


def brings(flight: PulledFlight, seconds: float = 1.0) -> Callable[[PulledFlight], WaitResult]:
    """Let a wait end with what this one brought."""

    def wait(known: PulledFlight) -> WaitResult:
        known.__dict__.update(flight.__dict__)
        return WaitResult(seconds, True, NOW)

    return wait


def in_vain(known: PulledFlight) -> WaitResult:
    return WaitResult(5.0, False, NOW)


def test_who_waits_longer_than_its_own_limit_fails_by_that_and_opens_nothing() -> None:
    """P1, P5: well before patience ends."""
    follower = waiting(in_vain, timeout=5.0).begin(JSON)

    assert isinstance(follower.outcome, Failed)
    assert isinstance(follower.outcome.error, UpstreamTimeout)
    assert follower.said.status == 504
    assert follower.cache_status == "fwd=miss; collapsed; key; detail=timeout"
    assert [effect.seconds for effect in follower.effects if isinstance(effect, WaitFor)] == [5.0]
    assert follower.asked_for(Open) == 0


def test_what_was_waited_before_counts() -> None:
    """P1: one limit, however many are waited for."""
    stopped = unknown_flight()

    follower = waiting(brings(stopped, seconds=3.0), in_vain, timeout=5.0).begin(JSON)

    assert [effect.seconds for effect in follower.effects if isinstance(effect, WaitFor)] == [5.0, 2.0]
    assert (follower.said.status, follower.asked_for(Open)) == (504, 0)


@pytest.mark.parametrize("timeout", [None, 30.0, 60.0])
def test_who_has_more_time_than_patience_goes_alone_when_that_ends(timeout: float | None) -> None:
    """P1."""
    follower = waiting(in_vain, timeout=timeout, parts=[COMPLETION]).begin(JSON)

    assert [effect.seconds for effect in follower.effects if isinstance(effect, WaitFor)] == [Policy().patience]
    assert (follower.cache_status, follower.asked_for(Open)) == (STORED, 1)


def test_a_limit_of_its_own_that_one_has_passed_is_nobody_elses() -> None:
    """P1: whoever waits may have more time, and leads."""
    failed = flight_of(Puller(head=SLOW, timeout=5.0).begin(JSON))

    follower = waiting(brings(failed), brings(failed), parts=[COMPLETION]).begin(JSON)

    assert failed.result(course(ASKED), NOW) is ClaimResult.RELEASED
    assert (follower.cache_status, follower.asked_for(Open)) == (STORED, 1)


@pytest.mark.parametrize(
    ("error", "timeout", "says"),
    [(SLOW, None, "detail=timeout"), (UpstreamError("refused"), 5.0, "detail=unreachable")],
    ids=["the upstream's limit", "no limit at all"],
)
def test_any_other_failure_is_that_of_all_who_wait(error: UpstreamError, timeout: float | None, says: str) -> None:
    """P1."""
    failed = flight_of(Puller(head=error, timeout=timeout).begin(JSON))

    follower = waiting(brings(failed), brings(failed)).begin(JSON)

    assert failed.result(course(ASKED), NOW) is error
    assert (follower.cache_status, follower.asked_for(Open)) == (f"fwd=miss; collapsed; key; {says}", 0)


def leaving_as_it_comes() -> Puller:
    """Begin an answer that is not whole after `JSON_HOLD`."""
    leader = Puller([b" ", b" ", b" ", COMPLETION], ticks=Limits().json_hold / 2).begin(JSON)
    assert leader.cache_status == MISS
    return leader


def test_who_waits_for_json_that_leaves_as_it_comes_has_it_when_it_is_stored() -> None:
    """P1, P2: not before its body is over."""
    leader = leaving_as_it_comes()
    assert leader.flights.closed == []
    leader.rest()
    leader.exchange.end()

    follower = waiting(brings(flight_of(leader))).begin(JSON)

    assert len(leader.records) == 1
    assert (follower.cache_status, follower.asked_for(Open)) == ("fwd=miss; fwd-status=200; collapsed; key", 0)
    assert follower.rest() == b"   " + COMPLETION


def test_where_its_reader_closes_early_who_waited_goes_on() -> None:
    """P1, H7."""
    leader = leaving_as_it_comes()
    leader.read()

    report = leader.exchange.end()
    follower = waiting(brings(flight_of(leader)), parts=[COMPLETION]).begin(JSON)

    assert report is not None
    assert (report.stored, report.details) == (False, ("client-left",))
    assert (follower.cache_status, follower.asked_for(Open)) == (STORED, 1)


class StoppedError(BaseException):
    """What ends the thread, or the task."""


def stops(_: object) -> NoReturn:
    raise StoppedError


def report_of(stopped: Puller) -> ExchangeReport | None:
    with pytest.raises(StoppedError):
        stopped.begin(JSON)
    return stopped.exchange.end()


def test_what_is_stopped_before_there_is_an_answer_is_reported() -> None:
    """E1, P5: with what was known by then; and nobody waits for it."""
    stopped = Puller(while_opening=stops)

    report = report_of(stopped)

    assert report is not None
    assert as_told(report) == ExchangeReport(fwd="miss", stored=False, key=KEY.index.hex(), details=("client-left",))
    assert flight_of(stopped).result(course(ASKED), NOW) is ClaimResult.RELEASED


def test_what_is_stopped_while_it_waits_for_another_is_reported() -> None:
    """E1, P5."""
    report = report_of(waiting(stops))

    assert report is not None
    assert as_told(report) == ExchangeReport(fwd="miss", collapsed=True, key=KEY.index.hex(), details=("client-left",))


def test_json_that_is_given_up_while_it_leaves_is_its_readers_alone() -> None:
    """P1, P3: what that one has read is held no more, and so nobody can have it after it."""
    policy = Policy(max_record_bytes=500)
    blanks = [b" "] * 3 + [b" " * 300] * 3
    leader = Puller([*blanks, COMPLETION], ticks=Limits().json_hold / 2).begin(JSON, policy)
    leader.rest()
    leader.exchange.end()

    follower = waiting(brings(flight_of(leader)), parts=[COMPLETION]).begin(JSON, policy)

    assert flight_of(leader).result(course(ASKED), NOW) is ClaimResult.OVER
    assert (follower.cache_status, follower.asked_for(Open)) == (STORED, 1)
    assert follower.rest() == COMPLETION
