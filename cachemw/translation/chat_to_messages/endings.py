"""What both kinds of an answer share: how it ends, what it took, and what of it chat completions have no words for."""

from typing import Annotated, Any

import msgspec

from cachemw.limits import Work
from cachemw.redaction import redacted_repr
from cachemw.wire.strict_json import may_have_more_objects

CREATED = 0
"""When an answer was made: Messages does not say, and what is translated twice has to be the same twice."""

PAUSED = "the provider paused within the turn, and wants to be asked to go on"
OTHER_ENDING = "it ended for a reason that chat completions do not have"
OTHER_BLOCK = "it holds what chat completions have no words for, such as the work of a provider's own tools"
EMPTY_ANSWER = "it says nothing"
NOT_READ = "it cannot be read"

CUT_SHORT = frozenset({"max_tokens", "model_context_window_exceeded"})
"""The stop reasons of an answer that was cut short."""

THOUGHTS = frozenset({"thinking", "redacted_thinking"})

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_OBJECTS = Work().objects
_LIMIT = 2**53
_Count = Annotated[int, msgspec.Meta(ge=0, lt=_LIMIT)]


class ThoughtCounts(msgspec.Struct):
    """What of the output was thought."""

    thinking_tokens: _Count | None = None


class TokenCounts(msgspec.Struct):
    """What an answer took, as Messages says it: of the input, these three add up."""

    input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    output_tokens_details: ThoughtCounts | None = None

    def update(self, later: "TokenCounts") -> None:
        """Take what is said later for what holds: all counts are of the whole answer."""
        for name in self.__struct_fields__:
            if (value := getattr(later, name)) is not None:
                setattr(self, name, value)


class SaidBlock(msgspec.Struct):
    """A block of a message, whole or as it begins: what of it chat completions have words for."""

    type: str
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    given: msgspec.Raw = msgspec.field(name="input", default=msgspec.Raw(b"{}"))

    __repr__ = redacted_repr


class StopDetails(msgspec.Struct):
    """Why a provider stopped its model."""

    explanation: str | None = None

    __repr__ = redacted_repr


def finish_reason(stop_reason: str | None) -> str | None:
    """Return why an answer is over, as chat completions have it; `None` where they do not."""
    return None if stop_reason is None else _FINISH_REASONS.get(stop_reason)


def unsayable_ending(stop_reason: str | None) -> str:
    """Return why an ending cannot be said."""
    return PAUSED if stop_reason == "pause_turn" else OTHER_ENDING


def usage_of(counts: TokenCounts) -> dict[str, Any] | None:
    """Return what an answer took, as chat completions say it; `None` where the whole of it is not known."""
    if counts.input_tokens is None or counts.output_tokens is None:
        return None
    read, written = counts.cache_read_input_tokens or 0, counts.cache_creation_input_tokens or 0
    prompt = counts.input_tokens + read + written
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": counts.output_tokens,
        "total_tokens": prompt + counts.output_tokens,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }
    if counts.output_tokens_details is not None and counts.output_tokens_details.thinking_tokens is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": counts.output_tokens_details.thinking_tokens}
    return usage


def completion_id(message_id: str) -> str:
    """Return the id of the completion that a message is: the same each time."""
    return f"chatcmpl-{message_id}"


def arguments_of(given: msgspec.Raw, *, may_be_cut: bool) -> str | None:
    """Return the input of a call as the arguments that it is; `None` for what is no object.

    An empty one that may have been cut short is no arguments: nobody said that there are none.
    """
    compact = bytes(msgspec.json.format(bytes(given), indent=-1))
    if not compact.startswith(b"{"):
        return None
    return "" if may_be_cut and compact == b"{}" else compact.decode()


def holds_too_much(raw: bytes) -> bool:
    """Say whether a document may have more objects than are read at once."""
    return may_have_more_objects(raw, _OBJECTS)
