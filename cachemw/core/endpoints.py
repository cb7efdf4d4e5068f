"""The API's endpoints, by the raw bytes of their paths: what is the upstream's at all, and what a lent key answers."""

import re
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache

from cachemw.core.paths import below_version
from cachemw.core.policy import Policy
from cachemw.errors import ConfigurationError

WARMING = (b"/v1/tcp_warming", b"/v1/v1/tcp_warming")
"""Answered by the proxy itself: the Cerebras SDK asks for it whenever a client is made."""

_RESPONSES, _MODELS = b"/responses", b"/models"
_STATELESS = (
    *(b"/completions", b"/embeddings", b"/moderations", b"/rerank", b"/messages", b"/messages/count_tokens"),
    *(b"/audio/speech", b"/audio/transcriptions", b"/audio/translations"),
    *(b"/images/generations", b"/images/edits", b"/images/variations"),
)
"""Besides the chat paths of the policy. They answer, and nothing can be asked for later."""

_READ_ONLY = ("GET", "HEAD")
_MODEL = re.compile(rb"/models(?:/[^/]+)?")
_UPLOADS = frozenset({b"audio", b"containers", b"files", b"images", b"uploads"})
_LENDABLE = re.compile(r"/?(?:v1/)?((?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*[A-Za-z0-9_~-][A-Za-z0-9._~-]*)/?")

LentPaths = frozenset[tuple[bytes, ...]]
"""What an operator opened besides: the segments below the version."""


class Lent(Enum):
    """Whether a request may be made with a lent key."""

    YES = "yes"
    NO = "no"
    BY_BODY = "by body"  # it keeps no state where its body says so


def is_api(raw_path: bytes, policy: Policy) -> bool:
    """Say whether a path is in the versioned API. All others are our own, and nobody's business upstream."""
    return raw_path.startswith(b"/v1/") or raw_path.endswith((*_chat(policy), *_STATELESS, _RESPONSES, _MODELS))


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
    if below == _RESPONSES:
        return Lent.BY_BODY
    return Lent.YES if below in (*_chat(policy), *_STATELESS) else Lent.NO


def what_is_lent(policy: Policy, opened: LentPaths) -> str:
    """Return what a lent key answers, for people."""
    posted = [path.decode() for path in (*_chat(policy), *_STATELESS, _RESPONSES)]
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
