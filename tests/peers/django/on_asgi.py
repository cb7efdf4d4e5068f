"""Django under ASGI, with cachemw around its own answers or with the upstream that the environment names."""

import json

from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from cachemw.asgi import CacheMiddleware
from tests.peers.bot import mounted
from tests.peers.django.project import bot, calls, configure
from tests.peers.noting import noted_asgi


@csrf_exempt
async def answer(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    chat = bot.chat(json.loads(request.body))
    if not chat.is_stream:
        return HttpResponse(b"".join([part async for part in chat.told_async()]), content_type=chat.media_type)
    return StreamingHttpResponse(chat.told_async(), content_type=chat.media_type)


urlpatterns = [path("v1/chat/completions", answer), path("calls", calls)]
configure(__name__)
app = noted_asgi(CacheMiddleware(get_asgi_application(), **mounted()))
