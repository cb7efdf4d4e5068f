"""A response asked for with a lent key: it keeps nothing, and builds on nothing that is kept."""

from collections.abc import Mapping
from typing import Any

from cachemw.core import refusals
from cachemw.core.chat import is_plain_json
from cachemw.core.messages import Headers, Unread
from cachemw.core.refusals import Answer
from cachemw.core.strict_json import parse
from cachemw.errors import Unreadable

_KEPT = ("previous_response_id", "conversation", "prompt")
"""The members that name what the account keeps; `prompt` is a stored one."""


def judge(headers: Headers, body: bytes | Unread) -> Answer | None:
    """Return why a lent key does not answer this body of `/responses`, if so."""
    value: Any = _value(body) if isinstance(body, bytes) and is_plain_json(headers) else None
    members = _folded(value)
    if members is None:
        return refusals.response_not_lent("its body has to be one JSON object of moderate size, readable in one way")
    if "store" not in value or members["store"] is not False:  # the upstream keeps what says nothing of it
        return refusals.response_not_lent("send store: false, so that nothing is kept", "store")
    for name in _KEPT:
        if members.get(name) is not None:
            return refusals.response_not_lent(f"{name} builds on what the account keeps", name)
    if members.get("background") not in (None, False):
        return refusals.response_not_lent("background keeps the answer until it is asked for", "background")
    if any(map(_is_reference, _items(members.get("input")))):
        return refusals.response_not_lent("an item_reference builds on what the account keeps", "input")
    return None


def _value(body: bytes) -> Any:
    try:
        return parse(body)
    except Unreadable:
        return None


def _folded(value: Any) -> Mapping[str, Any] | None:
    """Return an object's members by their names in one letter case; two that differ in nothing else are one to some parsers."""
    if not isinstance(value, dict):
        return None
    folded = {name.casefold(): member for name, member in value.items()}
    return folded if len(folded) == len(value) else None


def _items(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _is_reference(item: Any) -> bool:
    """An item of an `id` alone is the short form; what can be read in two ways may be one."""
    if not isinstance(item, dict):
        return False
    members = _folded(item)
    if members is None or str(members.get("type")).casefold() == "item_reference":
        return True
    return members.get("id") is not None and members.get("type") is None and members.get("role") is None
