"""Told to stop, by a timeout around us or by a signal to the server, we stop, whatever is under way."""

import asyncio
import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import SocketStream
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.real import shutting
from tests.real.grounds import CLOSE, Ground, listening
from tests.real.leaving import (
    BEFORE_THE_HEAD,
    MID_STREAM,
    MOUNTS,
    PROMPTLY,
    WAITING_FOR_JSON,
    Held,
    Point,
    calling,
    come_to,
    hear,
    staged,
)
from tests.serving import serving, until
from tests.thorough import THOROUGH
from tests.upstream import EVENT_STREAM, Told, Upstream, always, prompt

pytestmark = pytest.mark.anyio

ROOT = Path(shutting.__file__).parents[2]
STARTS = 30.0
ENDS = 15.0
"""Seconds within which a server ends whose grace is one, however busy the machine: who waits for its clients ends never."""
SERVERS = {
    "uvicorn": "uvicorn tests.real.shutting:app --fd {fd} --timeout-graceful-shutdown 1 --log-level warning",
    "hypercorn": "hypercorn tests.real.shutting:app --bind fd://{fd} --graceful-timeout 1 --workers 0 --log-level warning",
}
ROWS = [
    ("uvicorn", 20, 5, "proxy"),
    ("hypercorn", 20, 5, "proxy"),
    ("uvicorn", 50, 0, "around-an-app"),
    ("hypercorn", 50, 0, "around-an-app"),
    ("uvicorn", 50, 0, "proxy"),
    ("hypercorn", 50, 0, "proxy"),
]
LEAKS = ("Unclosed", "was destroyed", "never retrieved", "never awaited")


class Timed:
    """Puts a timeout around an app, which is over when the test says so, and notes how long the app goes on then."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self._timeout = asyncio.timeout(None)

    def around(self, app: ASGIApp) -> ASGIApp:
        async def timed(scope: Scope, receive: Receive, send: Send) -> None:
            with contextlib.suppress(TimeoutError):
                async with self._timeout:
                    await app(scope, receive, send)
            self.took.append(anyio.current_time() - (self._timeout.when() or math.inf))

        return timed

    def be_over(self) -> None:
        self._timeout.reschedule(anyio.current_time())


@pytest.mark.parametrize("point", [BEFORE_THE_HEAD, MID_STREAM, WAITING_FOR_JSON], ids=lambda point: point.name)
@pytest.mark.parametrize("mount", MOUNTS)
async def test_a_timeout_around_us_is_obeyed_at_once(ground: Ground, mount: str, point: Point) -> None:
    """P5: though what a client leaves would be finished; and the upstream is left too."""
    timed, held = Timed(), Held(point)

    async with staged(ground, "uvicorn", mount, held, around=timed.around) as scene:
        async with calling(scene.url, point.request(), "on, abandon=finish") as stream:
            await come_to(scene, held, stream)
            timed.be_over()
            await until(lambda: bool(timed.took))
            with anyio.fail_after(PROMPTLY):
                await held.left.wait()
        assert scene.records == 0

    assert held.calls == 1
    assert 0 <= timed.took[0] < 1


async def test_an_app_that_listens_to_nobody_is_cancelled(ground: Ground) -> None:
    """H3: a second after it was told that its client left."""
    async with staged(ground, "uvicorn", "around-an-app", shutting.hanging) as scene:
        async with calling(scene.url, MID_STREAM.request(), "on, abandon=cancel") as stream:
            await hear(stream, MID_STREAM.until)
        await until(lambda: not scene.table, PROMPTLY)
        assert not scene.reports  # it has its second
        await until(lambda: bool(scene.reports), PROMPTLY)

    assert scene.reports[0].abandoned == "cancel"


@contextlib.contextmanager
def running(server: str, upstream: str | None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server in a process of its own; gives its URL. It need not have begun to accept."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({shutting.UPSTREAM: upstream} if upstream else {})}
    with listening() as (listener, url):
        listener.listen(128)
        command = [sys.executable, "-m", *SERVERS[server].format(fd=listener.fileno()).split()]
        process = subprocess.Popen(
            command, pass_fds=[listener.fileno()], env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        listener.close()
        with process:
            try:
                yield process, url
            finally:
                process.kill()  # where it has not ended, which is then no success


async def opened(url: str, number: int, stack: contextlib.AsyncExitStack) -> SocketStream:
    """Open a stream, and read the first of it."""
    with anyio.fail_after(STARTS):
        stream = await stack.enter_async_context(calling(url, prompt(f"stream {number}", stream=True)))
        await hear(stream, b"hello ")
    return stream


async def leave_behind(url: str, count: int) -> None:
    """Let as many clients leave, and see that their answers are read on."""
    for number in range(count):
        async with contextlib.AsyncExitStack() as stack:
            await opened(url, 1000 + number, stack)
    async with httpx.AsyncClient(base_url=url, trust_env=False, verify=False, headers=CLOSE) as client:
        with anyio.fail_after(STARTS):
            while (await client.get(shutting.DETACHED)).json() != count:  # noqa: ASYNC110 - it is in another process
                await anyio.sleep(0.01)


async def end(process: subprocess.Popen[str]) -> tuple[float, str]:
    """Send SIGTERM; return how long it took to end, and what it said."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = await anyio.to_thread.run_sync(lambda: process.communicate(timeout=20))
    return time.monotonic() - began, said


@pytest.mark.parametrize(("server", "open_streams", "detached", "mount"), ROWS if THOROUGH else ROWS[:3])
async def test_a_server_ends_within_its_grace(server: str, open_streams: int, detached: int, mount: str) -> None:
    """P5, H6: by SIGTERM alone, with a second of grace."""
    if server == "hypercorn" and sys.version_info >= (3, 12):
        pytest.skip("hypercorn 0.18 waits there, before its grace begins, until every client has left, whatever the app")
    upstream = Upstream(always(Told([shutting.FIRST, anyio.Event()], headers=EVENT_STREAM)))

    async with serving(upstream) as upstream_url, contextlib.AsyncExitStack() as stack:
        with running(server, upstream_url + "/v1" if mount == "proxy" else None) as (process, url):
            streams = [await opened(url, number, stack) for number in range(open_streams)]
            await leave_behind(url, detached)
            seconds, said = await end(process)
            rests = [await rest_of(stream) for stream in streams]

    assert seconds < ENDS
    assert process.returncode in (0, -signal.SIGTERM)
    assert not any(leak in said for leak in LEAKS), said
    assert not any(b"[DONE]" in rest or rest.endswith(b"0\r\n\r\n") for rest in rests)  # nobody is shown an end
    assert upstream.calls == (open_streams + detached if mount == "proxy" else 0)


async def rest_of(stream: SocketStream) -> bytes:
    """Read to the end."""
    rest = b""
    with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError), anyio.fail_after(PROMPTLY):
        while True:
            rest += await stream.receive()
    return rest
