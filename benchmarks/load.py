"""Load: connections that send one request after the other, each when it has the answer to its last. Nothing is pipelined."""

import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.servers import Address, Server
from benchmarks.traffic import Segments
from benchmarks.wire import Response, end, parse

OK = b"HTTP/1.1 200"
RECEIVED_AT_ONCE = 2**18
LARGEST_ANSWER = 2**20
LONGEST_HEAD = 2**11
TAIL = 16


@dataclass(frozen=True, slots=True)
class Pressure:
    """How much load there is. On a core of its own it never sleeps: to wake it would cost the server time."""

    connections: int
    seconds: float
    has_own_core: bool
    least: int = 0
    """As many requests are answered, however long that takes."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a round of load came to. `busy` is the share of its time that the load did not wait for answers.

    `cpu` is the seconds of processor time that the server took for a request; `None` where this system does not say.
    """

    per_second: float
    cpu: float | None
    latencies: Sequence[float]
    busy: float

    def latency(self, share: float) -> float:
        """Return the seconds within which this share of the answers came."""
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


class Connection:
    """A connection that stays open."""

    def __init__(self, address: Address) -> None:
        self.socket = _connected(address)
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
        if not self._received.startswith(OK) or expected not in self._received:
            raise AssertionError(f"not the answer that was expected: {bytes(self._received[:1000])!r}")

    def ask(self, request: bytes) -> tuple[Response, float]:
        """Send a request and stay; return its answer, and the seconds until its first byte."""
        self.send(request)
        is_whole = self.receive()
        first_byte = time.perf_counter() - self.began
        while not is_whole:
            is_whole = self.receive()
        return parse(bytes(self._received)), first_byte


def load(server: Server, requests: Iterator[Segments], pressure: Pressure) -> Load:
    """Keep requests under way; in the head of every answer stands the server's mark.

    It begins and ends with none under way: what the server did is divided by what it did it for, however slow it is.
    """
    with ExitStack() as stack:
        connections = [stack.enter_context(_connected(server.address)) for _ in range(pressure.connections)]
        crowd = _Crowd(connections, requests, server.mark, pressure.has_own_core)
        crowd.run(0.0, 0)  # now the server has accepted all
        waited, cpu, began = crowd.waited, server.cpu_seconds(), time.perf_counter()
        latencies = crowd.run(pressure.seconds, pressure.least)
        spent, waited, seconds = server.cpu_seconds(), crowd.waited - waited, time.perf_counter() - began
    per_request = None if cpu is None or spent is None else (spent - cpu) / len(latencies)
    return Load(len(latencies) / seconds, per_request, sorted(latencies), 1.0 - waited / seconds)


class _Crowd:
    """The connections of a load, asked in the order in which they are answered: a server takes turns, and so does this.

    What a request leaves for later is sent when most of the crowd has asked. By then the server has read the first part: it
    has answered several who were complete only after that.
    """

    def __init__(self, connections: Sequence[socket.socket], requests: Iterator[Segments], mark: bytes, is_awake: bool) -> None:
        self.waited = 0.0
        self._requests, self._mark, self._is_awake = requests, mark, is_awake
        self._begun: deque[tuple[socket.socket, bytes]] = deque()
        self._asked: deque[tuple[socket.socket, float]] = deque()
        self._received = bytearray(LARGEST_ANSWER)
        self._room, self._tail = memoryview(self._received), b""
        self._most_begun = len(connections) * 3 // 4
        self._connections = connections
        for connection in connections:
            connection.setblocking(False)

    def run(self, seconds: float, least: int) -> list[float]:
        """Ask for so long, and at least so often; return the seconds that each answer took, when all have come."""
        latencies: list[float] = []
        until = time.perf_counter() + seconds
        for connection in self._connections:
            self._ask(connection)
        while time.perf_counter() < until or len(latencies) < least:
            connection, latency = self._take()
            latencies.append(latency)
            self._ask(connection)
        while self._begun:
            self._complete()
        while self._asked:
            latencies.append(self._take()[1])
        return latencies

    def _ask(self, connection: socket.socket) -> None:
        first, later = next(self._requests)
        connection.sendall(first)
        if not later:
            self._asked.append((connection, time.perf_counter()))
            return
        self._begun.append((connection, later))
        if len(self._begun) > self._most_begun:
            self._complete()

    def _complete(self) -> None:
        connection, later = self._begun.popleft()
        connection.sendall(later)
        self._asked.append((connection, time.perf_counter()))

    def _take(self) -> tuple[socket.socket, float]:
        connection, began = self._asked.popleft()
        size = self._receive(connection, 0)
        while not self._is_whole(size):
            size = self._receive(connection, size)
        if not self._received.startswith(OK) or self._received.find(self._mark, 0, min(size, LONGEST_HEAD)) < 0:
            raise AssertionError(f"not the answer that was expected: {bytes(self._received[:1000])!r}")
        return connection, time.perf_counter() - began

    def _receive(self, connection: socket.socket, size: int) -> int:
        """Return how much of the answer is there when more of it has come."""
        waits_since = None
        while True:
            try:
                count = connection.recv_into(self._room[size:])
                break
            except BlockingIOError:
                waits_since = waits_since or time.perf_counter()
                if not self._is_awake:
                    select.select([connection], [], [])
        if not count:
            raise ConnectionError("the server closed the connection")
        if waits_since is not None:
            self.waited += time.perf_counter() - waits_since
        return size + count

    def _is_whole(self, size: int) -> bool:
        """Look at the last bytes: most answers end as the one before did, and only the others are parsed."""
        if self._tail and self._received.endswith(self._tail, 0, size):
            return True
        if end(self._received[:size]) is None:
            return False
        self._tail = bytes(self._received[size - TAIL : size])
        return True


def _connected(address: Address) -> socket.socket:
    connection = socket.create_connection(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
