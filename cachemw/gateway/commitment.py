"""Judge the beginning of an attempt's answer: good enough to be shown to the client, or a failure that nobody need see."""

from enum import Enum

from cachemw.endpoints import CHAT
from cachemw.endpoints.base import Endpoint, Saying
from cachemw.errors import TruncatedResponse, UpstreamError
from cachemw.gateway.failure_kinds import Failure, FailureKind
from cachemw.gateway.failures import of_error, of_no_output, of_object, of_response
from cachemw.messages import Head, header_values
from cachemw.wire.sse import Event, Parser, is_done

HELD_BYTES = 64 * 1024
"""The bytes of an answer that are held before it is shown, whatever it says."""

_BLANKS = b" \t\r\n"


class Judgement(Enum):
    """The state of an answer that is looked at: more of it is needed, or it is decided."""

    HOLDING = "nothing is known yet"
    COMMITTED = "it may be shown"
    FAILED = "it is a failure"


class _Form(Enum):
    STREAM = "events"
    JSON = "a document"
    REFUSAL = "a body that says why there is no answer"
    OTHER = "anything else: it is not looked into"


class Commitment:
    """Looks at an answer as it comes: call `feed` for every chunk, `end` or `cut` at its end, until it is decided.

    An answer is shown from its first substantive event on, a JSON document when it is whole, and both when there are
    `HELD_BYTES` of it. `is_stream`: events were asked for. `endpoint` is the one that was called, where that is one of ours.
    `is_translated`: the caller asked in another dialect, in which what says nothing is no answer.
    """

    def __init__(
        self,
        provider: str | None,
        head: Head,
        *,
        is_stream: bool,
        endpoint: Endpoint | None,
        is_translated: bool = False,
        limit: int = HELD_BYTES,
    ) -> None:
        self.failure: Failure | None = None
        self.error: UpstreamError | None = None
        """Set where what has come is no answer that could be shown."""
        self.has_content = False
        """Whether more than blanks has come."""
        self._provider, self._head, self._endpoint, self._limit = provider, head, endpoint, limit
        self._is_translated = is_translated
        self._form = _form_of(head, is_stream)
        self._parser = Parser()
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_done = False
        self.judgement = Judgement.COMMITTED if self._form is _Form.OTHER else Judgement.HOLDING

    @property
    def held(self) -> tuple[bytes, ...]:
        """Return what has come of the answer while it was looked at."""
        return tuple(self._pieces)

    @property
    def is_json(self) -> bool:
        """Say whether it is a document, which is whole or says nothing."""
        return self._form is _Form.JSON

    @property
    def is_refusal(self) -> bool:
        """Say whether its status says that there is no answer."""
        return self._form is _Form.REFUSAL

    def feed(self, chunk: bytes) -> Judgement:
        """Take in what has come."""
        self._pieces.append(chunk)
        self._size += len(chunk)
        self.has_content = self.has_content or bool(chunk.strip(_BLANKS))
        if self._form is _Form.STREAM:
            self._see(self._parser.feed(chunk))
        if self.judgement is Judgement.HOLDING and self._size >= self._limit:
            self._judge_status() if self._form is _Form.REFUSAL else self.release()
        return self.judgement

    def end(self) -> Judgement:
        """Note that it has ended by itself."""
        if self.judgement is not Judgement.HOLDING:
            return self.judgement
        match self._form:
            case _Form.STREAM:
                self._end_stream()
            case _Form.JSON:
                self._judge(b"".join(self._pieces), is_whole=True)
            case _:
                self._judge_status()
        return self.judgement

    def cut(self, error: UpstreamError) -> Judgement:
        """Note that it broke off, or came too slowly, before it was decided; where the status says enough that is no matter."""
        if self._form is _Form.REFUSAL:
            self._judge_status()
        else:
            self._fail(of_error(error))
            self.error = error
        return self.judgement

    def release(self) -> None:
        """Show it, unless it is known to be a failure: it is too large, or too slow, to be held any longer."""
        if self.judgement is Judgement.HOLDING:
            self.judgement = Judgement.COMMITTED

    def forget(self) -> None:
        """Hold nothing of what has come: it is shown, and only looked at."""
        self._pieces.clear()

    def _see(self, events: list[Event]) -> None:
        for event in events:
            if self.judgement is Judgement.HOLDING:
                self._see_event(event)

    def _see_event(self, event: Event) -> None:
        if is_done(event.data):
            self._is_done = True
        elif event.name == b"error":
            self._fail_by(event.data)
        else:
            self._judge(event.data, is_whole=False)

    def _end_stream(self) -> None:
        self._see(self._parser.end())
        if self.judgement is not Judgement.HOLDING:
            return
        if self._is_done or not self.has_content:
            self._fail(of_no_output(()))
        else:
            self._break()

    def _judge(self, raw: bytes, *, is_whole: bool) -> None:
        """Judge an event, or a whole document, as the first thing that was said."""
        beginning = (self._endpoint or CHAT).begins(raw, is_whole=is_whole)
        match beginning.saying:
            case Saying.SOMETHING:
                self.release()
            case Saying.ERROR:
                self._fail_by(raw)
            case Saying.UNREADABLE if self._endpoint is not None or not self.has_content:
                self._judge_unreadable(raw)
            case _ if self._endpoint is None:
                self.release()  # what other endpoints answer is not known here
            case _ if beginning.finish_reasons or is_whole:
                self._judge_silent(beginning.finish_reasons, has_choices=beginning.choices > 0)

    def _judge_silent(self, reasons: tuple[str, ...], *, has_choices: bool) -> None:
        """Judge an answer that says nothing and is over: it is one, if no filter has kept it back, and it has choices."""
        failure = of_no_output(reasons)
        if has_choices and failure.kind is not FailureKind.REFUSED and not self._is_translated:
            self.release()
        else:
            self._fail(failure)

    def _judge_unreadable(self, raw: bytes) -> None:
        """Tell an error in another provider's shape from what can be no part of an answer."""
        failure = of_object(self._provider, raw, headers=self._head.headers)
        if failure is not None:
            self._fail(failure)
        elif self.has_content:
            self._break()
        else:
            self._fail(of_no_output(()))

    def _judge_status(self) -> None:
        head = self._head
        failure = of_response(self._provider, head.status, head.headers, b"".join(self._pieces)[: self._limit])
        self._fail(failure or self._no_answer())

    def _fail_by(self, raw: bytes) -> None:
        """Fail by an error in an answer; one that nobody knows is the target's own."""
        self._fail(of_object(self._provider, raw, headers=self._head.headers) or self._no_answer())

    def _no_answer(self) -> Failure:
        return of_error(TruncatedResponse("it says that there is no answer"))

    def _break(self) -> None:
        self.error = TruncatedResponse("it broke off, or can be read in no way, before its answer began")
        self._fail(of_error(self.error))

    def _fail(self, failure: Failure) -> None:
        self.judgement, self.failure = Judgement.FAILED, failure


def _form_of(head: Head, is_stream: bool) -> _Form:
    if not 200 <= head.status < 300:
        return _Form.REFUSAL
    codings = [value.strip().lower() for value in header_values(head.headers, b"content-encoding")]
    types = header_values(head.headers, b"content-type")
    if head.status == 204 or any(coding not in (b"", b"identity") for coding in codings) or len(types) > 1:
        return _Form.OTHER
    if not types:
        return _Form.STREAM if is_stream else _Form.JSON
    media_type = types[0].partition(b";")[0].strip().lower()
    return {b"text/event-stream": _Form.STREAM, b"application/json": _Form.JSON}.get(media_type, _Form.OTHER)
