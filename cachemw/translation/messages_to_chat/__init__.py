"""Messages asked of a Chat Completions upstream: the request as that one takes it, and its answers as messages."""

from cachemw.translation.messages_to_chat.request import messages_to_chat

__all__ = ["messages_to_chat"]
