"""Present answers to who asked in another dialect than the one that their upstream speaks."""

from itertools import accumulate, pairwise

import msgspec
from msgspec.structs import replace

from cachemw.endpoints.errors import ErrorShape, Refusal
from cachemw.messages import Head, Headers, StoredResponse, header_values
from cachemw.redaction import redacted_repr
from cachemw.translation.base import Changes, Unsayable, View
from cachemw.wire.fields import without
from cachemw.wire.sse import Event, Parser, encode
from cachemw.wire.strict_json import NULL, UNREADABLE

TRANSLATION_HEADER = b"cachemw-translation"
"""What is told of a translated request: the members that are not exactly as they were asked for."""

UNSAYABLE = "other-dialect"
"""The detail of an answer that cannot be said in the dialect of who asked."""

TOO_LARGE = "it is too large to be translated"
"""Why no more of an answer is said."""

_FAILED = 500
"""The status of an error within an answer, which began with a 200."""

_ID_FIELDS = (b"x-request-id", b"request-id")
OF_THE_BODY = (b"content-length", b"content-encoding", b"transfer-encoding", b"etag", b"digest", b"content-md5")
"""The fields of an answer that say something of its bytes."""

_LEADS_ELSEWHERE = (b"location", b"content-location")


class Presentation(msgspec.Struct, frozen=True):
    """How the answers to one request are presented: through a view, with what is told of it, and errors in this shape.

    Without a view they pass as they came: only the request was changed, in its own dialect.
    """

    view: View | None
    told: Changes
    errors: ErrorShape

    __repr__ = redacted_repr

    def presenter(self, upstream: Head, limit_bytes: int) -> "Presenter | None":
        """Return what presents an answer as it comes; `None` where it passes as it comes."""
        return None if self.view is None else Presenter(self, self.view, upstream, limit_bytes)

    def of_stored(self, stored: StoredResponse) -> StoredResponse | Unsayable:
        """Return a stored response as it is presented; `Unsayable` where it cannot be."""
        headers, view = (*stored.headers, *fields_of(self.told)), self.view
        if view is None:
            return replace(stored, headers=headers)
        translated = _stream_of(stored, view) if stored.kind.stream else view.answer(stored.body)
        if isinstance(translated, Unsayable):
            return translated
        if isinstance(translated, bytes):
            return replace(stored, headers=headers, body=translated)
        arrivals = [stored.arrivals[at] for at, event in enumerate(translated) if event]
        events = [event for event in translated if event]
        return replace(
            stored,
            headers=headers,
            body=b"".join(events),
            event_ends=tuple(accumulate(map(len, events))),
            arrivals=tuple(arrivals),
        )


def _stream_of(stored: StoredResponse, view: View) -> list[bytes] | Unsayable:
    """Return what each event of a stored stream becomes, the last one with the end."""
    parser, translator = Parser(), view.stream(stored.usage)
    became = []
    for start, end in pairwise((0, *stored.event_ends)):
        events = parser.feed(stored.body[start:end])
        became.append(b"".join([translator.feed(event) for event in events]))
    became[-1] += b"".join([translator.feed(event) for event in parser.end()])
    became[-1] += translator.end()
    return became if translator.fault is None else Unsayable(translator.fault)


def fields_of(told: Changes) -> Headers:
    """Return what a response says of the translation (a dictionary of RFC 9651); nothing where all is exactly as asked for."""
    members = ", ".join([f"{member}={became}" for member, became in dict(told).items()])
    return ((TRANSLATION_HEADER, members.encode()),) if members else ()


class Presenter:
    """Presents one answer as it comes: call `feed` for what has come, then `finish` at its end, or `break_off`.

    `upstream` is its head as it came; other heads are as the client would get them without a translation. A stream is
    translated event by event; a document, and an error, when it is whole. One with more than `limit_bytes` is given up.
    """

    def __init__(self, presentation: Presentation, view: View, upstream: Head, limit_bytes: int) -> None:
        self._view = view
        self._presentation, self._status, self._limit_bytes = presentation, upstream.status, limit_bytes
        self.is_stream = upstream.status == 200 and _is_of(upstream, b"text/event-stream")
        self.fault: str | None = None
        self._parser, self._pieces, self._size = Parser(), bytearray(), 0
        self._translator = view.stream(None)

    def begin(self, head: Head) -> Head:
        """Return the head of a stream."""
        return self._said(head, head.status, b"text/event-stream; charset=utf-8")

    def feed(self, piece: bytes) -> bytes:
        """Take in what has come; return what may leave of it now."""
        if not self.is_stream:
            self._hold(piece)
            return b""
        if self.fault is not None:
            return b""
        is_comment = piece.startswith(b":") and not self._parser.is_within_event
        events = self._parser.feed(piece)
        said = b"".join([self._translated(event) for event in events])
        if self.fault is None and self._parser.held + self._translator.held > self._limit_bytes:
            said += self._refused(TOO_LARGE)
        if self.fault is not None:  # nothing more will be said
            self._parser, self._translator = Parser(), self._view.stream(None)
        return said or (self._translator.ping if is_comment and not events else b"")

    def finish(self, head: Head) -> tuple[Head | None, bytes]:
        """Return what is left to say of an answer that has ended well: of a document, all; and its head where that is due."""
        if self.is_stream:
            return None, self._finished_stream()
        if self.fault is not None:
            return self._unsayable(head, self.fault)
        body = bytes(self._pieces)
        if self._status != 200 and self._status < 400:  # an SDK would read it as an answer, or follow where it leads
            return self._unsayable(head, f"it has the status {self._status}")
        if self._status != 200:
            translated = self._view.error(self._status, body)
            return self._said(head, self._status, b"application/json", len(translated)), translated
        answer = self._view.answer(body)
        if isinstance(answer, Unsayable):
            return self._unsayable(head, answer.why)
        return self._said(head, 200, b"application/json", len(answer)), answer

    def break_off(self, head: Head, refusal: Refusal) -> tuple[Head | None, bytes]:
        """Return what is said of an answer that broke off."""
        if self.is_stream:
            return None, b"" if self.fault is not None else self._presentation.errors.event(refusal)
        body = self._presentation.errors.body(refusal)
        return self._said(head, refusal.status, b"application/json", len(body)), body

    def _finished_stream(self) -> bytes:
        if self.fault is not None:
            return b""
        said = b"".join([self._translated(event) for event in self._parser.end()])
        said += self._translator.end()
        if self._translator.fault is None or self.fault is not None:
            return said
        return said + self._refused(self._translator.fault)

    def _translated(self, event: Event) -> bytes:
        """Return what an event becomes; nothing behind one that could not be said."""
        if self.fault is not None:
            return b""
        said = self._translator.feed(event)
        if self._translator.fault is None:
            return said
        if not _is_error(event):
            return said + self._refused(self._translator.fault)
        self.fault = self._translator.fault
        return said + encode(self._view.error(_FAILED, event.data), self._presentation.errors.event_name)

    def _refused(self, why: str) -> bytes:
        """Return the event that says why no more can be said; what is open then has no end."""
        self.fault = why
        return self._presentation.errors.event(_untranslatable(why))

    def _unsayable(self, head: Head, why: str) -> tuple[Head, bytes]:
        body = self._presentation.errors.body(_untranslatable(why))
        return self._said(head, 502, b"application/json", len(body)), body

    def _said(self, head: Head, status: int, content_type: bytes, size: int | None = None) -> Head:
        fields = without(head.headers, (*OF_THE_BODY, *_LEADS_ELSEWHERE, b"content-type", *_ID_FIELDS))
        named = [value for name in _ID_FIELDS for value in header_values(head.headers, name)]
        ids = tuple([(name, named[0]) for name in _ID_FIELDS]) if named else ()
        length = () if size is None else ((b"content-length", b"%d" % size),)
        return Head(status, ((b"content-type", content_type), *fields, *ids, *fields_of(self._presentation.told), *length))

    def _hold(self, piece: bytes) -> None:
        self._pieces += piece
        if len(self._pieces) > self._limit_bytes:
            self._pieces.clear()
            self.fault = TOO_LARGE


class _Failing(msgspec.Struct):
    """What of an event says that it is an error."""

    error: msgspec.Raw = NULL
    type: msgspec.Raw = NULL

    __repr__ = redacted_repr


_failing_decoder = msgspec.json.Decoder(_Failing)


def _is_error(event: Event) -> bool:
    """Say whether an event is its upstream's word that there is no more: by its name, or as every provider says it."""
    try:
        said = _failing_decoder.decode(event.data)
    except UNREADABLE:
        return False
    return event.name == b"error" or said.error != NULL or bytes(said.type) == b'"error"'


def _untranslatable(why: str) -> Refusal:
    return Refusal(502, f"the upstream's answer cannot be said in this API: {why}", code="untranslatable")


def _is_of(head: Head, media_type: bytes) -> bool:
    return any(value.lower().startswith(media_type) for value in header_values(head.headers, b"content-type"))
