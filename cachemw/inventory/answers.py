"""What a stored answer says: its text as people read it, and the reasons for which it ended. Pure."""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from cachemw.endpoints import BY_NAME
from cachemw.endpoints.anthropic.judge import AS_CHAT_SAYS
from cachemw.endpoints.base import PLAIN, Endpoint
from cachemw.limits import Work
from cachemw.messages import StoredResponse
from cachemw.wire.sse import Parser
from cachemw.wire.strict_json import UNREADABLE

_MAY_SAY = re.compile(rb'_reason"\s*:\s*"|"response\.(?:completed|incomplete)"')
"""What stands in an event that may say why the answer ended: of a stream, nearly none do."""


def finish_reasons(stored: StoredResponse) -> tuple[str, ...]:
    """Return why each of the choices of an answer ended, once each, in its own words and in those of chat completions."""
    endpoint = BY_NAME.get(stored.endpoint)
    if endpoint is None or not endpoint.writes:
        return ()
    reasons = dict.fromkeys(_reasons(stored, endpoint))
    return tuple(dict.fromkeys(word for reason in reasons for word in (reason, AS_CHAT_SAYS.get(reason, reason))))


def answer_text(stored: StoredResponse) -> str:
    """Return the words of an answer; of one that has none, its body as text."""
    return answer_words(stored) or stored.body.decode(errors="backslashreplace")


def answer_words(stored: StoredResponse) -> str:
    """Return what an answer says, and which tools it calls, choice after choice; nothing for one without words."""
    document = _document(stored)
    return "" if document is None else "\n\n".join(piece for piece in _pieces(document) if piece)


def _reasons(stored: StoredResponse, endpoint: Endpoint) -> Iterator[str]:
    if not stored.kind.stream:
        yield from endpoint.begins(stored.body, is_whole=True).finish_reasons
        return
    starts = (0, *stored.event_ends)
    places = dict.fromkeys(bisect_right(starts, found.start()) for found in _MAY_SAY.finditer(stored.body))
    for start, end in (starts[place - 1 : place + 1] for place in places if place < len(starts)):
        for event in Parser(ends=endpoint.ends).feed(stored.body[start:end]):
            yield from endpoint.begins(event.data, is_whole=False).finish_reasons


def _document(stored: StoredResponse) -> Mapping[str, Any] | None:
    """Return an answer as one document; `None` where it cannot be had so."""
    if not stored.kind.stream:
        return _object(stored.body)
    endpoint = BY_NAME.get(stored.endpoint)
    whole = None if endpoint is None else endpoint.derive(stored, PLAIN, Work())
    return _object(whole.body) if isinstance(whole, StoredResponse) else _gathered(stored.body)


def _object(raw: bytes) -> Mapping[str, Any] | None:
    try:
        value = msgspec.json.decode(raw)
    except UNREADABLE:
        return None
    return value if isinstance(value, dict) else None


def _gathered(body: bytes) -> Mapping[str, Any]:
    """Return what the chunks of a completion say, where they say too little for it to be had whole, as of its usage."""
    texts: dict[Any, list[str]] = defaultdict(list)
    calls: dict[Any, dict[Any, dict[str, str]]] = defaultdict(dict)
    for event in Parser().feed(body):
        for choice in _objects((_object(event.data) or {}).get("choices")):
            place, delta = repr(choice.get("index")), choice.get("delta")
            said = delta if isinstance(delta, dict) else choice
            texts[place] += [*_texts(said.get("content")), *_texts(said.get("text")), *_texts(said.get("refusal"))]
            for call in _objects(said.get("tool_calls")):
                _gather(calls[place].setdefault(repr(call.get("index")), {}), call.get("function"))
    return {
        "choices": [
            {"message": {"content": "".join(pieces), "tool_calls": [{"function": call} for call in calls[place].values()]}}
            for place, pieces in texts.items()
        ]
    }


def _gather(call: dict[str, str], piece: Any) -> None:
    """Add what a chunk says of a call to what the ones before it have said."""
    for name in ("name", "arguments"):
        if isinstance(piece, dict) and isinstance(piece.get(name), str):
            call[name] = call.get(name, "") + piece[name]


def _pieces(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the document of any of the endpoints says that write: choices, content blocks, or output items."""
    for choice in _objects(document.get("choices")):
        message = choice.get("message")
        yield from _of_message(message) if isinstance(message, dict) else _texts(choice.get("text"))
    yield from _texts(document.get("content"))
    for item in _objects(document.get("output")):
        yield from _texts(item.get("content"))
        yield from _call(item)


def _of_message(message: Mapping[str, Any]) -> Iterator[str]:
    yield from _texts(message.get("content"))
    yield from _texts(message.get("refusal"))
    for call in _objects(message.get("tool_calls")):
        yield from _call(call.get("function"))
    yield from _call(message.get("function_call"))


def _texts(content: Any) -> Iterator[str]:
    """Yield the texts of content, which is one, or a list of blocks; and the calls among these."""
    if isinstance(content, str):
        yield content
        return
    for block in _objects(content):
        yield from _texts(block.get("text"))
        yield from _texts(block.get("refusal"))
        yield from _call(block)


def _call(call: Any) -> Iterator[str]:
    """Yield a call of a tool as it would stand in a program."""
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return
    given = call.get("arguments", call.get("input"))
    yield f"{call['name']}({given if isinstance(given, str) else msgspec.json.encode(given).decode()})"


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))
