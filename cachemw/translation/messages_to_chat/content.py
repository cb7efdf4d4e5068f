"""Say the system prompt and the turns of a conversation as the messages of a chat."""

from itertools import groupby
from typing import Any

import msgspec

from cachemw.translation.base import CannotSay, Members
from cachemw.translation.chat_rows import ChatRow
from cachemw.translation.messages_to_chat.parts import (
    BlockAt,
    ChatPart,
    blocks_at,
    content_of,
    part_of,
    text_of,
    text_part,
    texts_at,
)
from cachemw.translation.messages_to_chat.reading import (
    Notes,
    list_at,
    object_at,
    switch_at,
    text_at,
    text_or_empty_at,
)
from cachemw.translation.messages_to_chat.tools import ToolNames
from cachemw.translation.signatures import is_our_signature

_Message = dict[str, Any]

_ROLES = ("user", "assistant", "system")
_MEMBERS = frozenset({"role", "content"})
_RESULT = frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"})
_CALL = frozenset({"type", "id", "name", "input", "cache_control"})
_THINKING = frozenset({"type", "thinking", "signature"})
_BILLING = "x-anthropic-billing-header:"  # a coding agent's, for Anthropic alone; other servers leave it out as well


def chat_messages(members: Members, row: ChatRow, names: ToolNames, notes: Notes) -> list[_Message]:
    """Return the messages of a chat request."""
    chat = _Conversation(row, names, notes)
    if members.get("system") is not None:
        chat.head(members["system"])
    turns = [_turn(value, f"messages.{at}", notes) for at, value in enumerate(list_at(members.get("messages"), "messages"))]
    if not turns:
        raise CannotSay("messages", "there must be one at least")
    if turns[-1][0] == "assistant" and not row.continues:
        raise CannotSay(turns[-1][1], "the upstream cannot go on with an assistant's message: the last must be a user's")
    for role, run in groupby(turns, key=lambda turn: turn[0]):  # as Anthropic joins them
        chat.add(role, [(path, content) for _, path, content in run])
    return chat.messages()


def _turn(value: Any, path: str, notes: Notes) -> tuple[str, str, Any]:
    message = object_at(value, path)
    role = message.get("role")
    if role not in _ROLES:
        raise CannotSay(f"{path}.role", "it must be user, assistant or system")
    notes.tell_others(message, _MEMBERS, "messages.")
    content = message.get("content")
    if not isinstance(content, str) and not list_at(content, f"{path}.content"):
        raise CannotSay(f"{path}.content", "there must be one block at least")
    return role, path, content


class _Conversation:
    """The messages that were said so far, and what of the last assistant's waits for an answer."""

    def __init__(self, row: ChatRow, names: ToolNames, notes: Notes) -> None:
        self._row, self._names, self._notes = row, names, notes
        self._head: list[_Message] = []
        self._messages: list[_Message] = []
        self._open: set[str] = set()  # the calls of the last assistant turn
        self._later: list[_Message] = []  # what may not stand between calls and their results

    def messages(self) -> list[_Message]:
        """Return all of them."""
        return [*self._head, *self._messages, *self._later]

    def head(self, system: Any) -> None:
        """Take in the system prompt."""
        texts = texts_at(system, "system", self._notes)
        kept = [text for text in texts if isinstance(system, str) or not text.startswith(_BILLING)]
        if len(kept) < len(texts):
            self._notes.tell("system.billing", "dropped")
        if kept:
            self._head.append({"role": "system", "content": self._content(kept, "system")})

    def add(self, role: str, run: list[tuple[str, Any]]) -> None:
        """Take in the turns of one role that stand together."""
        if role == "system":
            for path, content in run:
                self._add_system(texts_at(content, f"{path}.content", self._notes))
            return
        turns = [blocks_at(content, f"{path}.content") for path, content in run]
        if role == "user":
            self._add_user(turns)
        else:
            self._add_assistant([block for turn in turns for block in turn])

    def _add_system(self, texts: list[str]) -> None:
        message = {"role": "system", "content": self._content(texts, "messages.system")}
        if not self._messages and not self._later:
            self._head.append(message)
        elif not self._row.system_anywhere:
            self._notes.tell("messages.system", "moved")
            self._head.append(message)
        elif self._open:
            self._notes.tell("messages.system", "moved")
            self._later.append(message)
        else:
            self._messages.append(message)

    def _content(self, texts: list[str], told: str) -> str | list[ChatPart]:
        """Return several texts as parts, or in one where the upstream takes nothing else."""
        if len(texts) > 1 and self._row.text_only:
            self._notes.tell(told, "joined")
            return "\n\n".join(texts)
        return content_of([text_part(text) for text in texts])

    def _add_assistant(self, blocks: list[BlockAt]) -> None:
        self._messages += self._later
        self._later, self._open = [], set()
        texts: list[str] = []
        reasoning: list[str] = []
        calls: list[dict[str, Any]] = []
        for path, block in blocks:
            match block.get("type"):
                case "text":
                    texts.append(text_of(block, path, self._notes))
                    if calls:
                        self._notes.tell("messages.text", "moved")
                case "thinking":
                    reasoning += self._reasoning(block, path)
                case "redacted_thinking":
                    self._notes.tell("messages.redacted_thinking", "dropped")
                case "tool_use":
                    calls.append(self._call(block, path))
                case _:
                    raise CannotSay(path, "the upstream has no blocks of this type in an assistant's message")
        self._messages.append(self._assistant(texts, "".join(reasoning), calls))

    def _assistant(self, texts: list[str], reasoning: str, calls: list[dict[str, Any]]) -> _Message:
        content = self._content(texts, "messages.assistant") if texts else None if calls else ""
        message: _Message = {"role": "assistant", "content": content}
        if reasoning and self._row.reasoning:
            message[self._row.reasoning] = reasoning
        if calls:
            message["tool_calls"] = calls
        return message

    def _reasoning(self, block: dict[str, Any], path: str) -> list[str]:
        text = text_at(block.get("thinking"), f"{path}.thinking")
        signature = text_or_empty_at(block.get("signature"), f"{path}.signature")
        self._notes.tell_others(block, _THINKING, "messages.thinking.")
        if self._row.reasoning and is_our_signature(signature):
            return [text]
        self._notes.tell("messages.thinking", "dropped")
        return []

    def _call(self, block: dict[str, Any], path: str) -> dict[str, Any]:
        call = text_at(block.get("id"), f"{path}.id")
        if not call or call in self._open:
            raise CannotSay(f"{path}.id", "each call must have an id of its own")
        self._open.add(call)
        name = self._names.sent(text_at(block.get("name"), f"{path}.name"))
        arguments = msgspec.json.encode(object_at(block.get("input"), f"{path}.input")).decode()
        caller = block.get("caller")
        others = {"caller": None} if caller == {"type": "direct"} else {}  # what Anthropic's models say of each
        self._notes.tell_others({**block, **others}, _CALL, "messages.tool_use.")
        return {"id": call, "type": "function", "function": {"name": name, "arguments": arguments}}

    def _add_user(self, turns: list[list[BlockAt]]) -> None:
        """Say results first, for they have to stand right behind their calls; what they hold besides text follows them."""
        results = [one for turn in turns for one in turn if one[1].get("type") == "tool_result"]
        others = [[one for one in turn if one[1].get("type") != "tool_result"] for turn in turns]
        media = [part for path, block in results for part in self._add_result(block, path)]
        self._messages += self._later
        self._later, self._open = [], set()
        contents = [[part_of(block, path, self._row, self._notes) for path, block in turn] for turn in others]
        if results:
            contents = [[*media, *(part for parts in contents for part in parts)]]
        self._messages += [{"role": "user", "content": content_of(parts)} for parts in contents if parts]

    def _add_result(self, block: dict[str, Any], path: str) -> list[ChatPart]:
        """Say a tool's result, and return what of it is no text."""
        call = text_at(block.get("tool_use_id"), f"{path}.tool_use_id")
        if call not in self._open:
            raise CannotSay(f"{path}.tool_use_id", "the turn before has no such call, or it has a result already")
        self._open.remove(call)
        self._notes.tell_others(block, _RESULT, "messages.tool_result.")
        content = block.get("content")
        inner = blocks_at("" if content is None else content, f"{path}.content")
        parts = [part_of(part, at, self._row, self._notes) for at, part in inner]
        texts = [part["text"] for part in parts if part["type"] == "text"]
        media = [part for part in parts if part["type"] != "text"]
        if media:
            self._notes.tell("messages.tool_result.image", "moved")
        if switch_at(block.get("is_error"), f"{path}.is_error"):
            self._notes.tell("messages.tool_result.is_error", "approximated")
            texts = [f"Error: {texts[0] if texts else ''}", *texts[1:]]
        self._messages.append({"role": "tool", "tool_call_id": call, "content": self._result(texts)})
        return media

    def _result(self, texts: list[str]) -> str | list[ChatPart]:
        if self._row.text_only or not texts:
            return "\n".join(texts)
        return content_of([text_part(text) for text in texts])
