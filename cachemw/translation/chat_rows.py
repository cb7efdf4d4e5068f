"""x."""


def chat_row(provider: str | None, model: str | None) -> object:
    """x."""
