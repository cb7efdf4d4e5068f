"""Judge a message: complete and worth keeping, or why not; the same when it is recorded and when it is read."""

from collections.abc import Mapping

import msgspec

from cachemw.endpoints.anthropic.blocks import OpenBlocks
from cachemw.endpoints.anthropic.reading import (
    MessageEvent,
    WholeMessage,
    is_error,
    member_in,
    members_in,
    read_event,
    read_message,
    says_something,
    text_in,
)
from cachemw.endpoints.base import ApiCall, Beginning, Demands, RawMembers, Saying
from cachemw.endpoints.judging import finish_fault, name_in
from cachemw.errors import Unreadable
from cachemw.limits import Work
from cachemw.wire.sse import Event
from cachemw.wire.strict_json import NULL, UNREADABLE

AS_CHAT_SAYS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
}
"""The stop reasons of a message that is whole, each with the finish reason that chat has for it."""

_NEVER = frozenset({"refusal", "pause_turn"})
"""Those of which nothing is kept, whatever the operator says: the next answer may be one, and the turn is to go on."""


def beginning_of(raw: bytes, *, is_whole: bool, work: Work = Work()) -> Beginning:
    """Return what an event says by which a stream begins, or a message that `is_whole`."""
    try:
        return _of_message(read_message(raw, work), work) if is_whole else _of_event(read_event(raw, work), work)
    except UNREADABLE:
        return Beginning(Saying.UNREADABLE)
    except Unreadable:
        return Beginning(Saying.SOMETHING)


def _of_message(message: WholeMessage, work: Work) -> Beginning:
    if is_error(message, work):
        return Beginning(Saying.ERROR)
    if message.content is None:
        return Beginning(Saying.UNREADABLE)
    return _saying(message.content, message.stop_reason, work)


def _of_event(said: MessageEvent, work: Work) -> Beginning:
    if is_error(said, work):
        return Beginning(Saying.ERROR)
    if not said.type:
        return Beginning(Saying.UNREADABLE)
    reason = text_in(said.delta or {}, "stop_reason", work) if said.type == "message_delta" else None
    pieces = [piece for piece in (said.content_block, said.delta) if piece is not None and said.type != "message_delta"]
    return _saying(pieces, reason, work)


def _saying(pieces: list[RawMembers], reason: str | None, work: Work) -> Beginning:
    """Return how a message begins, which is one choice; by the reason `refusal` it is known to be withheld."""
    says = any(says_something(piece, work) for piece in pieces)
    return Beginning(Saying.SOMETHING if says else Saying.NOTHING, 1, (reason,) if reason else ())


class MessageJudge:
    """Judges one answer: its events as they come, or its body."""

    def __init__(self, call: ApiCall, demands: Demands, work: Work = Work()) -> None:
        self.model: str | None = None
        self.usage: bytes | None = None
        self._demands, self._work = demands, work
        self._fault: str | None = None
        self._has_begun = self._is_over = False
        self._reason: str | None = None
        self._blocks = OpenBlocks(work)
        self._counts: RawMembers = {}

    def see(self, event: Event) -> None:
        """Take in one event of a stream."""
        if self._fault is None:
            self._fault = self._look_at(event)

    def read(self, body: bytes) -> None:
        """Take in a whole message."""
        try:
            self._fault = self._take_whole(read_message(body, self._work))
        except UNREADABLE:
            self._fault = "unreadable-answer"
        except Unreadable as exc:
            self._fault = exc.detail
        self._is_over = True

    def end(self) -> None:
        """Note that the stream ended by itself: one that is whole has said so before."""

    def fault(self) -> str | None:
        """Return why the answer may not be kept; `None` where it may."""
        if self._fault is not None or not self._is_over:
            return self._fault or "incomplete"
        return self._reason_fault() or (None if self._blocks.say_something else "empty-answer")

    def _reason_fault(self) -> str | None:
        reason, store_when = self._reason, self._demands.store_when
        if reason is None:
            return "unfinished-answer"
        if reason not in _NEVER and (reason in store_when or AS_CHAT_SAYS.get(reason) in store_when):
            return None
        return finish_fault(reason)

    def _look_at(self, event: Event) -> str | None:
        if self._is_over:
            return "event-after-done"
        if event.name == b"error":
            return "error-event"
        try:
            said = read_event(event.data, self._work)
            return self._take_in(said, event.name)
        except UNREADABLE:
            return "unreadable-event"
        except Unreadable as exc:
            return exc.detail

    def _take_in(self, said: MessageEvent, name: bytes) -> str | None:
        if is_error(said, self._work):
            return "error-event"
        if not said.type or name and name != said.type.encode():
            return "unreadable-event"
        if said.type == "ping":
            return None
        if self._has_begun is (said.type == "message_start"):
            return "second-start" if self._has_begun else "no-start"
        return self._take_part(said)

    def _take_part(self, said: MessageEvent) -> str | None:
        match said.type:
            case "message_start":
                return self._begin(said.message)
            case "message_delta":
                return self._finish(said)
            case "message_stop":
                self._is_over = True
                return "unclosed-block" if self._blocks.are_open else None
            case "content_block_start" | "content_block_delta" if self._reason is not None:
                return "broken-block"
            case _:
                return self._blocks.take_in(said)

    def _begin(self, message: RawMembers | None) -> str | None:
        if message is None:
            return "unreadable-event"
        self._has_begun = True
        self.model = name_in(message.get("model", NULL))
        self._count(message.get("usage", NULL))
        return "broken-block" if member_in(message, "content", self._work) else _container_fault(message)

    def _finish(self, said: MessageEvent) -> str | None:
        if said.delta is None:
            return "unreadable-event"
        self._reason = text_in(said.delta, "stop_reason", self._work)
        self._count(said.usage)
        return _container_fault(said.delta)

    def _count(self, usage: msgspec.Raw) -> None:
        """Note what an event says the answer took: its numbers are of the whole, so the later ones hold."""
        counts = members_in(usage)
        if counts is not None:
            self._counts |= {name: count for name, count in counts.items() if count != NULL or name not in self._counts}
            self.usage = msgspec.json.encode(self._counts)

    def _take_whole(self, message: WholeMessage) -> str | None:
        if is_error(message, self._work):
            return "error-answer"
        if message.type != "message" or message.content is None:
            return "no-message"
        self.model, self._reason = name_in(message.model), message.stop_reason
        self._count(message.usage)
        if message.container != NULL:
            return "container"
        return self._blocks.take_whole(message.content)


def _container_fault(members: RawMembers) -> str | None:
    return "container" if members.get("container", NULL) != NULL else None
