"""The transports over real connections: how long the end of a stream may take, and what the next answer has of that."""

import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest
from starlette.types import Receive, Scope, Send

from cachemw import Limits, MemoryStore
from tests.asgi_driver import Reply
from tests.mounts.conftest import Switch, status_of
from tests.mounts.gates import Gate
from tests.mounts.inner_transports import BY_FAMILY, TYPE
from tests.mounts.mounting import PATH
from tests.transport_driver import call
from tests.upstream import DONE, EVENT_STREAM, Part, Told, Upstream, always, completion, prompt, stream_events

pytestmark = pytest.mark.anyio

EVENTS = stream_events()
JSON = completion()


class Noting:
    """An upstream that notes over which connections it is asked."""

    def __init__(self, upstream: Upstream) -> None:
        self.connections: set[Any] = set()
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.connections.add(scope["client"])
        await self._upstream(scope, receive, send)


async def asked_in_turn(family: Any, mount: Any, url: str, bodies: list[bytes], done_hold: float, **more: Any) -> list[Reply]:
    """Ask these one after the other, in a thread, over the family's own transport."""

    def ask() -> list[Reply]:
        transport = mount.CacheTransport(store=MemoryStore(), limits=Limits(done_hold=done_hold))
        with family.Client(transport=transport, trust_env=False) as client:
            return [call(client, "POST", url + PATH, body, (TYPE,), **more) for body in bodies]

    return await anyio.to_thread.run_sync(ask)


@BY_FAMILY
async def test_an_answer_over_a_connection_that_was_hurried_has_its_own_time(
    family: Any, mount: Any, switch: tuple[Switch, str]
) -> None:
    """S6: behind `[DONE]` one read may take no longer than a moment, and no other read is meant by that."""
    app, url = switch
    gate = Gate()
    answers = iter([Told(EVENTS, headers=EVENT_STREAM), Told([gate, *JSON.parts], headers=JSON.headers)])
    noting = app.target = Noting(Upstream(lambda asked: slowed(next(answers), gate)))

    stream, slow = await asked_in_turn(family, mount, url, [prompt(stream=True), prompt("other")], 0.2)

    assert (stream.body, status_of(slow)) == (b"".join(EVENTS), "fwd=miss; fwd-status=200; stored; key")
    assert len(noting.connections) == 1


def slowed(told: Told, gate: Gate) -> Told:
    """Let what waits for the gate wait for longer than the end of a stream may take."""
    if gate in told.parts:
        threading.Timer(0.35, gate.set).start()
    return told


@BY_FAMILY
async def test_a_stream_that_is_let_go_costs_no_other_answer(family: Any, mount: Any, switch: tuple[Switch, str]) -> None:
    """S6: its upstream stays silent behind `[DONE]`; the next answer comes all the same."""
    app, url = switch
    end = Gate()
    parts: list[Part] = [*EVENTS, end]
    answers = iter([always(Told(parts, headers=EVENT_STREAM)), always(JSON)])
    app.target = Upstream(lambda asked: next(answers)(asked))
    came: list[bool] = []

    stream, other = await asked_in_turn(
        family,
        mount,
        url,
        [prompt(stream=True), prompt("other")],
        0.05,
        hears=lambda chunk: came.append(end.is_set()) if DONE in chunk else None,
    )
    end.set()

    assert (stream.body, stream.complete, came) == (b"".join(EVENTS), True, [False])
    assert status_of(other) == "fwd=miss; fwd-status=200; stored; key"
