"""Read and judge embeddings: an answer has one entry for each input, and says at which place it stands."""

from collections.abc import Mapping
from typing import Any

import msgspec

from cachemw.endpoints.base import ApiCall, Place, RawMembers
from cachemw.endpoints.canonical import Shape
from cachemw.endpoints.documents import DocumentCalls
from cachemw.endpoints.judging import name_in
from cachemw.limits import Work
from cachemw.redaction import redacted_repr
from cachemw.wire.strict_json import NULL

FIELDS: Mapping[str, Place] = {
    **dict.fromkeys("model input encoding_format dimensions input_type task truncate".split(), Place.KEY),
    "user": Place.BOOKKEEPING,
}
"""Every documented member. No default is taken for said: to ask for no format is not to ask for numbers."""

INPUTS_LIMIT = 2048
"""The inputs that a request may have at OpenAI; one with more is answered, and never put together of parts."""


def inputs_due(body: Mapping[str, Any]) -> int | None:
    """Return how many inputs there are: a text is one, and so are the tokens of one; `None` for what is no input."""
    given = body.get("input")
    if isinstance(given, str):
        return 1
    if not isinstance(given, list) or not given:
        return None
    return 1 if _are_tokens(given) else len(given)


def _are_tokens(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(type(token) is int for token in given)


def _divides(body: Mapping[str, Any], inputs: int) -> bool:
    """Say whether it is known that the answer for all inputs is what each would have alone (rulings F6)."""
    given = body["input"]
    if not body.keys() <= FIELDS.keys() or inputs > INPUTS_LIMIT:
        return False
    return isinstance(given, str) or inputs == 1 and _are_tokens(given) or _are_alike(given)


def _are_alike(given: list[Any]) -> bool:
    return all(isinstance(one, str) for one in given) or all(map(_are_tokens, given))


read_embeddings = DocumentCalls(Shape(FIELDS), inputs_due, _divides)
"""Reads a request for embeddings."""


class _Entry(msgspec.Struct):
    index: int | None = None
    embedding: msgspec.Raw = NULL

    __repr__ = redacted_repr


_entries_decoder = msgspec.json.Decoder(list[_Entry])


def embeddings_fault(members: RawMembers, call: ApiCall, work: Work) -> str | None:
    """Say why this is no whole answer; no vector is decoded for it."""
    if name_in(members.get("object", NULL)) != "list":
        return "unreadable-answer"
    entries = _entries_decoder.decode(members.get("data", NULL))
    if sorted(-1 if entry.index is None else entry.index for entry in entries) != list(range(call.choices)):
        return "missing-choice"
    if not all(is_vector(bytes(entry.embedding)) for entry in entries):
        return "empty-choice"
    return None if members.get("usage", NULL) != NULL else "no-usage"


def is_vector(raw: bytes | memoryview) -> bool:
    """Say whether there is something in the text or the list of an embedding."""
    return len(raw) > 2 and raw[:1] in (b'"', b"[")
