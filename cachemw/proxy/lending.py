"""The paths of the API, byte by byte: which of them go upstream, and which may be asked with the operator's key."""

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any

from cachemw.cache.policy import Policy
from cachemw.endpoints import errors as refusals
from cachemw.endpoints.anthropic.request import account_state
from cachemw.endpoints.bodies import not_plain_json
from cachemw.endpoints.errors import ErrorResponse
from cachemw.errors import ConfigurationError, Unreadable
from cachemw.messages import Headers, Unread
from cachemw.wire.paths import below_version
from cachemw.wire.strict_json import WORK_LIMIT, parse

WARMING = (b"/v1/tcp_warming", b"/v1/v1/tcp_warming")
"""Answered by the proxy itself: the Cerebras SDK asks for it whenever a client is made."""

_RESPONSES, _MODELS = b"/responses", b"/models"
_MESSAGES = (b"/messages", b"/messages/count_tokens")
_STATELESS = (
    *(b"/completions", b"/embeddings", b"/moderations", b"/rerank"),
    *(b"/audio/speech", b"/audio/transcriptions", b"/audio/translations"),
    *(b"/images/generations", b"/images/edits", b"/images/variations"),
)
"""Besides the chat paths of the policy. They answer, and nothing can be asked for later."""

_READ_ONLY = ("GET", "HEAD")
_MODEL = re.compile(rb"/models(?:/[^/]+)?")
_UPLOADS = frozenset({b"audio", b"containers", b"files", b"images", b"uploads"})
_LENDABLE = re.compile(r"/?(?:v1/)?((?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*[A-Za-z0-9_~-][A-Za-z0-9._~-]*)/?")

LentPaths = frozenset[tuple[bytes, ...]]
"""The paths that an operator opened besides: the segments below the version."""


class Lent(Enum):
    """The answer to whether a request may be made with a lent key."""

    YES = "yes"
    NO = "no"
    BY_BODY = "by body"  # it keeps no state where its body says so


def is_api(raw_path: bytes, policy: Policy) -> bool:
    """Say whether a path is in the versioned API. All others are our own, and nobody's business upstream."""
    return raw_path.startswith(b"/v1/") or raw_path.endswith((*_chat(policy), *_STATELESS, *_MESSAGES, _RESPONSES, _MODELS))


def takes_uploads(raw_path: bytes) -> bool:
    """Say whether a path takes files, which are sent as `multipart/form-data`."""
    return below_version(raw_path).partition(b"/")[2].partition(b"/")[0] in _UPLOADS


def lent(method: str, raw_path: bytes, policy: Policy, opened: LentPaths) -> Lent:
    """Say whether a lent key answers a request. A path is what it says, byte by byte: no other spelling is on the list."""
    if not is_api(raw_path, policy) or method in _READ_ONLY and raw_path in WARMING:
        return Lent.YES  # for it goes nowhere
    below = below_version(raw_path)
    if _is_opened(below, opened) or method in _READ_ONLY and _MODEL.fullmatch(below):
        return Lent.YES
    if method != "POST":
        return Lent.NO
    if below in (_RESPONSES, *_MESSAGES):
        return Lent.BY_BODY
    return Lent.YES if below in (*_chat(policy), *_STATELESS) else Lent.NO


def what_is_lent(policy: Policy, opened: LentPaths) -> str:
    """Return what a lent key answers, for people."""
    posted = [path.decode() for path in (*_chat(policy), *_STATELESS, *_MESSAGES, _RESPONSES)]
    more = ["/" + b"/".join(path).decode() for path in sorted(opened)]
    return f"POST {' '.join(posted)} (with store: false), GET /models" + (f", and {' '.join(more)}" if more else "")


def lent_paths(names: Iterable[str]) -> LentPaths:
    """Return what an operator opens, with or without `/v1`. Raises `ConfigurationError` for what is no such path."""
    return frozenset(map(_lent_path, names))


def _lent_path(name: str) -> tuple[bytes, ...]:
    matched = _LENDABLE.fullmatch(name)
    if matched is None or matched[1] == "v1":  # that would be all there is
        raise ConfigurationError(f"{name!r} cannot be lent: give the path of an endpoint, such as files or /v1/batches")
    return tuple(matched[1].encode().split(b"/"))


def _is_opened(below: bytes, opened: LentPaths) -> bool:
    asked = tuple(below.split(b"/")[1:])
    return any(asked[: len(path)] == path for path in opened)


def _chat(policy: Policy) -> tuple[bytes, ...]:
    return _encoded(policy.paths)


@lru_cache(8)
def _encoded(paths: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple([path.encode() for path in paths])


_KEPT = ("previous_response_id", "conversation", "prompt")
"""The members that name what the account keeps; `prompt` is a stored one."""


def judge(raw_path: bytes, headers: Headers, body: bytes | Unread, limit: int = WORK_LIMIT) -> ErrorResponse | None:
    """Return why a lent key does not answer this body of a message or a response, if so; `limit` is how much work it may be."""
    value: Any = _value(body, limit) if isinstance(body, bytes) and not_plain_json(headers) is None else None
    members, below = _folded(value), below_version(raw_path)
    if members is None:
        return refusals.not_lent(below, "its body has to be one JSON object of moderate size, readable in one way")
    return _judge_response(value, members) if below == _RESPONSES else _judge_message(below, members)


def _judge_message(below: bytes, members: Mapping[str, Any]) -> ErrorResponse | None:
    state = account_state(members)
    return None if state is None else refusals.not_lent(below, f"a {state} is what the account keeps", state)


def _judge_response(value: Any, members: Mapping[str, Any]) -> ErrorResponse | None:
    if "store" not in value or members["store"] is not False:  # the upstream keeps what says nothing of it
        return refusals.not_lent(_RESPONSES, "send store: false, so that nothing is kept", "store")
    for name in _KEPT:
        if members.get(name) is not None:
            return refusals.not_lent(_RESPONSES, f"{name} builds on what the account keeps", name)
    if members.get("background") not in (None, False):
        return refusals.not_lent(_RESPONSES, "background keeps the answer until it is asked for", "background")
    if any(map(_is_reference, _items(members.get("input")))):
        return refusals.not_lent(_RESPONSES, "an item_reference builds on what the account keeps", "input")
    return None


def _value(body: bytes, limit: int) -> Any:
    try:
        return parse(body, limit)
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
    """Say whether an item refers to a kept one: so does an `id` alone, and maybe what can be read in two ways."""
    if not isinstance(item, dict):
        return False
    members = _folded(item)
    if members is None or str(members.get("type")).casefold() == "item_reference":
        return True
    return members.get("id") is not None and members.get("type") is None and members.get("role") is None
