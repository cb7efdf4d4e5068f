"""Make the tools of a chat request, and the choice among them, those of Messages."""

import re
from collections.abc import Mapping
from typing import Any

from cachemw.translation.base import CannotSay
from cachemw.translation.chat_to_messages.reading import (
    DROPPED,
    JsonMembers,
    Telling,
    items_in,
    object_in,
    switch_in,
    text_in,
)
from cachemw.translation.claude_rows import ClaudeRow

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_WORDS = {"auto": "auto", "required": "any", "none": "none"}
_FORCED = frozenset({"any", "tool"})


def tools_of(members: Mapping[str, Any], row: ClaudeRow, telling: Telling) -> JsonMembers:
    """Return the tools and the choice among them, as far as there are any."""
    tools: list[JsonMembers] = []
    names: set[str] = set()
    for at, value in enumerate(items_in(members.get("tools"), "tools")):
        tool = _tool(value, f"tools[{at}]", row, telling)
        if tool["name"] in names:
            raise CannotSay(f"tools[{at}].function.name", "another tool has the same")
        names.add(tool["name"])
        tools.append(tool)
    choice = _choice(members, telling, has_tools=bool(tools))
    return ({"tools": tools} if tools else {}) | ({"tool_choice": choice} if choice else {})


def is_forced(tools: JsonMembers) -> bool:
    """Say whether the answer has to call a tool: then there can be no thinking before it."""
    return tools.get("tool_choice", {}).get("type") in _FORCED


def _tool(value: Any, where: str, row: ClaudeRow, telling: Telling) -> JsonMembers:
    tool = object_in(value, where)
    if tool.get("type") != "function":
        raise CannotSay(f"{where}.type", "Anthropic's API has tools with a schema alone")
    function = object_in(tool.get("function"), f"{where}.function")
    telling.tell_others(tool, ("type", "function"), "tools.")
    telling.tell_others(function, ("name", "description", "parameters", "strict"), "tools.function.")
    name = text_in(function.get("name"), f"{where}.function.name")
    if not _NAME.fullmatch(name):
        raise CannotSay(f"{where}.function.name", "a name has letters, digits, _ and - alone, and no more than 128")
    made: JsonMembers = {"name": name}
    if function.get("description") is not None:
        made["description"] = text_in(function["description"], f"{where}.function.description")
    made["input_schema"] = _schema(function.get("parameters"), f"{where}.function.parameters")
    if switch_in(function, "strict", f"{where}.function.strict"):
        if row.formats:
            made["strict"] = True
        else:
            telling.tell("tools.function.strict", DROPPED)
    return made


def _schema(parameters: Any, where: str) -> JsonMembers:
    """Return the schema of a tool's input. Without one there is no input; arguments are an object, said or not."""
    schema = object_in({} if parameters is None else parameters, where)
    if not schema:
        return {"type": "object", "properties": {}}
    return schema if "type" in schema else {"type": "object", **schema}


def _choice(members: Mapping[str, Any], telling: Telling, *, has_tools: bool) -> JsonMembers | None:
    wanted = _wanted(members.get("tool_choice"), telling)
    is_single = switch_in(members, "parallel_tool_calls") is False
    if not has_tools:
        if wanted is not None and wanted["type"] in _FORCED:
            raise CannotSay("tool_choice", "there are no tools")
        return None
    if is_single and (wanted is None or wanted["type"] != "none"):
        return {**(wanted or {"type": "auto"}), "disable_parallel_tool_use": True}
    return wanted


def _wanted(choice: Any, telling: Telling) -> JsonMembers | None:
    if choice is None:
        return None
    if isinstance(choice, str) and choice in _WORDS:
        return {"type": _WORDS[choice]}
    if not isinstance(choice, dict) or choice.get("type") != "function":
        raise CannotSay("tool_choice", "this has to be auto, required, none, or a function")
    function = object_in(choice.get("function"), "tool_choice.function")
    telling.tell_others(choice, ("type", "function"), "tool_choice.")
    telling.tell_others(function, ("name",), "tool_choice.function.")
    return {"type": "tool", "name": text_in(function.get("name"), "tool_choice.function.name")}
