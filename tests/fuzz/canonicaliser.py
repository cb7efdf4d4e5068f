"""A request's body: read, brought into its canonical form and told from every other."""

import json
from typing import Any

from cachemw.endpoints import CHAT
from cachemw.endpoints.base import ApiCall
from cachemw.endpoints.chat.request import read_chat
from cachemw.errors import Unreadable
from cachemw.messages import Target
from cachemw.wire.strict_json import AMBIGUOUS, DEPTH_LIMIT, INVALID, TOO_COMPLEX, parse
from tests.cache.keying import APP, LEFT_OUT_AROUND_AN_APP, LEFT_OUT_OVER_HTTP, UPSTREAM, asking
from tests.endpoints.test_canonical import reference
from tests.fuzz.documents import document

_SURROGATES = range(0xD800, 0xE000)
_ANSWERERS: tuple[tuple[Target, frozenset[str]], ...] = ((UPSTREAM, LEFT_OUT_OVER_HTTP), (APP, LEFT_OUT_AROUND_AN_APP))


class Refused(Exception):
    """The document has two readings, or none."""


def fuzz_one(data: bytes) -> None:
    """K6, K9: the bytes as they are, and the document that they choose."""
    for raw in (data, document(data)):
        _is_read_as_strictly(raw)
        for target, left_out in _ANSWERERS:
            chat = read_chat(CHAT, asking(raw, target))
            if isinstance(chat, ApiCall):
                _has_one_form(raw, chat, target, set(left_out))


def _has_one_form(raw: bytes, chat: ApiCall, target: Target, left_out: set[str]) -> None:
    """To the reference a body and its canonical form are one request: so are two bodies of one form, then."""
    again = read_chat(CHAT, asking(chat.canonical, target))
    assert isinstance(again, ApiCall)
    assert again.canonical == chat.canonical
    assert reference(chat.canonical, left_out) == reference(raw, left_out)


def _is_read_as_strictly(data: bytes) -> None:
    try:
        strictly: Any = _strictly(data)
    except Refused:
        strictly = Refused
    detail, value = _read(data)
    assert detail in (None, AMBIGUOUS, INVALID, TOO_COMPLEX)
    assert repr(value) == repr(strictly) or detail == TOO_COMPLEX


def _read(data: bytes) -> tuple[str | None, Any]:
    try:
        return None, parse(data)
    except Unreadable as refused:
        return refused.detail, Refused


def _strictly(data: bytes) -> Any:
    """Read as the standard library does, but for what another parser reads differently."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        raise Refused from None
    if _depth(value) > DEPTH_LIMIT or any(ord(character) in _SURROGATES for character in _texts(value)):
        raise Refused
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    return members if len(members) == len(pairs) else _refuse("")


def _refuse(_: str) -> Any:
    raise Refused


def _finite(digits: str) -> float:
    number = float(digits)
    return number if abs(number) != float("inf") else _refuse(digits)


def _depth(value: Any) -> int:
    if isinstance(value, dict | list):
        return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


def _texts(value: Any) -> str:
    """Return all the text there is, names included."""
    if isinstance(value, dict):
        return "".join(name + _texts(member) for name, member in value.items())
    if isinstance(value, list):
        return "".join(map(_texts, value))
    return value if isinstance(value, str) else ""
