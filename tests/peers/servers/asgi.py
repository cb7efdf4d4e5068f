"""Cachemw on an ASGI server: around the bot, or with the upstream that the environment names."""

import os

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw.asgi import CacheMiddleware
from tests.peers.asgi_bot import asgi_app
from tests.peers.bot import here, mounted
from tests.peers.noting import noted_asgi


def signed(app: ASGIApp) -> ASGIApp:
    """Say in every answer which process it is from."""

    async def sign(scope: Scope, receive: Receive, send: Send) -> None:
        async def signing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-process", b"%d" % os.getpid())]}
            await send(message)

        await app(scope, receive, signing if scope["type"] == "http" else send)

    return sign


app = signed(noted_asgi(CacheMiddleware(asgi_app(here()), **mounted())))
