"""Say a call of one dialect in another, and its answers in the first again: one row for each pair. Pure."""

import re
from collections.abc import Callable

import msgspec

from cachemw.messages import Headers, header_values
from cachemw.redaction import redacted_repr
from cachemw.translation.base import Members, Translated, Untranslatable
from cachemw.translation.chat_rows import chat_row
from cachemw.translation.chat_to_messages import chat_to_messages
from cachemw.translation.claude_rows import claude_row
from cachemw.translation.counting import count_to_chat, estimated_count
from cachemw.translation.messages_to_chat import messages_to_chat
from cachemw.wire.fields import CREDENTIALS, without


class Translation(msgspec.Struct, frozen=True, eq=False):
    """One way to ask an upstream that does not speak the `dialect` of a call, but does speak another one.

    `asked` is the endpoint that is called, `spoken` the one that is called in its place, at `path` below the version. `request`
    takes the members of a body, and the names of the provider and the model that it is for, as far as these are known; `fields`
    makes the header fields of the caller those of the other dialect. With an `estimate` nobody need be asked: it is made of the
    body that would be sent.
    """

    asked: str
    dialect: str
    spoken: str
    path: str
    request: Callable[[Members, str | None, str | None], Translated | Untranslatable]
    fields: Callable[[Headers], Headers]
    estimate: Callable[[bytes], bytes] | None = None

    __repr__ = redacted_repr


def _messages_to_chat(members: Members, provider: str | None, model: str | None) -> Translated | Untranslatable:
    return messages_to_chat(members, chat_row(provider, model))


def _count_to_chat(members: Members, provider: str | None, model: str | None) -> Translated | Untranslatable:
    return count_to_chat(members, chat_row(provider, model))


def _chat_to_messages(members: Members, provider: str | None, model: str | None) -> Translated | Untranslatable:
    return chat_to_messages(members, claude_row(model))


_VERSION = (b"anthropic-version", b"2023-06-01")
"""Anthropic's API answers nobody who does not name a version; there is no other one."""

_BEARER = re.compile(rb"bearer +(.+)", re.IGNORECASE)


def fields_to_chat(headers: Headers) -> Headers:
    """Return the fields for a Chat Completions upstream: a key goes as a bearer token, and Anthropic's own fields stay here."""
    kept = tuple([field for field in headers if not field[0].lower().startswith(b"anthropic-")])
    keys = header_values(kept, b"x-api-key")
    if not keys or header_values(kept, b"authorization"):
        return without(kept, (b"x-api-key",)) if keys else kept
    return (*without(kept, (b"x-api-key",)), *[(b"authorization", b"Bearer " + key) for key in keys])


def fields_to_messages(headers: Headers) -> Headers:
    """Return the fields for Anthropic's API: a bearer token goes as a key, with the version of the API."""
    kept = tuple([field for field in headers if not field[0].lower().startswith(b"openai-")])
    tokens = [found[1] for value in header_values(kept, b"authorization") if (found := _BEARER.fullmatch(value))]
    if tokens and not header_values(kept, b"x-api-key"):
        kept = (*without(kept, CREDENTIALS), *[(b"x-api-key", token) for token in tokens])
    return kept if header_values(kept, b"anthropic-version") else (*kept, _VERSION)


TRANSLATIONS = (
    Translation("messages", "messages", "chat", "/chat/completions", _messages_to_chat, fields_to_chat),
    Translation("count_tokens", "messages", "chat", "/chat/completions", _count_to_chat, fields_to_chat, estimated_count),
    Translation("chat", "chat", "messages", "/messages", _chat_to_messages, fields_to_messages),
)


def translation_for(asked: str, speaks: frozenset[str]) -> Translation | None:
    """Return how a call of the endpoint `asked` is said to an upstream; `None`: as it is."""
    for translation in TRANSLATIONS:
        if translation.asked == asked and translation.dialect not in speaks and translation.spoken in speaks:
            return translation
    return None
