"""Judge an answer of which any part may be anything: the tools that the judges of all endpoints share."""

import re
from collections.abc import Set
from typing import Any

import msgspec

from cachemw.endpoints.base import RawMembers
from cachemw.endpoints.usage import read_usage
from cachemw.errors import Unreadable
from cachemw.limits import Work
from cachemw.wire.strict_json import NULL, TOO_COMPLEX, UNREADABLE, is_too_complex, may_have_more_objects

_LONGEST_NAME = 256
_WORD = re.compile(r"[a-z_]{1,32}")

_members_decoder = msgspec.json.Decoder(RawMembers)


def refuse_many_objects(raw: bytes, work: Work) -> None:
    """Raise `Unreadable` for a document that may have more objects than are read at once."""
    if may_have_more_objects(raw, work.objects):
        raise Unreadable(TOO_COMPLEX)


def raw_members(raw: bytes, work: Work) -> RawMembers:
    """Return the members of a document, unread. Raises `Unreadable` for one with too many objects, and what is `UNREADABLE`."""
    refuse_many_objects(raw, work)
    return _members_decoder.decode(raw)


def value_in(raw: msgspec.Raw, work: Work) -> Any:
    """Return the value of a part that may be anything. Raises `Unreadable` for one that is too much work."""
    if is_too_complex(part := bytes(raw), work.document):
        raise Unreadable(TOO_COMPLEX)
    return msgspec.json.decode(part)


def name_in(raw: msgspec.Raw) -> str | None:
    """Return a text of moderate length; what is anything else names nothing."""
    if not 2 < len(raw) <= _LONGEST_NAME or not bytes(raw).startswith(b'"'):
        return None
    try:
        return msgspec.json.decode(raw, type=str)
    except UNREADABLE:
        return None


def is_said(name: str, part: msgspec.Raw, work: Work, silent: Set[str]) -> bool:
    """Say whether a member holds a text, unless its name is `silent`; one that is too much work to read is taken to."""
    if name in silent or part == NULL:
        return False
    return is_too_complex(bytes(part), work.document) or holds_text(msgspec.json.decode(part), silent)


def holds_text(value: Any, silent: Set[str]) -> bool:
    """Say whether there is a text in a value, wherever in it but in `silent` members; counts and switches say nothing."""
    if isinstance(value, dict):
        return any(holds_text(inner, silent) for name, inner in value.items() if name not in silent)
    if isinstance(value, list):
        return any(holds_text(inner, silent) for inner in value)
    return isinstance(value, str) and value != ""


def finish_fault(reason: str) -> str:
    """Return the fault of an answer that is over for a reason for which none is kept."""
    return f"finish-{reason}" if _WORD.fullmatch(reason) else "finish-other"


def counts_reasoning(usage: bytes | None) -> bool:
    """Say whether there was reasoning, by the JSON of what the answer took: nothing else may tell of it."""
    counted = None if usage is None else read_usage(usage)
    return counted is not None and bool(counted.reasoning_tokens)
