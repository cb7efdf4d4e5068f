"""Answers to clients of HTTP/1.0, which read no chunks: a body of unknown length ends where its connection does."""

import asyncio
import contextlib
import os
import socket
import struct
from typing import Any

from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from cachemw.messages import Headers, header_values
from cachemw.wire.fields import without

_AT_ONCE = struct.pack("ii", 1, 0)


class CloseDelimited:
    """An app, for one request of such a client: nothing of its answer is sent in chunks (RFC 9112 §6.1).

    uvicorn itself closes the connection behind it, whatever the client says of keeping it.
    """

    def __init__(self, app: Any, cycle: RequestResponseCycle) -> None:
        self._app, self._cycle = app, cycle
        self._is_sized = self._is_stream = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            await send(self._head(message) if message["type"] == "http.response.start" else self._piece(message))

        await self._app(scope, receive, sending)
        cycle = self._cycle
        if cycle.response_started and not (cycle.response_complete or self._is_sized or self._is_stream):
            _reset(cycle.transport)  # else what there is of it would be taken for all; of a stream its last event tells

    def _head(self, message: Message) -> Message:
        fields: Headers = tuple(message.get("headers", ()))
        self._is_sized = bool(header_values(fields, b"content-length"))
        self._is_stream = any(kind.startswith(b"text/event-stream") for kind in header_values(fields, b"content-type"))
        if not self._is_sized:
            self._cycle.chunked_encoding = False  # which uvicorn would choose
        return {**message, "headers": list(without(fields, (b"transfer-encoding",)))}

    def _piece(self, message: Message) -> Message:
        if not self._is_sized:
            self._cycle.expected_content_length = len(message.get("body", b""))  # uvicorn counts it off
        return message


def _reset(transport: asyncio.Transport) -> None:
    """Close a connection in such a way that its client hears of an error, and not of an end."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()
