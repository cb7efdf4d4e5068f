"""Make a stream of a response, such that the official SDK reads the same response from it."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from cachemw.endpoints.deriving import JsonObject, Loss, slices_of
from cachemw.endpoints.responses.gather import gather
from cachemw.endpoints.responses.judge import ENDINGS

_ENDING_OF = {status: event for event, status in ENDINGS.items()}

_YET_TO_COME = ("completed_at", "incomplete_details", "usage")
"""Members of a response that are null while it is in progress."""

_TEXTS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}
"""Where the text of a tool call is, and the events that say it."""

_LISTS = {"message": ("content",), "reasoning": ("summary", "content")}
"""The lists of parts of an item, in the order in which they are said."""

_PARTS = {
    ("message", "content", "output_text"): ("text", "response.output_text"),
    ("message", "content", "refusal"): ("refusal", "response.refusal"),
    ("reasoning", "content", "reasoning_text"): ("text", "response.reasoning_text"),
    ("reasoning", "summary", "summary_text"): ("text", "response.reasoning_summary_text"),
}
"""Where the text of a part is, and the events that say it."""

_FRAMES = {
    "content": ("content_index", "response.content_part"),
    "summary": ("summary_index", "response.reasoning_summary_part"),
}
"""What the parts of a list are numbered by, and the events that begin and end one."""

_GROWING = ("annotations", "logprobs")
"""The lists of a part that come after it has begun."""


def synthesise(response: JsonObject, limit: int, slice_chars: int) -> list[JsonObject]:
    """Return the events of a stream that says a response, `limit` at most, its texts in slices of so many characters."""
    output, status = response.get("output"), response.get("status")
    if not isinstance(output, list) or not isinstance(status, str) or status not in _ENDING_OF:
        raise Loss
    said = (event for index, item in enumerate(output) for event in _item_events(index, item, slice_chars))
    items = list(islice(said, limit + 1))
    if len(items) > limit or gather(items) != output:  # a reader of the stream would put some member together otherwise
        raise Loss
    begun = response | {"status": "in_progress", "output": []}
    begun |= {name: None for name in _YET_TO_COME if name in response}
    events = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        *items,
        {"type": _ENDING_OF[status], "response": response},
    ]
    return [{"type": event["type"], "sequence_number": at} | event for at, event in enumerate(events)]


def _item_events(index: int, item: Any, slice_chars: int) -> Iterator[JsonObject]:
    """Yield the events of an item: it is added empty, then said, then done."""
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        raise Loss
    place = {"output_index": index}
    yield {"type": "response.output_item.added", **place, "item": _opened(item)}
    for event in _said(item, slice_chars):
        yield {"type": event["type"], "item_id": item["id"], **place, **event}
    yield {"type": "response.output_item.done", **place, "item": item}


def _opened(item: JsonObject) -> JsonObject:
    kind = _kind_of(item)
    opened = item | ({"status": "in_progress"} if "status" in item else {})
    if kind in _TEXTS:
        return opened | {_TEXTS[kind][0]: ""}
    return opened | {name: [] for name in _LISTS[kind] if isinstance(item.get(name), list)}


def _kind_of(item: JsonObject) -> str:
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in _TEXTS and kind not in _LISTS:
        raise Loss
    return kind


def _said(item: JsonObject, slice_chars: int) -> Iterator[JsonObject]:
    kind = _kind_of(item)
    if kind in _TEXTS:
        member, name = _TEXTS[kind]
        yield from _text_events(name, member, item.get(member), {}, slice_chars)
        return
    for name in _LISTS[kind]:
        for at, part in enumerate(_list_in(item, name)):
            yield from _part_events(kind, name, at, part, slice_chars)


def _list_in(members: JsonObject, name: str) -> list[Any]:
    value = members.get(name)
    if not isinstance(value, list | None):
        raise Loss
    return value or []


def _part_events(kind: str, list_name: str, at: int, part: Any, slice_chars: int) -> Iterator[JsonObject]:
    """Yield the events of a part: it is added empty, then said, then done."""
    if not isinstance(part, dict) or not isinstance(part_type := part.get("type"), str):
        raise Loss
    if (kind, list_name, part_type) not in _PARTS:
        raise Loss
    member, name = _PARTS[kind, list_name, part_type]
    index, frame = _FRAMES[list_name]
    place = {index: at}
    opened = part | {member: ""} | {name: [] for name in _GROWING if isinstance(part.get(name), list)}
    yield {"type": f"{frame}.added", **place, "part": opened}
    if part_type == "output_text":
        yield from _output_text_events(part, place, slice_chars)
    else:
        yield from _text_events(name, member, part.get(member), place, slice_chars)
    yield {"type": f"{frame}.done", **place, "part": part}


def _output_text_events(part: JsonObject, place: JsonObject, slice_chars: int) -> Iterator[JsonObject]:
    """Yield a text that has annotations, too. Its tokens' probabilities come with the text, and so that is said at once."""
    logprobs = _list_in(part, "logprobs")
    text = part.get("text")
    whole = len(text) if logprobs and isinstance(text, str) else 0
    for event in _text_events("response.output_text", "text", text, place, max(whole, slice_chars)):
        yield event | {"logprobs": logprobs}
    for at, annotation in enumerate(_list_in(part, "annotations")):
        yield {
            "type": "response.output_text.annotation.added",
            **place,
            "annotation_index": at,
            "annotation": annotation,
        }


def _text_events(name: str, member: str, text: Any, place: JsonObject, slice_chars: int) -> Iterator[JsonObject]:
    """Yield a text in slices, cut between code points, then whole."""
    if not isinstance(text, str):
        raise Loss
    for piece in slices_of(text, slice_chars):
        yield {"type": f"{name}.delta", **place, "delta": piece}
    yield {"type": f"{name}.done", **place, member: text}
