"""What a command says instead of doing it."""

from cachemw.errors import CacheError


class CommandError(CacheError):
    """A command that cannot do what it was asked. Its text is the one line that the user reads."""
