"""Nothing that we say holds a word of a request, of an answer or of a failure, whatever comes of it.

This is the small one of every run: words as they are, where a mount pushes and where it is read. `tests/faults/canaries.py`
looks everywhere, and for encodings and hashes.
"""

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from cachemw import ExchangeReport, MemoryStore
from cachemw.asgi import CacheMiddleware
from cachemw.cache.effects import Effect, Exchange, Outcome, Script
from cachemw.cache.policy import Policy
from cachemw.errors import CacheError
from cachemw.httpx import AsyncCacheTransport
from cachemw.report import Result
from cachemw.upstreams import HttpUpstream
from tests.asgi_driver import Reply, call
from tests.mounts.mounting import PATH
from tests.transport_driver import acall
from tests.upstream import Upstream, completion, prompt, stream_events

pytestmark = pytest.mark.anyio

CANARY = "cnry"
"""All words that are not to be seen begin with it; the rest says where they were."""

SENT = (
    (b"content-type", b"application/json"),
    (b"authorization", b"Bearer cnry-credential"),
    (b"user-agent", b"cnry-agent"),
    (b"idempotency-key", b"cnry-idempotency"),
    (b"openai-beta", b"cnry-keyed"),
)
GIVEN = {"x-request-id": "cnry-answers-id", "openai-organization": "cnry-account"}


def given(status: int, media_type: str, body: bytes) -> httpx.Response:
    return httpx.Response(status, headers={"content-type": media_type, **GIVEN}, stream=httpx.ByteStream(body))


def answering() -> httpx.Response:
    [part] = completion("cnry-answer", model="cnry-answered").parts
    assert isinstance(part, bytes)
    return given(200, "application/json", part)


def streaming() -> httpx.Response:
    return given(200, "text/event-stream", b"".join(stream_events("cnry-event")))


def busy() -> httpx.Response:
    return given(503, "application/json", b'{"error": "cnry-refusal"}')


def refusing() -> httpx.Response:
    raise httpx.ConnectError("cnry-exception")


class Wire(httpx.AsyncBaseTransport):
    """An upstream that answers what the test says, once its gate is open."""

    def __init__(self) -> None:
        self.respond, self.gate = answering, anyio.Event()
        self.gate.set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self.gate.wait()
        return self.respond()


def noted(script: Script, seen: list[object]) -> Script:
    """Go through a script, and note what it was given, what it asks for and what it ends in."""
    seen += inspect.getgeneratorlocals(script).values()
    step: Callable[[], Effect] = partial(next, script)
    while True:
        try:
            effect = step()
        except StopIteration as end:
            outcome: Outcome = end.value
            seen.append(outcome)
            return outcome
        seen.append(effect)
        try:
            step = partial(script.send, (yield effect))
        except CacheError as error:
            step = partial(script.throw, error)


@dataclass(slots=True)
class Scene:
    """A mount before the wire, its `ask` as a client has it, and all that was seen of it."""

    wire: Wire = field(default_factory=Wire)
    reports: list[ExchangeReport] = field(default_factory=list)
    seen: list[object] = field(default_factory=list)
    driver: Any = None
    send: Callable[..., Awaitable[Reply]] = field(init=False)

    async def ask(self, control: str | None = "on, namespace=cnry-namespace", **members: Any) -> None:
        fields = SENT if control is None else (*SENT, (b"cachemw", control.encode()))
        await self.send(prompt("cnry-prompt", model="cnry-model", user="cnry-user", **members), fields)

    def listen_in(self, driver: Any) -> None:
        """Note what the driver's scripts are about."""
        self.driver, run = driver, driver.run
        driver.run = lambda exchange, *more: run(Exchange(noted(exchange.script, self.seen), exchange.report), *more)


@pytest.fixture(params=["pushed", "pulled"])
async def scene(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Scene]:
    scene = Scene()
    options: dict[str, Any] = {"store": MemoryStore(), "policy": Policy(), "hooks": [scene.reports.append]}
    asked_for = PATH + "?key=cnry-query"
    if request.param == "pushed":
        upstream = HttpUpstream("https://api.example/v1", transport=lambda: scene.wire)
        mount = CacheMiddleware(Upstream(), upstream=upstream, **options)
        scene.send = partial(call, mount, "POST", asked_for)
        scene.listen_in(mount.driver)
        yield scene
        await mount.aclose()
        return
    transport = AsyncCacheTransport(scene.wire, **options)
    scene.listen_in(transport.driver)
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
        scene.send = partial(acall, client, "POST", "https://api.example" + asked_for)
        yield scene


async def hit(scene: Scene) -> None:
    await scene.ask()
    await scene.ask()


async def miss(scene: Scene) -> None:
    await scene.ask()


async def stream(scene: Scene) -> None:
    scene.wire.respond = streaming
    await scene.ask(stream=True)


async def bypass(scene: Scene) -> None:
    await scene.ask(store=True)


async def refused(scene: Scene) -> None:
    await scene.ask("ttl=cnry-control")


async def failed(scene: Scene) -> None:
    scene.wire.respond = refusing
    await scene.ask()


async def stale(scene: Scene) -> None:
    await scene.ask("on, ttl=10")
    later = time.time() + 20
    scene.driver.clock, scene.wire.respond = lambda: later, busy
    await scene.ask("on, ttl=10")


async def collapsed(scene: Scene) -> None:
    scene.wire.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.ask)
        tasks.start_soon(scene.ask)
        for _ in range(50):  # nothing of this leaves the event loop
            await anyio.lowlevel.checkpoint()
        scene.wire.gate.set()


async def passed(scene: Scene) -> None:
    await scene.ask(None)


@pytest.mark.parametrize(
    ("play", "outcome"),
    [
        (hit, "hit"),
        (miss, "miss"),
        (stream, "miss"),
        (bypass, "bypass"),
        (refused, "refused"),
        (failed, "miss"),
        (stale, "stale"),
        (collapsed, "collapsed"),
        (passed, "passed"),
    ],
)
async def test_no_word_of_a_request_or_an_answer_is_seen(
    play: Callable[[Scene], Awaitable[None]], outcome: Result, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """I4: in reports, in log lines, or in what our values show of themselves."""
    caplog.set_level("DEBUG", "cachemw")

    await play(scene)

    assert outcome in {report.outcome for report in scene.reports}
    shown = [text for one in (*scene.seen, *scene.reports) for text in (repr(one), str(one), f"{one}")]
    assert [text for text in (*shown, *caplog.text.splitlines()) if CANARY in text] == []
