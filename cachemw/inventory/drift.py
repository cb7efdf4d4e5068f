"""Compare answers to one request: what two of them say alike, and whether an older one is no more what is said now. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from enum import Enum
from typing import Any

import msgspec

from cachemw.redaction import redacted_repr
from cachemw.wire.strict_json import UNREADABLE

NOISE_MARGIN = 0.15
"""By how much less an old answer may be like the new ones than these are like each other."""

LONGEST_COMPARED = 20_000
"""The characters of a text that are compared: beyond them, only whether it is equal."""

_BLANKS = re.compile(r"\s+")


class Gist(msgspec.Struct, frozen=True):
    """The gist of an answer: why it ended, the calls of tools, and the text; and how the provider names its model."""

    finish: tuple[str, ...]
    calls: tuple[tuple[str, bytes], ...]
    text: str
    model: str = ""
    fingerprint: str = ""

    __repr__ = redacted_repr


class Likeness(Enum):
    """How alike two answers are, in the order in which they are less so."""

    EQUAL = "equal"
    BLANKS = "equal but for blanks"
    WORDS = "other words"
    CALLS = "other tool calls"
    FINISH = "another ending"


class Comparison(msgspec.Struct, frozen=True):
    """A stored answer beside what is answered now; `ratio` is how much of the text is alike, `has_drifted` what it comes to."""

    likeness: Likeness
    ratio: float
    has_drifted: bool
    model: tuple[str, str] | None = None
    fingerprint: tuple[str, str] | None = None

    __repr__ = redacted_repr


def gist_of(endpoint: str, body: bytes) -> Gist | None:
    """Return the gist of an answer that is one document; `None` where it is none, or not of an endpoint that writes."""
    read = _READERS.get(endpoint)
    try:
        answer = msgspec.json.decode(body)
        return None if read is None or not isinstance(answer, dict) else read(answer)
    except (*UNREADABLE, KeyError, TypeError, AttributeError, ValueError):
        return None


def is_settled(body: bytes) -> bool:
    """Say whether a request asks for what is likeliest, so that its answer is always to be the same."""
    try:
        asked = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        temperature = msgspec.json.decode(asked["temperature"]) if "temperature" in asked else None
    except UNREADABLE:
        return False
    return temperature == 0 and temperature is not False


def compared(old: Gist, new: Sequence[Gist]) -> Comparison:
    """Compare a stored answer with one that was given now; with two where answers vary, so that noise is no drift."""
    pairs = [(_likeness(old, one), _ratio(old.text, one.text)) for one in new]
    likeness, ratio = min(pairs, key=lambda pair: (_RANKS[pair[0]], -pair[1]))
    return Comparison(
        likeness,
        ratio,
        _has_drifted(likeness, ratio, new),
        _change(old.model, new[-1].model),
        _change(old.fingerprint, new[-1].fingerprint),
    )


_RANKS = {likeness: rank for rank, likeness in enumerate(Likeness)}
_SMALL = (Likeness.EQUAL, Likeness.BLANKS)


def _has_drifted(likeness: Likeness, ratio: float, new: Sequence[Gist]) -> bool:
    if likeness in _SMALL:
        return False
    if len(new) == 1:
        return True
    first, second = new
    noise = _likeness(first, second)
    if likeness is not Likeness.WORDS:  # it ends otherwise, or calls others, than both: are they of one mind?
        return _RANKS[noise] < _RANKS[likeness]
    return noise in (*_SMALL, Likeness.WORDS) and ratio < _ratio(first.text, second.text) - NOISE_MARGIN


def _likeness(one: Gist, other: Gist) -> Likeness:
    if one.finish != other.finish:
        return Likeness.FINISH
    if one.calls != other.calls:
        return Likeness.CALLS
    if one.text == other.text:
        return Likeness.EQUAL
    return Likeness.BLANKS if _words(one.text) == _words(other.text) else Likeness.WORDS


def _ratio(one: str, other: str) -> float:
    if one == other:
        return 1.0
    some, others = (_words(text[:LONGEST_COMPARED]).split(" ") for text in (one, other))
    return SequenceMatcher(None, some, others, autojunk=False).ratio()


def _words(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()


def _change(old: str, new: str) -> tuple[str, str] | None:
    return (old, new) if old and new and old != new else None


def _gist(answer: Mapping[str, Any], finish: Iterator[Any], calls: Iterator[Any], text: Iterator[str]) -> Gist:
    named = [answer.get(name) for name in ("model", "system_fingerprint")]
    model, fingerprint = (name if isinstance(name, str) else "" for name in named)
    return Gist(tuple(map(str, finish)), tuple(calls), "\n".join(text), model, fingerprint)


def _call(name: Any, arguments: Any) -> tuple[str, bytes]:
    """Return a call of a tool; its arguments are JSON, in whichever order and with whichever blanks."""
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except msgspec.DecodeError:
            return str(name), arguments.encode()
    return str(name), msgspec.json.encode(arguments, order="sorted")


def _choices(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not answer["choices"]:
        raise ValueError("nothing was chosen")
    return sorted(answer["choices"], key=lambda choice: choice.get("index", 0))


def _chat(answer: Mapping[str, Any]) -> Gist:
    choices = _choices(answer)
    messages = [choice["message"] for choice in choices]
    calls = [call.get("function") or call.get("custom") or {} for one in messages for call in one.get("tool_calls") or ()]
    return _gist(
        answer,
        (choice.get("finish_reason") for choice in choices),
        (_call(call.get("name"), call.get("arguments", call.get("input"))) for call in calls),
        (str(one.get("content") or one.get("refusal") or "") for one in messages),
    )


def _completion(answer: Mapping[str, Any]) -> Gist:
    choices = _choices(answer)
    return _gist(answer, (one.get("finish_reason") for one in choices), iter(()), (str(one.get("text")) for one in choices))


def _message(answer: Mapping[str, Any]) -> Gist:
    blocks = answer["content"]
    return _gist(
        answer,
        iter([answer.get("stop_reason")]),
        (_call(block.get("name"), block.get("input")) for block in blocks if block["type"].endswith("tool_use")),
        (block["text"] for block in blocks if block["type"] == "text"),
    )


def _response(answer: Mapping[str, Any]) -> Gist:
    items = answer["output"]
    details = answer.get("incomplete_details") or {}
    parts = [part for item in items if item["type"] == "message" for part in item["content"]]
    return _gist(
        answer,
        iter([answer.get("status"), *details.values()]),
        (_call(item.get("name"), item.get("arguments", item.get("input"))) for item in items if item["type"].endswith("_call")),
        (str(part.get("text") or part.get("refusal") or "") for part in parts),
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Gist]] = {
    "chat": _chat,
    "completions": _completion,
    "messages": _message,
    "responses": _response,
}
COMPARED_ENDPOINTS = frozenset(_READERS)
