"""x."""

from cachemw.translation.base import Members, Translated, Untranslatable


def count_to_chat(members: Members, row: object) -> Translated | Untranslatable:
    """x."""
    return Untranslatable("x", "y")


def estimated_count(body: bytes) -> bytes:
    """x."""
    return b""
