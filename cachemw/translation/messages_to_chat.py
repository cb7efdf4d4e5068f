"""x."""

from cachemw.translation.base import Members, Refused, Translated


def messages_to_chat(members: Members, row: object) -> Translated | Refused:
    """x."""
    return Refused("x", "y")
