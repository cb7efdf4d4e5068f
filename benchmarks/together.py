"""Many clients that ask for the same at the same time, each for itself."""

import selectors
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass

from benchmarks.load import Connection
from benchmarks.servers import Address

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Slowest:
    """Seconds from the first request until everybody had a first byte, and until everybody had everything."""

    first_byte: float
    last_byte: float


def together(address: Address, request: bytes, expected: bytes, clients: int) -> Slowest:
    """Send a request over many connections; every answer must hold the expected bytes."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        connections = [stack.enter_context(closing(Connection(address))) for _ in range(clients)]
        for connection in connections:
            connection.ask(HEALTH)  # now the server has accepted it
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        began = time.perf_counter()
        for connection in connections:
            connection.send(request)
        first_byte = _answered(selector, expected) - began
        return Slowest(first_byte, time.perf_counter() - began)


def _answered(selector: selectors.BaseSelector, expected: bytes) -> float:
    """Wait for all answers; return when the last of them began."""
    waiting, began = len(selector.get_map()), 0.0
    silent = {key.fd for key in selector.get_map().values()}
    while waiting:
        for key, _ in selector.select():
            if key.fd in silent:
                silent.remove(key.fd)
                began = time.perf_counter()
            if key.data.receive():
                key.data.answered(expected)
                waiting -= 1
    return began
