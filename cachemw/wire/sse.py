"""Event streams (WHATWG HTML §9.2): an incremental parser, and an encoder."""

import re

import msgspec

from cachemw.redaction import redacted_repr

DONE = b"[DONE]"
DONE_LINE = re.compile(rb"data: ?\[DONE\]")  # as the SDKs recognise it

_LAST_LINE = re.compile(rb"data: ?(\[DONE\][ \t]*)")
_LINE_END = re.compile(rb"\r\n|\n|\r(?=.)", re.DOTALL)  # a CR at the end may yet be half of a CRLF
_PLAIN = re.compile(rb"data: ?([^\r\n]*+)(?:\n\n|\r\n\r\n)")
_BOM = b"\xef\xbb\xbf"


def is_done(data: bytes) -> bool:
    """Say whether an event with this data ends a stream; blanks may follow."""
    return data.startswith(DONE) and data.rstrip(b" \t") == DONE


class Event(msgspec.Struct, frozen=True):
    """One dispatched event; it is the stream's bytes `start` to `end`, comments and line ends included."""

    name: bytes
    data: bytes
    start: int
    end: int

    __repr__ = redacted_repr


class Parser:
    """Feed it chunks, cut anywhere; it gives the events they complete.

    Over a `body` that somebody else keeps and adds to, it reads on there, and holds no copy. The stream is done at the first
    line that matches `ends`.
    """

    def __init__(self, body: bytearray | None = None, ends: re.Pattern[bytes] | None = DONE_LINE) -> None:
        self._ends = ends
        self._keeps = body is not None
        self._offset = 0  # of the unfinished event, in the stream; of a body that is kept, 0
        self._rest = bytearray() if body is None else body  # the bytes from there on
        self._event_start = 0  # in _rest
        self._line_start = 0  # in _rest
        self._scanned = 0  # in _rest: no line ends before it
        self._name = b""
        self._data: list[bytes] = []
        self._done_at: int | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events this chunk completes."""
        self._rest += chunk
        return self.read_on()

    def read_on(self) -> list[Event]:
        """Return the events that were completed since."""
        events = self._plain()
        for end in _LINE_END.finditer(self._rest, self._scanned):
            line_start, self._line_start = self._line_start, end.end()
            if end.start() > line_start:
                self._field(line_start, bytes(self._rest[line_start : end.start()]))
            elif event := self._dispatch(end.end()):
                events.append(event)
        self._scanned = max(self._line_start, len(self._rest) - 1)
        self._forget()
        return events

    def close(self) -> list[Event]:
        """Return the event that only a CR at the very end completes; an unfinished one is none (§9.2.6)."""
        if not self._rest.endswith(b"\r"):
            return []
        size = self._offset + len(self._rest)
        self._rest += b"\n"
        events = [Event(event.name, event.data, event.start, size) for event in self.read_on()]
        del self._rest[size - self._offset :]
        return events

    def end(self) -> list[Event]:
        """Return what `close` does, and `[DONE]` where its blank line is missing: of a body that ended by itself it is the end.

        So all clients take it.
        """
        events, line, data = self.close(), bytes(self._rest[self._line_start :]), self._data
        if not data and (last_line := _LAST_LINE.fullmatch(line)):
            data = [last_line[1]]
        elif len(data) != 1 or line or not is_done(data[0]):
            return events
        start, size = self._offset + self._event_start, self._offset + len(self._rest)
        return [*events, Event(self._name, data[0], start, size)]

    @property
    def held(self) -> int:
        """Return how many bytes of an unfinished event are held."""
        return len(self._rest)

    @property
    def is_within_event(self) -> bool:
        """Say of a body that has ended whether that was within an event, or a line."""
        return bool(self._data) or self._line_start < len(self._rest)

    def done_at(self) -> int | None:
        """Return the offset of the line at which the stream is done, as soon as those bytes are there."""
        if self._done_at is None and self._ends is not None and self._ends.match(self._rest, self._line_start):
            self._done_at = self._offset + self._line_start
        return self._done_at

    def _plain(self) -> list[Event]:
        """Return the events up to the first that is not one line of data and whole: most are, and line by line take longer.

        One that comes in pieces is not looked through anew with each.
        """
        events: list[Event] = []
        while self._scanned == self._line_start == self._event_start and (whole := _PLAIN.match(self._rest, self._scanned)):
            start, end = whole.span()
            if self._done_at is None and self._ends is not None and self._ends.match(self._rest, start):
                self._done_at = self._offset + start
            events.append(Event(b"", whole[1], self._offset + start, self._offset + end))
            self._scanned = self._line_start = self._event_start = end
        return events

    def _field(self, start: int, line: bytes) -> None:
        if self._offset + start == 0:
            line = line.removeprefix(_BOM)
        if self._done_at is None and self._ends is not None and self._ends.match(line):
            self._done_at = self._offset + start
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value

    def _dispatch(self, end: int) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data = b"", []
        if not data:
            return None
        start, self._event_start = self._event_start, end
        return Event(name, b"\n".join(data), self._offset + start, self._offset + end)

    def _forget(self) -> None:
        count = self._event_start
        if count and not self._keeps:
            del self._rest[:count]
            self._offset += count
            self._line_start -= count
            self._scanned -= count
            self._event_start = 0


def encode(data: bytes, name: bytes = b"") -> bytes:
    """Return the bytes of an event with one line of data, and its name where it has one."""
    event = b"data: " + data + b"\n\n"
    return b"event: " + name + b"\n" + event if name else event
