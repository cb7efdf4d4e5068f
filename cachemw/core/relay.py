"""An answer under way: what of it may leave now, how it ends, and what is kept of it."""

from dataclasses import replace

import msgspec

from cachemw.core import codec, refusals
from cachemw.core.cache_status import announce
from cachemw.core.completeness import CUT
from cachemw.core.headers import end_to_end, without
from cachemw.core.messages import Head, Headers, StoredResponse, header_values
from cachemw.core.recording import Recording, is_coded
from cachemw.core.report import ExchangeReport
from cachemw.errors import TruncatedResponse, UpstreamError

Emission = Head | bytes


class Put(msgspec.Struct, frozen=True):
    """A record to store, for `keep` seconds; `None` until it is evicted."""

    index: bytes
    record: bytes
    keep: float | None


class Relay:
    """An outcome: the upstream's answer, passed on as it comes.

    The driver calls `begin`, `feed` for every chunk, then `finish` and `close`, or `fail`, and sends what they
    return.
    `recording` is `None` where nothing is kept, `report` where the client did not opt in and is told nothing; it is
    complete after `close`, `fail` or `abandon`.
    """

    def __init__(self, head: Head, report: ExchangeReport | None, recording: Recording | None) -> None:
        self.report = report
        self._head, self._recording = head, recording
        self._is_stream = _is_event_stream(head)
        self._can_say_more = self._is_stream and not is_coded(head)  # an event of ours can be added
        self._has_begun = False
        self._tail = b""  # the last bytes that left: whether they end an event

    @property
    def holds_for(self) -> float | None:
        """How many seconds what is held now may be held; `None` where nothing is."""
        return None if self._recording is None else self._recording.holds_for

    def begin(self) -> tuple[Emission, ...]:
        """Return what may leave when the head has come."""
        return self._leave(b"") if self._recording is None or self._is_stream else ()

    def feed(self, chunk: bytes, now: float) -> tuple[Emission, ...]:
        """Return what may leave when a chunk has come."""
        leaving = chunk if self._recording is None else self._recording.feed(chunk, now)
        return self._leave(leaving) if leaving else ()

    def overdue(self) -> tuple[Emission, ...]:
        """Return what was held for an end that does not come in time."""
        return self._leave(self._recording.overdue()) if self._recording is not None else ()

    def finish(self, now: float) -> Put | None:
        """Return the record to put, now that the upstream's body has ended.

        Raises `TruncatedResponse` where that end may be a cut: nothing but the content says that it is not.
        """
        if self._recording is None:
            return None
        recorded = self._recording.finish(now)
        if isinstance(recorded, StoredResponse):
            terms = self._recording.terms
            return Put(terms.key.index, codec.encode(recorded), terms.keep)
        if recorded in CUT and not self._head.delimited:
            raise TruncatedResponse("the connection closed before the answer was complete")
        self._settle(recorded)
        return None

    def close(self, fault: str | None) -> tuple[Emission, ...]:
        """Return the last bytes. `fault` says why a record that `finish` gave was not stored; `None`: it was."""
        if self._recording is None:
            return ()
        if self.report is not None and self.report.stored is None:
            self._settle(fault)
        return self._leave(self._recording.rest())

    def fail(self, error: UpstreamError) -> tuple[tuple[Emission, ...], bool]:
        """Return what leaves when the upstream breaks off, and whether that is a whole response."""
        self._settle("truncated" if isinstance(error, TruncatedResponse) else "broken")
        if not self._has_begun:
            head, body = refusals.upstream_failed(error)
            return (Head(head.status, self._announced(head.headers, is_stream=False)), body), True
        if not self._can_say_more:
            return (), False
        at_boundary = not self._tail or self._tail.endswith((b"\n\n", b"\r\r", b"\n\r\n"))
        return (refusals.broken_stream(error, at_boundary),), False

    def abandon(self) -> None:
        """Note that the client left before the end; nothing is kept."""
        self._settle("client-left")

    def _settle(self, fault: str | None) -> None:
        if self.report is None:
            return
        details = self.report.details if fault is None else (fault, *self.report.details)
        self.report = replace(self.report, stored=fault is None, details=details)

    def _leave(self, leaving: bytes) -> tuple[Emission, ...]:
        self._tail = (self._tail + leaving[-3:])[-3:]
        chunk = (leaving,) if leaving else ()
        if self._has_begun:
            return chunk
        self._has_begun = True
        headers = end_to_end(self._head.headers)
        if self._can_say_more:
            headers = without(headers, (b"content-length",))
        return (Head(self._head.status, self._announced(headers, self._is_stream)), *chunk)

    def _announced(self, headers: Headers, is_stream: bool) -> Headers:
        return headers if self.report is None else announce(headers, self.report, is_stream)


def _is_event_stream(head: Head) -> bool:
    return any(value.lower().startswith(b"text/event-stream") for value in header_values(head.headers, b"content-type"))
