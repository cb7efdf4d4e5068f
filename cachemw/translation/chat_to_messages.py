"""x."""

from cachemw.translation.base import Members, Translated, Untranslatable


def chat_to_messages(members: Members, row: object) -> Translated | Untranslatable:
    """x."""
    return Untranslatable("x", "y")
