"""The ASGI side: read a body, act out a script, and stop when the client leaves."""

from contextlib import suppress

import anyio
from starlette.types import Receive, Send

from cachemw.simulator.script import Begin, Finish, Script, Wait, Write

REQUEST_LIMIT_BYTES = 64 * 1024 * 1024


class TooLargeError(Exception):
    """The request's body is over the limit; the rest of it is not read."""


async def read_body(receive: Receive) -> bytes | None:
    """Return the request's body; None if the client left before its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > REQUEST_LIMIT_BYTES:
            raise TooLargeError
        if not message.get("more_body", False):
            return bytes(body)


async def act(script: Script, receive: Receive, send: Send) -> None:
    """Act out a script while the client is there to see it."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_when_client_leaves, tasks.cancel_scope, receive)
        with suppress(OSError):  # `send` may raise it once the client has left
            await _act_out(script, send)
        tasks.cancel_scope.cancel()


async def _act_out(script: Script, send: Send) -> None:
    for step in script:
        match step:
            case Begin(status, headers):
                await send({"type": "http.response.start", "status": status, "headers": list(headers)})
            case Wait(seconds):
                await anyio.sleep(seconds)
            case Write(chunk):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            case Finish():
                await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _cancel_when_client_leaves(scope: anyio.CancelScope, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
