"""Make the messages of a chat the turns of Messages, and its system messages what stands before them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from cachemw.redaction import redacted_repr
from cachemw.translation.base import CannotSay
from cachemw.translation.chat_to_messages.calls import OpenCalls, refuse_too_many_arguments
from cachemw.translation.chat_to_messages.parts import OF_ASSISTANT, OF_SYSTEM, OF_USER, blocks_of, refusal_blocks
from cachemw.translation.chat_to_messages.reading import JsonMembers, Telling, items_in, object_in, text_in
from cachemw.translation.claude_rows import ClaudeRow

_SYSTEM, _USER, _ASSISTANT = "system", "user", "assistant"


class Conversation(msgspec.Struct, frozen=True):
    """A conversation as Messages has it; `is_amid_calls`: it ends in what calls returned."""

    system: list[JsonMembers]
    turns: list[JsonMembers]
    is_amid_calls: bool

    __repr__ = redacted_repr


class _Turn(msgspec.Struct):
    """One message, or several of one role; the results of tools come before all else."""

    role: str
    blocks: list[JsonMembers]
    results: list[JsonMembers] = msgspec.field(default_factory=list)

    __repr__ = redacted_repr


def conversation_of(messages: Any, row: ClaudeRow, telling: Telling) -> Conversation:
    """Return the messages of a request as a model of this row takes them."""
    values = items_in(messages, "messages")
    refuse_too_many_arguments(values)
    calls = OpenCalls(telling)
    read = [_turn(value, f"messages[{at}]", calls, telling) for at, value in enumerate(values)]
    said = [turn for turn in read if turn.blocks or turn.results]
    start = next((at for at, turn in enumerate(said) if turn.role != _SYSTEM), len(said))
    hoisted, placed = _placed(said[start:], row)
    if hoisted:
        telling.tell("system", "hoisted")
    turns = _merged(placed, telling)
    if not turns:
        raise CannotSay("messages", "Anthropic's API needs a message that is not the system's")
    if turns[-1].role == _ASSISTANT:
        _continue(f"messages[{len(values) - 1}]", row, telling)
    system = [block for turn in (*said[:start], *hoisted) for block in turn.blocks]
    last = next((turn for turn in reversed(turns) if turn.role != _SYSTEM), turns[-1])
    return Conversation(system, [_members(turn) for turn in turns], bool(last.results))


def _turn(value: Any, where: str, calls: OpenCalls, telling: Telling) -> _Turn:
    message = object_in(value, where)
    role, content = text_in(message.get("role"), f"{where}.role"), message.get("content")
    if role == _ASSISTANT:
        return _Turn(_ASSISTANT, _assistant(message, where, calls, telling))
    known = ("role", "content", "tool_call_id") if role == "tool" else ("role", "content")
    telling.tell_others(message, known, "messages.")
    match role:
        case "system" | "developer":
            return _Turn(_SYSTEM, blocks_of(content, f"{where}.content", OF_SYSTEM, telling))
        case "user":
            calls.answer()
            return _Turn(_USER, blocks_of(content, f"{where}.content", OF_USER, telling))
        case "tool":
            return _Turn(_USER, [], [calls.returned(message, where)])
    raise CannotSay(f"{where}.role", "Anthropic's API has no such role")


def _assistant(message: JsonMembers, where: str, calls: OpenCalls, telling: Telling) -> list[JsonMembers]:
    """Return the blocks of the assistant. Reasoning is not among them: nobody signed it whom Anthropic's API believes."""
    for name in ("function_call", "audio"):
        if message.get(name) is not None:
            raise CannotSay(f"{where}.{name}", "Anthropic's API has nothing like it")
    telling.tell_others(message, ("role", "content", "refusal", "tool_calls", "function_call", "audio"), "messages.")
    blocks = blocks_of(message.get("content"), f"{where}.content", OF_ASSISTANT, telling)
    if message.get("refusal") is not None:
        blocks += refusal_blocks(text_in(message["refusal"], f"{where}.refusal"), telling)
    return blocks + calls.made(message, where)


def _placed(turns: Sequence[_Turn], row: ClaudeRow) -> tuple[list[_Turn], list[_Turn]]:
    """Return the system messages that have to go to the head, and the other turns with those that may stay.

    One may stand behind a turn of the user, and before one of the assistant or at the end
    (https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages).
    """
    hoisted: list[_Turn] = []
    placed: list[_Turn] = []
    for turn, may_stay in zip(turns, _may_stay(turns), strict=True):
        (placed if turn.role != _SYSTEM or row.system_within and may_stay else hoisted).append(turn)
    return hoisted, placed


def _may_stay(turns: Sequence[_Turn]) -> list[bool]:
    """Return of each turn whether the next before it is the user's, and the next behind it is not; the system's apart."""
    before, after = _neighbours(turns), _neighbours(turns[::-1])[::-1]
    return [role == _USER and after[at] != _USER for at, role in enumerate(before)]


def _neighbours(turns: Sequence[_Turn]) -> list[str | None]:
    """Return of each turn whose the next before it is, the system's apart."""
    roles: list[str | None] = []
    role: str | None = None
    for turn in turns:
        roles.append(role)
        role = role if turn.role == _SYSTEM else turn.role
    return roles


def _merged(turns: Sequence[_Turn], telling: Telling) -> list[_Turn]:
    """Return the turns with neighbours of one role as one, in which the results of tools come first (400 else)."""
    merged: list[_Turn] = []
    for turn in turns:
        if not merged or merged[-1].role != turn.role:
            merged.append(_Turn(turn.role, [*turn.blocks], [*turn.results]))
            continue
        if turn.results and merged[-1].blocks:
            telling.tell("messages", "reordered")
        merged[-1].blocks += turn.blocks
        merged[-1].results += turn.results
    return merged


def _continue(member: str, row: ClaudeRow, telling: Telling) -> None:
    if not row.continues:
        raise CannotSay(member, "the last message is the assistant's, and this model takes none to go on from")
    telling.tell("messages", "continued")


def _members(turn: _Turn) -> JsonMembers:
    content: Any = [*turn.results, *turn.blocks]
    if len(content) == 1 and content[0]["type"] == "text":
        content = content[0]["text"]
    return {"role": turn.role, "content": content}
