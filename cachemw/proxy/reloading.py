"""SIGHUP: read the client keys, and the routes, again, while requests go on."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

from cachemw.errors import ConfigurationError
from cachemw.gateway.upstream import Gateway
from cachemw.proxy.admission import AccessRules
from cachemw.proxy.gate import Gate
from cachemw.proxy.settings import Settings

logger = logging.getLogger(__name__)


def hold_hangups() -> None:
    """Let SIGHUP wait, in this thread and in what it starts, until somebody here listens for it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def take_hangup() -> bool:
    """Say whether a SIGHUP waits, and take it."""
    if signal.SIGHUP not in signal.sigpending():
        return False
    signal.sigwait({signal.SIGHUP})
    return True


@contextlib.contextmanager
def on_hangup(do: Callable[[], None]) -> Iterator[None]:
    """Do something in the running event loop at each SIGHUP, in asyncio and in the main thread: no other one hears of it."""
    try:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, do)
    except (ValueError, RuntimeError):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        loop.remove_signal_handler(signal.SIGHUP)


def read_anew(gate: Gate, settings: Settings, gateway: Gateway | None) -> None:
    """Admit, and route, by what the files say now; where they say nothing that can be, by what they said before."""
    try:
        rules = replace(gate.rules, named_keys=settings.named_keys())
        _refuse_other_callers(gate.rules, rules)
        config = settings.gateway_config()
        if gateway is not None and config is not None:
            gateway.renew(config)
    except ConfigurationError as exc:
        logger.warning("client keys and routes stay as they were: %s", "; ".join(str(exc).splitlines()))
        return
    gate.admit_by(rules)
    clients = set(rules.named_keys.values())
    routes = 0 if config is None else len(config.routes)
    logger.info(
        "client keys and routes are read again (keys: %d, clients: %d, routes: %d)", len(rules.named_keys), len(clients), routes
    )


def _refuse_other_callers(before: AccessRules, rules: AccessRules) -> None:
    """Raise `ConfigurationError` where clients would bring keys from now on, or none: that decided whose key goes upstream."""
    if rules.demands_keys is not before.demands_keys:
        change = (
            "the first client has a key now" if rules.demands_keys else "no client has a key any more, and all would be let in"
        )
        raise ConfigurationError(f"{change}: restart the server for that")
