"""The end of a server: it says what it waits for, waits for so long, and breaks off what then is still under way."""

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType

from uvicorn import Config, Server
from uvicorn.supervisors import Multiprocess, multiprocess

LOOKS = 0.05
"""Seconds between two looks at what is under way."""

PARTING = 1.0
"""Seconds that a request which is broken off has to say so."""

_ENDLESS = "ASGI callable returned without completing response."
"""The words in which uvicorn calls an answer that is broken off a fault of the app."""


class EndingServer(Server):
    """uvicorn's server, but that SIGTERM and the first SIGINT begin its end, and SIGINT then ends it at once.

    No signal is raised again when it is over. What it says goes to standard error, each line beginning with `name`.
    """

    def __init__(self, config: Config, name: str = "") -> None:
        super().__init__(config)
        self._name = name

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, let what is under way come to its end, or else break it off; then close all there is."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)  # those that are closed are gone then
        if self.server_state.tasks:
            self._say(f"waiting for {_answers(len(self.server_state.tasks))}, Ctrl-C again to end at once")
        await self._wait()
        await self._break_off()
        await self.lifespan.shutdown()

    async def _wait(self) -> None:
        loop, state = asyncio.get_running_loop(), self.server_state
        grace = self.config.timeout_graceful_shutdown
        until = math.inf if grace is None else loop.time() + grace
        while (state.tasks or state.connections) and not self.force_exit and loop.time() < until:  # noqa: ASYNC110 - none tells
            await asyncio.sleep(LOOKS)

    async def _break_off(self) -> None:
        if not self.server_state.tasks:
            return
        tasks = set(self.server_state.tasks)
        self._say(f"{_answers(len(tasks))} broken off")
        with _unblamed():
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=PARTING)
            await asyncio.sleep(LOOKS)  # what they said last leaves

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody may be left who reads it
            print(self._name + line, file=sys.stderr, flush=True)


def _answers(count: int) -> str:
    return f"{count} answer{'' if count == 1 else 's'}"


@contextlib.contextmanager
def _unblamed() -> Iterator[None]:
    """Keep out of the log meanwhile that uvicorn finds fault with answers that have no end: we broke them off."""

    def passes(record: logging.LogRecord) -> bool:
        is_cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
        return record.msg != _ENDLESS and not is_cancelled

    log = logging.getLogger("uvicorn.error")
    log.addFilter(passes)
    try:
        yield
    finally:
        log.removeFilter(passes)


class Worker(multiprocess.Process):
    """One process of several; Ctrl-C in a terminal is told to each of them."""

    @property
    def server(self) -> Server:
        """Return its server, made in the process itself."""
        if self._server is None:
            self._server = EndingServer(self.config, f"worker {os.getpid()}: ")
        return self._server

    def start(self) -> None:
        """Start it. Ctrl-C waits until it can end in order: while it imports it could only break."""
        resource_tracker.ensure_running()  # which lets signals through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, in the process itself."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.server.handle_exit)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        super().target(sockets)


class _Exit(threading.Event):
    """Is set when all is to end; who waits for that goes on, too, when a signal is there to be heard."""

    __repr__ = object.__repr__

    def __init__(self, signals: list[int]) -> None:
        super().__init__()
        self._signals = signals

    def wait(self, timeout: float | None = None) -> bool:
        until = math.inf if timeout is None else time.monotonic() + timeout
        while not (self.is_set() or self._signals) and time.monotonic() < until:
            time.sleep(LOOKS)
        return self.is_set()


class Supervisor(Multiprocess):
    """uvicorn's parent of several processes, whose end is that of `EndingServer`."""

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        multiprocess.Process = Worker  # type: ignore[misc] # there is no other place to say of which class they are
        super().__init__(config, sockets)
        self.should_exit = _Exit(self.signal_queue)
        self._ends_at_once = False

    def handle_int(self) -> None:
        """Begin the end, and the second time end at once."""
        self._ends_at_once = self.should_exit.is_set()
        super().handle_int()

    def join_all(self) -> None:
        """Wait for all processes, and pass on that they are to end at once."""
        while any(worker.process.is_alive() for worker in self.processes):
            self.handle_signals()
            if self._ends_at_once:
                self._ends_at_once = False
                self._interrupt_all()
            time.sleep(LOOKS)
        super().join_all()

    def _interrupt_all(self) -> None:
        for worker in self.processes:
            if worker.process.is_alive() and worker.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGINT)
