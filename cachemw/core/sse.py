"""Event streams (WHATWG HTML §9.2): a push parser that never waits for more than it needs, and an encoder."""

import re

import msgspec

DONE = b"[DONE]"

_LINE_END = re.compile(rb"\r\n|\n|\r(?=.)", re.DOTALL)  # a CR at the end may yet be half of a CRLF
_DONE_LINE = re.compile(rb"data: ?\[DONE\]")
_BOM = b"\xef\xbb\xbf"


class Event(msgspec.Struct, frozen=True):
    """One dispatched event; it is the stream's bytes `start` to `end`, comments and line ends included."""

    name: bytes
    data: bytes
    start: int
    end: int


class Parser:
    """Feed it chunks, cut anywhere; it gives the events they complete. What `feed` was given adds up to `size` bytes."""

    def __init__(self) -> None:
        self.size = 0
        self._offset = 0  # of the unfinished event, in the stream
        self._rest = bytearray()  # its bytes so far
        self._line_start = 0  # in _rest
        self._scanned = 0  # in _rest: no line ends before it
        self._name = b""
        self._data: list[bytes] = []
        self._done_at: int | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events this chunk completes."""
        self.size += len(chunk)
        self._rest += chunk
        events: list[Event] = []
        dispatched = 0
        for end in _LINE_END.finditer(self._rest, self._scanned):
            line_start, self._line_start = self._line_start, end.end()
            if end.start() > line_start:
                self._field(line_start, bytes(self._rest[line_start : end.start()]))
            elif event := self._dispatch(dispatched, end.end()):
                events.append(event)
                dispatched = end.end()
        self._scanned = max(self._line_start, len(self._rest) - 1)
        self._forget(dispatched)
        return events

    def close(self) -> list[Event]:
        """Return the event that only a CR at the very end completes; an unfinished one is none (§9.2.6)."""
        if not self._rest.endswith(b"\r"):
            return []
        return [Event(event.name, event.data, event.start, self.size - 1) for event in self.feed(b"\n")]

    def done_at(self) -> int | None:
        """Return the offset of the line `data: [DONE]`, as soon as those bytes are there."""
        if self._done_at is None and _DONE_LINE.match(self._rest, self._line_start):
            self._done_at = self._offset + self._line_start
        return self._done_at

    def _field(self, start: int, line: bytes) -> None:
        if self._offset + start == 0:
            line = line.removeprefix(_BOM)
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            if value.startswith(DONE) and self._done_at is None:  # as the SDKs recognise it
                self._done_at = self._offset + start
        elif name == b"event":
            self._name = value

    def _dispatch(self, start: int, end: int) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data = b"", []
        return Event(name, b"\n".join(data), self._offset + start, self._offset + end) if data else None

    def _forget(self, count: int) -> None:
        if count:
            del self._rest[:count]
            self._offset += count
            self._line_start -= count
            self._scanned -= count


def encode(data: bytes) -> bytes:
    """Return the bytes of an event with one line of data."""
    return b"data: " + data + b"\n\n"
