"""The limits that a mount is given reach what they bound, in every mount."""

import pytest

from cachemw import Timeouts
from cachemw.limits import Work
from tests.mounts.conftest import Mounted, status_of
from tests.mounts.gates import Gate
from tests.upstream import JSON, Told, always, prompt

pytestmark = pytest.mark.anyio

OVER_HTTP = ["ASGI with an upstream", "proxy", "WSGI with an upstream"]


async def test_a_request_that_is_too_much_work_is_passed_on(mounted: Mounted) -> None:
    """S13"""
    mounted.limit(work=Work(document=100))

    reply = await mounted.ask("on")

    assert (reply.status, status_of(reply)) == (200, "fwd=bypass; detail=too-complex")


async def test_a_record_that_is_too_much_work_is_of_its_own_kind_alone(mounted: Mounted) -> None:
    """S5"""
    mounted.limit(work=Work(pieces=1))
    await mounted.ask("on", prompt(stream=False))

    assert status_of(await mounted.ask("on", prompt(stream=False))).startswith("hit")
    assert "detail=other-kind" in status_of(await mounted.ask("on", prompt(stream=True)))


@pytest.mark.parametrize("mounted", OVER_HTTP, indirect=True)
async def test_an_upstream_is_waited_for_no_longer_than_its_timeouts(mounted: Mounted) -> None:
    """H10"""
    mounted.limit(timeouts=Timeouts(idle=0.1))
    end = Gate()
    mounted.upstream.respond = always(Told([b"{", end], headers=JSON))

    reply = await mounted.ask("on")
    end.set()

    assert (reply.status, status_of(reply)) == (504, "fwd=miss; fwd-status=200; key; detail=timeout")
