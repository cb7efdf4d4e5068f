"""Judge a response: complete and worth keeping, or why not; the same when it is recorded and when it is read."""

import re

import msgspec

from cachemw.endpoints.base import ApiCall, Beginning, Demands, RawMembers, Saying
from cachemw.endpoints.judging import counts_reasoning, finish_fault, is_said, name_in, refuse_many_objects
from cachemw.errors import Unreadable
from cachemw.limits import Work
from cachemw.redaction import redacted_repr
from cachemw.wire.sse import Event, is_done
from cachemw.wire.strict_json import NULL, UNREADABLE

ENDINGS = {"response.completed": "completed", "response.incomplete": "incomplete"}
"""The events in which an answer ends, and its status then. They hold all of it."""

LAST_EVENT = re.compile(
    rb"event: ?response\.(?:completed|incomplete|failed)(?![^\r\n])"
    rb'|data: ?\{ ?"type": ?"response\.(?:completed|incomplete|failed)"'  # some give their events no name
)
"""The line that begins the event at which clients hang up; `data: [DONE]`, which some servers send, comes behind it."""

_STATES = frozenset({"response.created", "response.in_progress"})
_NEVER = frozenset({"response.queued", "response.cancelled"})

_LATER = frozenset({"queued", "in_progress"})
"""The states of a response that is made in the background: it may be shown, and its client asks for the rest later."""

_WHOLE = frozenset({"stop", "length"})
"""The reasons of an answer that is one; of others the operator has no say."""

_MESSAGE, _REASONING = b'"message"', b'"reasoning"'

_OF_SERVER = frozenset(
    b'"%s"' % kind
    for kind in b"web_search_call file_search_call code_interpreter_call image_generation_call mcp_call mcp_list_tools"
    b" mcp_approval_request tool_search_call tool_search_output program program_output compaction".split()
)
"""Items that say what the upstream itself looked up, or ran: a stored prompt may have tools that no request names."""

_SILENT = frozenset(
    "type id status role phase item_id call_id output_index content_index summary_index annotation_index sequence_number"
    " obfuscation logprobs annotations encrypted_content".split()
)
"""Members that say nothing of an answer: they say what the others are, or hide it."""


class _IncompleteDetails(msgspec.Struct):
    reason: str | None = None

    __repr__ = redacted_repr


class _Response(msgspec.Struct):
    """A response, or an error in its place: only what is judged."""

    object: str | None = None
    id: str | None = None
    status: str | None = None
    output: list[RawMembers] | None = None
    incomplete_details: _IncompleteDetails | None = None
    model: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL
    message: msgspec.Raw = NULL

    __repr__ = redacted_repr

    @property
    def is_error(self) -> bool:
        """Say whether it is an error: `{"error": …}`, a response that failed, or a flat error, with a message and no output."""
        is_flat = self.output is None and self.status is None and self.message != NULL
        return _is_error(self.error) or self.status == "failed" or is_flat

    @property
    def reason(self) -> str:
        """Return why it ended, in the words of chat completions: of all endpoints the same answers are kept."""
        if self.status == "completed":
            return "stop"
        details = self.incomplete_details
        if self.status != "incomplete" or details is None or details.reason is None:
            return self.status or "other"
        return "length" if details.reason == "max_output_tokens" else details.reason


class _StreamEvent(msgspec.Struct):
    """An event of a stream: only what is judged."""

    type: str | None = None
    sequence_number: int | None = None
    response: _Response | None = None
    error: msgspec.Raw = NULL

    __repr__ = redacted_repr

    @property
    def is_error(self) -> bool:
        is_failed = self.response is not None and self.response.is_error
        return self.type in ("error", "response.failed") or _is_error(self.error) or is_failed


_response_decoder = msgspec.json.Decoder(_Response)
_event_decoder = msgspec.json.Decoder(_StreamEvent)
_members_decoder = msgspec.json.Decoder(RawMembers)


def beginning_of(raw: bytes, *, is_whole: bool, work: Work = Work()) -> Beginning:
    """Return what an event says by which a stream begins, or a response that `is_whole`."""
    try:
        refuse_many_objects(raw, work)
        return _of_response(_response_decoder.decode(raw), work) if is_whole else _of_event(raw, work)
    except UNREADABLE:
        return Beginning(Saying.UNREADABLE)
    except Unreadable:
        return Beginning(Saying.SOMETHING)


def _of_response(response: _Response, work: Work) -> Beginning:
    if response.is_error:
        return Beginning(Saying.ERROR)
    output = response.output or []
    says = response.status in _LATER or any(_item_says_something(item, work) for item in output)
    return Beginning(Saying.SOMETHING if says else Saying.NOTHING, 1 if output else 0, (response.reason,))


def _of_event(raw: bytes, work: Work) -> Beginning:
    event = _event_decoder.decode(raw)
    if event.is_error:
        return Beginning(Saying.ERROR)
    if event.type in ENDINGS and event.response is not None:
        return _of_response(event.response, work)
    if event.type is None:
        return Beginning(Saying.UNREADABLE)
    if event.type in _STATES or event.type in _NEVER:
        return Beginning(Saying.NOTHING)
    members = _members_decoder.decode(raw)
    item = members.pop("item", NULL)
    is_item = item != NULL and _item_says_something(_members_decoder.decode(item), work)
    says = is_item or any(is_said(name, part, work, _SILENT) for name, part in members.items())
    return Beginning(Saying.SOMETHING if says else Saying.NOTHING)


class ResponseJudge:
    """Judges one answer: its events as they come, or its body."""

    def __init__(self, call: ApiCall, demands: Demands, work: Work = Work()) -> None:
        self.model: str | None = None
        self.usage: bytes | None = None
        self._call, self._demands, self._work = call, demands, work
        self._fault: str | None = None
        self._is_over = False
        self._numbered = 0  # events that had a number
        self._id: str | None = None

    def see(self, event: Event) -> None:
        """Take in one event of a stream."""
        if self._fault is None:
            self._fault = self._look_at(event)

    def read(self, body: bytes) -> None:
        """Take in a response."""
        try:
            refuse_many_objects(body, self._work)
            response = _response_decoder.decode(body)
            self._fault = "error-answer" if response.is_error else self._response_fault(response)
        except UNREADABLE:
            self._fault = "unreadable-answer"
        except Unreadable as exc:
            self._fault = exc.detail
        self._is_over = True

    def end(self) -> None:
        """Note that the stream ended by itself: its last event says that, however its body ends."""

    def fault(self) -> str | None:
        """Return why the answer may not be kept; `None` where it may."""
        return self._fault if self._is_over or self._fault else "incomplete"

    def _look_at(self, event: Event) -> str | None:
        if is_done(event.data):
            return None if self._is_over else "incomplete"
        if self._is_over:
            return "event-after-done"
        if event.name == b"error":
            return "error-event"
        try:
            refuse_many_objects(event.data, self._work)
            return self._take_in(_event_decoder.decode(event.data))
        except UNREADABLE:
            return "unreadable-event"
        except Unreadable as exc:
            return exc.detail

    def _take_in(self, event: _StreamEvent) -> str | None:
        if event.is_error:
            return "error-event"
        if event.type is None:
            return "unreadable-event"
        if event.type in _NEVER:
            return event.type.replace("response.", "finish-")
        if not self._follows(event):
            return "mixed-events"
        if event.type not in ENDINGS:
            return None
        self._is_over = True
        if event.response is None:
            return "unreadable-event"
        if event.response.status != ENDINGS[event.type]:
            return "finish-other"
        return self._response_fault(event.response)

    def _follows(self, event: _StreamEvent) -> bool:
        """Say whether it may come next: numbers go on from 0 without a gap, and one stream has one response."""
        number, response = event.sequence_number, event.response
        if number is not None:
            self._numbered += 1
        if response is not None and response.id is not None and self._id is None:
            self._id = response.id
        is_same = response is None or response.id == self._id
        return is_same and number in (None, self._numbered - 1)

    def _response_fault(self, response: _Response) -> str | None:
        self._note(response)
        reason = response.reason
        if reason not in _WHOLE or reason not in self._demands.store_when or (reason == "length" and not self._call.bounded):
            return finish_fault(reason)
        if response.object not in (None, "response"):
            return "finish-other"
        output = response.output or []
        says = [_item_says_something(item, self._work) for item in output]  # all of it is read: one may be unreadable
        if any(map(_is_of_server, output)):
            return "server-tool"
        return None if any(says) or output and counts_reasoning(self.usage) else "empty-answer"

    def _note(self, response: _Response) -> None:
        self.usage = None if response.usage == NULL else bytes(response.usage)
        self.model = name_in(response.model)


def _is_error(raw: msgspec.Raw) -> bool:
    """Say whether a member `error` is one: nothing, or an empty value, is none."""
    return bytes(raw) not in (b"null", b"{}", b'""', b"false")


def _item_says_something(item: RawMembers, work: Work) -> bool:
    """Say whether an item is more than empty: messages and reasoning by their texts, all others by being there.

    Reasoning may be hidden: then only what the answer took tells of it.
    """
    kind = bytes(item.get("type", NULL))
    says = [is_said(name, part, work, _SILENT) for name, part in item.items()]  # all of it is read: one may be unreadable
    return any(says) or kind not in (_MESSAGE, _REASONING, b"null")


def _is_of_server(item: RawMembers) -> bool:
    """Say whether an item is of a tool that the upstream itself runs."""
    return bytes(item.get("type", NULL)) in _OF_SERVER
