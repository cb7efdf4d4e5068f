"""Say a chat request as Anthropic's Messages API takes it, and its answers as chat completions again."""

from cachemw.translation.chat_to_messages.request import chat_to_messages

__all__ = ["chat_to_messages"]
