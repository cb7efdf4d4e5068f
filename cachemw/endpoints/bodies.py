"""Read the bodies of requests: JSON that can be read in one way only, and the members that most endpoints have."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from cachemw.endpoints.base import PLAIN, Bypass
from cachemw.endpoints.canonical import ordered
from cachemw.errors import Unreadable
from cachemw.limits import Work
from cachemw.messages import Headers, Kind, Request, Unread, values_of_two
from cachemw.wire.strict_json import parse

AMBIGUOUS_STREAM = "ambiguous-stream"
"""It is not clear whether the answer is to be a stream."""

_SWITCH = (bool, type(None))
_OPTIONS = (dict, type(None))


def read_object(request: Request, work: Work, otherwise: str) -> dict[str, Any] | Bypass:
    """Return the members of a request's body, JSON that can be read in one way; `otherwise` says that it is no object."""
    if isinstance(request.body, Unread):
        return Bypass(request.body.value)
    if detail := not_plain_json(request.headers):
        return Bypass(detail)
    try:
        body = parse(request.body, work.document)
    except Unreadable as exc:
        return Bypass(exc.detail)
    return body if isinstance(body, dict) else Bypass(otherwise)


def not_plain_json(headers: Headers) -> str | None:
    """Return why a body is not said to be JSON, in UTF-8 and no content coding; `None` where it is."""
    types, encodings = values_of_two(headers, b"content-type", b"content-encoding")
    if len(types) != 1 or not _names_json(types[0]):
        return "not-json"
    is_encoded = encodings and any(value.strip().lower() not in (b"", b"identity") for value in encodings)
    return "encoded-request" if is_encoded else None


@lru_cache(64)
def _names_json(content_type: bytes) -> bool:
    media_type, _, parameters = content_type.lower().partition(b";")
    charset = parameters.partition(b"charset")[2].strip(b' \t="')
    return media_type.strip() == b"application/json" and charset in (b"", b"utf-8")


def model_in(body: Mapping[str, Any]) -> str | None:
    """Return the model that a body asks for; `None` where that is no text."""
    model = body.get("model")
    return model if isinstance(model, str) else None


def is_clear_of_stream(body: Mapping[str, Any]) -> bool:
    """Say whether it is clear if a stream is asked for, and with which options."""
    return type(body.get("stream")) in _SWITCH and type(body.get("stream_options")) in _OPTIONS


def kind_of(body: Mapping[str, Any], options: Mapping[str, Any]) -> Kind:
    """Return the kind of the answer to a body that has these stream options."""
    is_stream = body.get("stream") is True
    return Kind(is_stream, msgspec.json.encode(ordered(options))) if options or is_stream else PLAIN


def choices_due(n: Any) -> int:
    """Return how many answers are due to each prompt, by the member `n`: one, unless it says more."""
    if isinstance(n, float) and n.is_integer():
        n = int(n)  # to most upstreams 2.0 are two
    return n if type(n) is int and n > 0 else 1
