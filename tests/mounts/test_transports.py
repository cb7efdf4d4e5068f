"""The transports in a client's process: whose requests and exceptions pass, what a response says, and what is closed."""

import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from cachemw import ExchangeReport, MemoryStore, Policy
from cachemw.stores import Inline
from tests.asgi_driver import Reply
from tests.mounts.conftest import Mounted, Switch, status_of
from tests.mounts.inner_transports import ANSWER, BY_FAMILY, BY_KIND, TYPE, URL, Refusing, Watched, answering, asking, inner_of
from tests.mounts.mounting import PATH, TRANSPORTS
from tests.transport_driver import acall, call
from tests.upstream import EVENT_STREAM, JSON, Upstream, prompt, stream_events

pytestmark = pytest.mark.anyio

over_both = pytest.mark.parametrize("mounted", TRANSPORTS, indirect=True)


@BY_FAMILY
async def test_they_are_transports_of_their_family(family: Any, mount: Any) -> None:
    assert issubclass(mount.CacheTransport, family.BaseTransport)
    assert issubclass(mount.AsyncCacheTransport, family.AsyncBaseTransport)


@BY_FAMILY
async def test_what_did_not_opt_in_is_the_very_same_request_and_response(family: Any, mount: Any) -> None:
    """H1, D9."""
    inner, off = inner_of(family, answering), Policy(default="off")
    kinds = (mount.CacheTransport, mount.AsyncCacheTransport)
    sync, awaited = (kind(inner, store=MemoryStore(), policy=off) for kind in kinds)
    chat, other = asking(family), family.Request("GET", "https://api.example/hello")

    responses = [sync.handle_request(chat), await awaited.handle_async_request(chat), sync.handle_request(other)]

    assert [request is sent for request, sent in zip(inner.requests, (chat, chat, other), strict=True)] == [True] * 3
    assert responses[2].stream is inner.body
    assert not any("cachemw" in response.extensions for response in responses)


@BY_FAMILY
def test_who_says_off_loses_just_that(family: Any, mount: Any) -> None:
    """H1: no control header is ever sent on."""
    inner = inner_of(family, answering)
    sent = asking(family, cachemw="off")

    response = mount.CacheTransport(inner, store=MemoryStore()).handle_request(sent)

    assert inner.requests[0].headers.raw == [field for field in sent.headers.raw if field != (b"cachemw", b"off")]
    assert "cache-status" not in response.headers


@BY_FAMILY
@BY_KIND
async def test_a_response_says_what_was_known_at_its_head(family: Any, mount: Any, is_async: bool) -> None:
    """E1: `stored` is open while it is; hooks are told of the end."""
    told: list[ExchangeReport] = []
    inner = inner_of(family, lambda request: (EVENT_STREAM, stream_events(), None))
    kind = mount.AsyncCacheTransport if is_async else mount.CacheTransport
    transport, seen = kind(inner, store=MemoryStore(), hooks=[told.append]), list[ExchangeReport]()

    for _ in range(2):
        request = asking(family, prompt(stream=True))
        response = await transport.handle_async_request(request) if is_async else transport.handle_request(request)
        seen.append(response.extensions["cachemw"])
        if is_async:
            await response.aread()
        else:
            response.read()

    assert [(report.hit, report.fwd, report.stored) for report in seen] == [(False, "miss", None), (True, None, None)]
    assert [(report.hit, report.fwd, report.stored) for report in told] == [(False, "miss", True), (True, None, None)]
    assert seen[0].key == seen[1].key
    assert len(inner.requests) == 1
    assert inner.body.closed


@BY_FAMILY
@BY_KIND
@pytest.mark.parametrize("name", ["ConnectError", "ReadTimeout", "ProxyError", "WriteError"])
async def test_the_exception_of_the_inner_transport_is_the_one_that_is_raised(
    family: Any, mount: Any, name: str, is_async: bool
) -> None:
    """P5, H10: before an answer, and within a stream; the very same object."""
    error = getattr(family, name)("no")
    for answer, streaming in ((error, False), (error, True), ((EVENT_STREAM, stream_events()[:2], error), True)):
        inner = inner_of(family, lambda request, answer=answer: answer)
        store = MemoryStore()
        reply = await asked(family, mount, is_async, inner, store, prompt(stream=streaming))

        assert reply.error is error
        assert reply.body == (b"".join(stream_events()[:2]) if answer is not error else b"")
        assert not list(store.scan())


async def asked(family: Any, mount: Any, is_async: bool, inner: Any, store: MemoryStore, body: Any) -> Any:
    """Ask through a client that lives as long as the request."""
    if is_async:
        async with family.AsyncClient(transport=mount.AsyncCacheTransport(inner, store=store), trust_env=False) as client:
            return await acall(client, "POST", URL, body, (TYPE,))
    with family.Client(transport=mount.CacheTransport(inner, store=store), trust_env=False) as client:
        return call(client, "POST", URL, body, (TYPE,))


@BY_FAMILY
@BY_KIND
async def test_a_bug_of_the_inner_transport_is_a_crash_and_leaves_nothing_behind(
    family: Any, mount: Any, is_async: bool
) -> None:
    """P5: who asks next is answered at once."""
    answers = iter([ZeroDivisionError(), (JSON, [ANSWER], None)])
    inner, store = inner_of(family, lambda request: next(answers)), MemoryStore()
    kind = mount.AsyncCacheTransport if is_async else mount.CacheTransport
    transport = kind(inner, store=store)

    for is_last in (False, True):
        with pytest.raises(ZeroDivisionError) if not is_last else anyio.fail_after(5):
            request = asking(family)
            response = await transport.handle_async_request(request) if is_async else transport.handle_request(request)

    assert response.extensions["cachemw"].stored


@BY_FAMILY
@BY_KIND
@pytest.mark.parametrize("limit", [10_000_000, 1_000], ids=["read", "too large"])
async def test_a_body_that_comes_in_pieces_is_the_same_request(family: Any, mount: Any, is_async: bool, limit: int) -> None:
    """K1, D7: read whole within the limit; beyond it sent on as it comes."""
    body, store = prompt("x" * 100_000), MemoryStore()
    pieces = [body[at : at + 999] for at in range(0, len(body), 999)]
    bodies: list[bytes] = []

    async def in_time() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def send(content: Any) -> Any:
        inner = AsyncReading(family, bodies) if is_async else Reading(family, bodies)
        if is_async:
            transport = mount.AsyncCacheTransport(inner, store=store, policy=Policy(default="on", max_request_bytes=limit))
            return await acall(family.AsyncClient(transport=transport, trust_env=False), "POST", URL, content, (TYPE,))
        transport = mount.CacheTransport(inner, store=store, policy=Policy(default="on", max_request_bytes=limit))
        return call(family.Client(transport=transport, trust_env=False), "POST", URL, content, (TYPE,))

    replies = [await send(in_time() if is_async else iter(pieces)), await send(body)]

    says = ["fwd=miss; fwd-status=200; stored; key", "hit; ttl=86400; key"]
    assert [status_of(reply) for reply in replies] == (says if limit > 1_000 else ["fwd=bypass; detail=request-too-large"] * 2)
    assert bodies == [body] * (1 if limit > 1_000 else 2)


def Reading(family: Any, bodies: list[bytes]) -> Any:  # noqa: N802 - it stands for a class
    def answer(request: Any) -> Any:
        bodies.append(request.read())
        return family.Response(200, headers=list(JSON), content=ANSWER)

    return family.MockTransport(answer)


def AsyncReading(family: Any, bodies: list[bytes]) -> Any:  # noqa: N802
    async def answer(request: Any) -> Any:
        bodies.append(await request.aread())
        return family.Response(200, headers=list(JSON), content=ANSWER)

    return family.MockTransport(answer)


@BY_FAMILY
async def test_fifty_threads_share_a_transport_with_the_familys_own_inside(
    family: Any, mount: Any, switch: tuple[Switch, str]
) -> None:
    """P1, H7: over real connections; no thread is left."""
    app, url = switch
    app.target = upstream = Upstream()
    before = threading.active_count()

    def ask_all() -> list[Any]:
        with (
            family.Client(transport=mount.CacheTransport(store=MemoryStore()), trust_env=False) as client,
            ThreadPoolExecutor(50) as threads,
        ):
            return list(threads.map(lambda n: call(client, "POST", url + PATH, prompt(str(n % 5)), (TYPE,)), range(100)))

    replies = await anyio.to_thread.run_sync(ask_all)

    assert {(reply.status, reply.complete) for reply in replies} == {(200, True)}
    assert upstream.calls == 5
    assert threading.active_count() <= before + 1  # the one of anyio, at first


@BY_FAMILY
def test_one_transport_serves_two_event_loops_one_after_the_other(family: Any, mount: Any, switch: tuple[Switch, str]) -> None:
    """P5: with the family's own inside, which belongs to a loop."""
    app, url = switch
    app.target = upstream = Upstream()
    transport = mount.AsyncCacheTransport(store=MemoryStore())

    async def ask() -> list[str]:
        client = family.AsyncClient(transport=transport, trust_env=False)
        return [
            status_of(await acall(client, "POST", url + PATH, prompt(), (TYPE, (b"cachemw", mode))))
            for mode in (b"on", b"mode=refresh")
        ]

    says = [anyio.run(ask) for _ in range(2)]

    assert says[0] == ["fwd=miss; fwd-status=200; stored; key", "fwd=request; fwd-status=200; stored; key"]
    assert says[1] == ["hit; ttl=86400; key", "fwd=request; fwd-status=200; stored; key"]
    assert upstream.calls == 3


@BY_FAMILY
async def test_closing_it_closes_what_is_inside_and_a_store_of_its_own(
    family: Any, mount: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """May be called twice, and before first use."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    inner = inner_of(family, answering)
    sync, awaited = mount.CacheTransport(inner), mount.AsyncCacheTransport(inner)
    assert not list(tmp_path.iterdir())
    sync.handle_request(asking(family)).read()
    await (await awaited.handle_async_request(asking(family))).aread()

    for _ in range(2):
        sync.close()
        await awaited.aclose()

    assert inner.closed == 4
    assert sync._store.inline is Inline.NONE
    assert awaited._store.inline is Inline.NONE


@over_both
async def test_other_headers_are_in_the_key(mounted: Mounted) -> None:
    """K10: all that a request says reaches the API."""
    replies = [
        await mounted.ask("on", headers=fields)
        for fields in ((), ((b"x-tenant", b"7"),), ((b"openai-organization", b"o1"),), ((b"x-stainless-os", b"Linux"),))
    ]

    assert [status_of(reply).split(";")[0] for reply in replies] == ["fwd=miss"] * 3 + ["hit"]


@BY_FAMILY
def test_twenty_threads_try_an_api_that_refuses_twice_at_most(family: Any, mount: Any) -> None:
    """P1: however fast it refuses."""
    refusing = Refusing(lambda: family.ConnectError("refused"))
    transport = mount.CacheTransport(inner_of(family, refusing), store=Watched(refusing.gate))
    client = family.Client(transport=transport, trust_env=False)

    with ThreadPoolExecutor(20) as threads:
        replies = list(threads.map(lambda _: call(client, "POST", URL, prompt(), (TYPE,)), range(20)))

    assert {type(reply.error) for reply in replies} == {family.ConnectError}
    assert len({id(reply.error) for reply in replies}) == 20  # clients write in theirs
    assert refusing.attempts <= 2


@BY_FAMILY
async def test_twenty_tasks_try_an_api_that_refuses_twice_at_most(family: Any, mount: Any) -> None:
    """P1."""
    refusing, replies = Refusing(lambda: family.ConnectError("refused")), list[Reply]()
    inner = inner_of(family, refusing)
    handle, gate = inner.handle_async_request, refusing.gate

    async def handle_slowly(request: Any) -> Any:
        await gate.wait()
        await anyio.lowlevel.checkpoint()  # nothing is refused at once
        return await handle(request)

    inner.handle_async_request = handle_slowly
    transport = mount.AsyncCacheTransport(inner, store=Watched(gate))
    client = family.AsyncClient(transport=transport, trust_env=False)

    async def ask() -> None:
        replies.append(await acall(client, "POST", URL, prompt(), (TYPE,)))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)

    assert {type(reply.error) for reply in replies} == {family.ConnectError}
    assert refusing.attempts <= 2
