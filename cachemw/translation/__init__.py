"""Say a call of one dialect in another, and its answers in the first again: one row for each pair. Pure."""

from collections.abc import Callable

import msgspec

from cachemw.messages import Headers
from cachemw.redaction import redacted_repr
from cachemw.translation.base import Members, Translated, Untranslatable
from cachemw.translation.chat_rows import chat_row
from cachemw.translation.chat_to_messages import chat_to_messages
from cachemw.translation.claude_rows import claude_row
from cachemw.translation.counting import count_to_chat, estimated_count
from cachemw.translation.fields import fields_to_chat, fields_to_messages
from cachemw.translation.messages_to_chat import messages_to_chat


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
