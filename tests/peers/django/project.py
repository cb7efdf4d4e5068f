"""What a Django project needs, in one file, for views that answer under WSGI or under ASGI."""

import django
from django.conf import settings
from django.http import HttpRequest, JsonResponse

from tests.peers.bot import here

bot = here()


def configure(urls: str) -> None:
    """Set up Django with the URL patterns of that module."""
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
        ROOT_URLCONF=urls,
        SECRET_KEY="of a test",
    )
    django.setup()


def calls(request: HttpRequest) -> JsonResponse:
    return JsonResponse(bot.calls())
