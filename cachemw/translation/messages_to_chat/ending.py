"""Say how an answer ended and what it took, in the words of Messages; the same for a document and for a stream."""

from collections.abc import Iterable
from typing import Any

import msgspec

from cachemw.endpoints.usage import read_usage
from cachemw.messages import Usage
from cachemw.redaction import redacted_repr
from cachemw.wire.strict_json import NULL, UNREADABLE

_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_SILENT = frozenset({"max_tokens", "refusal"})
"""The reasons that say why an answer has nothing in it."""

NOT_FINISHED = "the upstream did not say that its answer is complete"
_OTHER_END = "the upstream's answer ended for a reason that a message has no word for"
_NOTHING_SAID = "the upstream's answer is empty"
_UNNAMED = "cachemw"


class MessageContext(msgspec.Struct, frozen=True):
    """What of a request decides how its answers read: its stops, its model, and the tools that were sent by another name.

    Of these tools there is the name that was sent, and their own.
    """

    renamed: tuple[tuple[str, str], ...]
    stops: frozenset[str]
    model: str

    __repr__ = redacted_repr

    def named(self, sent: str) -> str:
        """Return the name of a tool as the request has it."""
        return next((own for other, own in self.renamed if other == sent), sent)


class AnswerEnd(msgspec.Struct):
    """How an answer ended, as far as it has: a finish reason may come twice, and which stop it was with either."""

    finish_reason: str = ""
    stop: str | None = None
    has_calls: bool = False
    has_refusal: bool = False
    is_empty: bool = True

    __repr__ = redacted_repr

    def take(self, finish_reason: str | None, stops: Iterable[msgspec.Raw], known: frozenset[str]) -> None:
        """Take in what a choice says of its end; a stop counts where it is one of those that were asked for."""
        self.finish_reason = finish_reason or self.finish_reason
        for raw in stops:
            if raw != NULL and (text := _text(raw)) in known:
                self.stop = text

    def fault(self) -> str | None:
        """Return why the answer is no message."""
        if not self.finish_reason:
            return NOT_FINISHED
        if self.finish_reason not in _REASONS:
            return _OTHER_END
        return _NOTHING_SAID if self.is_empty and self._reason() not in _SILENT else None

    def members(self) -> dict[str, str | None]:
        """Return the members that say it."""
        reason = self._reason()
        if reason == "end_turn" and self.stop is not None:
            return {"stop_reason": "stop_sequence", "stop_sequence": self.stop}
        return {"stop_reason": reason, "stop_sequence": None}

    def _reason(self) -> str:
        if self.has_refusal:
            return "refusal"
        reason = _REASONS[self.finish_reason]
        return "tool_use" if reason == "end_turn" and self.has_calls else reason


def _text(raw: msgspec.Raw) -> str | None:
    """Return a text; at vLLM it may be the number of a token."""
    try:
        return msgspec.json.decode(raw, type=str)
    except UNREADABLE:
        return None


def message_head(answer_id: str | None, model: str | None, context: MessageContext) -> dict[str, Any]:
    """Return the members with which a message begins; its id is that of the answer, for a client says it again."""
    return {
        "id": f"msg_{answer_id or _UNNAMED}",
        "type": "message",
        "role": "assistant",
        "model": model or context.model,
    }


def call_id(own: str | None, answer_id: str | None, ordinal: int) -> str:
    """Return the id of a call; of one without, one that is the same for the same answer."""
    return own or f"toolu_{answer_id or _UNNAMED}_{ordinal}"


def usage_in(raw: bytes | None) -> Usage | None:
    """Return what an answer says it took."""
    return None if raw is None else read_usage(raw)


def usage_members(usage: Usage | None, *, is_begun: bool = False) -> dict[str, Any]:
    """Return what an answer took as Anthropic says it: its parts of the input do not overlap. Without any, it is nothing.

    Of a message that `is_begun`, it is only what went in.
    """
    usage = usage or Usage()
    cached, written = usage.cached_tokens or 0, usage.cache_write_tokens or 0
    members: dict[str, Any] = {
        "input_tokens": max((usage.input_tokens or 0) - cached - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": 0 if is_begun else usage.output_tokens or 0,
    }
    if usage.reasoning_tokens is not None and not is_begun:
        members["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return members
