"""Whether an answer is complete and worth keeping. The same judges see it when it is recorded and when it is read."""

import re
from typing import Any

import msgspec

from cachemw.core.chat import ChatRequest
from cachemw.core.sse import DONE, Event, Parser

CUT = frozenset({"incomplete", "unreadable-answer"})
"""The faults of an answer that may have been cut short."""

_TOKEN = re.compile(r"[a-z_]{1,32}")


class _Said(msgspec.Struct):
    """A message, or a piece of one: what makes it more than empty."""

    content: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None

    def says_something(self) -> bool:
        return bool(self.content or self.refusal or self.tool_calls or self.function_call)


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    """A completion, a chunk of one, or an error: only what is judged."""

    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    message: Any = None
    type: Any = None
    code: Any = None
    status_code: Any = None

    def is_error(self) -> bool:
        """Both forms: `{"error": …}`, and the flat one of Cerebras."""
        flat = isinstance(self.message, str) and any(v is not None for v in (self.type, self.code, self.status_code))
        return bool(self.error) or (self.choices is None and flat)


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
            body = _decoder.decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "unreadable-event"
        if body.is_error():
            return "error-event"
        self._usage = self._usage or body.usage is not None
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
        completion = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "unreadable-answer"
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
