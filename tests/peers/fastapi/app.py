"""FastAPI, with cachemw around its own answers or with the upstream that the environment names."""

from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from cachemw.asgi import CacheMiddleware
from tests.peers.bot import here, mounted
from tests.peers.noting import noted_asgi

bot = here()
app = FastAPI()
app.add_middleware(CacheMiddleware, **mounted())
app.add_middleware(noted_asgi)


class Message(BaseModel):
    role: str
    content: str


class Asked(BaseModel):
    messages: list[Message]
    stream: bool = False


@app.post("/v1/chat/completions")
def answer(asked: Asked, afterwards: BackgroundTasks) -> Response:
    chat = bot.chat(asked.model_dump())
    afterwards.add_task(chat.note, "afterwards")
    return StreamingResponse(chat.told(), media_type=chat.media_type)


@app.get("/calls")
def calls() -> dict[str, int]:
    return bot.calls()
