"""Starlette, with cachemw around one route of a mounted app: inside of sessions, of authentication, and of the routing."""

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from cachemw.asgi import CacheMiddleware
from tests.peers.bot import here, mounted
from tests.peers.noting import noted_asgi

bot = here()


class Everybody(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser]:
        return AuthCredentials(["authenticated"]), SimpleUser("ada")


async def answer(request: Request) -> Response:
    chat = bot.chat(await request.json())
    return StreamingResponse(chat.told_async(), media_type=chat.media_type)


cached = [Middleware(noted_asgi), Middleware(CacheMiddleware, **mounted())]
app = Starlette(
    routes=[Mount("/{tenant}", routes=[Route("/v1/chat/completions", answer, methods=["POST"], middleware=cached)])],
    middleware=[
        Middleware(SessionMiddleware, secret_key="of a test"),
        Middleware(AuthenticationMiddleware, backend=Everybody()),
    ],
)
