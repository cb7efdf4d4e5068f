"""The view of Anthropic's answers that a client of chat completions has, errors included."""

from typing import Any

import msgspec

from cachemw.endpoints.errors import OPENAI, Refusal, anthropic_type
from cachemw.messages import Usage
from cachemw.translation.base import Unsayable
from cachemw.translation.chat_to_messages.answers import completion_of
from cachemw.translation.chat_to_messages.endings import holds_too_much
from cachemw.translation.chat_to_messages.events import ChunkTranslator
from cachemw.wire.strict_json import UNREADABLE

_SHOWN_CHARACTERS = 2000  # of a page that a proxy answers with


class ChatView(msgspec.Struct, frozen=True):
    """What a client of chat completions sees; `include_usage`: a stream tells what it took, in a chunk of its own."""

    include_usage: bool = False

    def answer(self, body: bytes) -> bytes | Unsayable:
        """Return a message as a chat completion."""
        return completion_of(body)

    def stream(self, known: Usage | None) -> ChunkTranslator:
        """Return a translator of a stream. Chat completions say what it took at its end, so that it need not be `known`."""
        return ChunkTranslator(self.include_usage)

    def error(self, status: int, body: bytes) -> bytes:
        """Return the body of an error; its type and its code are what Anthropic calls it."""
        error = _error_in(body)
        message, kind = error.get("message"), error.get("type")
        kind = kind if isinstance(kind, str) and kind else anthropic_type(status)
        message = message if isinstance(message, str) and message else f"the upstream answered with status {status}"
        return OPENAI.body(Refusal(status, message, kind, code=kind))


def _error_in(body: bytes) -> dict[str, Any]:
    """Return the members of an error, which may also be flat, or a text alone."""
    value = _value_of(body)
    if isinstance(value, str):
        return {"message": value[:_SHOWN_CHARACTERS].strip()}
    if not isinstance(value, dict):
        return {}
    error = value.get("error", value.get("detail"))
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {"message": value.get("message")}


def _value_of(body: bytes) -> Any:
    try:
        return None if holds_too_much(body) else msgspec.json.decode(body)
    except UNREADABLE:
        return body[: 4 * _SHOWN_CHARACTERS].decode("utf-8", "replace")
