"""Load: connections that send the same request again and again, each as soon as it has its answer."""

import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from benchmarks.servers import Address
from benchmarks.wire import Response, end, parse

RECEIVED_AT_ONCE = 2**18


@dataclass(frozen=True, slots=True)
class Pressure:
    """How much load there is. On a core of its own it never sleeps: to wake it would cost the server time."""

    connections: int
    seconds: float
    has_own_core: bool


@dataclass(frozen=True, slots=True)
class Load:
    """What a round of load came to. `busy` is the share of its time that the load did not wait for answers."""

    per_second: float
    latencies: Sequence[float]
    busy: float

    def latency(self, share: float) -> float:
        """Return the seconds within which this share of the answers came."""
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


class Connection:
    """A connection that stays open."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self.began = 0.0

    def close(self) -> None:
        self.socket.close()

    def send(self, request: bytes) -> None:
        """Send a request, and begin to wait."""
        self._received.clear()
        self.began = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Take what has come; say whether the answer is whole."""
        piece = self.socket.recv(RECEIVED_AT_ONCE)
        if not piece:
            raise ConnectionError("the server closed the connection")
        self._received += piece
        return end(self._received) is not None

    def answered(self, expected: bytes) -> None:
        """Check the answer."""
        if not self._received.startswith(b"HTTP/1.1 200") or expected not in self._received:
            raise AssertionError(f"not the answer that was expected: {bytes(self._received[:1000])!r}")

    def ask(self, request: bytes) -> tuple[Response, float]:
        """Send a request and stay; return its answer, and the seconds until its first byte."""
        self.send(request)
        is_whole = self.receive()
        first_byte = time.perf_counter() - self.began
        while not is_whole:
            is_whole = self.receive()
        return parse(bytes(self._received)), first_byte


def load(address: Address, request: bytes, expected: bytes, pressure: Pressure) -> Load:
    """Keep requests under way; every answer must hold the expected bytes."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        latencies: list[float] = []
        for _ in range(pressure.connections):
            connection = stack.enter_context(closing(Connection(address)))
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(request)
        waited = 0.0
        began = now = time.perf_counter()
        while now - began < pressure.seconds:
            ready = selector.select(0.0 if pressure.has_own_core else None)
            waited += time.perf_counter() - now
            for key, _ in ready:
                _take(key.data, request, expected, latencies)
            now = time.perf_counter()
    return Load(len(latencies) / (now - began), sorted(latencies), 1.0 - waited / (now - began))


def _take(connection: Connection, request: bytes, expected: bytes, latencies: list[float]) -> None:
    if connection.receive():
        latencies.append(time.perf_counter() - connection.began)
        connection.answered(expected)
        connection.send(request)
