"""Make a stream of a completion, such that the official SDKs read the same answer from it."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from cachemw.endpoints.chat.transcode.aggregate import CHUNK, COMPLETION, aggregate
from cachemw.endpoints.chat.transcode.reading import NO_USAGE, choices_of
from cachemw.endpoints.deriving import JsonObject, Loss, slices_of

STREAMED_TEXTS = ("reasoning", "reasoning_content", "refusal", "content")
"""A message's texts, in the order in which they are said."""

ARGUMENTS = (("function", "arguments"), ("custom", "input"))
"""Where the text of a tool call is."""

CALLS = frozenset({"tool_calls", "function_call"})

REPEATED_CHARS = 256
"""Lists, objects and longer texts beside the choices are on the first chunk alone: frames must not outweigh the answer."""

_APART = frozenset({"object", "choices", "moderation", "usage", "time_info"})  # members of a completion not on every chunk
_NOT_AT_ONCE = frozenset({"index", "message", "delta", "finish_reason", "logprobs"})  # of a choice, not on its first chunk


def synthesise(completion: JsonObject, limit: int, *, include_usage: bool, slice_chars: int) -> list[JsonObject]:
    """Return the chunks of a stream in the completion's dialect, `limit` at most, its texts in slices of so many characters."""
    if completion.get("object") not in (None, COMPLETION):
        raise Loss
    if include_usage and completion.get("usage") is None:
        raise Loss(NO_USAGE)
    answer = completion | {"object": COMPLETION, "choices": [_settled(choice) for choice in choices_of(completion)]}
    if completion.get("time_info") is not None:
        chunks = _as_cerebras(answer, slice_chars, limit)
    elif include_usage:
        chunks = _with_usage(answer, _as_openai(answer, slice_chars, limit))
    else:
        answer.pop("usage", None)
        chunks = _as_openai(answer, slice_chars, limit)
    if _said(aggregate(chunks)) != _said(answer):  # a reader of the stream would put some member together otherwise
        raise Loss
    return chunks


def _settled(choice: JsonObject) -> JsonObject:
    """Return the choice with a message as a stream can say it."""
    message, delta = choice.get("message"), choice.get("delta") or {}
    if not isinstance(message, dict) or not isinstance(delta, dict):
        raise Loss
    message = message | {"role": message.get("role") or "assistant"}
    if any(value for name, value in delta.items() if (name, value) != ("role", message["role"])):
        raise Loss  # some upstreams have an empty one beside the message
    if calls := message.get("tool_calls"):
        message["tool_calls"] = _unnumbered(calls)
    return {name: value for name, value in choice.items() if name != "delta"} | {"message": message}


def _unnumbered(calls: Any) -> list[JsonObject]:
    """Return tool calls without the index that some upstreams give them: their position counts, and it may say no other."""
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise Loss
    indexes = [call.get("index") for call in calls]
    if any(index not in (None, 0, at) or isinstance(index, bool) for at, index in enumerate(indexes)):
        raise Loss
    return [{name: value for name, value in call.items() if name != "index"} for call in calls]


def _as_openai(answer: JsonObject, slice_chars: int, limit: int) -> list[JsonObject]:
    """Return chunks without usage. Moderation is on one of its own, where usage would be: that comes after it."""
    chunks = _framed(answer, slice_chars, limit, ("logprobs", "finish_reason"))
    if answer.get("moderation") is not None:
        chunks.append(_frame(answer) | {"choices": [], "moderation": answer["moderation"]})
    return chunks


def _with_usage(answer: JsonObject, chunks: list[JsonObject]) -> list[JsonObject]:
    """Usage is last: the openai SDK takes any chunk after it for one that says there is none."""
    return [*(chunk | {"usage": None} for chunk in chunks), _frame(answer) | {"choices": [], "usage": answer["usage"]}]


def _as_cerebras(answer: JsonObject, slice_chars: int, limit: int) -> list[JsonObject]:
    """Return chunks of which the last has usage and times, asked for or not; nothing is null for being yet to come."""
    *chunks, last = _framed(answer, slice_chars, limit, ())
    closing = {name: answer[name] for name in ("moderation", "usage", "time_info") if answer.get(name) is not None}
    return [*chunks, last | closing]


def _framed(answer: JsonObject, slice_chars: int, limit: int, unfinished: tuple[str, ...]) -> list[JsonObject]:
    """Return a chunk for each piece of each choice; the first has every member, as the openai SDK looks no further."""
    choices = answer["choices"]
    if not choices or [choice.get("index") for choice in choices] != list(range(len(choices))):
        raise Loss
    pieces = list(islice((piece for choice in choices for piece in _pieces(choice, slice_chars, unfinished)), limit + 1))
    if len(pieces) > limit:
        raise Loss
    frame = _frame(answer)
    chunks = [frame | {"choices": [piece]} for piece in pieces]
    chunks[0] = {"object": CHUNK} | {name: value for name, value in answer.items() if name not in _APART} | chunks[0]
    return chunks


def _frame(answer: JsonObject) -> JsonObject:
    return {"object": CHUNK} | {name: value for name, value in answer.items() if name not in _APART and _is_short(value)}


def _is_short(value: Any) -> bool:
    return not isinstance(value, (dict, list)) and not (isinstance(value, str) and len(value) > REPEATED_CHARS)


def _pieces(choice: JsonObject, slice_chars: int, unfinished: tuple[str, ...]) -> Iterator[JsonObject]:
    """Yield a choice as chunks have it; the members `unfinished` are null until the last of them."""
    index = {"index": choice.get("index")}
    others = {name: value for name, value in choice.items() if name not in _NOT_AT_ONCE}
    yet_to_come = {name: None for name in unfinished if name in choice}
    for at, delta in enumerate(_deltas(choice["message"], slice_chars)):
        yield index | {"delta": delta} | yet_to_come | ({} if at else others)  # the openai SDK reads the others here alone
    yield index | {"delta": {}} | {name: choice[name] for name in ("logprobs", "finish_reason") if name in choice}


def _deltas(message: JsonObject, slice_chars: int) -> Iterator[JsonObject]:
    """Yield the whole message but for its texts and calls, then slices of these."""
    yield {name: _opened(name, value) for name, value in message.items() if not (value and name in CALLS)}
    for name in STREAMED_TEXTS:
        for text in _slices(message.get(name), slice_chars):
            yield {name: text}
    for index, call in enumerate(message.get("tool_calls") or ()):
        for fragment in _fragments(call, slice_chars):
            yield {"tool_calls": [{"index": index} | fragment]}
    if call := message.get("function_call"):
        for fragment in _fragments({"function": call}, slice_chars):
            yield {"function_call": fragment["function"]}


def _opened(name: str, value: Any) -> Any:
    return "" if name in STREAMED_TEXTS and isinstance(value, str) else value


def _fragments(call: JsonObject, slice_chars: int) -> list[JsonObject]:
    """Return a call with empty arguments, then slices of these."""
    header, fragments = dict(call), list[JsonObject]()
    for holder, name in ARGUMENTS:
        held = call.get(holder)
        if isinstance(held, dict) and isinstance(held.get(name), str):
            header[holder] = held | {name: ""}
            fragments += [{holder: {name: text}} for text in _slices(held[name], slice_chars)]
    return [header, *fragments]


def _slices(text: Any, slice_chars: int) -> list[str]:
    """Cut a text; what is no text has been said whole."""
    return slices_of(text, slice_chars) if isinstance(text, str) else []


def _said(completion: JsonObject) -> JsonObject:
    """Return a completion without the members that say nothing, where a stream may have more or fewer of them."""
    choices = [_not_null(choice | {"message": _not_null(choice["message"])}) for choice in completion["choices"]]
    return _not_null(completion) | {"choices": choices}


def _not_null(members: JsonObject) -> JsonObject:
    return {name: value for name, value in members.items() if value is not None}
