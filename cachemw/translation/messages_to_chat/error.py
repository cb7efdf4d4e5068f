"""Say any provider's error as Anthropic says its own."""

import re
from typing import Any

import msgspec

from cachemw.endpoints.errors import anthropic_type
from cachemw.limits import Work
from cachemw.wire.strict_json import UNREADABLE, is_too_complex

_LONGEST = 4_000  # characters of a message
_LOOKED_AT = 16_384  # bytes of a body that is no JSON
_LONGEST_ID = 200
_DEEPEST = 3  # of errors in errors
_WORK = Work()

_TITLE = re.compile(r"(?i)<title[^<>]*>([^<]*)")
_TAG = re.compile(r"<[^<>]*>")


def anthropic_error(status: int, body: bytes) -> bytes:
    """Return the body of an error: its type is that of the status, its message the one that came."""
    value = _value(body)
    message = _message(value, _DEEPEST) or (_text(body) if value is None else "")
    error = {
        "type": anthropic_type(status),
        "message": message[:_LONGEST] or f"the upstream answered {status} and said no more",
    }
    said: dict[str, Any] = {"type": "error", "error": error}
    if request_id := _request_id(value):
        said["request_id"] = request_id
    return msgspec.json.encode(said)


def _value(body: bytes) -> Any:
    if is_too_complex(body, _WORK.document):
        return None
    try:
        return msgspec.json.decode(body)
    except UNREADABLE:
        return None


def _message(value: Any, depth: int) -> str:
    """Return what an error says: nested as OpenAI's, flat as Cerebras', a `detail`, a list of errors, or a text."""
    if isinstance(value, str):
        return value
    if depth == 0:
        return ""
    if isinstance(value, list):  # Gemini's, and the details of a validator
        return "; ".join(filter(None, (_message(one, depth - 1) for one in value[:_DEEPEST])))
    if not isinstance(value, dict):
        return ""
    inner = (_message(value.get(name), depth - 1) for name in ("error", "message", "detail", "msg"))
    return next(filter(None, inner), "")


def _text(body: bytes) -> str:
    """Return the text of a body, of a page its title."""
    text = body[:_LOOKED_AT].decode(errors="replace")
    title = _TITLE.search(text)
    return " ".join((title[1] if title and title[1].strip() else _TAG.sub(" ", text)).split())


def _request_id(value: Any) -> str | None:
    found = value.get("request_id") if isinstance(value, dict) else None
    return found if isinstance(found, str) and 0 < len(found) <= _LONGEST_ID else None
