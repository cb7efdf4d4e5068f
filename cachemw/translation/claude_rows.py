"""x."""


def claude_row(model: str | None) -> object:
    """x."""
