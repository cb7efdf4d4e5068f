"""Clients that leave wherever they happen to be, a great many, and what is left for those who come after them."""

import asyncio
import random
from dataclasses import dataclass, field

import anyio
import httpx
import pytest
from anyio.abc import SocketStream
from starlette.types import Receive, Scope, Send

from tests.real.grounds import Ground
from tests.real.leaving import Scene, calling, staged
from tests.serving import until
from tests.thorough import THOROUGH
from tests.upstream import EVENT_STREAM, JSON, completion, prompt, stream_events

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

COUNT = 1000 if THOROUGH else 60
AT_ONCE = 40
AFTERWARDS = 100
"""What httpx calls `max_connections`, and has for a default. Ours to the upstream are not limited."""

FINISHING = ("on, abandon=finish", "on, mode=refresh")
ENDING = ("on, abandon=cancel", "on, mode=refresh, abandon=cancel", "on, mode=read", "off")
CONTROLS = FINISHING + ENDING
HANGS = b"never"


@dataclass(slots=True)
class Hesitant:
    """An upstream that hesitates wherever it can, refuses streams while `refuses`, and knows how many it is answering.

    What a prompt says that is never to end does not.
    """

    dice: random.Random
    refuses: bool = False
    calls: int = 0
    answering: int = 0
    gate: anyio.Event = field(default_factory=anyio.Event)  # what everybody waits for, once it is not set

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        self.calls += 1
        self.answering += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_watch, receive, tasks.cancel_scope)
                await self._answer(b'"stream":true' in body, HANGS in body, send)
                tasks.cancel_scope.cancel()
        finally:
            self.answering -= 1

    async def _answer(self, stream: bool, hangs: bool, send: Send) -> None:
        await self.gate.wait()
        await self._hesitate()
        status, headers, parts = self._told(stream)
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for part in parts:
            await self._hesitate()
            await send({"type": "http.response.body", "body": part, "more_body": True})
            if hangs:
                await anyio.sleep_forever()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _told(self, stream: bool) -> tuple[int, tuple[tuple[bytes, bytes], ...], list[bytes]]:
        if stream and self.refuses:
            return 429, (*JSON, (b"retry-after", b"1")), [b'{"error": ', b'{"message": "slow down"}}']
        if stream:
            return 200, EVENT_STREAM, stream_events("one two three four five six")
        return 200, JSON, [bytes(part) for part in completion().parts if isinstance(part, bytes)]

    async def _hesitate(self) -> None:
        if self.dice.random() < 0.5:
            await anyio.sleep(self.dice.random() * 0.004)


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def leave_somewhere(url: str, number: int, dice: random.Random) -> None:
    """Ask, and leave after some bytes, or some moments, or in the middle of asking; some ask what others ask too."""
    control, resets, sends = dice.choice(CONTROLS), dice.random() < 0.5, dice.choice([0.5, 1, 1, 1])
    end = HANGS.decode() if control in ENDING and dice.random() < 0.3 else "soon"
    body = prompt(f"prompt {number % 400}, {end}", stream=dice.random() < 0.8)
    async with calling(url, body, control, resets=resets, sends=sends) as stream:
        with anyio.move_on_after(dice.random() * 0.03):
            await read_some(stream, dice.choice([1, 200, 900, 1500, 10_000]))


async def read_some(stream: SocketStream, size: int) -> None:
    """Read as many bytes, or all there are."""
    heard = 0
    try:
        while heard < size:
            heard += len(await stream.receive())
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return


async def all_of(count: int, scene: Scene, dice: random.Random) -> None:
    """Have so many clients leave, some at a time."""
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def one(number: int) -> None:
        async with limiter:
            await leave_somewhere(scene.url, number, random.Random(dice.random()))

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(one, number)


async def refused(count: int, scene: Scene, dice: random.Random) -> list[int]:
    """Ask for as many streams that are refused; return what is said."""
    limiter, said = anyio.CapacityLimiter(AT_ONCE), list[int]()

    async def one(number: int) -> None:
        async with limiter:
            said.append((await scene.ask(prompt(f"refused {number}", stream=True), dice.choice(CONTROLS))).status_code)

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(one, number)
    return said


async def many_at_once(upstream: Hesitant, scene: Scene) -> list[httpx.Response]:
    """Send a hundred requests that are all answered at the same time."""
    upstream.gate = anyio.Event()
    before = upstream.calls
    asking = [asyncio.ensure_future(scene.ask(prompt(f"after {number}", stream=True))) for number in range(AFTERWARDS)]
    await until(lambda: upstream.calls == before + AFTERWARDS)
    upstream.gate.set()
    return await asyncio.gather(*asking)


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
async def test_those_who_left_take_nothing_from_those_who_come(ground: Ground, server: str) -> None:
    """H4: every connection to the upstream is of use again, or closed."""
    dice = random.Random(20_240_816)
    upstream = Hesitant(random.Random(1))
    upstream.gate.set()

    async with staged(ground, server, "proxy", upstream) as scene:
        await all_of(COUNT, scene, dice)
        upstream.refuses = True
        said = await refused(COUNT, scene, dice)
        upstream.refuses = False
        await until(lambda: not scene.table and scene.table.detached == 0 and upstream.answering == 0)
        idle = scene.sockets()
        replies = await many_at_once(upstream, scene)
        assert scene.sockets() <= max(idle, AFTERWARDS)

    assert COUNT / 10 < sum("client-left" in report.details for report in scene.reports) < COUNT
    assert said == [429] * COUNT
    assert {reply.status_code for reply in replies} == {200}
    assert {reply.content for reply in replies} == {b"".join(stream_events("one two three four five six"))}
    assert idle <= 2 * AT_ONCE
