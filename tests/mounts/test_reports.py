"""What hooks are told in every mount: of each exchange once, and what is true of it."""

import contextlib
from typing import Any

import anyio
import pytest

from cachemw import ExchangeReport, MemoryStore, Policy
from cachemw.asgi import CacheMiddleware
from cachemw.messages import Request
from cachemw.upstreams import HttpUpstream
from tests.asgi_driver import call
from tests.mounts.conftest import Mounted, Switch
from tests.mounts.inner_transports import BY_FAMILY, BY_KIND, answered, answering, asking, inner_of, transport_of
from tests.mounts.mounting import AROUND_AN_APP, PATH
from tests.upstream import Asked, Told, Upstream, prompt

pytestmark = pytest.mark.anyio


class Stopped(BaseException):
    """What ends a task, or a thread, from outside."""


async def test_an_exchange_that_is_stopped_before_its_script_says_anything_is_told_of_once(mounted: Mounted) -> None:
    """E1, P5: with what is known of every request."""

    def stop(request: Request) -> bytes:
        raise Stopped

    mounted.mount(Policy(partition=stop))

    with pytest.raises(Stopped):
        await mounted.ask("on")

    (report,) = mounted.reports
    assert (report.opted_in, report.endpoint, report.bytes_in) == (True, "chat", len(prompt()))
    assert report.target is not None
    assert (report.hit, report.fwd, report.status, report.attempts) == (False, None, None, 0)


@pytest.mark.parametrize("mounted", AROUND_AN_APP, indirect=True)
async def test_an_app_that_raises_where_nothing_is_kept_is_told_of(mounted: Mounted) -> None:
    """E1, H10: its exception is its server's to hear."""

    def fall_over(asked: Asked) -> Told:
        raise ValueError("oh")

    mounted.upstream.respond = fall_over

    with contextlib.suppress(ValueError):
        await mounted.ask("on", prompt(store=True))

    assert [(report.outcome, report.stored, report.attempts) for report in mounted.reports] == [("bypass", False, 1)]


@BY_FAMILY
@BY_KIND
@pytest.mark.parametrize(
    ("name", "word"), [("ConnectError", "unreachable"), ("ConnectTimeout", "timeout"), ("ReadTimeout", "timeout")]
)
async def test_a_request_that_passes_fails_in_the_words_of_one_that_opted_in(
    family: Any, mount: Any, is_async: bool, name: str, word: str
) -> None:
    """E1."""
    told: list[ExchangeReport] = []
    failing = inner_of(family, lambda request: getattr(family, name)("no"))

    for default in ("on", "off"):
        transport = transport_of(mount, is_async, failing, policy=Policy(default=default), hooks=[told.append])
        with pytest.raises(getattr(family, name)):
            await answered(transport, asking(family))

    assert [(report.outcome, report.details) for report in told] == [("miss", (word,)), ("passed", (word,))]


@BY_FAMILY
async def test_a_request_that_passes_and_is_cancelled_reached_its_upstream(family: Any, mount: Any) -> None:
    """E1, P5: it is its client who has left."""
    told, reached = list[ExchangeReport](), anyio.Event()
    inner = inner_of(family, answering)

    async def hang(request: Any) -> None:
        reached.set()
        await anyio.sleep_forever()

    inner.handle_async_request = hang
    transport = transport_of(mount, True, inner, policy=Policy(default="off"), hooks=[told.append])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.handle_async_request, asking(family))
        await reached.wait()
        tasks.cancel_scope.cancel()

    assert [(report.outcome, report.details) for report in told] == [("passed", ("client-left",))]


@pytest.mark.parametrize(
    ("control", "target"),
    [
        pytest.param((b"cachemw", b"on"), "cerebras/m", id="read"),
        pytest.param((b"cachemw", b"off"), "cerebras", id="passed"),
        pytest.param((b"cachemw", b"ttl=soon"), "cerebras", id="refused"),
    ],
)
async def test_a_named_provider_is_called_by_its_name_whatever_was_read(
    control: tuple[bytes, bytes], target: str, switch: tuple[Switch, str]
) -> None:
    """B5."""
    told: list[ExchangeReport] = []
    app, url = switch
    app.target = Upstream()
    upstream = HttpUpstream(url + "/v1", provider="cerebras")
    mount = CacheMiddleware(app, upstream=upstream, store=MemoryStore(), hooks=[told.append])

    await call(mount, "POST", PATH, prompt(), ((b"content-type", b"application/json"), control))
    await mount.aclose()

    assert [report.target for report in told] == [target]
