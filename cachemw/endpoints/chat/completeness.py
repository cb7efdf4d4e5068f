"""Judge a chat completion: complete and worth keeping, or why not; the same when it is recorded and when it is read."""

import re
from typing import Annotated, Any

import msgspec

from cachemw.endpoints.base import ApiCall
from cachemw.errors import Unreadable
from cachemw.limits import Work
from cachemw.messages import Usage
from cachemw.redaction import redacted_repr
from cachemw.wire.sse import DONE, Event
from cachemw.wire.strict_json import TOO_COMPLEX, is_too_complex

_LONGEST_NAME = 256
_TOKEN = re.compile(r"[a-z_]{1,32}")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NULL = msgspec.Raw(b"null")


def _read(part: msgspec.Raw, work: Work) -> Any:
    """Return the value of a part that may be anything. Raises `Unreadable` for one that is too much work."""
    if is_too_complex(raw := bytes(part), work.document):
        raise Unreadable(TOO_COMPLEX)
    return msgspec.json.decode(raw)


class _Said(msgspec.Struct):
    """A message, or a piece of one: what makes it more than empty."""

    content: msgspec.Raw = _NULL
    refusal: msgspec.Raw = _NULL
    tool_calls: msgspec.Raw = _NULL
    function_call: msgspec.Raw = _NULL

    __repr__ = redacted_repr

    def says_something(self, work: Work) -> bool:
        parts = (self.content, self.refusal, self.tool_calls, self.function_call)
        values = [_read(part, work) for part in parts if part != _NULL]  # all of them: one may be unreadable
        return any(values)


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None

    __repr__ = redacted_repr


class _Body(msgspec.Struct):
    """A completion, a chunk of one, or an error: only what is judged."""

    choices: list[_Choice] | None = None
    model: msgspec.Raw = _NULL
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    message: msgspec.Raw = _NULL
    type: msgspec.Raw = _NULL
    code: msgspec.Raw = _NULL
    status_code: msgspec.Raw = _NULL

    __repr__ = redacted_repr

    def is_error(self, work: Work) -> bool:
        """Both forms: `{"error": …}`, and the flat one of Cerebras."""
        if self.error != _NULL and _read(self.error, work):
            return True
        is_flat = self.choices is None and any(said != _NULL for said in (self.type, self.code, self.status_code))
        return is_flat and isinstance(_read(self.message, work), str)


_decoder = msgspec.json.Decoder(_Body)


class ChatJudge:
    """Judges one answer: its events as they come, or its body."""

    def __init__(self, call: ApiCall, store_when: frozenset[str], work: Work = Work()) -> None:
        self.model: str | None = None
        self.usage: bytes | None = None
        self._call, self._store_when, self._work = call, store_when, work
        self._fault: str | None = None
        self._is_over = False
        self._finished: dict[int, str | None] = {}
        self._said: set[int] = set()

    def see(self, event: Event) -> None:
        """Take in one event of a stream."""
        if self._fault is not None:
            return
        if event.data == DONE and not self._is_over:
            self._is_over = True
            return
        self._fault = self._look_at(event)

    def read(self, body: bytes) -> None:
        """Take in a completion."""
        try:
            self._fault = self._take_whole(_read_body(body, self._work))
        except _UNREADABLE:
            self._fault = "unreadable-answer"
        except Unreadable as exc:
            self._fault = exc.detail
        self._is_over = True

    def fault(self) -> str | None:
        """Return why the answer may not be kept; `None` where it may."""
        if self._fault is not None or not self._is_over:
            return self._fault or "incomplete"
        if self._call.wants_usage and self.usage is None:
            return "no-usage"
        return _choices_fault(self._finished, self._said, self._call, self._store_when)

    def _look_at(self, event: Event) -> str | None:
        if self._is_over:
            return "event-after-done"
        if event.name == b"error":
            return "error-event"
        try:
            return self._take_in(_read_body(event.data, self._work))
        except _UNREADABLE:
            return "unreadable-event"
        except Unreadable as exc:
            return exc.detail

    def _take_in(self, chunk: _Body) -> str | None:
        if chunk.is_error(self._work):
            return "error-event"
        self._note(chunk)
        for choice in chunk.choices or ():
            self._finished[choice.index] = choice.finish_reason or self._finished.get(choice.index)
            if choice.delta is not None and choice.delta.says_something(self._work):
                self._said.add(choice.index)
        return None

    def _take_whole(self, completion: _Body) -> str | None:
        if completion.is_error(self._work):
            return "error-answer"
        self._note(completion)
        choices = completion.choices or []
        for choice in choices:
            self._finished[choice.index] = choice.finish_reason
            if choice.message is not None and choice.message.says_something(self._work):
                self._said.add(choice.index)
        return None if len(choices) == self._call.choices else "missing-choice"

    def _note(self, body: _Body) -> None:
        if body.usage != _NULL:
            self.usage = bytes(body.usage)
        if self.model is None:
            self.model = _name_in(body.model)


def _name_in(raw: msgspec.Raw) -> str | None:
    """Return a text of moderate length; what is anything else names nothing."""
    if not 2 < len(raw) <= _LONGEST_NAME:
        return None
    try:
        value = msgspec.json.decode(raw)
    except _UNREADABLE:
        return None
    return value if isinstance(value, str) else None


_Tokens = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class _Details(msgspec.Struct):
    cached_tokens: _Tokens | None = None
    reasoning_tokens: _Tokens | None = None


class _ChatUsage(msgspec.Struct):
    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


_usage_decoder = msgspec.json.Decoder(_ChatUsage)
_NOTHING = _Details()


def read_usage(raw: bytes) -> Usage | None:
    """Return what a completion says it took; `None` for what is not the usage of one."""
    try:
        usage = _usage_decoder.decode(raw)
    except _UNREADABLE:
        return None
    cached = (usage.prompt_tokens_details or _NOTHING).cached_tokens
    reasoning = (usage.completion_tokens_details or _NOTHING).reasoning_tokens
    return Usage(usage.prompt_tokens, usage.completion_tokens, cached, reasoning)


def _read_body(raw: bytes, work: Work) -> _Body:
    if len(raw) > work.objects and raw.count(b"{") > work.objects:
        raise Unreadable(TOO_COMPLEX)
    return _decoder.decode(raw)


def _choices_fault(finished: dict[int, str | None], said: set[int], call: ApiCall, store_when: frozenset[str]) -> str | None:
    if len(finished) != call.choices or not all(0 <= index < call.choices for index in finished):
        return "missing-choice"
    for reason in finished.values():
        if reason is None:
            return "unfinished-choice"
        if reason not in store_when or (reason == "length" and not call.bounded):
            return f"finish-{reason}" if _TOKEN.fullmatch(reason) else "finish-other"
    return None if said >= finished.keys() else "empty-choice"
