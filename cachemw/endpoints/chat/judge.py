"""Judge a chat completion: complete and worth keeping, or why not; the same when it is recorded and when it is read."""

import msgspec

from cachemw.endpoints.base import ApiCall, Beginning, Demands, RawMembers, Saying
from cachemw.endpoints.judging import (
    counts_reasoning,
    finish_fault,
    holds_text,
    is_said,
    name_in,
    refuse_many_objects,
    value_in,
)
from cachemw.errors import Unreadable
from cachemw.limits import Work
from cachemw.redaction import redacted_repr
from cachemw.wire.sse import Event, is_done
from cachemw.wire.strict_json import NULL, UNREADABLE

_AFTER_THOUGHT = frozenset({"stop", "length"})
"""The finish reasons of an answer that may have been all reasoning, and nobody sees it."""


_ANSWER = frozenset({"content", "refusal", "tool_calls", "function_call"})

_SILENT = frozenset(
    "role annotations id name type index token_id channel format status phase object model created expires_at".split()
)
"""Members that say nothing of an answer: they say what the others are."""


def _says_something(message: RawMembers | None, work: Work, *, is_known: bool = False) -> bool:
    """Say whether a message is more than empty: by its content, its calls, its reasoning, its pictures, or what nobody knows.

    All that is an answer is read, for one part may be unreadable; where it `is_known` of another piece, nothing else is.
    """
    if message is None:
        return is_known
    values = {name: value_in(part, work) for name, part in message.items() if name in _ANSWER}
    if is_known or any(holds_text(value, _SILENT) if name == "content" else value for name, value in values.items()):
        return True
    return any(is_said(name, part, work, _SILENT) for name, part in message.items() if name not in _ANSWER)


class _Choice(msgspec.Struct):
    index: int = 0
    delta: RawMembers | None = None
    message: RawMembers | None = None
    finish_reason: str | None = None
    error: msgspec.Raw = NULL

    __repr__ = redacted_repr


class _Body(msgspec.Struct):
    """A completion, a chunk of one, or an error: only what is judged."""

    choices: list[_Choice] | None = None
    model: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL
    x_groq: msgspec.Raw = NULL
    error: msgspec.Raw = NULL
    message: msgspec.Raw = NULL
    type: msgspec.Raw = NULL
    code: msgspec.Raw = NULL
    status_code: msgspec.Raw = NULL

    __repr__ = redacted_repr

    def is_error(self, work: Work) -> bool:
        """Say whether it is an error: `{"error": …}`, which OpenRouter has in a choice as well, or the flat one of Cerebras."""
        errors = (self.error, *(choice.error for choice in self.choices or ()))
        if any(error != NULL and value_in(error, work) for error in errors):
            return True
        is_flat = self.choices is None and any(said != NULL for said in (self.type, self.code, self.status_code))
        return is_flat and isinstance(value_in(self.message, work), str)


_decoder = msgspec.json.Decoder(_Body)


def beginning_of(raw: bytes, *, is_whole: bool, work: Work = Work()) -> Beginning:
    """Return what an event says by which a stream begins, or a completion that `is_whole`."""
    try:
        body = _read_body(raw, work)
        return Beginning(Saying.ERROR) if body.is_error(work) else _beginning(body.choices or [], is_whole, work)
    except UNREADABLE:
        return Beginning(Saying.UNREADABLE)
    except Unreadable:
        return Beginning(Saying.SOMETHING)


def _beginning(choices: list[_Choice], is_whole: bool, work: Work) -> Beginning:
    reasons = tuple([choice.finish_reason for choice in choices if choice.finish_reason])
    if "error" in reasons:  # as OpenRouter ends a stream
        return Beginning(Saying.ERROR)
    says = any(_says_something(choice.message if is_whole else choice.delta, work) for choice in choices)
    return Beginning(Saying.SOMETHING if says else Saying.NOTHING, len(choices), reasons)


class ChatJudge:
    """Judges one answer: its events as they come, or its body."""

    def __init__(self, call: ApiCall, demands: Demands, work: Work = Work()) -> None:
        self.model: str | None = None
        self.usage: bytes | None = None
        self._call, self._demands, self._work = call, demands, work
        self._fault: str | None = None
        self._is_over = self._has_ended = self._has_usage = False
        self._finished: dict[int, str | None] = {}
        self._said: set[int] = set()

    def see(self, event: Event) -> None:
        """Take in one event of a stream."""
        if self._fault is not None:
            return
        if is_done(event.data):  # some say it twice
            self._is_over = True
            return
        self._fault = self._look_at(event)

    def read(self, body: bytes) -> None:
        """Take in a completion."""
        try:
            self._fault = self._take_whole(_read_body(body, self._work))
        except UNREADABLE:
            self._fault = "unreadable-answer"
        except Unreadable as exc:
            self._fault = exc.detail
        self._is_over = True

    def end(self) -> None:
        """Note that the stream ended by itself, and not within an event."""
        self._has_ended = True

    def fault(self) -> str | None:
        """Return why the answer may not be kept; `None` where it may."""
        is_over = self._is_over or self._has_ended and not self._demands.done
        if self._fault is not None or not is_over:
            return self._fault or "incomplete"
        if self._call.wants_usage and not self._has_usage:
            return "no-usage"
        return self._reasons_fault() or self._choices_fault()

    def _reasons_fault(self) -> str | None:
        call, finished = self._call, self._finished
        if len(finished) != call.choices or not all(0 <= index < call.choices for index in finished):
            return "missing-choice"
        store_when = self._demands.store_when
        for reason in finished.values():
            if reason is None or reason == "" and not (self._is_over and "" in store_when):
                return "unfinished-choice"
            if reason not in store_when or (reason == "length" and not call.bounded):
                return finish_fault(reason)
        return None

    def _choices_fault(self) -> str | None:
        silent = self._finished.keys() - self._said
        if all(self._finished[index] in _AFTER_THOUGHT for index in silent) and (not silent or counts_reasoning(self.usage)):
            return None
        return "empty-choice"

    def _look_at(self, event: Event) -> str | None:
        if self._is_over:
            return "event-after-done"
        if event.name == b"error":
            return "error-event"
        try:
            return self._take_in(_read_body(event.data, self._work))
        except UNREADABLE:
            return "unreadable-event"
        except Unreadable as exc:
            return exc.detail

    def _take_in(self, chunk: _Body) -> str | None:
        if chunk.is_error(self._work):
            return "error-event"
        self._note(chunk)
        for choice in chunk.choices or ():
            self._finished[choice.index] = _later(self._finished.get(choice.index), choice.finish_reason)
            if _says_something(choice.delta, self._work, is_known=choice.index in self._said):
                self._said.add(choice.index)
        return None

    def _take_whole(self, completion: _Body) -> str | None:
        if completion.is_error(self._work):
            return "error-answer"
        self._note(completion)
        choices = completion.choices or []
        for choice in choices:
            self._finished[choice.index] = choice.finish_reason
            if _says_something(choice.message, self._work):
                self._said.add(choice.index)
        return None if len(choices) == self._call.choices else "missing-choice"

    def _note(self, body: _Body) -> None:
        self._has_usage |= body.usage != NULL
        usage = body.usage if body.usage != NULL else _usage_in(body.x_groq)
        if usage != NULL:
            self.usage = bytes(usage)
        if self.model is None:
            self.model = name_in(body.model)


def _later(before: str | None, now: str | None) -> str | None:
    """Return the finish reason that holds; an empty one holds only where no other comes."""
    return now or (now if before is None else before)


class _OfGroq(msgspec.Struct):
    """What Groq says besides in a chunk; in the last one, what the answer took."""

    usage: msgspec.Raw = NULL

    __repr__ = redacted_repr


_groq_decoder = msgspec.json.Decoder(_OfGroq)


def _usage_in(x_groq: msgspec.Raw) -> msgspec.Raw:
    try:
        return NULL if x_groq == NULL else _groq_decoder.decode(x_groq).usage
    except UNREADABLE:
        return NULL


def _read_body(raw: bytes, work: Work) -> _Body:
    refuse_many_objects(raw, work)
    return _decoder.decode(raw)
