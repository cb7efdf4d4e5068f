"""Make a stream of Anthropic's API one of chat completion chunks, event by event."""

import re
from typing import Any, TypeVar

import msgspec

from cachemw.redaction import redacted_repr
from cachemw.translation.chat_to_messages.endings import (
    CREATED,
    CUT_SHORT,
    EMPTY_ANSWER,
    NOT_READ,
    OTHER_BLOCK,
    SaidBlock,
    StopDetails,
    TokenCounts,
    arguments_of,
    completion_id,
    finish_reason,
    holds_too_much,
    unsayable_ending,
    usage_of,
)
from cachemw.wire.sse import DONE, Event, encode
from cachemw.wire.strict_json import UNREADABLE

_BROKEN_OFF = "the upstream broke off its answer with an error"
_OUT_OF_ORDER = "an event is not where it can be"
_OTHER_DELTA = "an event adds what chat completions have no words for"
_CUT_OFF = "the stream ended before the message did"
_WORD = re.compile(r"[a-z_]{1,40}")
_NO_OBJECT = "a tool is called with what is no object"


class _Delta(msgspec.Struct):
    """What is added to a block, or to the message at its end."""

    type: str | None = None
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None
    stop_details: StopDetails | None = None

    __repr__ = redacted_repr


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    content: list[msgspec.Raw] = []
    usage: TokenCounts | None = None

    __repr__ = redacted_repr


class _Event(msgspec.Struct):
    """An event of any type: only what is said again."""

    type: str
    index: int = -1
    delta: _Delta | None = None
    content_block: SaidBlock | None = None
    message: _Message | None = None
    usage: TokenCounts | None = None

    __repr__ = redacted_repr


class _Named(msgspec.Struct, frozen=True):
    type: str = ""

    __repr__ = redacted_repr


class _Error(msgspec.Struct):
    error: _Named = _Named()

    __repr__ = redacted_repr


_decode = msgspec.json.Decoder(_Event).decode
_decode_error = msgspec.json.Decoder(_Error).decode
_encode = msgspec.json.encode


_Part = TypeVar("_Part")


class _Fault(Exception):
    """No more of the stream can be said; the first argument is why. It never leaves this module."""


class ChunkTranslator:
    """Translates the events of one message. Why it ended is said with its end, and no sooner.

    A cut message has no finish reason then, which some readers take for its end. `fault` says why no more can be said.
    """

    ping = b": ping\n\n"
    held = 0

    def __init__(self, include_usage: bool) -> None:
        self.fault: str | None = None
        self._include_usage = include_usage
        self._head = self._between = self._tail = b""  # what stands in each chunk around its delta
        self._blocks = self._calls = 0  # that have begun
        self._open: str | None = None  # the type of the block that is open
        self._awaited: msgspec.Raw | None = None  # the input of a call that began with it, while no other has come
        self._has_said = self._is_over = False
        self._counts = TokenCounts()
        self._stop_reason: str | None = None
        self._stop_details: StopDetails | None = None

    def feed(self, event: Event) -> bytes:
        """Return the chunks that one event becomes; often none, and none behind the end."""
        if self.fault is not None or self._is_over:
            return b""
        try:
            return self._take(event)
        except UNREADABLE:
            self.fault = NOT_READ
        except _Fault as exc:
            self.fault = str(exc)
        return b""

    def end(self) -> bytes:
        """Return nothing: a message says its own end. One that has not is cut off."""
        if not self._is_over and self.fault is None:
            self.fault = _CUT_OFF
        return b""

    def _take(self, event: Event) -> bytes:
        if holds_too_much(event.data):
            raise _Fault(NOT_READ)
        if event.name == b"error":
            raise _Fault(_broken_off(event.data))
        said = _decode(event.data)
        match said.type:
            case "content_block_delta":
                return self._add(said.index, _present(said.delta))
            case "content_block_start":
                return self._begin_block(said.index, _present(said.content_block))
            case "content_block_stop":
                return self._end_block(said.index)
            case "message_start":
                return self._begin(_present(said.message))
            case "message_delta":
                return self._note_ending(_present(said.delta), said.usage)
            case "message_stop":
                return self._finish()
            case "error":
                raise _Fault(_broken_off(event.data))
            case "ping":
                return self.ping
        return b""  # what Anthropic may add, which clients are told to pass over

    def _begin(self, message: _Message) -> bytes:
        if self._head or message.content:
            raise _Fault(_OUT_OF_ORDER)
        named = {"id": completion_id(message.id), "object": "chat.completion.chunk", "created": CREATED, "model": message.model}
        self._head = b"data: " + _encode(named)[:-1] + b',"choices":['
        self._between = b'{"index":0,"delta":'
        self._tail = b',"usage":null}\n\n' if self._include_usage else b"}\n\n"
        self._counts.update(message.usage or TokenCounts())
        return self._chunk({"role": "assistant", "content": ""})

    def _begin_block(self, index: int, block: SaidBlock) -> bytes:
        if not self._head or self._open is not None or index != self._blocks:
            raise _Fault(_OUT_OF_ORDER)
        before = self._settle(may_be_cut=False)
        self._blocks += 1
        self._open = block.type
        match block.type:
            case "text":
                return before + self._text("content", block.text)
            case "thinking" | "redacted_thinking":
                self._has_said = True
                return before + self._text("reasoning_content", block.thinking)
            case "tool_use":
                return before + self._call(block)
        raise _Fault(OTHER_BLOCK)

    def _call(self, block: SaidBlock) -> bytes:
        self._has_said = True
        self._awaited = block.given
        self._calls += 1
        function = {"name": block.name, "arguments": ""}
        return self._chunk(
            {"tool_calls": [{"index": self._calls - 1, "id": block.id, "type": "function", "function": function}]}
        )

    def _add(self, index: int, delta: _Delta) -> bytes:
        if self._open is None or index != self._blocks - 1:
            raise _Fault(_OUT_OF_ORDER)
        match delta.type, self._open:
            case "text_delta", "text":
                return self._text("content", delta.text)
            case "thinking_delta", "thinking":
                return self._text("reasoning_content", delta.thinking)
            case "input_json_delta", "tool_use":
                return self._arguments(delta.partial_json)
            case ("signature_delta", "thinking") | ("citations_delta", "text"):
                return b""
        raise _Fault(_OTHER_DELTA)

    def _text(self, name: str, text: str) -> bytes:
        if not text:
            return b""
        self._has_said = True
        return self._chunk({name: text})

    def _arguments(self, piece: str) -> bytes:
        if not piece:
            return b""
        self._awaited = None
        return self._chunk({"tool_calls": [{"index": self._calls - 1, "function": {"arguments": piece}}]})

    def _end_block(self, index: int) -> bytes:
        if self._open is None or index != self._blocks - 1:
            raise _Fault(_OUT_OF_ORDER)
        self._open = None
        return b""

    def _settle(self, *, may_be_cut: bool) -> bytes:
        """Return the arguments of the last call where no piece of them has come: those it began with, or `{}`."""
        given, self._awaited = self._awaited, None
        if given is None:
            return b""
        arguments = arguments_of(given, may_be_cut=may_be_cut)
        if arguments is None:
            raise _Fault(_NO_OBJECT)
        return self._arguments(arguments)

    def _note_ending(self, delta: _Delta, usage: TokenCounts | None) -> bytes:
        if not self._head:
            raise _Fault(_OUT_OF_ORDER)
        self._counts.update(usage or TokenCounts())
        self._stop_reason = delta.stop_reason or self._stop_reason
        self._stop_details = delta.stop_details or self._stop_details
        return b""

    def _finish(self) -> bytes:
        if not self._head or self._open is not None:
            raise _Fault(_OUT_OF_ORDER)
        reason, has_refused = finish_reason(self._stop_reason), self._stop_reason == "refusal"
        if reason is None:
            raise _Fault(unsayable_ending(self._stop_reason))
        if not self._has_said and not has_refused:
            raise _Fault(EMPTY_ANSWER)
        chunks = self._settle(may_be_cut=self._stop_reason in CUT_SHORT)
        self._is_over = True
        if has_refused and self._stop_details is not None and self._stop_details.explanation:
            chunks += self._chunk({"refusal": self._stop_details.explanation})
        return chunks + self._chunk({}, reason) + self._usage() + encode(DONE)

    def _usage(self) -> bytes:
        usage = usage_of(self._counts) if self._include_usage else None
        return b"" if usage is None else self._head + b'],"usage":' + _encode(usage) + b"}\n\n"

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        ending = (
            b',"logprobs":null,"finish_reason":null}]'
            if reason is None
            else b',"logprobs":null,"finish_reason":"%b"}]' % (reason.encode())
        )
        return self._head + self._between + _encode(delta) + ending + self._tail


def _broken_off(raw: bytes) -> str:
    """Return that the upstream said an error, and of which type, where that is a word."""
    try:
        name = _decode_error(raw).error.type
    except UNREADABLE:
        return _BROKEN_OFF
    return f"{_BROKEN_OFF}: {name}" if _WORD.fullmatch(name) else _BROKEN_OFF


def _present(part: _Part | None) -> _Part:
    if part is None:
        raise _Fault(NOT_READ)
    return part
