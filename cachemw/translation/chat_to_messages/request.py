"""Make a chat request the body of one to Anthropic's Messages API."""

import msgspec

from cachemw.translation.base import CannotSay, Members, Translated, Untranslatable
from cachemw.translation.chat_to_messages.options import (
    effort_of,
    format_of,
    metadata_of,
    output_limit,
    refuse_absent,
    sampling_of,
    stop_of,
    tell_dropped,
)
from cachemw.translation.chat_to_messages.reading import JsonMembers, Telling, object_in, switch_in, text_in
from cachemw.translation.chat_to_messages.tools import is_forced, tools_of
from cachemw.translation.chat_to_messages.turns import conversation_of
from cachemw.translation.chat_to_messages.view import ChatView
from cachemw.translation.claude_rows import ClaudeRow


def chat_to_messages(members: Members, row: ClaudeRow) -> Translated | Untranslatable:
    """Return a chat request as a model of this row takes it from Anthropic's API, or why it cannot be said there.

    It is a function of its arguments alone: the same request has the same bytes, and so the same key.
    """
    telling = Telling()
    try:
        body = _body(members, row, telling)
        view = ChatView(_wants_usage(members, telling))
        return Translated(msgspec.json.encode(body), telling.told, view)
    except CannotSay as exc:
        return Untranslatable(exc.member, exc.why)
    except (UnicodeEncodeError, RecursionError):  # half of a pair of surrogates, or a schema that is nested too deeply
        return Untranslatable("messages", "the request holds what is no JSON, or is nested too deeply")


def _body(members: Members, row: ClaudeRow, telling: Telling) -> JsonMembers:
    refuse_absent(members)
    body: JsonMembers = {"model": text_in(members.get("model"), "model"), "max_tokens": output_limit(members, row, telling)}
    conversation = conversation_of(members.get("messages"), row, telling)
    if conversation.system:
        body["system"] = conversation.system
    body["messages"] = conversation.turns
    tools = tools_of(members, row, telling)
    room = 0 if conversation.is_amid_calls else body["max_tokens"]
    effort = effort_of(members, row, telling, room=room, forced=is_forced(tools))
    thinks = effort.get("thinking", {}).get("type", "disabled") != "disabled"
    body |= tools | sampling_of(members, row, telling, thinks=thinks) | stop_of(members)
    body |= _merged(effort, format_of(members, row, telling)) | metadata_of(members, telling)
    if switch_in(members, "stream"):
        body["stream"] = True
    tell_dropped(members, telling)
    return body


def _merged(effort: JsonMembers, form: JsonMembers) -> JsonMembers:
    """Return both, which may each have an `output_config`."""
    if "output_config" in effort and "output_config" in form:
        return {**effort, "output_config": effort["output_config"] | form["output_config"]}
    return effort | form


def _wants_usage(members: Members, telling: Telling) -> bool:
    """Say whether a stream is to tell what it took, in a chunk of its own; padding has no meaning, and is never sent."""
    if members.get("stream_options") is None:
        return False
    options = object_in(members["stream_options"], "stream_options")
    telling.tell_others(options, ("include_usage", "include_obfuscation"), "stream_options.")
    return bool(switch_in(options, "include_usage", "stream_options.include_usage"))
