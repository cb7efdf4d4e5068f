"""Several targets asked at once: the first sound answer wins, and nothing of the others is left."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from cachemw.cache.plans import Hedge
from cachemw.gateway.race import aopen_hedged
from tests.gateway.bouts import ROLE, SILENCE, STREAM_HEAD, Asking, Part, asking, body_of, hear_async, refusal, streamed
from tests.upstream import event

pytestmark = pytest.mark.anyio

AT_ONCE = Hedge(after=0.0, most=3)
SILENT: list[Part] = [STREAM_HEAD, ROLE, SILENCE]
REFUSED = refusal(400, b'{"error": {"message": "no", "code": "content_policy_violation"}}')


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def racing(hedge: Hedge = AT_ONCE, tiers: Sequence[int] = (), **scripts: Any) -> Asking:
    plan = {"hedge": hedge, **scripts.pop("plan", {})}
    return asking(plan=plan, tiers=tiers, **scripts)


@pytest.mark.parametrize("silent", [SILENT, [SILENCE]], ids=["after its head", "before its head"])
async def test_the_first_sound_answer_wins_and_the_loser_is_closed_before_it_is_shown(silent: list[Part]) -> None:
    """G18, E3: as many are counted as were asked, and what the loser cost is not known."""
    question = racing(a=silent, b=streamed())

    response = await aopen_hedged(question.request, question.desk)

    assert question.log[-1] in ("a closed", "a cancelled")
    assert [(one.name, one.why) for one in response.head.routed.tried] == [("a", "lost")]
    assert (response.head.routed.position, response.head.routed.attempts) == (1, 2)
    assert question.desk.unsettled == ("a",)
    assert question.desk.words == ["a gone"]
    await response.aclose()
    assert question.desk.busy == []


async def test_the_winners_answer_is_read_to_its_end() -> None:
    question = racing(a=SILENT, b=streamed())

    heard = await hear_async(question, aopen_hedged)

    assert (heard.body, heard.error) == (body_of(streamed()), None)
    assert question.desk.words == ["a gone", "b good"]


async def test_no_task_is_left_when_an_answer_is_shown(anyio_backend: str) -> None:
    """E3."""
    if anyio_backend == "trio":
        pytest.skip("trio has no tasks that outlive their nursery")
    before = asyncio.all_tasks()
    question = racing(a=SILENT, b=SILENT, c=streamed())

    response = await aopen_hedged(question.request, question.desk)

    assert asyncio.all_tasks() == before
    await response.aclose()


async def test_nobody_else_is_asked_before_it_is_time() -> None:
    question = racing(Hedge(after=60.0), a=streamed(), b=streamed())

    heard = await hear_async(question, aopen_hedged)

    assert (question.asked, heard.tried, heard.routed.attempts) == (["a"], [], 1)


async def test_the_next_is_asked_at_once_when_one_fails() -> None:
    question = racing(Hedge(after=60.0), a=refusal(500), b=streamed())

    heard = await hear_async(question, aopen_hedged)

    assert (heard.body, heard.tried) == (body_of(streamed()), ["a broken"])


async def test_the_next_is_asked_when_it_is_time() -> None:
    question = racing(Hedge(after=0.02), a=SILENT, b=streamed())

    assert (await hear_async(question, aopen_hedged)).tried == ["a lost"]


async def test_no_more_run_at_once_than_may() -> None:
    question = racing(Hedge(after=0.0, most=2), plan={"deadline": 0.1}, a=SILENT, b=SILENT, c=streamed())

    heard = await hear_async(question, aopen_hedged)

    assert heard.error is not None
    assert question.asked == ["a", "b"]
    assert sorted(question.desk.words) == ["a gone", "b gone"]


async def test_all_run_at_once_in_a_race() -> None:
    question = racing(a=SILENT, b=SILENT, c=streamed())

    heard = await hear_async(question, aopen_hedged)

    assert sorted(heard.tried) == ["a lost", "b lost"]
    assert heard.routed.attempts == 3


async def answered_late(question: Asking, now: anyio.Event) -> list[str]:
    """Let the first one answer when everything else has been done; return who was asked."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hear_async, question, aopen_hedged)
        await anyio.wait_all_tasks_blocked()
        now.set()
    return question.asked


@pytest.mark.parametrize(
    ("pick", "tiers", "asked"),
    [("fastest", (0, 1), ["a"]), ("fastest", (0, 0), ["a", "b"]), ("first", (0, 1), ["a", "b"])],
)
async def test_a_spare_is_no_hedge_but_where_each_target_stands_in_for_the_one_before(
    pick: str, tiers: Sequence[int], asked: list[str]
) -> None:
    now = anyio.Event()
    question = racing(tiers=tiers, plan={"pick": pick}, a=[STREAM_HEAD, now, *streamed()[1:]], b=SILENT)

    assert await answered_late(question, now) == asked


async def test_a_spare_is_asked_when_all_it_stands_in_for_have_failed() -> None:
    question = racing(tiers=(0, 0, 1), plan={"pick": "race"}, a=refusal(500), b=refusal(503), c=streamed())

    heard = await hear_async(question, aopen_hedged)

    assert heard.routed.position == 2


async def test_who_is_silent_is_left_and_the_last_one_is_not() -> None:
    """G4, G5."""
    now = anyio.Event()
    late: list[Part] = [STREAM_HEAD, now, event({"content": "h"})]
    question = racing(Hedge(after=math.inf), plan={"first_token": 0.02}, a=SILENT, b=late)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hear_async, question, aopen_hedged)
        await anyio.sleep(0.1)  # far longer than one that is not the last may be silent
        now.set()

    assert question.desk.words == ["a slow", "b good"]


@pytest.mark.parametrize("silent", [SILENT, [SILENCE]], ids=["after their heads", "before their heads"])
async def test_a_client_that_leaves_ends_all_attempts_and_is_nobodys_failure(silent: list[Part]) -> None:
    """G7, G8."""
    question = racing(a=silent, b=silent)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hear_async, question, aopen_hedged)
        await anyio.wait_all_tasks_blocked()
        assert question.asked == ["a", "b"]
        tasks.cancel_scope.cancel()

    assert sorted(question.log[2:]) in (["a closed", "b closed"], ["a cancelled", "b cancelled"])
    assert sorted(question.desk.words) == ["a gone", "b gone"]
    assert question.desk.busy == []


async def test_a_client_that_leaves_while_targets_are_asked_in_turn_ends_the_attempt() -> None:
    """G7, G8."""
    question = asking(a=refusal(500), b=SILENT)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hear_async, question)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert question.log[-1] == "b closed"
    assert question.desk.words == ["a broken", "b gone"]


async def test_of_two_that_answer_at_once_one_is_shown_and_the_other_closed() -> None:
    question = racing(a=streamed("one"), b=streamed("two"))

    heard = await hear_async(question, aopen_hedged)

    assert heard.body in (body_of(streamed("one")), body_of(streamed("two")))
    assert sorted(question.desk.words) in (["a gone", "b good"], ["a good", "b gone"])
    assert {"a closed", "b closed"} <= set(question.log)


async def test_a_refusal_ends_a_race() -> None:
    """G23."""
    question = racing(a=SILENT, b=REFUSED)

    heard = await hear_async(question, aopen_hedged)

    assert (heard.status, heard.tried) == (400, ["a lost"])
    assert sorted(question.desk.words) == ["a gone", "b refused"]


async def test_when_all_fail_at_once_the_first_ones_error_is_shown() -> None:
    """G14: the first in order, whoever was the first to fail."""
    now = anyio.Event()
    question = racing(a=[now, *refusal(429, b"A")], b=refusal(500, b"B"))
    question.desk.repeats = False

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_let, now)
        heard = await hear_async(question, aopen_hedged)

    assert (heard.status, heard.body, sorted(heard.tried)) == (429, b"A", ["a rate", "b broken"])
    assert heard.routed.is_exhausted


async def _let(now: anyio.Event) -> None:
    await anyio.wait_all_tasks_blocked()
    now.set()


async def test_each_attempt_of_a_race_is_paid_for_before_it_begins() -> None:
    """E10."""
    question = racing(a=SILENT, b=streamed(), plan={"deadline": 0.05})
    question.desk.unpaid = frozenset({1})

    await hear_async(question, aopen_hedged)

    assert question.asked == ["a"]


async def test_an_attempt_that_will_not_close_is_waited_for_no_longer_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """G7."""
    monkeypatch.setattr("cachemw.gateway.fallback.CLOSE_WITHIN", 0.01)
    monkeypatch.setattr("tests.gateway.bouts.Scripted.aclose", _never)
    question = racing(a=SILENT, b=streamed())

    response = await aopen_hedged(question.request, question.desk)

    assert response.head.routed.position == 1


async def _never(_: Any) -> None:
    await anyio.sleep_forever()
