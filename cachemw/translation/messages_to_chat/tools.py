"""Say tools and the choice of one as chat completions have them, and keep the names that are too long there."""

import hashlib
from typing import Any

from cachemw.translation.base import CannotSay, Members
from cachemw.translation.chat_rows import ChatRow
from cachemw.translation.messages_to_chat.reading import Notes, list_at, object_at, switch_at, text_at

_HASH = 8
_PLAIN = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control", "eager_input_streaming"})
_CHOICE = frozenset({"type", "name", "disable_parallel_tool_use"})
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_PARALLEL = "disable_parallel_tool_use"


class ToolNames:
    """The names of tools as an upstream is told them, and as the request has them."""

    def __init__(self, longest: int, notes: Notes) -> None:
        self.own: dict[str, str] = {}  # by the names that the upstream is told
        self._longest, self._notes = longest, notes

    @property
    def renamed(self) -> tuple[tuple[str, str], ...]:
        """Return the names of those that are sent by another one, each with its own."""
        return tuple([(sent, own) for sent, own in self.own.items() if sent != own])

    def sent(self, name: str) -> str:
        """Return a name as the upstream is told it: one that is too long is cut, and ends in a digest of the whole."""
        if len(name) <= self._longest:
            return name
        self._notes.tell("tools.name", "shortened")
        digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH]
        return f"{name[: self._longest - _HASH - 1]}_{digest}"

    def add(self, name: str, path: str) -> str:
        """Return the name of a tool as it is sent; two that have one name there could not be told apart."""
        sent = self.sent(name)
        if sent in self.own:
            raise CannotSay(path, "two tools have the same name, or would have it at the upstream")
        self.own[sent] = name
        return sent


def tool_members(members: Members, row: ChatRow, names: ToolNames, notes: Notes) -> dict[str, Any]:
    """Return the members of a chat request that say which tools there are, and how they are chosen."""
    value = members.get("tools")
    listed = [] if value is None else list_at(value, "tools")
    tools = [_tool(tool, f"tools.{at}", names, notes) for at, tool in enumerate(listed)]
    said: dict[str, Any] = {"tools": tools} if tools else {}
    choice = members.get("tool_choice")
    return said if choice is None else {**said, **_chosen(object_at(choice, "tool_choice"), row, names, notes)}


def _tool(value: Any, path: str, names: ToolNames, notes: Notes) -> dict[str, Any]:
    tool = object_at(value, path)
    if tool.get("type") not in (None, "custom"):
        raise CannotSay(path, "the upstream has no tools of its own: only custom tools can be passed on")
    sent = names.add(_name(tool, path), f"{path}.name")
    function: dict[str, Any] = {"name": sent}
    if (description := tool.get("description")) is not None:
        function["description"] = text_at(description, f"{path}.description")
    function["parameters"] = object_at(tool.get("input_schema"), f"{path}.input_schema")
    if tool.get("strict") is not None:
        function["strict"] = switch_at(tool["strict"], f"{path}.strict")
    notes.tell_others(tool, _PLAIN, "tools.")
    return {"type": "function", "function": function}


def _name(value: dict[str, Any], path: str) -> str:
    name = text_at(value.get("name"), f"{path}.name")
    if not name:
        raise CannotSay(f"{path}.name", "it must not be empty")
    return name


def _chosen(choice: dict[str, Any], row: ChatRow, names: ToolNames, notes: Notes) -> dict[str, Any]:
    kind = text_at(choice.get("type"), "tool_choice.type")
    notes.tell_others(choice, _CHOICE, "tool_choice.")
    is_single = switch_at(choice.get(_PARALLEL), f"tool_choice.{_PARALLEL}")
    said: dict[str, Any] = {"tool_choice": _choice(choice, kind, names)}
    if not names.own:  # nothing to choose from: what a chat upstream refuses says nothing here
        return {}
    if is_single and row.parallel_tool_calls:
        said["parallel_tool_calls"] = False
    elif is_single:
        notes.tell(f"tool_choice.{_PARALLEL}", "dropped")
    return said


def _choice(choice: dict[str, Any], kind: str, names: ToolNames) -> Any:
    if kind == "tool":
        name = _name(choice, "tool_choice")
        if name not in names.own.values():
            raise CannotSay("tool_choice.name", "there is no tool of this name")
        return {"type": "function", "function": {"name": names.sent(name)}}
    if kind not in _CHOICES:
        raise CannotSay("tool_choice.type", "it must be auto, any, tool or none")
    if kind == "any" and not names.own:
        raise CannotSay("tool_choice", "there are no tools to choose from")
    return _CHOICES[kind]
