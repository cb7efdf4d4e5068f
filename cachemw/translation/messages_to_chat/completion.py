"""Read a chat completion, or a chunk of one: what of it a message has, and why it cannot be one."""

from collections.abc import Iterator
from enum import Enum

import msgspec

from cachemw.redaction import redacted_repr
from cachemw.wire.strict_json import NULL, UNREADABLE, is_too_complex

_EMPTY = (b"null", b"[]", b"{}", b'""')

NOT_READABLE = "the upstream's answer is no chat completion that can be read"
BROKE_OFF = "the upstream failed in the middle of its answer"
NAMELESS_CALL = "the upstream's answer calls a tool, and does not say which"
_OTHER_CHOICE = "the upstream's answer has other choices than the one that was asked for"
_OTHER_CONTENT = "the upstream's answer holds what a message cannot"


class Speech(Enum):
    """What a text of an answer is."""

    THINKING = "thinking"
    TEXT = "text"
    REFUSAL = "refusal"

    __hash__ = object.__hash__


class _Thought(msgspec.Struct):
    """A part of thinking."""

    type: str | None = None
    text: str | None = None

    __repr__ = redacted_repr


class _Part(msgspec.Struct):
    """A part of content that is a list, as Mistral has it: a text, or thinking that has parts again."""

    type: str | None = None
    text: str | None = None
    thinking: list[_Thought] | None = None

    __repr__ = redacted_repr


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None

    __repr__ = redacted_repr


class PartialCall(msgspec.Struct):
    """A call of a tool, or a fragment of one."""

    index: int | None = None
    id: str | None = None
    function: _Function | None = None

    __repr__ = redacted_repr

    @property
    def name(self) -> str:
        return (self.function and self.function.name) or ""

    @property
    def arguments(self) -> str:
        return (self.function and self.function.arguments) or ""


class _Piece(msgspec.Struct):
    """A message, or what a chunk adds to it."""

    content: str | list[_Part] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[PartialCall] | None = None
    function_call: msgspec.Raw = NULL
    audio: msgspec.Raw = NULL
    images: msgspec.Raw = NULL

    __repr__ = redacted_repr

    def texts(self) -> Iterator[tuple[Speech, str]]:
        """Yield what it says, in the order of a message; of two names for reasoning one is meant."""
        if thinking := self.reasoning or self.reasoning_content:
            yield Speech.THINKING, thinking
        if isinstance(self.content, list):
            yield from (said for part in self.content for said in _said_in(part))
        elif self.content:
            yield Speech.TEXT, self.content
        if self.refusal:
            yield Speech.REFUSAL, self.refusal

    def has_other(self) -> bool:
        """Say whether it holds what no message can: sounds, pictures, parts that nobody knows, calls of the old kind."""
        if isinstance(self.content, list) and not all(map(_is_known, self.content)):
            return True
        return not all(bytes(part) in _EMPTY for part in (self.function_call, self.audio, self.images))


def _said_in(part: _Part) -> Iterator[tuple[Speech, str]]:
    for inner in part.thinking or ():
        if inner.text:
            yield Speech.THINKING, inner.text
    if part.text:
        yield Speech.TEXT, part.text


def _is_known(part: _Part) -> bool:
    if part.type == "thinking":
        return all(inner.type == "text" and inner.text is not None for inner in part.thinking or ())
    return part.type == "text" and part.text is not None and not part.thinking


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Piece | None = None
    message: _Piece | None = None
    finish_reason: str | None = None
    stop_reason: msgspec.Raw = NULL  # which stop it was, at vLLM
    matched_stop: msgspec.Raw = NULL  # the same at SGLang
    error: msgspec.Raw = NULL

    __repr__ = redacted_repr


class _OfGroq(msgspec.Struct):
    """What Groq says besides; in the last chunk, what the answer took."""

    usage: msgspec.Raw = NULL

    __repr__ = redacted_repr


class ChatAnswer(msgspec.Struct):
    """A completion, or a chunk of one: only what a message has of it."""

    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = NULL
    x_groq: msgspec.Raw = NULL
    error: msgspec.Raw = NULL

    __repr__ = redacted_repr

    def took(self) -> bytes | None:
        """Return the JSON of what it says it took."""
        usage = self.usage if self.usage != NULL or self.x_groq == NULL else _usage_of_groq(self.x_groq)
        return None if usage == NULL else bytes(usage)

    def fault(self) -> str | None:
        """Return why it is none that a message can be made of, nor a part of one."""
        if bytes(self.error) not in _EMPTY:
            return BROKE_OFF
        if self.choices is None:
            return NOT_READABLE if self.usage == NULL else None  # a flat error is no completion, either
        for choice in self.choices:
            if choice.index != 0:
                return _OTHER_CHOICE
            if bytes(choice.error) not in _EMPTY or choice.finish_reason == "error":
                return BROKE_OFF
            if any(piece is not None and piece.has_other() for piece in (choice.delta, choice.message)):
                return _OTHER_CONTENT
        return None


_decoder = msgspec.json.Decoder(ChatAnswer)
_groq_decoder = msgspec.json.Decoder(_OfGroq)


def _usage_of_groq(raw: msgspec.Raw) -> msgspec.Raw:
    try:
        return _groq_decoder.decode(raw).usage
    except UNREADABLE:
        return NULL


def read_chat_answer(raw: bytes, limit: int) -> ChatAnswer | str:
    """Return a completion, or a chunk of one; or why no message can be made of it, in words that hold nothing of it.

    `limit` is how much work it may be.
    """
    if is_too_complex(raw, limit):
        return NOT_READABLE
    try:
        answer = _decoder.decode(raw)
    except UNREADABLE:
        return NOT_READABLE
    return answer.fault() or answer
