"""`python -m benchmarks.routed FILE KIND DIRECTORY`: a route of Starlette's for an answer, bare or with us around it."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from benchmarks.asking import PATH
from benchmarks.bare import Answer
from cachemw.asgi import CacheMiddleware
from cachemw.cli.listening import listen, url_of
from cachemw.cli.serve import configured, run
from cachemw.stores import DiskStore, MemoryStore, Store


def app(answer: Answer, store: Store | None) -> ASGIApp:
    """Return the app."""
    headers, body = dict(answer.headers), "".join(answer.pieces).encode()

    async def respond(request: Request) -> Response:
        await request.body()
        return Response(body, headers=headers)

    around = [] if store is None else [Middleware(CacheMiddleware, name="benchmarks", store=store)]
    return Starlette(routes=[Route(PATH, respond, methods=["POST"])], middleware=around)


def main() -> None:
    file, kind, directory = sys.argv[1:]
    stores: Mapping[str, Callable[[], Store]] = {"memory": MemoryStore, "disk": partial(DiskStore, directory)}
    store = stores[kind]() if kind else None
    with listen("127.0.0.1", 0) as listener:
        said = f"the app listens on {url_of(listener)}"
        run(configured(app(Answer.read(Path(file)), store), "warning"), listener, partial(print, said, flush=True))


if __name__ == "__main__":
    main()
