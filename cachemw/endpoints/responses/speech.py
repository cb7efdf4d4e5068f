"""Tell whether the items of an output say something, or are only there."""

from typing import Any

import msgspec

from cachemw.limits import Work
from cachemw.wire.strict_json import NULL, is_too_complex

_MESSAGE, _REASONING = b'"message"', b'"reasoning"'

_OF_SERVER = frozenset(
    b'"%s"' % kind
    for kind in b"web_search_call file_search_call code_interpreter_call image_generation_call mcp_call mcp_list_tools"
    b" mcp_approval_request tool_search_call tool_search_output program program_output compaction".split()
)
"""Items that say what the upstream itself looked up, or ran: a stored prompt may have tools that no request names."""

_SILENT = frozenset(
    "type id status role phase item_id call_id output_index content_index summary_index annotation_index sequence_number"
    " obfuscation logprobs annotations encrypted_content".split()
)
"""Members that say nothing of an answer: they say what the others are, or hide it."""


def item_says_something(item: dict[str, msgspec.Raw], work: Work) -> bool:
    """Say whether an item is more than empty: messages and reasoning by their texts, all others by being there.

    Reasoning may be hidden: then only what the answer took tells of it.
    """
    kind = bytes(item.get("type", NULL))
    says = [is_said(name, part, work) for name, part in item.items()]  # all of it is read: one may be unreadable
    return any(says) or kind not in (_MESSAGE, _REASONING, b"null")


def is_of_server(item: dict[str, msgspec.Raw]) -> bool:
    """Say whether an item is of a tool that the upstream itself runs."""
    return bytes(item.get("type", NULL)) in _OF_SERVER


def is_said(name: str, part: msgspec.Raw, work: Work) -> bool:
    """Say whether a member holds a text that is part of an answer."""
    if name in _SILENT or part == NULL:
        return False
    return is_too_complex(bytes(part), work.document) or _holds_text(msgspec.json.decode(part))


def _holds_text(value: Any) -> bool:
    """Say whether there is a text in a value, wherever in it; what is counted or switched says nothing by itself."""
    if isinstance(value, dict):
        return any(_holds_text(inner) for name, inner in value.items() if name not in _SILENT)
    return any(map(_holds_text, value)) if isinstance(value, list) else isinstance(value, str) and value != ""
