"""Flask, with cachemw around its own answers or with the upstream that the environment names."""

from collections.abc import Iterator

from flask import Flask, Response, g, request, stream_with_context

from cachemw.wsgi import CacheMiddleware
from tests.peers.bot import Chat, here, mounted
from tests.peers.noting import noted_wsgi

bot = here()
app = Flask(__name__)
app.wsgi_app = noted_wsgi(CacheMiddleware(app.wsgi_app, **mounted()))


@app.post("/v1/chat/completions")
def answer() -> Response:
    g.chat = bot.chat(request.get_json())
    return Response(stream_with_context(told(g.chat)), content_type=g.chat.media_type)


def told(chat: Chat) -> Iterator[bytes]:
    """Give the answer, and note where it is not read in the context of its request."""
    for part in chat.told():
        if g.chat is not chat or request.get_json()["messages"][-1]["content"] != chat.prompt:
            chat.note("elsewhere")
        yield part


@app.get("/calls")
def calls() -> dict[str, int]:
    return bot.calls()
