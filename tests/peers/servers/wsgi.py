"""Cachemw on a WSGI server: around the bot, or with the upstream that the environment names."""

import json
import os
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication
from wsgiref.validate import validator

from cachemw.wsgi import CacheMiddleware
from tests.peers.bot import Bot, Chat, here, mounted
from tests.peers.noting import noted_wsgi

Environ = dict[str, Any]

local = threading.local()


class WsgiBot:
    """Answers chat requests, and says at `/calls` how many there were."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/calls":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self._bot.calls()).encode()]
        length = int(environ.get("CONTENT_LENGTH") or -1)  # these servers' input ends where the body does
        chat = self._bot.chat(json.loads(environ["wsgi.input"].read(length)))
        if not local.__dict__.get("is_served"):
            chat.note("elsewhere")
        if chat.kind == "late":
            return Body(chat, late(chat, start_response))
        start_response("200 OK", [("Content-Type", chat.media_type)])
        return Body(chat, chat.told())


def late(chat: Chat, start_response: StartResponse) -> Generator[bytes, None, None]:
    """Answer, and begin only when somebody reads."""
    start_response("200 OK", [("Content-Type", chat.media_type)])
    yield from chat.told()


class Body:
    """An answer that notes when it is closed, also where it was never begun."""

    def __init__(self, chat: Chat, parts: Generator[bytes, None, None]) -> None:
        self._chat, self._parts = chat, parts

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        self._parts.close()
        self._chat.note("closed")


def signed(app: WSGIApplication) -> WSGIApplication:
    """Say in every answer which process it is from, and mark the server's thread."""

    def sign(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def signing(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            return start_response(status, [*headers, ("X-Process", str(os.getpid()))], *exc_info)

        local.is_served = True
        return app(environ, signing)

    return sign


app = signed(validator(noted_wsgi(CacheMiddleware(validator(WsgiBot(here())), **mounted()))))
