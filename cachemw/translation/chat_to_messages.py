"""x."""

from cachemw.translation.base import Members, Refused, Translated


def chat_to_messages(members: Members, row: object) -> Translated | Refused:
    """x."""
    return Refused("x", "y")
