"""Judge a chat completion: complete and worth keeping, or why not; the same when it is recorded and when it is read."""

import re
from typing import Any

import msgspec

from cachemw.endpoints.chat.request import ChatRequest
from cachemw.errors import Unreadable
from cachemw.redaction import redacted_repr
from cachemw.wire.sse import DONE, Event, Parser
from cachemw.wire.strict_json import TOO_COMPLEX, is_too_complex

CUT = frozenset({"incomplete", "unreadable-answer"})
"""The faults of an answer that may have been cut short."""

CHOICES_LIMIT = 2**17
"""How many objects a completion may have: each could be a choice."""

_TOKEN = re.compile(r"[a-z_]{1,32}")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NULL = msgspec.Raw(b"null")


def _read(part: msgspec.Raw) -> Any:
    """Return the value of a part that may be anything. Raises `Unreadable` for one that is too much work."""
    if is_too_complex(raw := bytes(part)):
        raise Unreadable(TOO_COMPLEX)
    return msgspec.json.decode(raw)


class _Said(msgspec.Struct):
    """A message, or a piece of one: what makes it more than empty."""

    content: msgspec.Raw = _NULL
    refusal: msgspec.Raw = _NULL
    tool_calls: msgspec.Raw = _NULL
    function_call: msgspec.Raw = _NULL

    __repr__ = redacted_repr

    def says_something(self) -> bool:
        parts = (self.content, self.refusal, self.tool_calls, self.function_call)
        values = [_read(part) for part in parts if part != _NULL]  # all of them: one may be unreadable
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
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    message: msgspec.Raw = _NULL
    type: msgspec.Raw = _NULL
    code: msgspec.Raw = _NULL
    status_code: msgspec.Raw = _NULL

    __repr__ = redacted_repr

    def is_error(self) -> bool:
        """Both forms: `{"error": …}`, and the flat one of Cerebras."""
        if self.error != _NULL and _read(self.error):
            return True
        is_flat = self.choices is None and any(said != _NULL for said in (self.type, self.code, self.status_code))
        return is_flat and isinstance(_read(self.message), str)


_decoder = msgspec.json.Decoder(_Body)


class StreamJudge:
    """See every event of a stream, then ask why it may not be kept."""

    def __init__(self) -> None:
        self._fault: str | None = None
        self._done = False
        self._usage = False
        self._finished: dict[int, str | None] = {}
        self._said: set[int] = set()

    def see(self, event: Event) -> None:
        """Take one event in."""
        if self._fault is not None:
            return
        if event.data == DONE and not self._done:
            self._done = True
            return
        self._fault = self._look_at(event)

    def _look_at(self, event: Event) -> str | None:
        if self._done:
            return "event-after-done"
        if event.name == b"error":
            return "error-event"
        try:
            return self._take_in(_read_body(event.data))
        except _UNREADABLE:
            return "unreadable-event"
        except Unreadable as exc:
            return exc.detail

    def _take_in(self, body: _Body) -> str | None:
        if body.is_error():
            return "error-event"
        self._usage = self._usage or body.usage != _NULL
        for choice in body.choices or ():
            self._finished[choice.index] = choice.finish_reason or self._finished.get(choice.index)
            if choice.delta is not None and choice.delta.says_something():
                self._said.add(choice.index)
        return None

    def fault(self, chat: ChatRequest, store_when: frozenset[str]) -> str | None:
        """Return why the stream may not be kept; `None` where it may."""
        if self._fault is not None or not self._done:
            return self._fault or "incomplete"
        if chat.wants_usage and not self._usage:
            return "no-usage"
        return _choices_fault(self._finished, self._said, chat, store_when)


def stream_fault(body: bytes, chat: ChatRequest, store_when: frozenset[str]) -> str | None:
    """Return why an event stream may not be kept; `None` where it may."""
    judge, parser = StreamJudge(), Parser()
    for event in (*parser.feed(body), *parser.close()):
        judge.see(event)
    return judge.fault(chat, store_when)


def json_fault(body: bytes, chat: ChatRequest, store_when: frozenset[str]) -> str | None:
    """Return why a JSON completion may not be kept; `None` where it may."""
    try:
        return _completion_fault(_read_body(body), chat, store_when)
    except _UNREADABLE:
        return "unreadable-answer"
    except Unreadable as exc:
        return exc.detail


def _read_body(raw: bytes) -> _Body:
    if len(raw) > CHOICES_LIMIT and raw.count(b"{") > CHOICES_LIMIT:
        raise Unreadable(TOO_COMPLEX)
    return _decoder.decode(raw)


def _completion_fault(completion: _Body, chat: ChatRequest, store_when: frozenset[str]) -> str | None:
    if completion.is_error():
        return "error-answer"
    choices = completion.choices or []
    said = {choice.index for choice in choices if choice.message is not None and choice.message.says_something()}
    if len(choices) != chat.choices:
        return "missing-choice"
    return _choices_fault({choice.index: choice.finish_reason for choice in choices}, said, chat, store_when)


def _choices_fault(
    finished: dict[int, str | None], said: set[int], chat: ChatRequest, store_when: frozenset[str]
) -> str | None:
    if len(finished) != chat.choices or not all(0 <= index < chat.choices for index in finished):
        return "missing-choice"
    for reason in finished.values():
        if reason is None:
            return "unfinished-choice"
        if reason not in store_when or (reason == "length" and not chat.bounded):
            return f"finish-{reason}" if _TOKEN.fullmatch(reason) else "finish-other"
    return None if said >= finished.keys() else "empty-choice"
