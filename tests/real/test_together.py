"""Many clients and one answer: at once, one faster than the other, or one after the other and each in its own kind."""

from collections.abc import Iterator, Mapping
from typing import Any

import anyio
import openai
import pytest
from anyio.abc import SocketStream

from cachemw.simulator import Simulator
from tests.real.answers import request
from tests.real.grounds import Ground
from tests.real.leaving import EVENTS, MID_STREAM, Held, Point, calling, staged
from tests.real.proxied import PATIENCE, Servers
from tests.real.sdks import ASYNC_CEREBRAS, ASYNC_OPENAI, CEREBRAS, KEY, ON, OPENAI, Answer, Sdk
from tests.serving import serving, until
from tests.upstream import event

CLIENTS = 100
TEXT = "hello there my friend "

on_both = pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])


class Crowd:
    """Clients of one SDK that ask the same, each over a connection of its own; `live`: all have heard the first word."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self.texts: list[str] = []
        self._client = client
        self._heard = 0

    async def begin(self) -> Any:
        """Ask, and read as far as the first word; nothing more of it comes before the upstream goes on."""
        stream = await self._client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True, extra_headers=ON
        )
        assert [(await anext(stream)).choices[0].delta.content for _ in MID_STREAM.first or ()] == [None, "hello "]
        self._heard += 1
        return stream

    async def read(self) -> None:
        """Ask, and read to the end."""
        stream = await self.begin()
        self.texts.append("hello " + "".join([chunk.choices[0].delta.content or "" async for chunk in stream]))

    async def all_have_begun(self) -> None:
        await until(lambda: self._heard == CLIENTS, 3 * PATIENCE)


@pytest.mark.anyio
@on_both
@pytest.mark.parametrize("leaves", [False, True], ids=["all-stay", "the-first-one-leaves"])
async def test_a_hundred_clients_read_one_stream_as_it_comes(ground: Ground, server: str, leaves: bool) -> None:
    """P1: nobody's second word comes before everybody's first."""
    held = Held(MID_STREAM)

    async with (
        staged(ground, server, "proxy", held) as scene,
        openai.AsyncOpenAI(
            api_key=KEY, base_url=scene.url + "/v1", max_retries=0, default_headers={"connection": "close"}
        ) as client,
        anyio.create_task_group() as tasks,
    ):
        crowd = Crowd(client)
        leading = await crowd.begin()
        for _ in range(CLIENTS - 1):
            tasks.start_soon(crowd.read)
        await crowd.all_have_begun()
        if leaves:
            await leading.close()
            await until(lambda: len(scene.flight().readers) == CLIENTS - 1)
        held.rest.set()
        if not leaves:
            assert [chunk.choices[0].delta.content async for chunk in leading][:-1] == ["there ", "my ", "friend "]

    assert crowd.texts == [TEXT] * (CLIENTS - 1)
    assert held.calls == 1
    assert [report.collapsed for report in scene.reports].count(True) == CLIENTS - 1


LONG_WORD = "x" * 50_000 + " "
LONG = Point("long", EVENTS[:2], (*[event({"content": LONG_WORD}) for _ in range(60)], *EVENTS[-2:]), until=b"hello ")


@pytest.mark.anyio
@on_both
@pytest.mark.parametrize("leads", [True, False], ids=["leading", "following"])
async def test_who_reads_slowly_slows_nobody(ground: Ground, server: str, leads: bool) -> None:
    """P1: three megabytes, of which one client reads nothing until the other has had them all."""
    held, bodies = Held(LONG), list[bytes]()

    async with staged(ground, server, "proxy", held) as scene, anyio.create_task_group() as tasks:

        async def read() -> None:
            bodies.append((await scene.ask(LONG.request())).content)

        if not leads:
            tasks.start_soon(read)
            await held.holds.wait()
        async with calling(scene.url, LONG.request()) as slow:
            await held.holds.wait()
            if leads:
                tasks.start_soon(read)
            await until(lambda: len(scene.table) == 1 and len(scene.flight().readers) == 2)
            held.rest.set()
            await until(lambda: len(bodies) == 1)
            await until(lambda: len(scene.reports) == 1)  # the slow one's request is under way as yet
            assert scene.records == 1
            heard = await to_the_end(slow)

    assert bodies == [LONG.body]
    assert unchunked(heard) == LONG.body
    assert held.calls == 1


async def to_the_end(stream: SocketStream) -> bytes:
    """Read what there is."""
    return b"".join([piece async for piece in stream])


def unchunked(response: bytes) -> bytes:
    """Return the body of a response in the chunked coding."""
    _, _, rest = response.partition(b"\r\n\r\n")
    body = b""
    while size := int(rest.partition(b"\r\n")[0], 16):
        rest = rest.partition(b"\r\n")[2]
        body, rest = body + rest[:size], rest[size + 2 :]
    return body


Simulators = Mapping[str, tuple[Simulator, str]]


@pytest.fixture(scope="module")
def simulators(servers: Servers) -> Iterator[Simulators]:
    """Give one of each dialect, and its address."""
    one, other = Simulator(dialect="openai"), Simulator(dialect="cerebras")
    with servers.beside(serving(one)) as openai_url, servers.beside(serving(other)) as cerebras_url:
        yield {"openai": (one, openai_url), "cerebras": (other, cerebras_url)}


SPEAKING = pytest.mark.parametrize(
    ("sdk", "dialect"),
    [(OPENAI, "openai"), (ASYNC_OPENAI, "openai"), (CEREBRAS, "cerebras"), (ASYNC_CEREBRAS, "cerebras")],
    ids=["openai", "async-openai", "cerebras", "async-cerebras"],
)
WITH_USAGE: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
WITHOUT: Mapping[str, Any] = {"stream": True}
asking = pytest.mark.parametrize("streamed", [WITH_USAGE, WITHOUT], ids=["with-usage", "without-usage"])


@SPEAKING
@asking
def test_what_was_streamed_answers_who_wants_it_whole(
    sdk: Sdk, dialect: str, streamed: Mapping[str, Any], servers: Servers, simulators: Simulators
) -> None:
    """S4, S5: where the stream said what it took; else JSON would be without it, and is asked for."""
    simulator, url = simulators[dialect]
    simulator.calls = 0
    has_usage = streamed is WITH_USAGE or dialect == "cerebras"

    with servers.proxied(unasked, base_url=url + "/v1") as world, sdk.open(world.proxy, ON) as client:
        stream, whole = client.ask(request(**streamed)), client.ask(request(stream=False))

    assert stream.cache["fwd"] == "miss"
    assert simulator.calls == (1 if has_usage else 2)
    assert whole.cache.get("hit") is (True if has_usage else None)
    assert str(whole.cache.get("detail")) == ("transcoded" if has_usage else "no-usage")
    assert said(whole) == said(stream)
    assert not has_usage or usage(whole) == usage(stream)


@SPEAKING
@asking
def test_what_came_whole_answers_who_wants_a_stream(
    sdk: Sdk, dialect: str, streamed: Mapping[str, Any], servers: Servers, simulators: Simulators
) -> None:
    """S4, S5: with what it took for who asks; in the dialect of Cerebras for everybody."""
    simulator, url = simulators[dialect]
    simulator.calls = 0
    has_usage = streamed is WITH_USAGE or dialect == "cerebras"

    with servers.proxied(unasked, base_url=url + "/v1") as world, sdk.open(world.proxy, ON) as client:
        whole, stream = client.ask(request(stream=False)), client.ask(request(**streamed))

    assert whole.cache["fwd"] == "miss"
    assert simulator.calls == 1
    assert stream.cache["hit"] is True
    assert str(stream.cache["detail"]) == "transcoded"
    assert said(stream) == said(whole)
    assert usage(stream) == (usage(whole) if has_usage else None)
    assert len(stream.parsed) > 1


def unasked(asked: object) -> Any:
    """Stand where no request comes."""
    raise AssertionError(asked)


def said(answer: Answer) -> str:
    """Put the text together."""
    choices = [choice for one in answer.members for choice in one[1].get("choices", ())]
    return "".join((choice.get("delta") or choice.get("message") or {}).get("content") or "" for choice in choices)


def usage(answer: Answer) -> Any:
    """Return what the answer says that it took."""
    return next((one[1]["usage"] for one in answer.members if one[1].get("usage")), None)
