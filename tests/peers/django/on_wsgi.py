"""Django under WSGI, with cachemw around its own answers or with the upstream that the environment names."""

import json
import threading
from collections.abc import Iterator

from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from cachemw.wsgi import CacheMiddleware
from tests.peers.bot import Chat, mounted
from tests.peers.django.project import bot, calls, configure
from tests.peers.noting import noted_wsgi

local = threading.local()


@csrf_exempt
def answer(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    local.chat = chat = bot.chat(json.loads(request.body))
    if not chat.is_stream:
        return HttpResponse(b"".join(chat.told()), content_type=chat.media_type)
    return StreamingHttpResponse(told(chat), content_type=chat.media_type)


def told(chat: Chat) -> Iterator[bytes]:
    """Give the answer, and note where it is not read in the thread of its request."""
    for part in chat.told():
        if local.__dict__.get("chat") is not chat:
            chat.note("elsewhere")
        yield part


urlpatterns = [path("v1/chat/completions", answer), path("calls", calls)]
configure(__name__)
app = noted_wsgi(CacheMiddleware(get_wsgi_application(), **mounted()))
