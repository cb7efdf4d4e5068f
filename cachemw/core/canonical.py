"""One form for every spelling of the same chat request. What is folded is listed here; nothing else is."""

from collections.abc import Mapping
from typing import Any

import msgspec

NULL_IS_ABSENT = frozenset(
    "audio frequency_penalty logit_bias logprobs max_completion_tokens max_tokens modalities moderation n prediction"
    " presence_penalty reasoning_effort seed stop temperature top_logprobs top_p verbosity".split()
)
INTEGER_IS_FLOAT = ("temperature", "top_p", "frequency_penalty", "presence_penalty")


def canonical(body: Mapping[str, Any], left_out: frozenset[str]) -> bytes:
    """Return the canonical JSON of a chat request's body without the top-level members in `left_out`.

    Member order is ignored in the objects that are parsed into named fields, and only there: tools and schemas are
    rendered to the model in the order they came. Arrays, text and numbers stay as they are, in shortest form.
    """
    kept = {
        name: _by_name.get(name, _as_it_is)(body[name])
        for name in sorted(body.keys() - left_out)
        if not (body[name] is None and name in NULL_IS_ABSENT)
    }
    return msgspec.json.encode(kept)


def ordered(value: Any) -> Any:
    """Return an object with its members sorted by name (code points, which is the order of their UTF-8)."""
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def _as_it_is(value: Any) -> Any:
    return value


def _number(value: Any) -> Any:
    if type(value) is not int:
        return value
    try:
        as_float = float(value)
    except OverflowError:
        return value
    return as_float if as_float == value else value


def _messages(value: Any) -> Any:
    return [_message(message) for message in value]


def _message(message: Any) -> Any:
    message = ordered(message)
    if isinstance(message, dict) and isinstance(message.get("content"), list):
        message["content"] = [ordered(part) for part in message["content"]]
    return message


def _with_ordered(*names: str) -> Any:
    def ordered_with_members(value: Any) -> Any:
        value = ordered(value)
        for name in names:
            if isinstance(value, dict) and name in value:
                value[name] = ordered(value[name])
        return value

    return ordered_with_members


_by_name = {
    **dict.fromkeys(INTEGER_IS_FLOAT, _number),
    "messages": _messages,
    "response_format": _with_ordered("json_schema"),
    "tool_choice": _with_ordered("function"),
    "logit_bias": ordered,
    "prediction": ordered,
}
