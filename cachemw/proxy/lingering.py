"""A connection that is closed while its client is still sending (RFC 9112 §9.6)."""

import asyncio
from collections.abc import Callable
from typing import Any

from cachemw.core import limits


class LingeringTransport:
    """Sends no more when it is closed, and for a while takes what comes: else the answer is lost with the connection.

    `is_read_out` says whether nothing more is to come, so that there is nothing to wait for.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, is_read_out: Callable[[], bool]) -> None:
        self._transport, self._loop, self._is_read_out = transport, loop, is_read_out
        self._is_lingering = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._is_lingering or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if self._is_read_out() or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._is_lingering = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(limits.LINGER_TIME, self._transport.close)
