"""Read what the error of a provider says, wherever in its body that is, and whoever's shape it has."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from cachemw.gateway.hints import duration_hint
from cachemw.messages import Headers
from cachemw.redaction import redacted_repr
from cachemw.wire.strict_json import is_too_complex

BODY_LIMIT = 65_536
"""The bytes of an error that are read. A larger one goes by its status."""

_WORK_LIMIT = 1 << 22
_MESSAGE_LIMIT = 4096
_CODE_LIMIT = 128
_LARGEST_CODE = 1_000_000
_FEW = 16
_MOST_PARTS, _MOST_CODES = 64, 32
_CODES = ("code", "type", "status", "error_type", "reason", "quotaId")
_STATUSES = ("status_code", "code", "status")
_MESSAGES = ("message", "error", "detail", "msg", "raw")
_WITHIN = ("error", "message", "detail", "details", "metadata", "innererror", "violations", "choices", "response")


class ErrorWords(msgspec.Struct, frozen=True):
    """The words of an error, in lower case: its `codes`, of which some are types, and its `message`.

    `status` is the one that it names itself, `retry_delay` is in seconds, and `headers` are those of who answered its author.
    """

    codes: tuple[str, ...] = ()
    message: str = ""
    status: int | None = None
    retry_delay: float | None = None
    headers: Headers = ()

    __repr__ = redacted_repr


NO_WORDS = ErrorWords()


def document_of(body: bytes) -> Any:
    """Return what a body says as JSON; `None` where it is none, or too much work to read."""
    if len(body) > BODY_LIMIT or is_too_complex(body, _WORK_LIMIT):
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def has_error(document: object) -> bool:
    """Say whether what was to be an answer, or one of its events, says that there is none."""
    if isinstance(document, list):
        return bool(document) and has_error(document[0])
    if not isinstance(document, Mapping):
        return False
    if document.get("error") or "error" in (document.get("type"), document.get("object")):
        return True
    if "choices" not in document:
        return isinstance(document.get("message"), str) and bool({"code", "type", "status_code"} & document.keys())
    return any(choice.get("error") or choice.get("finish_reason") == "error" for choice in _objects(document["choices"]))


def words_of(document: object) -> ErrorWords:
    """Return the words of an error, or of a document that has one."""
    parts = list(itertools.islice(_parts(document, depth=4), _MOST_PARTS))
    numbers = (part.get(name) for part in parts for name in _STATUSES)
    delays = (duration_hint(part["retryDelay"]) for part in parts if isinstance(part.get("retryDelay"), str))
    return ErrorWords(
        codes=tuple(itertools.islice((code for part in parts for code in _codes(part)), _MOST_CODES)),
        message="\n".join(text for part in parts for text in _messages(part))[:_MESSAGE_LIMIT].lower(),
        status=next((number for number in numbers if type(number) is int and 400 <= number <= 599), None),
        retry_delay=next((delay for delay in delays if delay is not None), None),
        headers=tuple(field for part in parts for field in _fields(part.get("headers"))),
    )


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    """Yield the object that a value is, or the first of those that it lists."""
    for item in value[:_FEW] if isinstance(value, list) else [value]:
        if isinstance(item, Mapping):
            yield item


def _parts(value: object, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the objects in which an error can speak, the outermost first."""
    for item in _objects(value):
        yield item
        for name in _WITHIN if depth else ():
            if name in item:  # seldom more than one is
                yield from _parts(item[name], depth - 1)


def _codes(part: Mapping[str, Any]) -> Iterator[str]:
    for name in _CODES:
        code = part.get(name)
        if isinstance(code, str):
            yield code[:_CODE_LIMIT].lower()
        elif type(code) is int and 0 <= code < _LARGEST_CODE:
            yield str(code)


def _messages(part: Mapping[str, Any]) -> Iterator[str]:
    for name in _MESSAGES:
        text = part.get(name)
        if isinstance(text, str):
            yield text[:_MESSAGE_LIMIT]


def _fields(headers: object) -> Iterator[tuple[bytes, bytes]]:
    """Yield the header fields that an error quotes of who answered its author."""
    if isinstance(headers, Mapping):
        for name, value in headers.items():
            if isinstance(name, str) and isinstance(value, str):
                yield name.encode(errors="replace"), value.encode(errors="replace")
