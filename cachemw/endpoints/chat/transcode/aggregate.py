"""Make a completion of the chunks of its stream: the sum of its deltas."""

from collections.abc import Iterable
from typing import Any

from cachemw.endpoints.chat.transcode.reading import OTHER_PADDING, choices_of, index_of, is_padding
from cachemw.endpoints.chat.transcode.sums import LogprobsSum, ObjectSum, UnknownTextSum
from cachemw.endpoints.deriving import PADDING, JsonObject, Loss

MEMBERS_LIMIT = 64
"""An object with more members that is said again, and otherwise, is none that we know: each time would cost all of them."""

PER_TOKEN = frozenset({"index", "token_id"})
"""Members of a delta that say something of this piece alone."""

OFFSETS = frozenset({"content_filter_offsets"})
"""Members of a choice that do so: Azure's filter, where it looks at what has been sent already."""

STATES = frozenset({"finish_reason", "native_finish_reason", "stop_reason", "matched_stop"})
"""Members of a choice of which the last holds."""

DRIFTING = frozenset(
    "id created model provider system_fingerprint service_tier time_info timings metrics"
    " citations search_results images related_questions".split()
)
"""Members of a chunk of which the last holds: some upstreams have others on every chunk, count on, or have found more."""

LOGPROBS = frozenset({"logprobs", "reasoning_logprobs"})
"""Members of a choice that come in pieces, as the delta does."""

SAID_AGAIN = ("reasoning", "reasoning_content", "content")
"""Members of a message that some upstreams say once more, as the `text` of the choice."""

KNOWN_IN_CHOICE = STATES | {"text"}
KNOWN_IN_CHUNK = DRIFTING | {"object", "choices", PADDING, OTHER_PADDING}

COMPLETION = "chat.completion"
CHUNK = "chat.completion.chunk"

_EMPTY: tuple[Any, ...] = (None, "", [])
_FRAME = frozenset({"id", "created", "model", "object", "choices"})


def latest(before: Any, now: Any) -> Any:
    """Return what a member holds of which the last holds, after it was said again: the newer, with all that the older had.

    A list that neither repeats the older nor goes on from it may be a piece, or replace it: it cannot be told.
    """
    return _said_again(before, now, may_change=True)


def unchanged(before: Any, now: Any) -> Any:
    """Return what a member that nobody knows holds, after it was said again: more may be added to it, but nothing changes."""
    return _said_again(before, now, may_change=False)


def _said_again(before: Any, now: Any, *, may_change: bool) -> Any:
    if before is None or before == now or now in _EMPTY:
        return now if before is None else before
    if isinstance(before, dict) and isinstance(now, dict):
        if len(before) > MEMBERS_LIMIT:
            raise Loss
        return before | {name: _said_again(before.get(name), value, may_change=may_change) for name, value in now.items()}
    is_longer = isinstance(before, list) and isinstance(now, list) and now[: len(before)] == before
    if before in _EMPTY or may_change and (is_longer or not isinstance(before, list)):
        return now
    raise Loss


class Repeated:
    """Counts the chunks that say the texts and lists which nobody knows.

    One that comes again is a label where all chunks have it, as they have the model; where only some do, it may be in pieces
    that are alike.
    """

    def __init__(self) -> None:
        self._chunks = 0
        self._counts: dict[str, int] = {}

    def count(self, members: JsonObject, known: frozenset[str]) -> None:
        """Count a chunk, or a choice of one."""
        self._chunks += 1
        for name, value in members.items():
            if value and isinstance(value, (str, list)) and name not in known:
                self._counts[name] = self._counts.get(name, 0) + 1

    def check(self) -> None:
        """Raise `Loss` where one came again, and not always."""
        if any(1 < count < self._chunks for count in self._counts.values()):
            raise Loss


class ChoiceSum:
    """One choice so far."""

    def __init__(self, index: int) -> None:
        self._members: JsonObject = {"index": index}
        self._message, self._logprobs, self._texts = ObjectSum(), LogprobsSum(), list[str]()
        self._snapshot: JsonObject = {}
        self._repeated = Repeated()

    def add(self, piece: JsonObject) -> None:
        """Take in what a chunk says of this choice."""
        self._repeated.count(piece, KNOWN_IN_CHOICE)
        for name, value in piece.items():
            if name == "delta":
                self._members.setdefault("message", None)
                self._message.add(_delta(value))
            elif name in LOGPROBS:
                self._members.setdefault(name, None)
                self._logprobs.add({name: value})
            elif name == "message":
                self._snapshot = _object(value) or self._snapshot
            elif name in OFFSETS:
                pass
            elif name == "text" and isinstance(value, str):
                self._texts.append(value)
                self._members[name] = self._texts
            elif name in STATES:
                self._members[name] = latest(self._members.get(name), value)
            elif value and isinstance(value, list) and value == self._members.get(name):
                raise Loss  # it is said again, or it is two pieces alike
            else:
                self._members[name] = unchanged(self._members.get(name), value)

    def total(self) -> JsonObject:
        """Return the choice with its message."""
        if self._members.get("finish_reason") is None:
            raise Loss
        self._repeated.check()
        message = {"content": None} | _message(self._message.total())
        if any(message.get(name) != value for name, value in self._snapshot.items() if value not in _EMPTY):
            raise Loss  # a whole message beside the deltas, and they say something else
        text = {"text": _text(self._texts, message)} if self._texts else {}
        return self._members | text | self._logprobs.total() | {"message": message}


def aggregate(chunks: Iterable[JsonObject]) -> JsonObject:
    """Return the completion that the chunks add up to."""
    members: JsonObject = {}
    choices: dict[int, ChoiceSum] = {}
    repeated = Repeated()
    for chunk in chunks:
        if chunk.get("object") not in (None, CHUNK):
            chunk = _beside(chunk)
        elif chunk.get("choices"):
            repeated.count(chunk, KNOWN_IN_CHUNK)
        for choice in choices_of(chunk):
            index = index_of(choice)
            if index not in choices:
                choices[index] = ChoiceSum(index)
            choices[index].add(choice)
        _add_members(members, chunk)
    if not choices:
        raise Loss
    repeated.check()
    return members | {"object": COMPLETION, "choices": [choices[index].total() for index in sorted(choices)]}


def _message(members: JsonObject) -> JsonObject:
    """Return a choice's deltas as a message: it has a role, and its tool calls have no index."""
    message = members | {"role": members.get("role") or "assistant"}
    if calls := message.get("tool_calls"):
        message["tool_calls"] = _tool_calls(calls)
    return message


def _text(pieces: list[str], message: JsonObject) -> str:
    """Return what came in pieces beside the deltas: what these say as well, or what can be taken for nothing else."""
    told = [said for name in SAID_AGAIN if isinstance(said := message.get(name), str)]
    whole = "".join(pieces)
    if whole not in (*told, "".join(told)):
        unknown = UnknownTextSum()
        for piece in pieces:
            unknown.add(piece)
        return unknown.total()
    return whole


def _delta(value: Any) -> JsonObject:
    delta = _object(value)
    if PER_TOKEN.isdisjoint(delta):
        return delta
    return {name: piece for name, piece in delta.items() if name not in PER_TOKEN}


def _object(value: Any) -> JsonObject:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Loss
    return value


def _beside(chunk: JsonObject) -> JsonObject:
    """Return what a chunk of another object says beside the answer, as a filter's verdict on the prompt.

    It is no part of the answer itself: so read the openai SDK and those that send such chunks.
    """
    choices = choices_of(chunk)
    if any(value for choice in choices for name, value in _object(choice.get("delta")).items() if name != "role"):
        raise Loss
    told = [{name: value for name, value in one.items() if name != "delta" and value not in (*_EMPTY, {})} for one in choices]
    said = [choice for choice in told if choice.keys() - {"index"}]
    members = {name: value for name, value in chunk.items() if name not in _FRAME and value not in _EMPTY}
    return members | ({"choices": said} if said else {})


def _add_members(members: JsonObject, chunk: JsonObject) -> None:
    for name, value in chunk.items():
        before = members.get(name)
        if name == "choices" or name == "object":
            members[name] = None
        elif name == "usage":
            members[name] = before if value is None else value
        elif not is_padding(name, value):
            members[name] = (latest if name in DRIFTING else unchanged)(before, value)


def _tool_calls(calls: Any) -> list[JsonObject]:
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise Loss
    if calls[0].get("index") is None:
        _must_be_whole(calls)
    return [{name: value for name, value in call.items() if name != "index"} for call in calls]


def _must_be_whole(calls: list[JsonObject]) -> None:
    """Without an index, fragments of one call can be told from calls only where each has an id of its own."""
    ids = [call.get("id") for call in calls]
    if len(calls) > 1 and not (all(isinstance(one, str) and one for one in ids) and len(set(ids)) == len(ids)):
        raise Loss
