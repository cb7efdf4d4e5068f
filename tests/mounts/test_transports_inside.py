"""The transports, and what is inside of them: one that reads or signs, one that fails, one for each process."""

import gc
import gzip
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio.lowlevel
import pytest

from cachemw import ExchangeReport, MemoryStore
from tests.mounts.inner_transports import (
    ANSWER,
    BY_FAMILY,
    BY_KIND,
    Refusing,
    Watched,
    answered,
    answering,
    asking,
    inner_of,
    says,
    transport_of,
)
from tests.upstream import EVENT_STREAM, JSON, prompt, stream_events

pytestmark = pytest.mark.anyio

EMBEDDINGS = "https://api.example/v1/embeddings"


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body[:9]
    yield body[9:]


def reading_inner(family: Any, headers: Any, body: bytes) -> Any:
    """Return a transport that reads its responses before it gives them away: those can be read no second time."""

    class Inner(family.BaseTransport, family.AsyncBaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            response = family.Response(200, headers=list(headers), content=iter([body[:9], body[9:]]))
            response.read()
            return response

        async def handle_async_request(self, request: Any) -> Any:
            response = family.Response(200, headers=list(headers), content=in_pieces(body))
            await response.aread()
            return response

    return Inner()


@BY_FAMILY
@BY_KIND
@pytest.mark.parametrize("coding", [None, b"gzip"])
async def test_what_is_inside_may_have_read_the_response(family: Any, mount: Any, is_async: bool, coding: bytes | None) -> None:
    """H9: loggers and retriers do; then it is decoded, too."""
    sent = ANSWER if coding is None else gzip.compress(ANSWER)
    fields = [(b"content-length", b"%d" % len(sent)), *([] if coding is None else [(b"content-encoding", coding)])]
    transport = transport_of(mount, is_async, reading_inner(family, (*JSON, *fields), sent))

    miss, hit = [await answered(transport, asking(family)) for _ in range(2)]

    assert [says(miss), says(hit)] == ["miss", "hit"]
    assert miss.content == hit.content == ANSWER
    assert miss.extensions["cachemw"].stored
    assert "content-encoding" not in miss.headers


@BY_FAMILY
@BY_KIND
@pytest.mark.parametrize("control", ["on", "mode=refresh", "off"])
@pytest.mark.parametrize("url", [None, EMBEDDINGS], ids=["chat", "not chat"])
async def test_what_is_inside_can_read_the_request(
    family: Any, mount: Any, is_async: bool, control: str, url: str | None
) -> None:
    """H2: who signs it does."""
    contents: list[bytes] = []

    def answer(request: Any) -> Any:
        contents.append(request.content)
        return answering(request)

    sent = family.Request("POST", url or asking(family).url, content=prompt(), headers={"cachemw": control})

    response = await answered(transport_of(mount, is_async, inner_of(family, answer)), sent)

    assert contents == [prompt()]
    assert response.content == ANSWER


@BY_FAMILY
async def test_a_response_that_is_dropped_leaves_nothing_behind(family: Any, mount: Any) -> None:
    """H7, P3: a client may forget to close it."""
    told: list[ExchangeReport] = []
    inner = inner_of(family, lambda request: (EVENT_STREAM, stream_events(), None))
    transport = transport_of(mount, True, inner, hooks=[told.append])
    table = transport.driver.flights.here()

    async def read_one() -> None:
        response = await transport.handle_async_request(asking(family, prompt(stream=True)))
        async for _ in response.aiter_raw():
            break
        assert table.held > 0

    await read_one()
    gc.collect()
    for _ in range(5):
        await anyio.lowlevel.checkpoint()

    assert [(report.stored, report.details) for report in told] == [(False, ("client-left",))]
    assert (table.held, inner.body.closed) == (0, 1)


def refusal_of(family: Any, name: str) -> Callable[[], Exception]:
    """Return what makes an exception, with a cause; one has a constructor that asks for more than a message."""

    class NoRouteError(family.ConnectError):  # type: ignore[misc]
        def __init__(self, host: str, port: int) -> None:
            super().__init__(f"no route to {host}:{port}")
            self.host = host

    def refusal() -> Exception:
        error: Exception = OSError(113, "no route") if name == "OSError" else NoRouteError("api.example", 443)
        error.__cause__ = ValueError("the root of it")
        return error

    return refusal


REFUSALS = pytest.mark.parametrize("name", ["OSError", "one of its own"])


@BY_FAMILY
@BY_KIND
@REFUSALS
async def test_any_exception_of_what_is_inside_is_raised_as_itself(family: Any, mount: Any, is_async: bool, name: str) -> None:
    """P5, H10."""
    error = refusal_of(family, name)()

    with pytest.raises(type(error)) as raised:
        await answered(transport_of(mount, is_async, inner_of(family, lambda request: error)), asking(family))

    assert raised.value is error
    assert isinstance(error.__cause__, ValueError)


@BY_FAMILY
@REFUSALS
def test_twenty_threads_share_any_refusal_and_each_has_a_copy(family: Any, mount: Any, name: str) -> None:
    """P1: with its cause, and all that it says; for clients write in theirs."""
    refusing = Refusing(refusal_of(family, name))
    transport = mount.CacheTransport(inner_of(family, refusing), store=Watched(refusing.gate))

    def refused(_: int) -> Exception:
        try:
            transport.handle_request(asking(family))
        except Exception as exc:  # noqa: BLE001 - whatever it is
            return exc
        raise AssertionError("it was not refused")

    with ThreadPoolExecutor(20) as threads:
        errors = list(threads.map(refused, range(20)))

    example = refusal_of(family, name)()
    assert refusing.attempts <= 2
    assert len({id(error) for error in errors}) == 20
    assert {(type(error).__name__, str(error)) for error in errors} == {(type(example).__name__, str(example))}
    assert {repr(error.__cause__) for error in errors} == {repr(example.__cause__)}
    assert {getattr(error, "host", None) for error in errors} == {getattr(example, "host", None)}


@BY_FAMILY
def test_a_forked_child_has_connections_of_its_own(family: Any, mount: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """D3: who closes it closes those of its own process alone."""
    made: list[Any] = []

    def make() -> Any:
        made.append(inner_of(family, answering))
        return made[-1]

    monkeypatch.setattr(family, "HTTPTransport", make)
    transport = mount.CacheTransport(store=MemoryStore())
    for number, process in enumerate((1, 2, 1, 2)):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        transport.handle_request(asking(family, prompt(str(number)))).read()

    transport.close()

    assert [len(inner.requests) for inner in made] == [2, 2]
    assert [inner.closed for inner in made] == [0, 1]


@BY_FAMILY
@pytest.mark.parametrize("is_forked", [False, True], ids=["the same process", "a forked child"])
def test_a_forked_child_does_not_wait_for_what_its_parent_reads(
    family: Any, mount: Any, is_forked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: that never lands there."""
    parents = os.getpid()
    nested: list[str] = []

    def answer(request: Any) -> Any:
        if not nested:
            nested.append("")
            monkeypatch.setattr(os, "getpid", lambda: parents + is_forked)
            nested[:] = [_waiting_for(family, transport)]
            monkeypatch.setattr(os, "getpid", lambda: parents)
        return answering(request)

    transport = mount.CacheTransport(inner_of(family, answer), store=MemoryStore())
    transport.handle_request(asking(family)).read()

    assert nested == ["" if is_forked else "ReadTimeout"]


def _waiting_for(family: Any, transport: Any) -> str:
    """Ask for the same within a moment; return by what it fails."""
    request = asking(family)
    request.extensions["timeout"] = {"read": 0.02}
    try:
        transport.handle_request(request).read()
    except family.ReadTimeout as exc:
        return type(exc).__name__
    return ""
