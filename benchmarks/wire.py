"""HTTP/1.1 responses, read with as little work as possible: the load must cost less than what is measured."""

import re
from dataclasses import dataclass

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)

LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response."""

    head: bytes
    pieces: tuple[bytes, ...]

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The fields of the head, in order."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]


def end(received: bytearray) -> int | None:
    """Return where the response ends that begins these bytes; `None` while there is more to come."""
    body = received.find(b"\r\n\r\n") + 4
    if body < 4:
        return None
    length = _LENGTH.search(received, 0, body)
    if length is None:
        return _end_of_chunks(received, body)
    last = body + int(length[1])
    return last if len(received) >= last else None


def _end_of_chunks(received: bytearray, body: int) -> int | None:
    if not received.endswith(LAST_CHUNK):  # nothing comes behind it: the next request is not sent before
        return None
    at = body
    while (line := received.find(b"\r\n", at)) >= 0:
        size = int(received[at:line], 16)
        at = line + 2 + size + 2
        if size == 0:
            return at if len(received) >= at else None
    return None


def parse(received: bytes) -> Response:
    """Return a whole response in its parts."""
    head, _, rest = received.partition(b"\r\n\r\n")
    head += b"\r\n"
    if not _CHUNKED.search(head):
        return Response(head, (rest,))
    pieces = []
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line, 16)
        pieces.append(rest[:size])
        rest = rest[size + 2 :]
    return Response(head, tuple(pieces[:-1]))
