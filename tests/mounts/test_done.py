"""R1: where a stream may end without `[DONE]`, and how a body has to end then; in every mount."""

import json
from typing import Any

import pytest

from cachemw import MemoryStore, Policy
from cachemw.messages import USUAL_CLOSING, Closing
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests.asgi_driver import Reply, call
from tests.mounts.conftest import Mounted, status_of
from tests.mounts.mounting import PATH
from tests.upstream import DONE, EVENT_STREAM, Told, always, event, prompt
from tests.upstreams.raw import CHUNKED, Part, chunk, head, listening, reaching

pytestmark = pytest.mark.anyio

USAGE: dict[str, Any] = {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
EVENTS = [event({"role": "assistant", "content": "hello"}), event({}, "stop"), event({}, choices=[], **USAGE)]
WITHOUT_DONE = Told(EVENTS, headers=EVENT_STREAM)
DUE = prompt(stream=True, stream_options={"include_usage": True})
OPTIONAL = Policy(default="on", done="optional")
HIT = "hit; ttl=86400; key"


async def test_a_stream_without_done_is_a_hit_where_it_may_be(mounted: Mounted) -> None:
    """S2, S4, S5: byte for byte, and in every other kind."""
    mounted.mount(OPTIONAL)
    mounted.upstream.respond = always(WITHOUT_DONE)

    first, again = [await mounted.ask("on", DUE) for _ in range(2)]
    whole, plain = await mounted.ask("on"), await mounted.ask("on", prompt(stream=True))

    assert first.body == again.body == b"".join(EVENTS)
    assert [status_of(reply) for reply in (again, whole, plain)] == [HIT, *[f"{HIT}; detail=transcoded"] * 2]
    assert json.loads(whole.body)["choices"][0]["message"]["content"] == "hello"
    assert plain.body == b"".join(EVENTS[:2])
    assert mounted.upstream.calls == 1


async def test_it_is_none_unless_somebody_says_so(mounted: Mounted) -> None:
    mounted.upstream.respond = always(WITHOUT_DONE)

    replies = [await mounted.ask("on", DUE) for _ in range(2)]

    assert [reply.body for reply in replies] == [b"".join(EVENTS)] * 2
    assert mounted.upstream.calls == 2


@pytest.mark.parametrize("count", [1, 2], ids=["before it finished", "before its usage"])
@pytest.mark.parametrize("ends", [True, False], ids=["ended by itself", "broke off"])
async def test_one_that_is_not_whole_is_none(mounted: Mounted, count: int, ends: bool) -> None:
    mounted.mount(OPTIONAL)
    mounted.upstream.respond = always(Told(EVENTS[:count], headers=EVENT_STREAM, ends=ends))

    for _ in range(2):
        await mounted.ask("on", DUE)

    assert mounted.upstream.calls == 2
    assert not list(mounted.store.scan())


async def test_one_that_breaks_off_behind_its_usage_is_none(mounted: Mounted) -> None:
    mounted.mount(OPTIONAL)
    mounted.upstream.respond = always(Told(EVENTS, headers=EVENT_STREAM, ends=False))

    for _ in range(2):
        await mounted.ask("on", DUE)

    assert mounted.upstream.calls == 2
    assert not list(mounted.store.scan())


@pytest.mark.parametrize("done", [DONE[:-1], DONE[:-2], DONE[:-2] + b" \n\n", DONE * 2])
async def test_done_may_be_written_in_any_way(mounted: Mounted, done: bytes) -> None:
    """S2: its client has every byte of it, live and again."""
    mounted.upstream.respond = always(Told([*EVENTS, done], headers=EVENT_STREAM))

    first, again = [await mounted.ask("on", DUE) for _ in range(2)]
    whole = await mounted.ask("on")

    assert first.body == again.body == b"".join(EVENTS) + done
    assert (status_of(again), status_of(whole)) == (HIT, f"{HIT}; detail=transcoded")


# How the body of an HTTP upstream ends.

BODY = b"".join(EVENTS)
TYPE = b"Content-Type: text/event-stream"


@pytest.mark.parametrize(
    ("parts", "is_kept"),
    [
        pytest.param([CHUNKED, chunk(BODY), chunk(b"")], True, id="its last chunk"),
        pytest.param([CHUNKED, chunk(BODY)], False, id="no last chunk"),
        pytest.param([CHUNKED, chunk(BODY + b"\n")[:-3]], False, id="within a chunk"),
        pytest.param([head(TYPE, b"Content-Length: %d" % len(BODY)), BODY], True, id="its length"),
        pytest.param([head(TYPE, b"Content-Length: %d" % (len(BODY) + 1)), BODY], False, id="short of its length"),
        pytest.param([head(TYPE, b"Connection: close"), BODY], False, id="where the connection does"),
        pytest.param([head(TYPE, b"Connection: close"), BODY, DONE], True, id="where the connection does, behind its end"),
        pytest.param([head(TYPE, b"Connection: close"), BODY, DONE[:-1]], False, id="where the connection does, too early"),
        pytest.param([CHUNKED, chunk(BODY + b"data: {"), chunk(b"")], False, id="within an event"),
    ],
)
async def test_only_a_body_that_ends_by_its_own_framing_counts(parts: list[Part], is_kept: bool) -> None:
    """R1: a body that ends with its connection may have been cut; only `[DONE]` says that it was not."""
    async with reaching(*parts, path="/v1") as (_, upstream):
        store = MemoryStore()
        proxy = Proxy(upstream, store=store, policy=OPTIONAL)
        await _ask(proxy)

        assert bool(list(store.scan())) is is_kept


@pytest.mark.parametrize(
    ("closing", "is_kept"), [(USUAL_CLOSING, False), (Closing(done=False), True), (Closing(frozenset({"eos"})), False)]
)
async def test_a_provider_may_be_known_to_send_none(closing: Closing, is_kept: bool) -> None:
    """R1, R3: whatever the policy says of others."""
    async with listening(CHUNKED, chunk(BODY), chunk(b"")) as server:
        store, upstream = MemoryStore(), HttpUpstream(server.url + "/v1", closing=closing)
        await _ask(Proxy(upstream, store=store, policy=Policy(default="on")))
        await upstream.aclose()

        assert bool(list(store.scan())) is is_kept


async def _ask(proxy: Any) -> Reply:
    fields = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"authorization", b"Bearer alice")]
    return await call(proxy, "POST", PATH, DUE, fields)
