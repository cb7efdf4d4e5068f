"""Who waits for whom, in mounts that start no thread and no task."""

import threading

import pytest

from cachemw.cache.directives import Abandon
from cachemw.cache.effects import Claim, Claimed
from cachemw.cache.sharing import Course, Sender
from cachemw.errors import UpstreamError
from cachemw.flights.pulled import PulledFlight
from cachemw.flights.registry import PulledFlightTable
from cachemw.limits import Limits
from cachemw.messages import Kind
from cachemw.report import ExchangeReport

JSON = Kind(stream=False)
CLAIM = Claim(Course(b"key", JSON, 0, Sender((), ())), True, True, Abandon.CANCEL, ExchangeReport())


@pytest.fixture
def pulled_flights() -> PulledFlightTable:
    return PulledFlightTable(threading.Event, Limits())


def lead(pulled_flights: PulledFlightTable, after: PulledFlight | None = None) -> PulledFlight:
    claimed, led = pulled_flights.claim(CLAIM, after)
    assert claimed is Claimed.LEAD
    assert led is not None
    return led


def fail(pulled_flights: PulledFlightTable, landing: PulledFlight) -> None:
    landing.fail(UpstreamError("refused"))
    pulled_flights.land(landing)


def test_who_asks_for_the_same_waits_until_it_is_over(pulled_flights: PulledFlightTable) -> None:
    """P1."""
    first = lead(pulled_flights)

    assert pulled_flights.claim(CLAIM, None) == (None, first)
    pulled_flights.land(first)
    assert pulled_flights.claim(CLAIM, None) != (None, first)


@pytest.mark.parametrize("is_over", [False, True], ids=["under way", "over already"])
def test_all_who_waited_for_one_that_failed_wait_for_one_and_the_same(pulled_flights: PulledFlightTable, is_over: bool) -> None:
    """P1: the last of them may be slow to ask."""
    first = lead(pulled_flights)
    fail(pulled_flights, first)
    second = lead(pulled_flights, after=first)
    if is_over:
        fail(pulled_flights, second)

    assert [pulled_flights.claim(CLAIM, first) for _ in range(3)] == [(None, second)] * 3


def test_who_waited_in_vain_for_that_one_too_waits_for_the_next(pulled_flights: PulledFlightTable) -> None:
    """P1: and who waited for neither begins anew."""
    first = lead(pulled_flights)
    fail(pulled_flights, first)
    second = lead(pulled_flights, after=first)
    fail(pulled_flights, second)

    third = lead(pulled_flights, after=second)
    pulled_flights.land(third)

    assert pulled_flights.claim(CLAIM, second) == (None, third)
    assert pulled_flights.claim(CLAIM, first) == (None, second)
    assert lead(pulled_flights) not in (first, second, third)


def test_one_that_waited_for_nobody_may_lead_for_those_who_did(pulled_flights: PulledFlightTable) -> None:
    """P1: they wait for that one and the same, too."""
    first = lead(pulled_flights)
    fail(pulled_flights, first)
    stranger = lead(pulled_flights)
    assert pulled_flights.claim(CLAIM, first) == (None, stranger)
    fail(pulled_flights, stranger)

    assert pulled_flights.claim(CLAIM, first) == (None, stranger)
