"""`cachemw serve`: report everything that can be wrong, then listen."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import cast

from starlette.types import ASGIApp
from uvicorn import Config, Server

from cachemw.cli.banner import banner
from cachemw.cli.ending import EndingServer, Supervisor
from cachemw.cli.listening import EVERYBODYS_SOCKET, OWNERS_SOCKET, is_loopback, listen, listening_at, url_of
from cachemw.errors import CommandError, ConfigurationError, PlaceRefused, StoreError
from cachemw.gateway.upstream import Gateway
from cachemw.limits import Limits
from cachemw.proxy import Settings
from cachemw.proxy.app import ProxyMaker
from cachemw.proxy.gateways import default_upstream, gateway_of
from cachemw.proxy.listener import GuardedProtocol
from cachemw.proxy.logs import logging_config
from cachemw.proxy.reloading import hold_hangups, take_hangup
from cachemw.proxy.settings import SETTINGS
from cachemw.proxy.tracing import refuse_without_sdk
from cachemw.stores import Store
from cachemw.stores.calls import CallQueue
from cachemw.upstreams.base_urls import as_written
from cachemw.upstreams.proxies import HttpProxy

GRACE = 8
"""Seconds that answers under way have left when we are told to end: container runtimes kill after ten."""


def configured(
    app: ASGIApp | Callable[[], ASGIApp],
    log_level: str | None,
    *,
    log_format: str = "text",
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
        log_config=log_level and logging_config(log_level, log_format),
        access_log=False,  # its lines hold the query, and a query may hold a key
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE,
    )


def _nothing() -> None: ...


def run(
    config: Config, listener: socket.socket, announce: Callable[[], None], on_hangup: Callable[[], None] = _nothing
) -> None:
    """Announce it and serve until SIGINT or SIGTERM, then return: no exception, which may be lost wherever it is raised.

    With workers, `on_hangup` is called in their parent at each SIGHUP that it hands on to them.
    """
    if config.workers > 1:
        supervisor = Workers(config, [listener], on_hangup)
        announce()
        supervisor.run()
        return
    server = EndingServer(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    announce()
    server.run([listener])


class Workers(Supervisor):
    """The supervisor of workers; where SIGHUP is held it hands that on to each, and they begin nothing anew."""

    def __init__(self, config: Config, sockets: list[socket.socket], on_hangup: Callable[[], None]) -> None:
        super().__init__(config, sockets)
        self._on_hangup = on_hangup

    def handle_signals(self) -> None:
        super().handle_signals()
        if take_hangup():
            self._on_hangup()
            for worker in self.processes:
                if worker.process.is_alive() and worker.pid is not None:
                    os.kill(worker.pid, signal.SIGHUP)


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


CHECK = b"cachemw serve: may it write?"
TRIAL_TIME = 1.5
"""The seconds for which listening waits for the store; what it does after that is given up soon by itself."""

_PASSING = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
        *(errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ESTALE, errno.ENOLCK),
    }
)
"""What a system says that has too little of something just now."""


def serve_proxy(settings: Settings, say: Callable[[str], None], limits: Limits = Limits()) -> None:
    """Check, say where, and serve until a signal ends it. Raises `CommandError` and `ConfigurationError`."""
    refuse_callers(settings)
    refuse_without_sdk(settings)
    settings = replace(settings, insecure=settings.insecure and bool(settings.uds or not is_loopback(settings.host)))
    rules, upstream, store = settings.rules(), default_upstream(settings), settings.store()
    settings.limits(limits)
    routes = settings.gateway_config()
    gateway = gateway_of(settings, store, routes)
    if settings.client_keys_file or gateway is not None:
        hold_hangups()  # before there is another thread, which would hear of one and end all
    kept = try_out(store, settings, limits) or f"answers are kept in {store.place}"
    with _listening(settings) as listener:
        place = as_written(upstream.place) + _through(upstream.proxy)
        speaks = upstream.recipient.speaks
        said = banner(settings, rules, listener, place, speaks, kept, None if gateway is None else gateway.config)
        os.environ.update(settings.to_environment())  # every worker makes its proxy from there
        make, protocol = ProxyMaker(limits, rules.named_keys, routes), partial(GuardedProtocol, limits=limits)
        config = configured(
            make,
            settings.log_level,
            log_format=settings.log_format,
            factory=True,
            workers=settings.workers,
            protocol=protocol,
        )
        run(config, listener, partial(say, said), partial(_read_files, settings, make, gateway))


def _read_files(settings: Settings, make: ProxyMaker, gateway: Gateway | None) -> None:
    """Let workers that are begun from now on admit, and route, by what the files hold now, as the others do."""
    with contextlib.suppress(ConfigurationError):  # which the workers tell
        named_keys, routes = settings.rules().named_keys, settings.gateway_config()
        if gateway is not None and routes is not None:
            gateway.renew(routes)  # they do, unless it cannot be done
        make.named_keys, make.routes = named_keys, routes


def _through(proxy: HttpProxy | None) -> str:
    return f" through {proxy.url} ({proxy.variable})" if proxy else ""


def refuse_callers(settings: Settings) -> None:
    """Raise `CommandError` where anybody could use the server's key, or where it is not clear what is listened on."""
    if settings.uds:
        if (settings.host, settings.port) != (SETTINGS["host"].default, SETTINGS["port"].default):
            raise CommandError("a Unix socket (--uds) stands in the place of --host and --port: give one or the other")
    elif not (is_loopback(settings.host) or settings.demands_keys or settings.insecure):
        raise CommandError(
            f"{settings.host!r} is not a loopback address, and whoever reaches it could use the server's key:"
            " name the keys of your clients (--client-keys-file, CACHEMW_CLIENT_KEYS), or let everyone (--insecure)"
        )


def _listening(settings: Settings) -> contextlib.AbstractContextManager[socket.socket]:
    if not settings.uds:
        return listen(settings.host, settings.port)
    is_for_all = settings.demands_keys or settings.insecure
    return listening_at(settings.uds, EVERYBODYS_SOCKET if is_for_all else OWNERS_SOCKET)


def try_out(store: Store, settings: Settings, limits: Limits = Limits()) -> str | None:
    """Write a record and remove it; return what is said where that fails. The proxy begins all the same, without a store.

    Raises `CommandError` for a place that was not to be used, and for one that was named and cannot be, and
    `ConfigurationError` where nothing is there to replay.
    """
    if settings.policy().replays:
        return f"answers are replayed from {store.read_only().place}, where nothing is changed"
    with closing(store):
        try:
            trial = CallQueue(store.submit, limits).write(CHECK, partial(_use, store, settings), len(CHECK))
            trial.done.result(TRIAL_TIME)
        except PlaceRefused as exc:
            raise CommandError(str(exc)) from exc
        except TimeoutError:
            return f"nothing is kept for now: the store in {store.place} did not answer within {TRIAL_TIME:g} s"
        except StoreError as exc:
            if settings.dir and (reason := why_not(exc)):
                raise CommandError(f"the store cannot be in {store.place}: {reason}: {elsewhere()}") from exc
            return f"nothing is kept for now: cannot write to the store in {store.place}: {exc.__cause__ or exc}"
    return None


def elsewhere() -> str:
    """Say how to have the store in another place."""
    return f"name another directory ({SETTINGS['dir'].option}, {SETTINGS['dir'].variable})"


def why_not(exc: StoreError) -> str | None:
    """Return why a directory can never hold a store as things are; `None` for what may be over in a while, as a full disk."""
    cause = exc.__cause__
    if not isinstance(cause, OSError) or isinstance(cause, TimeoutError) or cause.errno in _PASSING:
        return None
    if cause.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"{cause.filename or 'a part of it'} is not a directory"
    return f"{cause.filename}: {cause.strerror}" if cause.filename and cause.strerror else str(cause)


def _use(store: Store, settings: Settings) -> None:
    store.put(CHECK, CHECK, None)
    store.discard(CHECK)
    if settings.partition != "shared":
        store.secret()  # each worker reads it with its first request, and none has to make it then
