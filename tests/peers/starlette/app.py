"""Starlette, with cachemw around its own answers or with the upstream that the environment names."""

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cachemw.asgi import CacheMiddleware
from tests.peers.bot import here, mounted
from tests.peers.noting import noted_asgi

bot = here()


async def answer(request: Request) -> Response:
    chat = bot.chat(await request.json())
    return StreamingResponse(chat.told_async(), media_type=chat.media_type, background=BackgroundTask(chat.note, "afterwards"))


async def calls(_: Request) -> Response:
    return JSONResponse(bot.calls())


app = Starlette(
    routes=[Route("/v1/chat/completions", answer, methods=["POST"]), Route("/calls", calls)],
    middleware=[Middleware(noted_asgi), Middleware(CacheMiddleware, **mounted())],
)
