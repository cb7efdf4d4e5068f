"""The bot as an ASGI app: on servers, and as the upstream of those that are beside one."""

from contextlib import aclosing

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.peers.bot import Bot, Chat


def asgi_app(bot: Bot) -> Starlette:
    """Return an app that answers chat requests, and says at `/calls` how many there were."""

    def calls(_: Request) -> JSONResponse:
        return JSONResponse(bot.calls())

    chat = Route("/v1/chat/completions", endpoint=AsgiChat(bot), methods=["POST"])
    return Starlette(routes=[chat, Route("/calls", calls)])


class AsgiChat:
    """Answers one kind of request with no help of a framework's; ends its answer when it is told that the client has left."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chat = self._bot.chat(await Request(scope, receive).json())
        fields = [(b"content-type", chat.media_type.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, receive, chat, tasks.cancel_scope)
            await self._send(chat, send)
            tasks.cancel_scope.cancel()

    async def _watch(self, receive: Receive, chat: Chat, answering: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        chat.note("left")
        answering.cancel()

    async def _send(self, chat: Chat, send: Send) -> None:
        try:
            async with aclosing(chat.told_async()) as parts:
                async for part in parts:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:
            chat.note("refused")
