"""Real servers on loopback: in the running event loop, so that tests can hold them at barriers, or in a thread."""

import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator

import anyio
import uvicorn
from starlette.types import ASGIApp


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an app from the running (asyncio) event loop; gives `http://127.0.0.1:port`."""
    with _listening() as listener:
        server = uvicorn.Server(_config(app))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server._serve, [listener])  # `serve` would take the signals over
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await anyio.sleep(0.002)
            try:
                yield _url(listener)
            finally:
                server.should_exit = True


@contextlib.contextmanager
def serving_in_thread(app: ASGIApp) -> Iterator[str]:
    """Serve an app from a thread of its own; gives `http://127.0.0.1:port`."""
    with _listening() as listener:
        server = uvicorn.Server(_config(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.002)
        try:
            yield _url(listener)
        finally:
            server.should_exit = True
            thread.join()


async def settled() -> None:
    """Wait until every other task of this event loop waits.

    anyio's own function looks ten times a second, and a server that runs in the loop wakes as often: once they do so together,
    it is never seen waiting. So we look again at other moments.
    """
    with anyio.fail_after(10):
        while True:
            with anyio.move_on_after(0.03):
                return await anyio.wait_all_tasks_blocked()


@contextlib.contextmanager
def nobody_there() -> Iterator[str]:
    """Give a URL at which nobody listens, and nobody else can."""
    with _listening() as silent:
        yield _url(silent)


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_level="critical", server_header=False, date_header=False, timeout_graceful_shutdown=1, loop="asyncio"
    )


@contextlib.contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:  # else asyncio does not turn Nagle off for what it accepts
        listener.bind(("127.0.0.1", 0))
        yield listener


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"
