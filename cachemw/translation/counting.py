"""Count the tokens of a request for an upstream that has no endpoint for it: estimate them, or ask for one token."""

import re
from typing import Any

import msgspec
from msgspec.structs import replace

from cachemw.endpoints.usage import read_usage
from cachemw.messages import Usage
from cachemw.redaction import redacted_repr
from cachemw.translation.base import Changes, EventTranslator, Members, Translated, Unsayable, Untranslatable, View
from cachemw.translation.chat_rows import ChatRow
from cachemw.translation.messages_to_chat import messages_to_chat
from cachemw.wire.strict_json import NULL, UNREADABLE

_BYTES_A_TOKEN = 3  # high on purpose: with a guess that is low, agents make room too late (copilot-api#134)
_ATTACHED = re.compile(rb"data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+")
_TOKENS_ATTACHED = 1_600  # about what Anthropic counts for a picture of the largest size that it does not make smaller
_OF_STREAMS = frozenset({"stream", "stream_options"})
_NOT_COUNTED = frozenset({"stream", "max_tokens"})


def estimated_tokens(body: bytes) -> int:
    """Return how many tokens the body of a request has, rather too many than too few; what is attached is no text."""
    text, attached = _ATTACHED.subn(b"", body)
    return -(-len(text) // _BYTES_A_TOKEN) + attached * _TOKENS_ATTACHED


def countable(members: Members) -> Members:
    """Return the members of a request to count tokens as those of one to answer: it says no limit, and never streams."""
    return {**{name: value for name, value in members.items() if name not in _NOT_COUNTED}, "max_tokens": 1}


def asking_body(body: bytes, row: ChatRow) -> bytes:
    """Return a translated body as one that asks for a single token, whose answer says how many came before it."""
    members: dict[str, Any] = msgspec.json.decode(body)
    kept = {name: value for name, value in members.items() if name not in _OF_STREAMS}
    return msgspec.json.encode({**kept, row.token_limit: 1})


class _Counted(msgspec.Struct):
    usage: msgspec.Raw = NULL

    __repr__ = redacted_repr


_decoder = msgspec.json.Decoder(_Counted)


def counted(body: bytes) -> int | None:
    """Return how many tokens the request had, by the answer to it; `None` where that does not say."""
    try:
        usage = read_usage(bytes(_decoder.decode(body).usage))
    except UNREADABLE:
        return None
    return None if usage is None else usage.input_tokens


def count_to_chat(members: Members, row: ChatRow) -> Translated | Untranslatable:
    """Return a request to count tokens as one for a single token, whose answer tells how many came before it."""
    said = messages_to_chat(countable(members), row)
    if isinstance(said, Untranslatable):
        return said
    told: Changes = tuple([change for change in said.told if change[0] != "max_tokens"])
    return replace(said, body=asking_body(said.body, row), told=told, view=CountView(said.view))


def estimated_count(body: bytes) -> bytes:
    """Return the answer to a request to count tokens, estimated by the body that would be sent."""
    return _encoded(estimated_tokens(body))


class CountView(msgspec.Struct, frozen=True):
    """A view of an answer of one token: how many tokens its request had. Errors are as its other `view` has them."""

    view: View

    __repr__ = redacted_repr

    def answer(self, body: bytes) -> bytes | Unsayable:
        """Return how many tokens there were."""
        tokens = counted(body)
        return Unsayable("it does not say what it took") if tokens is None else _encoded(tokens)

    def stream(self, known: Usage | None) -> EventTranslator:
        """Return a translator of what is never asked for: tokens are counted in one document."""
        return self.view.stream(known)

    def error(self, status: int, body: bytes) -> bytes:
        """Return the body of an error, whichever shape it came in."""
        return self.view.error(status, body)


def _encoded(tokens: int) -> bytes:
    return msgspec.json.encode({"input_tokens": tokens})
