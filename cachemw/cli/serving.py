"""Sockets, and uvicorn on them."""

import asyncio
import contextlib
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.config import LOGGING_CONFIG
from uvicorn.supervisors import Multiprocess

from cachemw.cli.errors import CommandError

GRACE = 8
"""Seconds that answers under way have left when we are told to end: container runtimes kill after ten."""

BACKLOG = 2048


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach this host; of names we know but one."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 is any that is free. Raises `CommandError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named: else asyncio leaves Nagle's algorithm on, and a hit takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise CommandError(f"cannot listen on port {port}: {exc.strerror}") from exc
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket, with the port it really has."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def configured(
    app: ASGIApp | str, log_level: str | None, *, workers: int = 1, protocol: type[asyncio.Protocol] | None = None
) -> Config:
    """Return uvicorn's configuration for an app, or for the import string of an app's factory; `None` logs as Python does."""
    return Config(
        app,
        http=protocol or "auto",
        factory=isinstance(app, str),
        workers=workers,
        ws="none",
        log_config=log_level and _logging(log_level),
        access_log=False,  # its lines hold the query, and a query may hold a key
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE,
    )


def run(config: Config, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Announce it and serve until SIGINT or SIGTERM, then return: no exception, which may be lost wherever it is raised."""
    if config.workers > 1:
        supervisor = Multiprocess(config, sockets=[listener])
        announce()
        supervisor.run()
        return
    server = Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    announce()
    server.run([listener])


def interrupt_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does: everything that is open is closed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextlib.contextmanager
def running(app: ASGIApp) -> Iterator[str]:
    """Serve an app in a thread, on a free port of the loopback interface; gives its URL."""
    with listen("127.0.0.1", 0) as listener:
        server = Server(configured(app, None))
        thread = threading.Thread(target=server.run, args=([listener],), name="cachemw-server")
        thread.start()
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            thread.join()


def _logging(level: str) -> dict[str, Any]:
    """Return uvicorn's logging configuration, for our loggers too."""
    shown = {"handlers": ["default"], "level": level.upper(), "propagate": False}
    return {**LOGGING_CONFIG, "loggers": {"uvicorn": shown, "cachemw": shown}}
