"""SIGHUP: read the client keys again, while requests go on."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

from cachemw.errors import ConfigurationError
from cachemw.proxy.client_keys import read_client_keys
from cachemw.proxy.gate import Gate

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


def admit_anew(gate: Gate, path: str) -> None:
    """Admit by the client keys that a file holds now; where it holds none that can be, by those that it held before."""
    try:
        rules = replace(gate.rules, named_keys=read_client_keys(path))
    except ConfigurationError as exc:
        logger.warning("the client keys stay as they were: %s", exc)
        return
    gate.admit_by(rules)
    clients = set(rules.named_keys.values())
    logger.info("the client keys are read again (keys: %d, clients: %d)", len(rules.named_keys), len(clients))
