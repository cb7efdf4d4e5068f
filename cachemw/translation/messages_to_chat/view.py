"""See the answers of a chat upstream as a client of Messages reads them."""

import msgspec

from cachemw.messages import Usage
from cachemw.redaction import redacted_repr
from cachemw.translation.base import EventTranslator, Unsayable
from cachemw.translation.messages_to_chat.answer import message_of
from cachemw.translation.messages_to_chat.ending import MessageContext
from cachemw.translation.messages_to_chat.error import anthropic_error
from cachemw.translation.messages_to_chat.stream import MessageStream


class MessagesView(msgspec.Struct, frozen=True):
    """A view of the answers to one request, as messages."""

    context: MessageContext

    __repr__ = redacted_repr

    def answer(self, body: bytes) -> bytes | Unsayable:
        """Return a completion as a message."""
        return message_of(body, self.context)

    def stream(self, known: Usage | None) -> EventTranslator:
        """Return a translator of a stream of chunks; of a stored one it is `known` what it took."""
        return MessageStream(self.context, known)

    def error(self, status: int, body: bytes) -> bytes:
        """Return the body of an error as Anthropic says it."""
        return anthropic_error(status, body)
