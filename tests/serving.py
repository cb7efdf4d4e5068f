"""Real servers on loopback: in the running event loop, so that tests can hold them at barriers, or in a thread."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import uvicorn
from starlette.types import ASGIApp

GRACE = 1.0
"""Seconds that answers under way have left when a server is to end."""


class Server(uvicorn.Server):
    """uvicorn's looks ten times a second whether it is to end, and then whether all is over; this one ends at once."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        await super().startup(sockets)

    def end(self) -> None:
        """Have it end, from any thread."""
        self._loop.call_soon_threadsafe(self._ending.set)

    async def main_loop(self) -> None:
        await self.on_tick(0)  # it makes the fields that every response has
        await self._ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            await until(lambda: not (self.server_state.connections or self.server_state.tasks), GRACE)
        for task in self.server_state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


@contextlib.asynccontextmanager
async def served_here(config: uvicorn.Config, listener: socket.socket) -> AsyncIterator[Server]:
    """Run a server in the running (asyncio) event loop."""
    server = Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server._serve, [listener])  # `serve` would take the signals over
        await until(lambda: server.started)
        try:
            yield server
        finally:
            server.end()


@contextlib.contextmanager
def served_in_thread(config: uvicorn.Config, listener: socket.socket) -> Iterator[Server]:
    """Run a server in a thread of its own."""
    server = Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.002)
    try:
        yield server
    finally:
        server.end()
        thread.join()


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an app from the running (asyncio) event loop; gives `http://127.0.0.1:port`."""
    with _listening() as listener:
        async with served_here(_config(app), listener):
            yield _url(listener)


@contextlib.contextmanager
def serving_in_thread(app: ASGIApp) -> Iterator[str]:
    """Serve an app from a thread of its own; gives `http://127.0.0.1:port`."""
    with _listening() as listener, served_in_thread(_config(app), listener):
        yield _url(listener)


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something that there is no event for. Raises `TimeoutError`."""
    with anyio.fail_after(seconds):
        while not holds():  # noqa: ASYNC110
            await anyio.sleep(0.002)


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
    return uvicorn.Config(app, log_level="critical", server_header=False, date_header=False, loop="asyncio")


@contextlib.contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:  # else asyncio does not turn Nagle off for what it accepts
        listener.bind(("127.0.0.1", 0))
        yield listener


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"
