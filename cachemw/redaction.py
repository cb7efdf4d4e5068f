"""Representations of what somebody else wrote: as sizes and numbers for logs, as text that no terminal obeys for people."""

from collections.abc import Collection
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

import msgspec


def redacted_repr(value: Any) -> str:
    """Serve as `__repr__`: a value may end in a log line, in a traceback, or in the page of a debugger."""
    names = value.__struct_fields__ if isinstance(value, msgspec.Struct) else value.__slots__  # else a dataclass
    return f"{type(value).__name__}({', '.join([f'{name}={_seen(getattr(value, name))}' for name in names])})"


def _seen(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} bytes>"
    if isinstance(value, str):
        return f"<{len(value)} characters>"
    if isinstance(value, Collection):
        return f"<{len(value)} items>"
    is_our_own = isinstance(value, msgspec.Struct) or is_dataclass(value)
    return repr(value) if is_our_own or isinstance(value, int | float | Enum) or value is None else f"<{type(value).__name__}>"


def printable(text: str, but: str = "") -> str:
    """Return a text, which may be anybody's, with codes for the characters that a terminal obeys, `but` for these."""
    return "".join([one if one.isprintable() or one in but else ascii(one)[1:-1] for one in text])
