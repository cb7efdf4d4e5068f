"""What takes long is done where no event loop waits for it."""

import threading

import anyio
import pytest

from cachemw import Policy
from tests.mounts.conftest import Mounted, status_of
from tests.mounts.mounting import ASGI
from tests.upstream import prompt

pytestmark = pytest.mark.anyio

AWAITED = [*ASGI, "httpx async", "httpx2 async"]
HIT = "hit; ttl=86400; key; detail=transcoded"


class Noting(str):
    """A finish reason that notes in which threads it is compared with an answer's, which is part of judging one."""

    threads: list[int]

    def __eq__(self, reason: object) -> bool:
        self.threads.append(threading.get_ident())
        return super().__eq__(reason)

    __hash__ = str.__hash__


def noting(mounted: Mounted) -> Noting:
    """Mount anew, with nothing judged yet."""
    reason = Noting("stop")
    reason.threads = []
    mounted.mount(Policy(store_when=frozenset({reason})))
    return reason


@pytest.mark.parametrize("mounted", AWAITED, indirect=True)
async def test_a_large_record_is_judged_once_and_not_in_the_event_loop(mounted: Mounted) -> None:
    """F67, P3: nor do all who ask at once have it judged."""
    await mounted.ask("on", prompt(stream=False))
    mounted.limit(judged_bytes=10)
    reason, replies = noting(mounted), list[str]()

    async def ask() -> None:
        replies.append(status_of(await mounted.ask("on", prompt(stream=True))))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)

    assert replies == [HIT] * 10
    assert len(reason.threads) == 1
    assert threading.get_ident() not in reason.threads


@pytest.mark.parametrize("mounted", AWAITED, indirect=True)
async def test_a_small_record_is_judged_at_once(mounted: Mounted) -> None:
    """R6: a hit needs no thread."""
    await mounted.ask("on", prompt(stream=False))
    reason = noting(mounted)

    assert status_of(await mounted.ask("on", prompt(stream=True))) == HIT
    assert reason.threads == [threading.get_ident()]
