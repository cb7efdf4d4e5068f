"""Make a legacy completion of its stream, and a stream of one, such that the official SDKs read the same answer from it."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from cachemw.endpoints.chat.transcode.aggregate import MEMBERS_LIMIT, latest, unchanged
from cachemw.endpoints.chat.transcode.kinds import deriving
from cachemw.endpoints.chat.transcode.reading import NO_USAGE, choices_of, index_of, is_padding
from cachemw.endpoints.completions.judge import TEXT_COMPLETION
from cachemw.endpoints.deriving import JsonObject, Loss

_APART = frozenset({"object", "choices", "usage"})
_OF_LOGPROBS = frozenset({"tokens", "token_logprobs", "top_logprobs", "text_offset"})
_DRIFTING = frozenset({"id", "created", "model", "system_fingerprint"})
_REPEATED_CHARS = 256
"""Lists, objects and longer texts are on the first chunk alone."""


def aggregate_completion(chunks: Iterable[JsonObject]) -> JsonObject:
    """Return the completion that the chunks add up to: texts and log probabilities follow one another."""
    members: JsonObject = {}
    choices: dict[int, _TextSum] = {}
    for chunk in chunks:
        if chunk.get("object") != TEXT_COMPLETION or len(chunk) > MEMBERS_LIMIT:
            raise Loss
        for piece in choices_of(chunk):
            index = index_of(piece)
            choices.setdefault(index, _TextSum(index)).add(piece)
        for name, value in chunk.items():
            before = members.get(name)
            if name == "usage":
                members[name] = before if value is None else value
            elif name not in _APART and not is_padding(name, value):
                members[name] = (latest if name in _DRIFTING else unchanged)(before, value)
    if not choices:
        raise Loss
    return members | {"object": TEXT_COMPLETION, "choices": [choices[index].total() for index in sorted(choices)]}


class _TextSum:
    """One choice so far."""

    def __init__(self, index: int) -> None:
        self._members: JsonObject = {"text": "", "index": index}
        self._texts: list[str] = []
        self._logprobs: JsonObject | None = None

    def add(self, piece: JsonObject) -> None:
        """Take in what a chunk says of this choice."""
        for name, value in piece.items():
            if name == "text":
                self._texts.append(_text(value))
            elif name == "logprobs":
                self._members.setdefault(name, None)
                self._extend(value)
            elif name == "finish_reason":
                self._members[name] = value or self._members.get(name)
            elif isinstance(value, list) and value and value == self._members.get(name):
                raise Loss  # it is said again, or it is two pieces alike
            else:
                self._members[name] = unchanged(self._members.get(name), value)

    def total(self) -> JsonObject:
        """Return the choice. Raises `Loss` for one that has not ended."""
        if self._members.get("finish_reason") is None:
            raise Loss
        logprobs = {} if self._logprobs is None else {"logprobs": self._logprobs}
        return self._members | {"text": "".join(self._texts)} | logprobs

    def _extend(self, value: Any) -> None:
        if value is None:
            return
        if not isinstance(value, dict) or not value.keys() <= _OF_LOGPROBS:
            raise Loss
        self._logprobs = self._logprobs or {}
        for name, entries in value.items():
            before = self._logprobs.setdefault(name, None)
            if entries is not None and not isinstance(entries, list):
                raise Loss
            self._logprobs[name] = before if entries is None else [*(before or ()), *entries]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Loss
    return value


def synthesise_completion(completion: JsonObject, limit: int, *, include_usage: bool, slice_chars: int) -> list[JsonObject]:
    """Return the chunks of a stream, `limit` at most, its texts in slices of so many characters."""
    if completion.get("object") != TEXT_COMPLETION:
        raise Loss
    usage = completion.get("usage")
    if include_usage and usage is None:
        raise Loss(NO_USAGE)
    choices = choices_of(completion)
    if not choices or sorted(index_of(choice) for choice in choices) != list(range(len(choices))):
        raise Loss
    pieces = list(islice((piece for choice in choices for piece in _pieces(choice, slice_chars)), limit + 1))
    if len(pieces) > limit:
        raise Loss
    chunks = [_frame(completion, is_first=at == 0) | {"choices": [piece]} for at, piece in enumerate(pieces)]
    if include_usage:
        chunks = [*(chunk | {"usage": None} for chunk in chunks), _frame(completion) | {"choices": [], "usage": usage}]
    if _said(aggregate_completion(chunks)) != _said(completion if include_usage else completion | {"usage": None}):
        raise Loss  # a reader of the stream would put some member together otherwise
    return chunks


def _frame(completion: JsonObject, *, is_first: bool = False) -> JsonObject:
    members = {name: value for name, value in completion.items() if name not in _APART and (is_first or _is_short(value))}
    return {"object": TEXT_COMPLETION} | members


def _is_short(value: Any) -> bool:
    return not isinstance(value, (dict, list)) and not (isinstance(value, str) and len(value) > _REPEATED_CHARS)


def _pieces(choice: JsonObject, slice_chars: int) -> Iterable[JsonObject]:
    """Yield a choice in pieces; the last has all of it but the text that went before."""
    text, last = _text(choice.get("text")), max(0, (len(_text(choice.get("text"))) - 1) // slice_chars)
    for at in range(last):
        piece = text[at * slice_chars : (at + 1) * slice_chars]
        yield {"text": piece, "index": choice["index"], "logprobs": None, "finish_reason": None}
    yield choice | {"text": text[last * slice_chars :]}


def _said(completion: JsonObject) -> JsonObject:
    """Return a completion without the members that say nothing, its choices in order."""
    choices = sorted(map(_not_null, choices_of(completion)), key=index_of)
    return _not_null(completion) | {"choices": choices}


def _not_null(members: JsonObject) -> JsonObject:
    return {name: value for name, value in members.items() if value is not None}


derive_completion = deriving(aggregate_completion, synthesise_completion)
"""Derives one kind of a completion from the kind that was recorded."""
