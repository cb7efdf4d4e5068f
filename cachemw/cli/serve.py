"""`cachemw serve`: report everything that can be wrong, then listen."""

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, cast

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.config import LOGGING_CONFIG
from uvicorn.supervisors import Multiprocess

from cachemw.errors import CacheError, PlaceRefused, StoreError
from cachemw.limits import Limits
from cachemw.proxy import Settings
from cachemw.proxy.admission import AccessRules
from cachemw.proxy.app import work
from cachemw.proxy.listener import GuardedProtocol
from cachemw.stores import Store
from cachemw.stores.calls import CallQueue
from cachemw.upstreams.providers import KEY_VARIABLE, PROVIDERS


class CommandError(CacheError):
    """A command that cannot do what it was asked. Its text is the one line that the user reads."""


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
    app: ASGIApp | Callable[[], ASGIApp],
    log_level: str | None,
    *,
    factory: bool = False,
    workers: int = 1,
    protocol: Callable[..., asyncio.Protocol] | None = None,
) -> Config:
    """Return uvicorn's configuration for an app, or for an app's `factory`; the log level `None` logs as Python does."""
    return Config(
        app,
        http=cast("type[asyncio.Protocol]", protocol) if protocol else "auto",  # which is only ever called
        factory=factory,
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


CHECK = b"cachemw serve: may it write?"
TRIAL_TIME = 1.5
"""The seconds for which listening waits for the store; what it does after that is given up soon by itself."""


def serve_proxy(settings: Settings, say: Callable[[str], None], limits: Limits = Limits()) -> None:
    """Check, say where, and serve until a signal ends it. Raises `CommandError` and `ConfigurationError`."""
    _check_callers(settings)
    settings = replace(settings, insecure=settings.insecure and not is_loopback(settings.host))
    rules = settings.rules()
    upstream, store = settings.open_upstream(), settings.store()
    trouble = try_out(store, settings, limits)
    with listen(settings.host, settings.port) as listener:
        said = [
            f"cachemw listens on {url_of(listener)}/v1 (Ctrl-C ends it)",
            f"misses go to {upstream.place}; {_whose_key(settings)}",
            trouble or f"answers are kept in {store.place}",
        ]
        if not is_loopback(settings.host):
            said.append(_which_names(rules))
        os.environ.update(settings.to_environment())  # every worker makes its proxy from there
        make, protocol = partial(work, limits), partial(GuardedProtocol, limits=limits)
        config = configured(make, settings.log_level, factory=True, workers=settings.workers, protocol=protocol)
        run(config, listener, partial(say, "\n".join(said)))


def _check_callers(settings: Settings) -> None:
    if not (is_loopback(settings.host) or settings.client_keys or settings.insecure):
        raise CommandError(
            f"{settings.host!r} is not a loopback address, and whoever reaches it could use the server's key:"
            " name the keys of your clients (CACHEMW_CLIENT_KEYS, --client-key), or let everyone (--insecure)"
        )


def _which_names(rules: AccessRules) -> str:
    if rules.client_keys:
        return "it answers to any name, for clients bring a key"
    names = ", ".join(["this machine's own", *sorted(rules.hosts | rules.own_hosts)])
    return f"it answers to these names: {names}; --allow-host adds to them"


def try_out(store: Store, settings: Settings, limits: Limits = Limits()) -> str | None:
    """Write a record and remove it; return what is said where that fails. The proxy begins all the same, without a store.

    Raises `CommandError` for a place that was not to be used.
    """
    with closing(store):
        try:
            trial = CallQueue(store.submit, limits).write(CHECK, partial(_use, store, settings), len(CHECK))
            trial.done.result(TRIAL_TIME)
        except PlaceRefused as exc:
            raise CommandError(str(exc)) from exc
        except TimeoutError:
            return f"nothing is kept for now: the store in {store.place} did not answer within {TRIAL_TIME:g} s"
        except StoreError as exc:
            return f"nothing is kept for now: cannot write to the store in {store.place}: {exc.__cause__ or exc}"
    return None


def _use(store: Store, settings: Settings) -> None:
    store.put(CHECK, CHECK, None)
    store.discard(CHECK)
    if settings.partition != "shared":
        store.secret()  # each worker reads it with its first request, and none has to make it then


def _whose_key(settings: Settings) -> str:
    provider = PROVIDERS.get(settings.upstream)
    variable = provider.key_variable if provider else KEY_VARIABLE
    if settings.client_keys:
        instead = f"{variable} goes there" if os.environ.get(variable) else f"{variable} is not set, so no key goes there"
        return f"clients bring one of {len(settings.client_keys)} keys, and {instead}"
    if os.environ.get(variable):
        return f"{variable} is the key for clients that bring none"
    return f"{variable} is not set, so clients bring a key"
