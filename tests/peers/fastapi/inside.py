"""FastAPI, with cachemw around an app that is mounted in another one."""

from fastapi import FastAPI
from fastapi.responses import Response, StreamingResponse

from cachemw.asgi import CacheMiddleware
from tests.peers.bot import here, mounted
from tests.peers.noting import noted_asgi

bot = here()
app, inner = FastAPI(), FastAPI()


@inner.post("/v1/chat/completions")
def answer(asked: dict[str, object]) -> Response:
    chat = bot.chat(asked)
    return StreamingResponse(chat.told(), media_type=chat.media_type)


app.mount("/{tenant}", noted_asgi(CacheMiddleware(inner, **mounted())))
