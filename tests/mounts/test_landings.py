"""Who waits for whom, in mounts that start no thread and no task."""

import threading

import pytest

from cachemw.core.directives import Abandon
from cachemw.core.effects import Claim, Claimed
from cachemw.core.messages import Kind
from cachemw.core.pull import Landing
from cachemw.core.report import ExchangeReport
from cachemw.core.sharing import Course, Sender
from cachemw.errors import UpstreamError
from cachemw.landings import SharedLandings

JSON = Kind(stream=False)
CLAIM = Claim(Course(b"key", JSON, 0, Sender((), ())), True, True, Abandon.CANCEL, ExchangeReport())


@pytest.fixture
def landings() -> SharedLandings:
    return SharedLandings(threading.Event)


def lead(landings: SharedLandings, after: Landing | None = None) -> Landing:
    claimed, led = landings.claim(CLAIM, after)
    assert claimed is Claimed.LEAD
    assert led is not None
    return led


def fail(landings: SharedLandings, landing: Landing) -> None:
    landing.fail(UpstreamError("refused"))
    landings.land(landing)


def test_who_asks_for_the_same_waits_until_it_is_over(landings: SharedLandings) -> None:
    """P1."""
    first = lead(landings)

    assert landings.claim(CLAIM, None) == (None, first)
    landings.land(first)
    assert landings.claim(CLAIM, None) != (None, first)


@pytest.mark.parametrize("is_over", [False, True], ids=["under way", "over already"])
def test_all_who_waited_for_one_that_failed_wait_for_one_and_the_same(landings: SharedLandings, is_over: bool) -> None:
    """P1: the last of them may be slow to ask."""
    first = lead(landings)
    fail(landings, first)
    second = lead(landings, after=first)
    if is_over:
        fail(landings, second)

    assert [landings.claim(CLAIM, first) for _ in range(3)] == [(None, second)] * 3


def test_who_waited_in_vain_for_that_one_too_waits_for_the_next(landings: SharedLandings) -> None:
    """P1: and who waited for neither begins anew."""
    first = lead(landings)
    fail(landings, first)
    second = lead(landings, after=first)
    fail(landings, second)

    third = lead(landings, after=second)
    landings.land(third)

    assert landings.claim(CLAIM, second) == (None, third)
    assert landings.claim(CLAIM, first) == (None, second)
    assert lead(landings) not in (first, second, third)


def test_one_that_waited_for_nobody_may_lead_for_those_who_did(landings: SharedLandings) -> None:
    """P1: they wait for that one and the same, too."""
    first = lead(landings)
    fail(landings, first)
    stranger = lead(landings)
    assert landings.claim(CLAIM, first) == (None, stranger)
    fail(landings, stranger)

    assert landings.claim(CLAIM, first) == (None, stranger)
