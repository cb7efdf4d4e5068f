"""When the head of a stream leaves, with compression around us and inside (H8)."""

import anyio
import httpx
import pytest
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

from cachemw import MemoryStore
from cachemw.asgi import CacheMiddleware
from cachemw.cache import record as codec
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests.proxy.conftest import ALICE, CHAT, ON, Place, status_of
from tests.upstream import EVENT_STREAM, Told, Upstream, always, completion, prompt, stream_events

pytestmark = pytest.mark.anyio

EVENTS = stream_events("one two three")


def mounts(upstream: HttpUpstream, app: Upstream, store: MemoryStore) -> dict[str, ASGIApp]:
    """Return everything that may stand where a client connects."""
    return {
        "the proxy": Proxy(upstream, store=store),
        "the proxy inside of compression": GZipMiddleware(Proxy(upstream, store=store), minimum_size=1),
        "an upstream inside of compression": GZipMiddleware(
            CacheMiddleware(app, upstream=upstream, store=store), minimum_size=1
        ),
        "an app inside of compression": GZipMiddleware(CacheMiddleware(app, name="bot", store=store), minimum_size=1),
        "compression around an app": CacheMiddleware(GZipMiddleware(app, minimum_size=1), name="bot", store=store),
    }


NAMES = pytest.mark.parametrize("name", mounts(HttpUpstream("http://api.example"), Upstream(), MemoryStore()))


def mount(place: Place, name: str) -> None:
    place.mount(mounts(place.upstreams[0], place.upstream, place.store)[name])


@NAMES
@pytest.mark.parametrize("headers", [ALICE, ON], ids=["not opted in", "opted in"])
async def test_the_head_of_a_stream_leaves_when_the_upstreams_comes(place: Place, name: str, headers: dict[str, str]) -> None:
    """H8, S6: before there is any event; and the events then one by one, uncompressed."""
    gates = [anyio.Event() for _ in EVENTS]
    parts = [part for pair in zip(gates, EVENTS, strict=True) for part in pair]
    place.upstream.respond = always(Told(parts, headers=EVENT_STREAM))
    mount(place, name)
    heard = b""

    with anyio.fail_after(5):
        async with place.client.stream("POST", CHAT, content=prompt(stream=True), headers=headers) as reply:
            pieces = reply.aiter_raw()
            for gate, event in zip(gates[:-1], EVENTS, strict=False):
                gate.set()
                before, heard = heard, heard + await anext(pieces)
                assert heard == before + event
            gates[-1].set()
            heard += b"".join([piece async for piece in pieces])

    assert heard == b"".join(EVENTS)
    assert "content-encoding" not in reply.headers
    assert reply.headers.get("x-accel-buffering") == ("no" if headers is ON else None)
    assert reply.headers.get("cache-control") == ("private, no-store, no-transform" if headers is ON else None)


@NAMES
@pytest.mark.parametrize("streaming", [False, True], ids=["JSON", "stream"])
async def test_compression_changes_nothing_of_what_is_kept_and_read(place: Place, name: str, streaming: bool) -> None:
    """H9: for a client that takes gzip, miss and hit."""
    told = Told(EVENTS, headers=EVENT_STREAM) if streaming else completion("long enough " * 100)
    place.upstream.respond = always(told)
    mount(place, name)
    body = b"".join(part for part in told.parts if isinstance(part, bytes))

    replies = [await place.ask(prompt(stream=streaming), {**ON, "accept-encoding": "gzip"}) for _ in range(2)]

    assert [reply.content for reply in replies] == [body] * 2
    assert status_of(replies[1]) == "hit; ttl=86400; key"
    assert codec.decode(place.records()[0]).body == body
    outside = "inside of compression" in name
    assert {reply.headers.get("content-encoding") for reply in replies} == {"gzip" if outside and not streaming else None}


@NAMES
async def test_a_stream_that_breaks_off_is_broken_through_compression_too(place: Place, name: str) -> None:
    """H10: the server itself must see that the end is missing."""
    place.upstream.respond = always(Told(EVENTS[:2], headers=EVENT_STREAM, ends=False))
    mount(place, name)
    heard = b""

    async with place.client.stream(
        "POST", CHAT, content=prompt(stream=True), headers={**ON, "accept-encoding": "gzip"}
    ) as reply:
        with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012
            async for piece in reply.aiter_raw():
                heard += piece

    assert heard.startswith(b"".join(EVENTS[:2]) + b'data: {"error"')
    assert not place.records()
