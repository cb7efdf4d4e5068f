"""Make a completion of the chunks of its stream: the sum of its deltas."""

from collections.abc import Iterable
from typing import Any, Protocol

from cachemw.endpoints.chat.transcode.reading import PADDING, JsonObject, Loss, choices_of, index_of

SUMMED_TEXTS = frozenset("content refusal reasoning reasoning_content arguments input".split())
"""Strings that are known to come in pieces."""

LABELS = frozenset({"role", "type"})  # the last one holds
NAMES = frozenset({"id", "name"})  # there is only one

MEMBERS_LIMIT = 64
"""An object with more members that is said again, and otherwise, is none that we know: each time would cost all of them."""

_EMPTY: tuple[Any, ...] = (None, "", [])


class Sum(Protocol):
    """Pieces of one value so far. `takes`: the types a piece may have."""

    takes: tuple[type, ...]

    def add(self, piece: Any) -> None:
        """Take a piece in; the pieces are kept, and joined once: an answer may come in a million of them."""

    def total(self) -> Any:
        """Return the whole value."""


class ObjectSum:
    """An object: every member for itself. A null changes nothing."""

    takes: tuple[type, ...] = (dict,)

    def __init__(self) -> None:
        self._sums: dict[str, Sum | None] = {}

    def add(self, piece: JsonObject) -> None:
        for name, value in piece.items():
            growing = self._sums.get(name)
            if growing is None:
                growing = self._sums[name] = None if value is None else _sum_for(name, value)
            if growing is not None and value is not None:
                if type(value) not in growing.takes:
                    raise Loss
                growing.add(value)

    def total(self) -> JsonObject:
        return {name: None if growing is None else growing.total() for name, growing in self._sums.items()}


class ListSum:
    """A list: entries with an index are put together by it, others follow one another."""

    takes: tuple[type, ...] = (list,)

    def __init__(self) -> None:
        self._entries: list[Any] = []
        self._indexed: dict[int, ObjectSum] = {}

    def add(self, piece: list[Any]) -> None:
        if any(isinstance(entry, dict) and "index" in entry for entry in piece):
            for entry in piece:
                self._merge(entry)
        else:
            self._entries += piece
        if self._entries and self._indexed:
            raise Loss

    def _merge(self, entry: Any) -> None:
        if not isinstance(entry, dict):
            raise Loss
        self._indexed.setdefault(index_of(entry), ObjectSum()).add(entry)

    def total(self) -> list[Any]:
        return [self._indexed[index].total() for index in sorted(self._indexed)] or self._entries


class TextSum:
    """A text that is known to come in pieces."""

    takes: tuple[type, ...] = (str,)

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)

    def total(self) -> str:
        return "".join(self._pieces)


class UnknownTextSum(TextSum):
    """Pieces of a text, or a label that is repeated: where the second piece is the first again, who knows."""

    def add(self, piece: str) -> None:
        if self._pieces == [piece]:
            raise Loss
        super().add(piece)


class NameSum:
    """A name: it may be repeated, and another is a contradiction."""

    takes: tuple[type, ...] = (str,)

    def __init__(self) -> None:
        self._name = ""

    def add(self, piece: str) -> None:
        if piece and self._name and piece != self._name:
            raise Loss
        self._name = piece or self._name

    def total(self) -> str:
        return self._name


class LastSum:
    """A label, a number or a truth value: the last one holds."""

    def __init__(self, takes: tuple[type, ...]) -> None:
        self.takes = takes
        self._last: Any = None

    def add(self, piece: Any) -> None:
        self._last = self._last if piece == "" and self._last else piece

    def total(self) -> Any:
        return self._last


def _sum_for(name: str, value: Any) -> Sum:
    if isinstance(value, dict):
        return ObjectSum()
    if isinstance(value, list):
        return ListSum()
    if not isinstance(value, str):
        return LastSum((bool,) if isinstance(value, bool) else (int, float))
    if name in LABELS:
        return LastSum((str,))
    if name in NAMES:
        return NameSum()
    return TextSum() if name in SUMMED_TEXTS else UnknownTextSum()


def latest(before: Any, now: Any) -> Any:
    """Return what a member that is no delta holds after it was said again: the newer, with all that the older had.

    A list that neither repeats the older nor goes on from it may be a piece, or replace it: it cannot be told.
    """
    if before is None or before == now or now in _EMPTY:
        return now if before is None else before
    if isinstance(before, dict) and isinstance(now, dict):
        if len(before) > MEMBERS_LIMIT:
            raise Loss
        return before | {name: latest(before.get(name), value) for name, value in now.items()}
    if isinstance(before, list) and isinstance(now, list) and now[: len(before)] != before:
        raise Loss
    return now


COMPLETION = "chat.completion"
CHUNK = "chat.completion.chunk"

LOGPROBS = frozenset({"logprobs", "reasoning_logprobs"})
"""Members of a choice that come in pieces, as the delta does."""


class ChoiceSum:
    """One choice so far."""

    def __init__(self, index: int) -> None:
        self._members: JsonObject = {"index": index}
        self._message, self._logprobs = ObjectSum(), ObjectSum()

    def add(self, piece: JsonObject) -> None:
        """Take in what a chunk says of this choice."""
        for name, value in piece.items():
            if name == "delta":
                self._members.setdefault("message", None)
                self._message.add(_object(value))
            elif name in LOGPROBS:
                self._members.setdefault(name, None)
                self._logprobs.add({name: value})
            elif _is_ambiguous(name, self._members.get(name), value):
                raise Loss
            else:
                self._members[name] = latest(self._members.get(name), value)

    def total(self) -> JsonObject:
        """Return the choice with its message."""
        if not self._members.get("finish_reason"):
            raise Loss
        message = _message(self._message.total())
        return self._members | self._logprobs.total() | {"message": {"content": None} | message}


def _is_ambiguous(name: str, before: Any, now: Any) -> bool:
    """Say whether this is a whole message beside the deltas, or a list that comes twice: again, or as two pieces alike."""
    return now is not None if name == "message" else bool(now) and isinstance(now, list) and now == before


def aggregate(chunks: Iterable[JsonObject]) -> JsonObject:
    """Return the completion that the chunks add up to."""
    members: JsonObject = {}
    choices: dict[int, ChoiceSum] = {}
    for chunk in chunks:
        if chunk.get("object") not in (None, CHUNK):
            _must_say_nothing(chunk)
            continue
        for choice in choices_of(chunk):
            index = index_of(choice)
            if index not in choices:
                choices[index] = ChoiceSum(index)
            choices[index].add(choice)
        _add_members(members, chunk)
    if not choices:
        raise Loss
    return members | {"object": COMPLETION, "choices": [choices[index].total() for index in sorted(choices)]}


def _message(members: JsonObject) -> JsonObject:
    """Return a choice's deltas as a message: it has a role, and its tool calls have no index."""
    message = members | {"role": members.get("role") or "assistant"}
    if calls := message.get("tool_calls"):
        message["tool_calls"] = _tool_calls(calls)
    return message


def _object(value: Any) -> JsonObject:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Loss
    return value


def _must_say_nothing(chunk: JsonObject) -> None:
    """A chunk of another object is no part of the answer: so read the openai SDK and those that send such chunks."""
    if any(choice.get("delta") for choice in choices_of(chunk)):
        raise Loss


def _add_members(members: JsonObject, chunk: JsonObject) -> None:
    for name, value in chunk.items():
        if name == "usage":
            members[name] = members.get(name) if value is None else value
        elif name != PADDING:
            members[name] = None if name == "choices" else latest(members.get(name), value)


def _tool_calls(calls: Any) -> list[JsonObject]:
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise Loss
    if "index" not in calls[0]:
        _must_be_whole(calls)
    return [{name: value for name, value in call.items() if name != "index"} for call in calls]


def _must_be_whole(calls: list[JsonObject]) -> None:
    """Without an index, fragments of one call can be told from calls only where each has an id of its own."""
    ids = [call.get("id") for call in calls]
    if len(calls) > 1 and not (all(isinstance(one, str) and one for one in ids) and len(set(ids)) == len(ids)):
        raise Loss
