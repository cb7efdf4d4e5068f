"""Say a request of Messages as one of chat completions, member by member."""

from collections.abc import Iterator
from typing import Any

import msgspec

from cachemw.translation.base import CannotSay, Members, Translated, Untranslatable
from cachemw.translation.chat_rows import ChatRow
from cachemw.translation.messages_to_chat.content import chat_messages
from cachemw.translation.messages_to_chat.ending import MessageContext
from cachemw.translation.messages_to_chat.reading import (
    Notes,
    integer_at,
    list_at,
    number_at,
    object_at,
    switch_at,
    text_at,
)
from cachemw.translation.messages_to_chat.thinking import effort_of
from cachemw.translation.messages_to_chat.tools import ToolNames, tool_members
from cachemw.translation.messages_to_chat.view import MessagesView

_MOST_STOPS = 4
_SAID = frozenset(
    "model messages max_tokens system tools tool_choice temperature top_p top_k stop_sequences thinking output_config"
    " metadata stream cache_control".split()
)
_WHOLLY_OTHER = ("container", "mcp_servers", "thread", "compaction")
_UNSAYABLE = (UnicodeEncodeError, OverflowError, RecursionError)  # what no reader of JSON gives, and a program may


def messages_to_chat(members: Members, row: ChatRow) -> Translated | Untranslatable:
    """Return a request of Messages as a chat upstream takes it, and the view of its answers; or what cannot be said of it."""
    notes = Notes()
    try:
        names = ToolNames(row.longest_name, notes)
        body = _body(members, row, names, notes)
        encoded = msgspec.json.encode(body)
    except CannotSay as exc:
        return Untranslatable(exc.member, exc.why)
    except _UNSAYABLE:
        return Untranslatable("messages", "the request holds what no JSON can say, or is nested too deeply")
    view = MessagesView(MessageContext(names.renamed, frozenset(body.get("stop", ())), body["model"]))
    return Translated(encoded, notes.told(), view)


def _body(members: Members, row: ChatRow, names: ToolNames, notes: Notes) -> dict[str, Any]:
    for name in _WHOLLY_OTHER:
        if members.get(name) not in (None, []):
            raise CannotSay(name, "the upstream has nothing of the kind")
    model = text_at(members.get("model"), "model")
    tools = tool_members(members, row, names, notes)
    body: dict[str, Any] = {
        "model": model,
        "messages": chat_messages(members, row, names, notes),
        row.token_limit: _limit(members, row, notes),
        **tools,
        **dict(_sampling(members, row, notes)),
        **dict(_output(members, row, notes, has_tools="tools" in tools)),
        **dict(_counting(members, row, notes)),
        **_travelling(members, row),
    }
    notes.tell_others(members, _SAID)
    return body


def _limit(members: Members, row: ChatRow, notes: Notes) -> int:
    limit = integer_at(members.get("max_tokens"), "max_tokens", 1)
    if row.output_limit is None or limit <= row.output_limit:
        return limit
    notes.tell("max_tokens", "limited")
    return row.output_limit


def _sampling(members: Members, row: ChatRow, notes: Notes) -> Iterator[tuple[str, Any]]:
    for name in ("temperature", "top_p"):
        if members.get(name) is not None:
            yield name, number_at(members[name], name)
    if members.get("top_k") is not None:
        top_k = integer_at(members["top_k"], "top_k", -1)
        if row.top_k:
            yield "top_k", top_k
        else:
            notes.tell("top_k", "dropped")
    if stops := [text_at(stop, f"stop_sequences.{at}") for at, stop in enumerate(_stops(members))]:
        if not row.names_stop:
            notes.tell("stop_sequence", "unknown")  # of the answer: which one it was that ended it
        yield "stop", stops


def _stops(members: Members) -> list[Any]:
    value = members.get("stop_sequences")
    stops = [] if value is None else list_at(value, "stop_sequences")
    if len(stops) > _MOST_STOPS:
        raise CannotSay("stop_sequences", f"the upstream takes {_MOST_STOPS} at most")
    return stops


def _output(members: Members, row: ChatRow, notes: Notes, *, has_tools: bool) -> Iterator[tuple[str, Any]]:
    """Say how the model should think, and the form of what it answers."""
    value = members.get("output_config")
    config = {} if value is None else object_at(value, "output_config")
    thinking = members.get("thinking")
    effort = effort_of(None if thinking is None else object_at(thinking, "thinking"), config.get("effort"), row, notes)
    if effort is not None:
        yield "reasoning_effort", effort
    if config.get("format") is not None:
        if has_tools and not row.format_with_tools:
            raise CannotSay("output_config.format", "the model takes no format beside tools")
        yield "response_format", _format(object_at(config["format"], "output_config.format"), notes)
    notes.tell_others(config, frozenset({"effort", "format"}), "output_config.")


def _format(form: dict[str, Any], notes: Notes) -> dict[str, Any]:
    if form.get("type") != "json_schema":
        raise CannotSay("output_config.format.type", "it must be json_schema")
    schema = object_at(form.get("schema"), "output_config.format.schema")
    notes.tell_others(form, frozenset({"type", "schema"}), "output_config.format.")
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema, "strict": True}}


def _counting(members: Members, row: ChatRow, notes: Notes) -> Iterator[tuple[str, Any]]:
    value = members.get("metadata")
    metadata = {} if value is None else object_at(value, "metadata")
    notes.tell_others(metadata, frozenset({"user_id"}), "metadata.")
    if metadata.get("user_id") is None:
        return
    user = text_at(metadata["user_id"], "metadata.user_id")
    if row.user:
        yield "user", user
    else:
        notes.tell("metadata.user_id", "dropped")


def _travelling(members: Members, row: ChatRow) -> dict[str, Any]:
    if not switch_at(members.get("stream"), "stream"):
        return {}
    return {"stream": True, "stream_options": {"include_usage": True}} if row.asks_usage else {"stream": True}
