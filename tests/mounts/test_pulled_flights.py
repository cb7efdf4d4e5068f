"""Who waits for whom, in mounts that start no thread and no task."""

import pytest

from cachemw.cache.directives import Abandon
from cachemw.cache.effects import Claim, ClaimResult
from cachemw.cache.sharing import Course, Sender
from cachemw.drivers.pull_sync import flight_of_threads
from cachemw.errors import UpstreamError
from cachemw.flights.pulled import PulledFlight
from cachemw.flights.registry import FlightTable
from cachemw.limits import Limits
from cachemw.messages import Kind
from cachemw.report import ExchangeReport

Table = FlightTable[PulledFlight]

JSON = Kind(stream=False)
CLAIM = Claim(Course(b"key", JSON, 0, Sender((), ())), True, True, Abandon.CANCEL, ExchangeReport())


@pytest.fixture
def flights() -> Table:
    return FlightTable(flight_of_threads, Limits())


def lead(flights: Table, after: PulledFlight | None = None) -> PulledFlight:
    claimed, led = flights.claim(CLAIM, after)
    assert claimed is ClaimResult.LEAD
    assert led is not None
    return led


def fail(flights: Table, flight: PulledFlight) -> None:
    flight.fail(UpstreamError("refused"))
    flights.close(flight)


def test_who_asks_for_the_same_waits_until_it_is_over(flights: Table) -> None:
    """P1."""
    first = lead(flights)

    assert flights.claim(CLAIM, None) == (None, first)
    flights.close(first)
    assert flights.claim(CLAIM, None) != (None, first)


@pytest.mark.parametrize("is_over", [False, True], ids=["under way", "over already"])
def test_all_who_waited_for_one_that_failed_wait_for_one_and_the_same(flights: Table, is_over: bool) -> None:
    """P1: the last of them may be slow to ask."""
    first = lead(flights)
    fail(flights, first)
    second = lead(flights, after=first)
    if is_over:
        fail(flights, second)

    assert [flights.claim(CLAIM, first) for _ in range(3)] == [(None, second)] * 3


def test_who_waited_in_vain_for_that_one_too_waits_for_the_next(flights: Table) -> None:
    """P1: and who waited for neither begins anew."""
    first = lead(flights)
    fail(flights, first)
    second = lead(flights, after=first)
    fail(flights, second)

    third = lead(flights, after=second)
    flights.close(third)

    assert flights.claim(CLAIM, second) == (None, third)
    assert flights.claim(CLAIM, first) == (None, second)
    assert lead(flights) not in (first, second, third)


def test_one_that_waited_for_nobody_may_lead_for_those_who_did(flights: Table) -> None:
    """P1: they wait for that one and the same, too."""
    first = lead(flights)
    fail(flights, first)
    stranger = lead(flights)
    assert flights.claim(CLAIM, first) == (None, stranger)
    fail(flights, stranger)

    assert flights.claim(CLAIM, first) == (None, stranger)
