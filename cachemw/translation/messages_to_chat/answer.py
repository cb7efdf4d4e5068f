"""Say a chat completion as a message."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import msgspec

from cachemw.errors import Unreadable
from cachemw.limits import Work
from cachemw.translation.base import Unsayable
from cachemw.translation.messages_to_chat.completion import (
    NAMELESS_CALL,
    NOT_READABLE,
    ChatAnswer,
    PartialCall,
    Speech,
    read_chat_answer,
)
from cachemw.translation.messages_to_chat.ending import (
    AnswerEnd,
    MessageContext,
    call_id,
    message_head,
    usage_in,
    usage_members,
)
from cachemw.translation.signatures import signature_of
from cachemw.wire.strict_json import parse

_WORK = Work()
_NO_ARGUMENTS = msgspec.Raw(b"{}")
_BROKEN_CALL = "the upstream's answer calls a tool, and its arguments are not one JSON object"


def message_of(body: bytes, context: MessageContext) -> bytes | Unsayable:
    """Return a completion as a message; or why it cannot be one."""
    answer = read_chat_answer(body, _WORK.answer)
    if isinstance(answer, str):
        return Unsayable(answer)
    if not answer.choices or len(answer.choices) > 1 or (piece := answer.choices[0].message) is None:
        return Unsayable(NOT_READABLE)
    calls = piece.tool_calls or []
    if why := next(filter(None, map(_call_fault, calls)), None):
        return Unsayable(why)
    said = _joined(piece.texts())
    content = [*map(_block, said), *(_tool_use(call, at, answer, context) for at, call in enumerate(calls))]
    ending = AnswerEnd(has_calls=bool(calls), has_refusal=bool(piece.refusal), is_empty=not content)
    choice = answer.choices[0]
    ending.take(choice.finish_reason, (choice.stop_reason, choice.matched_stop), context.stops)
    if why := ending.fault():
        return Unsayable(why)
    head = message_head(answer.id, answer.model, context)
    usage = usage_members(usage_in(answer.took()))
    return msgspec.json.encode({**head, "content": content, **ending.members(), "usage": usage})


def _joined(texts: Iterator[tuple[Speech, str]]) -> list[tuple[Speech, str]]:
    """Return texts with those in one that are the same and stand together."""
    return [(speech, "".join([text for _, text in run])) for speech, run in groupby(texts, key=lambda one: one[0])]


def _block(said: tuple[Speech, str]) -> dict[str, Any]:
    speech, text = said
    if speech is Speech.THINKING:
        return {"type": "thinking", "thinking": text, "signature": signature_of(text)}
    return {"type": "text", "text": text}


def _call_fault(call: PartialCall) -> str | None:
    """Return why a call cannot be said. Its arguments are never repaired: the model said them, and nobody else knows more."""
    if not call.name:
        return NAMELESS_CALL
    try:
        is_object = not call.arguments or isinstance(parse(call.arguments.encode(), _WORK.answer), dict)
    except Unreadable:
        is_object = False
    return None if is_object else _BROKEN_CALL


def _tool_use(call: PartialCall, ordinal: int, answer: ChatAnswer, context: MessageContext) -> dict[str, Any]:
    arguments = msgspec.Raw(call.arguments.encode()) if call.arguments else _NO_ARGUMENTS
    own = call_id(call.id, answer.id, ordinal)
    return {"type": "tool_use", "id": own, "name": context.named(call.name), "input": arguments}
