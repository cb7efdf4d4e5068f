"""A completion from the chunks of its stream: the sum of its deltas."""

from collections.abc import Iterable
from typing import Any

from cachemw.core.transcode.loss import Loss
from cachemw.core.transcode.merging import ObjectSum, latest
from cachemw.core.transcode.reading import PADDING, Members, choices_of, index_of

COMPLETION = "chat.completion"
CHUNK = "chat.completion.chunk"

LOGPROBS = frozenset({"logprobs", "reasoning_logprobs"})
"""Members of a choice that come in pieces, as the delta does."""


class ChoiceSum:
    """One choice so far."""

    def __init__(self, index: int) -> None:
        self._members: Members = {"index": index}
        self._message, self._logprobs = ObjectSum(), ObjectSum()

    def add(self, piece: Members) -> None:
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

    def total(self) -> Members:
        """Return the choice with its message."""
        if not self._members.get("finish_reason"):
            raise Loss
        message = _message(self._message.total())
        return self._members | self._logprobs.total() | {"message": {"content": None} | message}


def _is_ambiguous(name: str, before: Any, now: Any) -> bool:
    """Say whether this is a whole message beside the deltas, or a list that comes twice: again, or as two pieces alike."""
    return now is not None if name == "message" else bool(now) and isinstance(now, list) and now == before


def aggregate(chunks: Iterable[Members]) -> Members:
    """Return the completion that the chunks add up to."""
    members: Members = {}
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


def _message(members: Members) -> Members:
    """Return a choice's deltas as a message: it has a role, and its tool calls have no index."""
    message = members | {"role": members.get("role") or "assistant"}
    if calls := message.get("tool_calls"):
        message["tool_calls"] = _tool_calls(calls)
    return message


def _object(value: Any) -> Members:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Loss
    return value


def _must_say_nothing(chunk: Members) -> None:
    """A chunk of another object is no part of the answer: so read the openai SDK and those that send such chunks."""
    if any(choice.get("delta") for choice in choices_of(chunk)):
        raise Loss


def _add_members(members: Members, chunk: Members) -> None:
    for name, value in chunk.items():
        if name == "usage":
            members[name] = members.get(name) if value is None else value
        elif name != PADDING:
            members[name] = None if name == "choices" else latest(members.get(name), value)


def _tool_calls(calls: Any) -> list[Members]:
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise Loss
    if "index" not in calls[0]:
        _must_be_whole(calls)
    return [{name: value for name, value in call.items() if name != "index"} for call in calls]


def _must_be_whole(calls: list[Members]) -> None:
    """Without an index, fragments of one call can be told from calls only where each has an id of its own."""
    ids = [call.get("id") for call in calls]
    if len(calls) > 1 and not (all(isinstance(one, str) and one for one in ids) and len(set(ids)) == len(ids)):
        raise Loss
