"""Servers of two makes in the running event loop, for an upstream and for us, and what may be around us on them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass

import anyio
import httpx
import uvicorn
from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.real.proxied import PATIENCE, Switch
from tests.serving import served_here
from tests.serving import until as until

CLOSE = {"connection": "close"}  # hypercorn minds one that could go on for `keep_alive_timeout`, though its client left it


@dataclass(frozen=True, slots=True)
class Ground:
    """Servers that stay: the upstream's, whose connections can be counted, and those that we are on."""

    upstream: Switch
    upstream_url: str
    sockets: Callable[[], int]
    fronts: Mapping[str, tuple[Switch, str]]
    client: httpx.AsyncClient


@contextlib.asynccontextmanager
async def grounded() -> AsyncIterator[Ground]:
    """Start the servers, and stop them."""
    upstream, on_first, on_second = Switch(), Switch(), Switch()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with (
        on_uvicorn(upstream) as (upstream_url, sockets),
        on_uvicorn(on_first) as (first_url, _),
        on_hypercorn(on_second) as second_url,
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE, limits=limits) as client,
    ):
        fronts = {"uvicorn": (on_first, first_url), "hypercorn": (on_second, second_url)}
        yield Ground(upstream, upstream_url, sockets, fronts, client)


@contextlib.asynccontextmanager
async def on_uvicorn(app: ASGIApp) -> AsyncIterator[tuple[str, Callable[[], int]]]:
    """Serve an app from the running event loop; gives its URL, and how many connections it has."""
    with listening() as (listener, url):
        config = uvicorn.Config(app, log_level="critical", lifespan="off")
        async with served_here(config, listener) as server:
            yield url, lambda: len(server.server_state.connections)


@contextlib.asynccontextmanager
async def on_hypercorn(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an app from the running event loop; gives its URL."""
    config = Config()
    config.graceful_timeout, config.keep_alive_timeout, config.errorlog = 1, 1, None
    ending = asyncio.Event()
    with listening() as (listener, url):
        listener.listen()  # it is served as soon as it is accepted
        config.bind = [f"fd://{listener.detach()}"]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: serve(app, config, shutdown_trigger=ending.wait, mode="asgi"))  # type: ignore[arg-type]
            try:
                async with httpx.AsyncClient(trust_env=False, verify=False) as client:
                    await client.get(url, headers=CLOSE)  # it has begun when it answers
                yield url
            finally:
                ending.set()


@contextlib.contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """Give a socket on a free port, and its URL."""
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)  # else megabytes are sent that nobody reads
        listener.bind(("127.0.0.1", 0))
        yield listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


Around = Callable[[ASGIApp], ASGIApp]


def in_a_timeout(app: ASGIApp) -> ASGIApp:
    """Put a timeout around an app, one that does not come."""

    async def timed(scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.timeout(60):
            await app(scope, receive, send)

    return timed


def in_base_http_middleware(app: ASGIApp) -> ASGIApp:
    """Put Starlette's middleware for functions around an app."""

    async def pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)

    return BaseHTTPMiddleware(app, dispatch=pass_on)


AROUND: Mapping[str, Around] = {"plain": lambda app: app, "base-http": in_base_http_middleware, "timeout": in_a_timeout}
