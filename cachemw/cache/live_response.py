"""A response in progress, shared by its readers: what of it may leave now, how it ends, and what is kept of it."""

import msgspec
from msgspec.structs import replace

from cachemw.cache import record as codec
from cachemw.cache.directives import CONTROL_HEADER, Abandon, ControlMembers, parse_members
from cachemw.cache.header_rules import without_account
from cachemw.cache.order import ALONE, Order, Others
from cachemw.cache.parts import Records, records_of_parts
from cachemw.cache.presentation import OF_THE_BODY, Presentation, fields_of
from cachemw.cache.recording import Recording, Terms, head_fault, is_coded, start
from cachemw.cache.refusals import was
from cachemw.endpoints import errors
from cachemw.endpoints.base import CUT
from cachemw.endpoints.errors import OPENAI, ErrorShape
from cachemw.errors import TruncatedResponse, UpstreamError
from cachemw.limits import MIB, PIECE_BYTES
from cachemw.messages import Head, StoredResponse, Usage, header_values
from cachemw.redaction import redacted_repr
from cachemw.report import ExchangeReport, billed
from cachemw.routing import RoutedHead
from cachemw.wire.cache_status import announce
from cachemw.wire.fields import content_length, end_to_end, without
from cachemw.wire.route_field import with_route

Part = Head | bytes

NOT_IN_PARTS = "not-in-parts"
"""The fault of an answer to some inputs that does not divide."""

TRANSLATED_BYTES = 16 * MIB
"""The largest document that is translated: it is held whole until then."""


class Put(msgspec.Struct, frozen=True):
    """A record to store, for `keep` seconds; `None` until it is evicted. Whether anybody `waits` for that, for a moment.

    Its `parts` are stored behind it, if it was: nobody waits for those.
    """

    index: bytes
    record: bytes
    keep: float | None
    order: Order
    waits: bool
    others: Others = ALONE
    parts: Records | None = None

    __repr__ = redacted_repr


class LiveResponse:
    """The upstream's answer as it comes: written once, read from any offset that is still held.

    Its writer calls `feed` for every chunk, then `finish` and `close`, or `fail`. `faults` says why it is not kept.
    `is_sound`: all of it has come, and could be kept.
    """

    def __init__(
        self, head: Head, recording: Recording | None = None, faults: tuple[str, ...] = (), shape: ErrorShape = OPENAI
    ) -> None:
        self.head, self.faults, self.shape = head, faults, shape
        self._model: str | None = None  # as the answer names it
        self._usage: Usage | None = None
        self._kept_for: float | None = None
        self._is_chat = recording is not None or bool(faults)
        self.is_stored = self.is_sound = False
        self.is_stream = _is_event_stream(head)
        self.can_say_more = self.is_stream and not is_coded(head)  # an event of ours can be added
        self._recording = recording
        self._is_void = False
        self._body = bytearray() if recording is None else recording.body
        self._forgotten = 0  # how many bytes are held no more
        self._tail = b""  # the last of those

    @property
    def is_recorded(self) -> bool:
        """Say whether it may still be kept."""
        return self._recording is not None

    @property
    def is_open(self) -> bool:
        """Say whether it may be shown: JSON that may be kept is not before it is whole, for half of it is of no use."""
        return not self._is_void and (self._recording is None or self.is_stream or self._recording.left > 0)

    @property
    def is_whole(self) -> bool:
        """Say whether all that has come is in memory."""
        return self._forgotten == 0

    @property
    def held(self) -> int:
        """Return how many bytes are in memory."""
        return len(self._body)

    @property
    def end(self) -> int:
        """The offset behind the last byte that may leave."""
        return self._forgotten + (len(self._body) if self._recording is None else self._recording.left)

    @property
    def hold_seconds(self) -> float | None:
        """Return how many seconds what is held back now may be held back; `None` where nothing is."""
        return None if self._recording is None else self._recording.hold_seconds

    def feed(self, chunk: bytes, now: float) -> None:
        """Take in what has come."""
        if self._recording is None:
            self._body += chunk
            return
        self._recording.feed(chunk, now)
        if self._recording.dropped is not None:
            self.drop(self._recording.dropped)

    def over_limit(self, limit_bytes: int, is_full: bool) -> str | None:
        """Say why no more of it may be held than somebody has yet to read; `is_full`: all answers together hold too much."""
        if is_full and self.held:
            return "busy"
        return "record-too-large" if self.held > limit_bytes else None

    def drop(self, why: str) -> None:
        """Keep no record of it; it only passes."""
        if self._recording is not None:
            self._recording.terms.refuse(why)
            self._recording = None
            self.faults = (why, *self.faults)

    def release_held(self) -> None:
        """Let go what was held back for an end that does not come in time."""
        if self._recording is not None:
            self._recording.release_held()
            if self._recording.dropped is not None:
                self.drop(self._recording.dropped)

    def read(self, start: int) -> bytes:
        """Return what may leave from the offset `start` on, as much as is sent at once."""
        at = start - self._forgotten
        return bytes(self._body[at : min(at + PIECE_BYTES, self.end - self._forgotten)])

    def forget(self, before: int) -> None:
        """Hold no byte before this offset any more; what is recorded is held whole."""
        count = before - self._forgotten
        if self._recording is None and count > 0:
            self._tail = (self._tail + self._body[max(0, count - 3) : count])[-3:]
            del self._body[:count]
            self._forgotten = before

    def finish(self, now: float) -> Put | None:
        """Return the record to put, now that the upstream's body has ended.

        Raises `TruncatedResponse` where that end may be a cut: nothing but the content says that it is not.
        """
        self._check_length()
        if self._recording is None:
            return None
        recorded = self._recording.finish(now)
        self._model, self._usage = self._recording.answered
        if isinstance(recorded, StoredResponse):
            put = _put_of(self._recording.terms, recorded)
            self.is_sound = put is not None
            if put is not None:
                return put
            recorded = NOT_IN_PARTS
        if recorded in CUT and not self.head.delimited:
            self._recording.terms.refuse(TruncatedResponse.detail)
            raise TruncatedResponse("the connection closed before the answer was complete")
        self.drop(recorded)
        return None

    def _check_length(self) -> None:
        """Raise `TruncatedResponse` for a stream that is not as long as it said: no client is told its length."""
        came = self._forgotten + len(self._body)
        has_body = self.head.status not in (204, 304) and (came > 0 or self._is_chat)  # a HEAD has none
        if self.can_say_more and has_body and content_length(self.head.headers) not in (None, came):
            raise TruncatedResponse("the answer is not as long as it said")

    @property
    def body(self) -> bytes:
        """All that has come of it and is still held."""
        return bytes(self._body)

    def with_body(self, body: bytes) -> "LiveResponse":
        """Return a response that is over, with this body in the place of its own; what became of the other is as it was."""
        head = replace(self.head, headers=(*without(self.head.headers, OF_THE_BODY), (b"content-length", b"%d" % len(body))))
        other = LiveResponse(head, None, self.faults, self.shape)
        other._body += body
        other._model, other._usage = self._model, self._usage
        other.is_stored = self.is_stored
        return other

    def close(self, fault: str | None) -> None:
        """Let the last bytes go. `fault` says why a record that `finish` gave was not stored; `None`: it was."""
        if self._recording is None:
            return
        terms, self._recording = self._recording.terms, None
        self.is_stored = fault is None
        if fault is None:
            self._kept_for = terms.keep
            terms.refusals.forget(terms.key.index)
        else:
            terms.refuse(fault)
            self.faults = (fault, *self.faults)

    def fail(self, error: UpstreamError | None) -> None:
        """Note that the upstream broke off, or was told to: `None`. What was held back is never shown: it was no end."""
        self._is_void = not self.is_open
        if error is not None:
            error.status = self.head.status
            self.faults = (error.detail, *self.faults)
        if self._recording is not None:
            del self._body[self._recording.left :]
            self._recording = None

    def broken(self, error: UpstreamError) -> bytes:
        """Return what a reader who has had everything is told of the failure; nothing where it cannot be."""
        if not self.can_say_more:
            return b""
        error.status = self.head.status
        tail = (self._tail + self._body[-3:])[-3:]
        return errors.broken_stream(error, not tail or tail.endswith((b"\n\n", b"\r\r", b"\n\r\n")), self.shape)

    def billed_report(self, report: ExchangeReport) -> ExchangeReport:
        """Return what is said of an exchange, with what this answer costs as far as that is known."""
        return billed(report, self.head.routed.bill) if isinstance(self.head, RoutedHead) else report

    def final_report(self, report: ExchangeReport) -> ExchangeReport:
        """Return what is said of an exchange, with what has become of this answer; a collapsed one stored nothing."""
        report = self.billed_report(report)
        if not (self.faults or self.is_stored):
            return report
        stored = None if report.collapsed else not self.faults
        again = [was(fault) for fault in self.faults]
        details = tuple([detail for detail in dict.fromkeys((*self.faults, *report.details)) if detail not in again])
        kept_for = self._kept_for if stored else None
        return replace(report, stored=stored, kept_for=kept_for, details=details, answered_model=self._model, usage=self._usage)

    def client_head(self, report: ExchangeReport, is_of_another_account: bool = False) -> Head:
        """Return the head as a client gets it; what it says of the account it was asked for is for nobody else."""
        headers = end_to_end(self.head.headers)
        if report.collapsed:
            headers = without(headers, (b"set-cookie", b"set-cookie2"))  # another request's: its answer is shared, no more
        if is_of_another_account:
            headers = without_account(headers)
        if self.can_say_more:
            headers = without(headers, (b"content-length",))
        known = self.final_report(report)
        if report.opted_in:
            headers = announce(headers, known, self.is_stream)
        return Head(self.head.status, with_route(headers, known))


class Relay:
    """An outcome: the answer is passed on to one client as it comes.

    `is_of_another_account`: it was asked for with a credential that is not this client's. With a `presentation` the client sees
    it in another dialect than it comes in.
    """

    def __init__(
        self,
        response: LiveResponse,
        report: ExchangeReport,
        is_of_another_account: bool = False,
        presentation: Presentation | None = None,
    ) -> None:
        self.response, self.at = response, 0
        self.early_report = report  # before it was known what becomes of the response
        self._is_of_another_account = is_of_another_account
        self._has_begun = False
        self._presentation = presentation
        self._presenter = None if presentation is None else presentation.presenter(response.head, TRANSLATED_BYTES)

    @property
    def report(self) -> ExchangeReport:
        """Return what came of it, as far as is known."""
        return self.response.final_report(self.early_report)

    @property
    def has_had_all(self) -> bool:
        """Say whether everything that may leave has."""
        return (self._has_begun or self.comes_whole) and self.at == self.response.end

    def take(self) -> tuple[Part, ...]:
        """Return what may leave now and has not yet: nothing, or a piece of it."""
        if not self.response.is_open:
            return ()
        piece = self.response.read(self.at)
        self.at += len(piece)
        if self._presenter is not None:
            piece = self._presenter.feed(piece)
        chunks = (piece,) if piece else ()
        if self._has_begun or self.comes_whole:
            return chunks
        self._has_begun = True
        return (self.head, *chunks)

    def finish(self) -> tuple[Part, ...]:
        """Return what is left to say when all that came has been taken, and the response has ended well."""
        if self._presenter is None:
            return ()
        return self._last(*self._presenter.finish(self._plain_head))

    def broken(self, error: UpstreamError) -> tuple[Part, ...]:
        """Return what a client who has had everything is told of the failure; nothing where it cannot be."""
        if self._presenter is not None:
            error.status = self.response.head.status
            return self._last(*self._presenter.break_off(self._plain_head, errors.failure(error)))
        said = self.response.broken(error)
        return (said,) if said else ()

    @property
    def errors(self) -> ErrorShape:
        """The shape in which its client reads errors."""
        return self.response.shape if self._presentation is None else self._presentation.errors

    @property
    def comes_whole(self) -> bool:
        """Say whether nothing of it leaves before it is whole: a document in another dialect."""
        return self._presenter is not None and not self._presenter.is_stream

    @property
    def is_cut(self) -> bool:
        """Say whether it has no end, though the response has: no more of it can be said."""
        return self._presenter is not None and self._presenter.is_stream and self._presenter.fault is not None

    @property
    def head(self) -> Head:
        """The head as its client gets it, with what is known by now."""
        return self._plain_head if self._presenter is None else self._presenter.begin(self._plain_head)

    @property
    def _plain_head(self) -> Head:
        head = self.response.client_head(self.early_report, self._is_of_another_account)
        if self._presentation is None or self._presenter is not None:
            return head
        return Head(head.status, (*head.headers, *fields_of(self._presentation.told)))

    def _last(self, head: Head | None, body: bytes) -> tuple[Part, ...]:
        if head is not None and not self._has_begun:
            self._has_begun = True
            return (head, body)
        return (body,) if body else ()


def last_left(wish: Abandon, response: LiveResponse | None, has_room: bool) -> Abandon:
    """Say what becomes of an answer that every reader has left; `response` is `None` where it has no head yet.

    It is read on only where it may be kept, and where there is room for one more that nobody reads.
    """
    may_be_kept = response is None or response.is_recorded
    return Abandon.FINISH if wish is Abandon.FINISH and may_be_kept and has_room else Abandon.CANCEL


def begin(head: Head, terms: Terms | None, now: float) -> LiveResponse:
    """Begin to pass on an answer whose head came `now`; without `terms` nothing of it is kept."""
    if terms is None:
        return LiveResponse(head)
    shape = terms.call.endpoint.errors
    fault = _kept_out(head) or head_fault(head, terms.call.kind.stream)
    if fault is None and not isinstance(terms.order, Order):
        fault = terms.order
    if fault is not None:
        terms.refuse(fault)
        return LiveResponse(head, None, (fault,), shape)
    return LiveResponse(head, start(head, terms, now), (), shape)


def _put_of(terms: Terms, recorded: StoredResponse) -> Put | None:
    """Return the record to put, and its parts behind it; of an answer to some inputs those alone, if it has any."""
    assert isinstance(terms.order, Order)  # noqa: S101 - else nothing was recorded
    parts = records_of_parts(terms, recorded)
    if not terms.is_of_some:
        record = codec.encode(recorded)
        return Put(terms.index, record, terms.keep, terms.order, terms.waits, terms.others, parts)
    records = iter(()) if parts is None else parts()
    first = next(records, None)
    return None if first is None else Put(*first, terms.keep, terms.order, terms.waits, terms.others, lambda: records)


def _kept_out(head: Head) -> str | None:
    """Read `Cachemw: off` in a response: a wrapped app keeps this answer out. What cannot be read is not stored either."""
    fields = header_values(head.headers, CONTROL_HEADER)
    members = parse_members(b", ".join(fields)) if fields else ControlMembers(on=True)
    return None if isinstance(members, ControlMembers) and members.on is not False else "kept-out"


def _is_event_stream(head: Head) -> bool:
    return any(value.lower().startswith(b"text/event-stream") for value in header_values(head.headers, b"content-type"))
