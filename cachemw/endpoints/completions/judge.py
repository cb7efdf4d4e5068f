"""Judge a legacy completion: complete and worth keeping, or why not; the same when it is recorded and when it is read."""

import msgspec

from cachemw.endpoints.base import ApiCall, Beginning, Demands, RawMembers, Saying
from cachemw.endpoints.documents import says_error
from cachemw.endpoints.judging import finish_fault, name_in, raw_members
from cachemw.endpoints.usage import read_usage
from cachemw.errors import Unreadable
from cachemw.limits import Work
from cachemw.redaction import redacted_repr
from cachemw.wire.sse import Event, is_done
from cachemw.wire.strict_json import NULL, UNREADABLE

TEXT_COMPLETION = "text_completion"
"""What a completion says that it is, whole or a chunk of it."""


class _Choice(msgspec.Struct):
    index: int = 0
    text: str | None = None
    finish_reason: str | None = None
    error: msgspec.Raw = NULL

    __repr__ = redacted_repr


_choices_decoder = msgspec.json.Decoder(list[_Choice] | None)


def completion_beginning(raw: bytes, *, is_whole: bool, work: Work = Work()) -> Beginning:
    """Return what an event says by which a stream begins, or a completion that `is_whole`."""
    try:
        members = raw_members(raw, work)
        choices = _choices_in(members)
    except UNREADABLE:
        return Beginning(Saying.UNREADABLE)
    except Unreadable:
        return Beginning(Saying.SOMETHING)
    reasons = tuple([choice.finish_reason for choice in choices if choice.finish_reason])
    if says_error(members, work) or any(choice.error != NULL for choice in choices):
        return Beginning(Saying.ERROR)
    if choices and all(choice.text is None for choice in choices) and name_in(members.get("object", NULL)) != TEXT_COMPLETION:
        return Beginning(Saying.UNREADABLE)  # as the choices of chat
    says = any(choice.text for choice in choices)
    return Beginning(Saying.SOMETHING if says else Saying.NOTHING, len(choices), reasons)


def _choices_in(members: RawMembers) -> list[_Choice]:
    return _choices_decoder.decode(members.get("choices", NULL)) or []


class CompletionJudge:
    """Judges one answer: its events as they come, or its body."""

    def __init__(self, call: ApiCall, demands: Demands, work: Work = Work()) -> None:
        self.model: str | None = None
        self.usage: bytes | None = None
        self._call, self._demands, self._work = call, demands, work
        self._fault: str | None = None
        self._is_over = self._has_ended = self._says_something = False
        self._finished: dict[int, str | None] = {}

    def see(self, event: Event) -> None:
        """Take in one event of a stream."""
        if self._fault is not None:
            return
        if is_done(event.data):  # some say it twice
            self._is_over = True
        elif self._is_over:
            self._fault = "event-after-done"
        elif event.name == b"error":
            self._fault = "error-event"
        else:
            self._fault = self._attempt(event.data, "error-event", "unreadable-event")

    def read(self, body: bytes) -> None:
        """Take in a completion."""
        self._fault = self._attempt(body, "error-answer", "unreadable-answer")
        self._is_over = True

    def end(self) -> None:
        """Note that the stream ended by itself, and not within an event."""
        self._has_ended = True

    def fault(self) -> str | None:
        """Return why the answer may not be kept; `None` where it may."""
        is_over = self._is_over or self._has_ended and not self._demands.done
        if self._fault is not None or not is_over:
            return self._fault or "incomplete"
        if self._call.wants_usage and self.usage is None:
            return "no-usage"
        return self._reasons_fault() or (None if self._says_something or self._counts_output() else "empty-choice")

    def _attempt(self, raw: bytes, if_error: str, if_unreadable: str) -> str | None:
        try:
            members = raw_members(raw, self._work)
            return if_error if says_error(members, self._work) else self._take_in(members, if_error, if_unreadable)
        except UNREADABLE:
            return if_unreadable
        except Unreadable as exc:
            return exc.detail

    def _take_in(self, members: RawMembers, if_error: str, if_unreadable: str) -> str | None:
        if name_in(members.get("object", NULL)) != TEXT_COMPLETION:
            return if_unreadable
        if (usage := members.get("usage", NULL)) != NULL:
            self.usage = bytes(usage)
        self.model = self.model or name_in(members.get("model", NULL))
        choices = _choices_in(members)
        for choice in choices:
            self._finished[choice.index] = choice.finish_reason or self._finished.get(choice.index)
            self._says_something |= bool(choice.text)
        return if_error if any(choice.error != NULL for choice in choices) else None

    def _reasons_fault(self) -> str | None:
        finished, due = self._finished, self._call.choices
        if len(finished) != due or not all(0 <= index < due for index in finished):
            return "missing-choice"
        for reason in finished.values():
            if reason is None:
                return "unfinished-choice"
            if reason not in self._demands.store_when or (reason == "length" and not self._call.bounded):
                return finish_fault(reason)
        return None

    def _counts_output(self) -> bool:
        """Say whether an answer without a word took any token: a model may well end at once."""
        usage = None if self.usage is None else read_usage(self.usage)
        return usage is not None and bool(usage.output_tokens)
