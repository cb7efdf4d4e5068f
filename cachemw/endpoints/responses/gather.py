"""Put the items of a response together from the events of a stream, as a client does that goes by these."""

from collections.abc import Iterable
from typing import Any

from cachemw.endpoints.deriving import JsonObject

_ADDED, _DONE = "response.output_item.added", "response.output_item.done"

_LISTS = {
    "response.content_part.added": "content",
    "response.reasoning_summary_part.added": "summary",
}
"""The events that add a part, and the list of the item that it is added to."""

_OF_ITEM = {
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}
"""The events that go on with a text of an item, and where it is."""

_OF_PART = {
    "response.output_text.delta": ("content", "content_index", "text"),
    "response.refusal.delta": ("content", "content_index", "refusal"),
    "response.reasoning_text.delta": ("content", "content_index", "text"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index", "text"),
}
"""The events that go on with a text of a part, and where it is."""

_ANNOTATED = "response.output_text.annotation.added"


def gather(events: Iterable[JsonObject]) -> list[Any]:
    """Return the items that these events say, one after the other; they are such as `synthesise` makes."""
    items: list[JsonObject] = []
    for event in events:
        _take_in(items, event)
    return items


def _take_in(items: list[JsonObject], event: JsonObject) -> None:
    kind = event["type"]
    if kind == _ADDED:
        items.append(_own(event["item"]))
    elif kind in _LISTS:
        items[-1][_LISTS[kind]].append(_own(event["part"]))
    elif kind in _OF_ITEM:
        items[-1][_OF_ITEM[kind]] += event["delta"]
    elif kind in _OF_PART:
        name, index, member = _OF_PART[kind]
        part = items[-1][name][event[index]]
        part[member] += event["delta"]
        if event.get("logprobs"):
            part["logprobs"] += event["logprobs"]
    elif kind == _ANNOTATED:
        items[-1]["content"][event["content_index"]]["annotations"].append(event["annotation"])
    elif kind == _DONE and "status" in event["item"]:
        items[-1]["status"] = event["item"]["status"]


def _own(members: JsonObject) -> JsonObject:
    """Return a copy to which can be added."""
    return {name: [*value] if isinstance(value, list) else value for name, value in members.items()}
