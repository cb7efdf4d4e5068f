"""x."""

from cachemw.translation.base import Members, Translated, Untranslatable


def messages_to_chat(members: Members, row: object) -> Translated | Untranslatable:
    """x."""
    return Untranslatable("x", "y")
