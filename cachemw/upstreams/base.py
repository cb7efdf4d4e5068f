"""The upstream's port: who answers a miss, be it an HTTP upstream or a wrapped app."""

from collections.abc import Awaitable, Callable
from enum import Enum

from cachemw.core.messages import Head


class End(Enum):
    """The end of an answer's body."""

    END = "end"


END = End.END

Emit = Callable[[Head | bytes | End], Awaitable[None]]

Answer = Callable[[Emit], Awaitable[None]]
"""Emits the head, then chunks, then `END`. An HTTP upstream raises `UpstreamError`, an app what it likes."""

Forwarding = Callable[[bool], Answer]
"""Gives who answers one request; it is told whether the answer is recorded, and so must come without content coding."""
