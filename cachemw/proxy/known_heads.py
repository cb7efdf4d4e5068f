"""Known heads: answer a request from the bytes of its head and the digest of its body, before any of it is parsed."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus

from cachemw.budget import Budget
from cachemw.cache.recall import SENT_AS_ONE, Moment, Recalled
from cachemw.drivers.recalling import Recaller
from cachemw.messages import Headers
from cachemw.proxy.heads import HEAD_END, leaves_open
from cachemw.redaction import redacted_repr

KNOWN_HEADS = 8192
"""How many heads are known at once."""

SEEN_HEADS = 1024
"""How many heads that were given one plain hit are remembered until they are given another."""

DefaultHeaders = list[tuple[bytes, bytes]]
"""The fields that a server says of itself, a new list every second."""

Wire = tuple[bytes, ...]
"""What is written to a socket, one behind the other."""


@dataclass(frozen=True, slots=True)
class KnownHead:
    """The digest of a head, and how many bytes a request with it has, the head's own first."""

    __repr__ = redacted_repr

    digest: bytes
    head_size: int
    size: int


class KnownHeads:
    """The heads with which plain hits were given, and what is sent for these; for all connections of a process.

    What connections hold of requests counts among the `bodies`; every answer has the `sealed` fields. Used by any number of
    threads.
    """

    def __init__(self, recaller: Recaller, bodies: Budget, sealed: Headers) -> None:
        self.bodies = bodies
        self.find, self.count = recaller.find, recaller.tally.add
        self._recaller, self._sealed = recaller, sealed
        self._known: OrderedDict[bytes, KnownHead] = OrderedDict()
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()
        self.renew()

    def renew(self) -> None:
        """Begin anew, when the recaller has: no head is known."""
        with self._lock:
            self.recall, self.digest = self._recaller.recall, self._recaller.digest
            self._known.clear()
            self._seen.clear()

    def get(self, digest: bytes) -> KnownHead | None:
        """Return a head that is known."""
        with self._lock:
            known = self._known.get(digest)
            if known is not None:
                self._known.move_to_end(digest)
            return known

    def learn(self, sighting: "Sighting", recalled: Recalled, body: bytes) -> None:
        """Remember a plain hit under a request that the parser has read; a head is known from its second one on."""
        recall = sighting.recall
        if recall is self.recall and self._is_known_now(sighting):
            recall.keep(sighting.head_digest, recall.digest(sighting.head_digest, body), recalled)

    def _is_known_now(self, sighting: "Sighting") -> bool:
        name = sighting.head_digest
        with self._lock:
            if name in self._known:
                return True
            if name in self._seen and leaves_open(sighting.head):
                del self._seen[name]
                self._known[name] = KnownHead(name, len(sighting.head), sighting.size)
                if len(self._known) > KNOWN_HEADS:
                    self._known.popitem(last=False)
                return True
            self._seen[name] = None  # apart: heads that come once would drive those out that come again
            if len(self._seen) > SEEN_HEADS:
                self._seen.popitem(last=False)
            return False

    def wire(self, recalled: Recalled, moment: Moment, default_headers: DefaultHeaders) -> tuple[DefaultHeaders, Wire]:
        """Return what is sent of a hit in this second, and the fields of the server's that it is made with."""
        fields = (*default_headers, *moment.head.headers, *self._sealed)
        return default_headers, _wire(moment.head.status, fields, recalled.pieces)


def _wire(status: int, fields: Headers, pieces: tuple[bytes, ...]) -> Wire:
    """Return an answer as uvicorn writes it, in few parts: what is small goes with what is before or behind it."""
    is_sized = any(name.lower() == b"content-length" for name, _ in fields)
    start = b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())
    framing = b"" if is_sized else b"transfer-encoding: chunked\r\n"
    before = b"".join([start, *[name.lower() + b": " + value + b"\r\n" for name, value in fields], framing, b"\r\n"])
    if is_sized:
        return _in_few(before, *pieces)
    chunks: list[bytes] = []
    for piece in pieces:  # none is empty: a plain hit is a complete answer
        chunks += (before + b"%x\r\n" % len(piece), piece)
        before = b"\r\n"
    return _in_few(*chunks, before + b"0\r\n\r\n")


def _in_few(*parts: bytes) -> Wire:
    return (b"".join(parts),) if sum(map(len, parts)) <= SENT_AS_ONE else parts


class Sighting:
    """A request that goes the whole way, for all it may be: what was seen of it on its connection.

    `size` is of all that has come since its first byte, until it was whole: if that is the head's and the body's, it was this
    request and nothing else. What it is given is remembered in the `recall` of that time, or not at all.
    """

    __slots__ = ("_heads", "head", "head_digest", "is_whole", "recall", "size")

    def __init__(self, heads: KnownHeads, head: bytes, head_digest: bytes) -> None:
        self._heads, self.head, self.head_digest = heads, head, head_digest
        self.recall = heads.recall
        self.size, self.is_whole = 0, False

    def learn(self, recalled: Recalled, body: bytes) -> None:
        """Remember what the request was given, a plain hit."""
        if self.is_whole and self.size == len(self.head) + len(body):
            self._heads.learn(self, recalled, body)


class HeldRequest:
    """The door of one connection: what it holds of a request whose head is known, until that is whole.

    It may be asked at the beginning of a request only, when all before it are answered, and then until it has no more of it.
    """

    __slots__ = ("_head", "_head_bytes", "_heads", "_known", "_missing", "held", "sighting")

    def __init__(self, heads: KnownHeads, head_bytes: int) -> None:
        self._heads, self._head_bytes = heads, head_bytes
        self._head = b""
        self._known: KnownHead | None = None  # the last one: on one connection the next is nearly always the same
        self._missing = 0
        self.held = bytearray()
        """What is held, from the first byte on."""
        self.sighting: Sighting | None = None
        """The request that goes the whole way now."""

    def take(self, data: bytes, default_headers: DefaultHeaders) -> Wire | None:
        """Return what is to be written, nothing of it while more is to come; `None`: all that is held goes the whole way."""
        known = self._known
        if not self.held and (known is None or not data.startswith(self._head)):
            known = self._look_up(data)
        if known is None:
            return None
        missing = (self._missing if self.held else known.size) - len(data)
        if missing:
            return self._hold(data, missing) if missing > 0 else None
        heads, is_in_one = self._heads, len(self.held) in (0, known.head_size)
        body = memoryview(data)[0 if self.held else known.head_size :] if is_in_one else self._joined(data, known)
        found = heads.find(heads.digest(known.digest, body))
        if found is None:
            self.sighting = Sighting(heads, self._head, known.digest)
            return None
        if self.held:
            self.let_go()
        recalled, moment = found
        heads.count(moment, recalled.body_size)
        wire = moment.wire
        if wire is None or wire[0] is not default_headers:
            wire = moment.wire = heads.wire(recalled, moment, default_headers)
        pieces: Wire = wire[1]
        return pieces

    def let_go(self) -> bytes:
        """Return what was held, and hold it no longer."""
        held = bytes(self.held)
        if held:
            self._heads.bodies.give_back(len(held))
            self.held = bytearray()
        return held

    def _look_up(self, data: bytes) -> KnownHead | None:
        end = data.find(HEAD_END, 0, self._head_bytes) if data.startswith(b"POST ") else -1
        if end < 0:
            return None
        head = data[: end + len(HEAD_END)]
        digest = self._heads.digest(head)
        known = self._heads.get(digest)
        if known is None:
            self.sighting = Sighting(self._heads, head, digest)
        else:
            self._head, self._known = head, known
        return known

    def _hold(self, data: bytes, missing: int) -> Wire | None:
        bodies = self._heads.bodies
        if not bodies.take(len(data)):
            bodies.give_back(len(data))
            return None
        self.held += data
        self._missing = missing
        return ()

    def _joined(self, data: bytes, known: KnownHead) -> bytes:
        """Return the body of which some is held."""
        with memoryview(self.held) as held:
            return b"".join((held[known.head_size :], data))
