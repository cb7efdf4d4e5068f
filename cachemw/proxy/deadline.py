"""The time a client has."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl

from cachemw.core import limits


class Deadline:
    """Calls `passed` when so many seconds are over. It stands still while it is not the client that is waited for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        self._loop, self._passed = loop, passed
        self._left: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_held = False

    def set(self, seconds: float | None) -> None:
        """Begin anew; `None` is for ever."""
        self._stop()
        self._left = seconds
        self._go()

    def hold(self) -> None:
        """Let the time stand still."""
        self._is_held = True
        if self._timer is not None:
            self._left = max(0.0, self._timer.when() - self._loop.time())
            self._stop()

    def go_on(self) -> None:
        """Let it run on."""
        self._is_held = False
        self._go()

    def _go(self) -> None:
        if self._left is not None and not self._is_held and self._timer is None:
            self._timer = self._loop.call_later(self._left, self._passed)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class HoldingFlow(FlowControl):
    """uvicorn's flow control: a client that is not read from has all the time it takes us; one that does not read has not."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, deadline: Deadline) -> None:
        super().__init__(transport)
        self._deadline = deadline
        self.unread = Deadline(loop, transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.unread.set(limits.WRITE_TIME)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.unread.set(None)

    def pause_reading(self) -> None:
        super().pause_reading()
        self._deadline.hold()

    def resume_reading(self) -> None:
        super().resume_reading()
        self._deadline.go_on()
