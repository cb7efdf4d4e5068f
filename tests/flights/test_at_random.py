"""Callers that come, leave and are cancelled at random, of an app that fails at random: whoever gets an end gets all."""

import random
from functools import partial

import anyio
import anyio.lowlevel
import pytest
from starlette.types import Receive, Scope, Send

from cachemw import MemoryStore
from cachemw.stores import Inline
from tests.flights.bots import EVENTS, RETRY, WHOLE, say, streaming
from tests.flights.callers import JSON, STREAM, Caller
from tests.flights.conftest import House
from tests.upstream import JSON as JSON_HEAD
from tests.upstream import Told, completion

pytestmark = pytest.mark.anyio

(ANSWER,) = [part for part in completion(usage={"prompt_tokens": 1}).parts if isinstance(part, bytes)]
REFUSAL = b'{"error": "slow down"}'
SEEDS = range(8)


class Moody:
    """An app that answers, refuses, breaks off, raises and lingers."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        await ticks(self.chance.randrange(20))
        answer = streaming() if body == STREAM else Told([ANSWER[:50], ANSWER[50:]], headers=JSON_HEAD)
        match self.chance.randrange(10):
            case 0:
                raise ValueError("before the head")
            case 1:
                answer = Told([REFUSAL], status=429, headers=(*JSON_HEAD, RETRY))
            case 2:
                answer = streaming(*EVENTS[:3], ends=False) if body == STREAM else Told([ANSWER[:50]], ends=False)
            case 3:
                answer = Told([*answer.parts[:1], ValueError("amid")], headers=answer.headers)
        await say(answer, send)
        await ticks(self.chance.randrange(5))
        if self.chance.randrange(10) == 0:
            raise ValueError("afterwards")


async def ticks(count: int) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def visit(house: House, caller: Caller, chance: random.Random) -> None:
    """Ask, and perhaps leave, be slow, or be cancelled."""
    await ticks(chance.randrange(60))
    mood, wait = chance.randrange(6), chance.randrange(40)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def later() -> None:
                await ticks(wait)
                match mood:
                    case 0:
                        caller.leave()
                    case 1:
                        scope.cancel()
                    case 2:
                        caller.read_on()

            if mood == 2:
                caller.stop_reading()
            tasks.start_soon(later)
            await caller.call(house.app)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("limit_bytes", [len(WHOLE) // 2, len(WHOLE) * 2], ids=["too large", "in full"])
async def test_whoever_gets_an_end_gets_all(seed: int, limit_bytes: int, house: House) -> None:
    """P1, P3, P5, H3, H4, R1."""
    house.limit(stop_notice=0.002, abandon_grace=0.01, detached=2)
    chance = random.Random(seed)
    house.store = MemoryStore() if seed % 2 else ThreadedStore()
    house.mount(Moody(chance), max_record_bytes=limit_bytes)
    kinds = [(body, f"on, abandon={abandon}") for body in (STREAM, JSON) for abandon in ("finish", "cancel")]
    callers = [
        Caller(*chance.choice(kinds), by=chance.choice(("disconnect", "oserror")), ticks=chance.randrange(4)) for _ in range(40)
    ]

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for caller in callers:
                tasks.start_soon(partial(visit, house, caller, chance))

    for caller in callers:
        assert isinstance(caller.raised, ValueError | None)
        if caller.is_complete and caller.status == 200:
            assert caller.body in (WHOLE, ANSWER) or b"chat.completion" in caller.body
        elif caller.is_complete:
            assert caller.status in (429, 502)
    assert house.is_tidy()
    assert set(house.records) <= {WHOLE, ANSWER}
    for report in house.reports:
        assert report.abandoned is None or "client-left" in report.details


class ThreadedStore(MemoryStore):
    inline = Inline.NONE
