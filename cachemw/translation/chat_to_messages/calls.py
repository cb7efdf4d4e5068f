"""Make the tool calls of a conversation, and what they returned, the blocks of Messages."""

import base64
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from cachemw.errors import Unreadable
from cachemw.translation.base import CannotSay
from cachemw.translation.chat_to_messages.parts import OF_TOOL, blocks_of
from cachemw.translation.chat_to_messages.reading import JsonMembers, Telling, items_in, object_in, text_in
from cachemw.wire.strict_json import is_too_complex, parse

_ESCAPED = "cachemw_"
_ID = re.compile(r"(?!cachemw_)[A-Za-z0-9_-]+")
_NOTHING = msgspec.Raw(b"{}")
_BLANKS = " \t\r\n"


class OpenCalls:
    """The tool calls of the assistant's last turn that nothing was returned for yet."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._open: set[str] = set()
        self._known: set[str] = set()
        self._is_answered = False

    def answer(self) -> None:
        """Note that a turn of the user has begun."""
        self._is_answered = True

    def made(self, message: JsonMembers, where: str) -> list[JsonMembers]:
        """Return the blocks of the calls that a message of the assistant makes."""
        if self._is_answered:
            self._open, self._known, self._is_answered = set(), set(), False
        calls = enumerate(items_in(message.get("tool_calls"), f"{where}.tool_calls"))
        return [self._made(call, f"{where}.tool_calls[{at}]") for at, call in calls]

    def returned(self, message: JsonMembers, where: str) -> JsonMembers:
        """Return the block of what a call returned. A result without its call is refused, as Anthropic's API refuses it."""
        self.answer()
        call_id = text_in(message.get("tool_call_id"), f"{where}.tool_call_id")
        if call_id not in self._open:
            raise CannotSay(f"{where}.tool_call_id", "the assistant's last turn has no such call that is still open")
        self._open.remove(call_id)
        content = message.get("content")
        if not isinstance(content, str):
            content = blocks_of(content, f"{where}.content", OF_TOOL, self._telling) or ""
        return {"type": "tool_result", "tool_use_id": escaped(call_id), "content": content}

    def _made(self, value: Any, where: str) -> JsonMembers:
        call = object_in(value, where)
        if call.get("type", "function") != "function":
            raise CannotSay(f"{where}.type", "Anthropic's API has calls of functions alone")
        call_id = text_in(call.get("id"), f"{where}.id")
        if call_id in self._known:
            raise CannotSay(f"{where}.id", "another call of this turn has the same")
        self._known.add(call_id)
        self._open.add(call_id)
        function = object_in(call.get("function"), f"{where}.function")
        self._telling.tell_others(call, ("type", "id", "function", "index"), "messages.tool_calls.")
        self._telling.tell_others(function, ("name", "arguments"), "messages.tool_calls.function.")
        name = text_in(function.get("name"), f"{where}.function.name")
        arguments = input_of(function.get("arguments"), f"{where}.function.arguments")
        return {"type": "tool_use", "id": escaped(call_id), "name": name, "input": arguments}


def escaped(call_id: str) -> str:
    """Return an id as Anthropic's API takes it, `[A-Za-z0-9_-]+`. No two have the same, and most are as they were."""
    if _ID.fullmatch(call_id):
        return call_id
    return _ESCAPED + base64.urlsafe_b64encode(call_id.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def input_of(arguments: Any, member: str) -> msgspec.Raw:
    """Return the arguments of a call as the object that they are, byte for byte; none at all are an empty one."""
    if arguments is None or not text_in(arguments, member).strip(_BLANKS):
        return _NOTHING
    raw = _bytes_of(arguments.strip(_BLANKS))
    try:
        value = parse(raw)
    except Unreadable:
        raise CannotSay(member, "this has to be the JSON of an object that can be read in one way") from None
    if not isinstance(value, dict):
        raise CannotSay(member, "this has to be the JSON of an object")
    return msgspec.Raw(raw)


def refuse_too_many_arguments(messages: list[Any]) -> None:
    """Raise `CannotSay` where to read all arguments would be too much work, though each alone might be read."""
    if is_too_complex(b",".join(map(_bytes_of, _all_arguments(messages)))):
        raise CannotSay("messages", "the arguments of the calls are too much to be read")


def _all_arguments(messages: list[Any]) -> Iterator[str]:
    for message in messages:
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            arguments = function.get("arguments") if isinstance(function, dict) else None
            if isinstance(arguments, str):
                yield arguments


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # half of a pair is no JSON, and is refused as that
