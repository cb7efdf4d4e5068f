"""Make a message of the events of its stream."""

from collections.abc import Iterable
from typing import Any

from cachemw.endpoints.deriving import JsonObject, Loss
from cachemw.errors import Unreadable
from cachemw.wire.strict_json import parse

_MEMBERS = {
    "message_start": {"type", "message"},
    "content_block_start": {"type", "index", "content_block"},
    "content_block_delta": {"type", "index", "delta"},
    "content_block_stop": {"type", "index"},
    "message_stop": {"type"},
}
"""The members of each event. Of `message_delta` the others are the message's own."""

_KINDS: dict[str, tuple[str, str]] = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
    "citations_delta": ("text", "citation"),
    "input_json_delta": ("tool_use", "partial_json"),
}
"""Of each delta the type of the block that it is a piece of, and the member that has the piece."""

_OF_BLOCKS = frozenset({"content", "usage", "role"})


def aggregate_message(events: Iterable[JsonObject], limit: int) -> JsonObject:
    """Return the message that the events add up to; `limit` is how much work the input of a tool may be.

    Raises `Loss` for what is no whole message, or has what nobody knows how to put together.
    """
    told = [event for event in events if event.get("type") != "ping"]
    if len(told) < 2 or told[0].get("type") != "message_start" or told[-1] != {"type": "message_stop"}:
        raise Loss
    message = _MessageSum(told[0], limit)
    for event in told[1:-1]:
        message.add(event)
    return message.total()


class _MessageSum:
    """A message so far."""

    def __init__(self, start: JsonObject, limit: int) -> None:
        self._message = dict(_object(start, "message"))
        if self._message.get("content") or start.keys() - _MEMBERS["message_start"]:
            raise Loss
        self._message["content"] = []
        self._limit = limit
        self._blocks: list[_BlockSum] = []

    def add(self, event: JsonObject) -> None:
        match event.get("type"):
            case "content_block_start":
                self._start(event)
            case "content_block_delta":
                self._block(event).add(_object(event, "delta"))
            case "content_block_stop":
                self._block(event).stop(self._limit)
            case "message_delta":
                self._finish(event)
            case _:
                raise Loss

    def total(self) -> JsonObject:
        if self._message.get("stop_reason") is None:
            raise Loss
        return self._message | {"content": [block.total() for block in self._blocks]}

    def _start(self, event: JsonObject) -> None:
        if event.keys() - _MEMBERS["content_block_start"] or not _is_index(event, len(self._blocks)):
            raise Loss
        self._blocks.append(_BlockSum(_object(event, "content_block")))

    def _block(self, event: JsonObject) -> "_BlockSum":
        index = event.get("index")
        if event.keys() - _MEMBERS[event["type"]] or type(index) is not int or not 0 <= index < len(self._blocks):
            raise Loss
        return self._blocks[index]

    def _finish(self, event: JsonObject) -> None:
        """Take in how it ends: what is said there holds, but a number that is null."""
        delta, usage = _object(event, "delta"), event.get("usage")
        others = {name: value for name, value in event.items() if name not in ("type", "delta", "usage")}
        if _OF_BLOCKS & (delta.keys() | others.keys()) or "stop_reason" not in delta:
            raise Loss
        self._message |= delta | others
        if usage is not None:
            counts = _object(event, "usage")
            before = self._message.get("usage") or {}
            if not isinstance(before, dict):
                raise Loss
            said = {name: count for name, count in counts.items() if count is not None or name not in before}
            self._message["usage"] = before | said


class _BlockSum:
    """A block so far: what it began with, and the pieces of its members."""

    def __init__(self, start: JsonObject) -> None:
        self._start = start
        self._pieces: dict[str, list[Any]] = {}
        self._input: JsonObject | None = None
        self._has_ended = False

    def add(self, delta: JsonObject) -> None:
        of_type = delta.get("type")
        block_type, name = _KINDS.get(of_type, ("", "")) if isinstance(of_type, str) else ("", "")
        if self._has_ended or not name or self._start.get("type") != block_type or delta.keys() != {"type", name}:
            raise Loss
        piece = delta[name]
        if not isinstance(piece, dict if name == "citation" else str):
            raise Loss
        self._pieces.setdefault(name, []).append(piece)

    def stop(self, limit: int) -> None:
        if self._has_ended:
            raise Loss
        self._has_ended = True
        if written := "".join(self._pieces.pop("partial_json", ())):
            self._input = _input_of(written, limit)

    def total(self) -> JsonObject:
        if not self._has_ended:
            raise Loss
        block = dict(self._start)
        for name, pieces in self._pieces.items():
            if name == "citation":
                block["citations"] = _listed(block.get("citations")) + pieces
            elif name == "signature":  # one that is said again is another
                block[name] = pieces[-1]
            else:
                block[name] = _text(block.get(name)) + "".join(pieces)
        return block if self._input is None else block | {"input": self._input}


def _input_of(written: str, limit: int) -> JsonObject:
    try:
        value = parse(written.encode(), limit)
    except Unreadable:
        raise Loss from None
    if not isinstance(value, dict):
        raise Loss
    return value


def _object(event: JsonObject, name: str) -> JsonObject:
    value = event.get(name)
    if not isinstance(value, dict):
        raise Loss
    return value


def _is_index(event: JsonObject, index: int) -> bool:
    return type(event.get("index")) is int and event["index"] == index


def _listed(value: Any) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise Loss
    return value or []


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Loss
    return value
