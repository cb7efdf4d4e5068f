"""P5: a request is cancelled from outside wherever it can be: at each of its yields, one after the other."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import anyio
import anyio.lowlevel
import pytest
from starlette.types import Receive, Scope, Send

from cachemw import MemoryStore
from cachemw.stores import Inline
from tests.flights.bots import WHOLE, Bot, streaming
from tests.flights.callers import JSON, STREAM, Caller
from tests.flights.conftest import House, tasks_here, until
from tests.flights.stepping import How, Stepper
from tests.thorough import THOROUGH
from tests.upstream import Told, completion

pytestmark = pytest.mark.anyio

Company = Literal["alone", "with a follower", "left by its client"]
Reckon = Callable[[str, object], None]

MOST, LEAST = 100, 5
"""How many points there can be, and how many there are at least."""


class ThreadedStore(MemoryStore):
    """Every look into it is one more place to be cancelled at; above all, between the claim and the forward."""

    inline = Inline.NONE


class LingeringBot(Bot):
    """Works on for a while after its answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked, and in whose company."""

    kind: Literal["stream", "json"]
    abandon: Literal["finish", "cancel"]
    company: Company

    @property
    def answer(self) -> Told:
        return streaming() if self.kind == "stream" else completion()

    @property
    def whole(self) -> bytes:
        return WHOLE if self.kind == "stream" else b"".join(part for part in self.answer.parts if isinstance(part, bytes))

    @property
    def leaves_after(self) -> int | None:
        return 2 if self.kind == "stream" and self.company == "left by its client" else None

    def caller(self, **options: Any) -> Caller:
        return Caller(STREAM if self.kind == "stream" else JSON, f"on, abandon={self.abandon}", **options)


CASES = [
    Case(kind, abandon, company)
    for kind in ("stream", "json")
    for abandon in ("finish", "cancel")
    for company in get_args(Company)
    if THOROUGH or kind == "stream" or company == "alone"
]

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.abandon}-{case.company}")
each_way = pytest.mark.parametrize(
    ("anyio_backend", "how"), [*(("asyncio", how) for how in get_args(How)), ("trio", "by a scope")]
)


@pytest.fixture(autouse=True)
def _soon(house: House) -> None:
    house.limit(stop_notice=0.005)


@each_case
@each_way
async def test_a_leader_cancelled_anywhere_leaves_nothing_and_its_follower_is_served_whole(
    case: Case, how: How, house: House, record_property: Reckon
) -> None:
    """P5, P1, H3, R1: no hang, an empty table, no task left, nothing partial stored, and the next request works."""

    async def lead(stepper: Stepper) -> None:
        bot, leader, follower = _begin(case, house), case.caller(leaves_after=case.leaves_after), case.caller()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stepper.run, leader.call(house.app), how)
            await until(lambda: leader.listening.is_set() or leader.returned.is_set())
            if case.company == "with a follower":
                await house.join(tasks, follower)
            elif case.company == "left by its client" and case.kind == "json":
                await until(lambda: bot.calls == 1 or leader.returned.is_set())
                leader.leave()
            _go_on(bot)
            await leader.returns()
        assert leader.raised is None
        if case.company == "with a follower":
            assert follower.is_complete
            assert follower.body == case.whole
        assert bot.calls <= 2

    record_property("points", await _sweep(case, house, lead))


@each_case
@each_way
async def test_a_follower_cancelled_anywhere_changes_nothing_for_the_others(
    case: Case, how: How, house: House, record_property: Reckon
) -> None:
    """P5, P1: the leader and another follower are served whole; the leader's client may leave meanwhile."""
    leader_leaves = case.company == "left by its client"

    async def follow(stepper: Stepper) -> None:
        bot, leader, follower = _begin(case, house), case.caller(leaves_after=case.leaves_after), case.caller()
        other = case.caller()
        async with anyio.create_task_group() as tasks:
            await house.join(tasks, leader)
            await until(lambda: bot.calls == 1)
            tasks.start_soon(stepper.run, follower.call(house.app), how)
            await until(lambda: follower.listening.is_set() or follower.returned.is_set())
            if case.company == "with a follower":
                await house.join(tasks, other)
            elif leader_leaves and case.kind == "json":
                leader.leave()
            _go_on(bot)
        assert follower.raised is None
        assert follower.is_complete or stepper.was_cancelled
        assert bot.calls == 1
        for caller in (leader, other)[leader_leaves : 1 + (case.company == "with a follower")]:
            assert caller.is_complete
            assert caller.body == case.whole

    record_property("points", await _sweep(case, house, follow))


@each_way
async def test_a_hit_that_has_an_answer_fetched_anew_can_be_cancelled_anywhere(
    how: How, house: House, record_property: Reckon
) -> None:
    """P5: the flight goes with the request that triggered it; the stale record stays."""
    case = Case("stream", "finish", "alone")

    async def trigger(stepper: Stepper) -> None:
        bot = _begin(case, house, stale_while_revalidate=60.0)
        _go_on(bot)
        now = 0.0
        house.app.driver.clock = lambda: now
        await house.ask(Caller(control="on, ttl=1"))
        now, bot.gate = 10.0, anyio.Event()
        stale = Caller(control="on, ttl=1")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stepper.run, stale.call(house.app), how)
            await until(lambda: stale.is_complete or stale.returned.is_set())
            _go_on(bot)
        assert stale.raised is None
        assert stale.is_complete or stepper.was_cancelled
        assert house.records == [WHOLE]

    record_property("points", await _sweep(case, house, trigger))


async def _sweep(case: Case, house: House, run: Callable[[Stepper], Awaitable[None]]) -> int:
    """Run with every yield cancelled in turn, until there is none; return how many there were."""
    points = missed = 0
    before = tasks_here()
    while missed < 3:  # which task is next is chance on trio, and so is how often one yields
        stepper = Stepper(points + missed + 1)
        with anyio.fail_after(5):
            await run(stepper)
        points, missed = (stepper.k, 0) if stepper.was_cancelled else (points, missed + 1)
        await _check(case, house, before)
    assert LEAST <= points < MOST
    return points


def _begin(case: Case, house: House, **policy: Any) -> Bot:
    house.store = ThreadedStore()
    bot = LingeringBot(case.answer, gate=anyio.Event())
    house.mount(bot, **policy)
    return bot


def _go_on(bot: Bot) -> None:
    assert bot.gate is not None
    bot.gate.set()


async def _check(case: Case, house: House, tasks: int) -> None:
    assert house.is_tidy()
    assert tasks_here() == tasks
    assert set(house.records) <= {case.whole}
    again = await house.ask(case.caller())
    assert again.is_complete
    assert again.body == case.whole
    assert house.is_tidy()
