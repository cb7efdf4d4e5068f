"""A chat client that talks to Anthropic's API: what is sent for it, and what the openai SDK reads of the answer."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import httpx2
import openai
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion

from cachemw.translation.base import EventTranslator, Translated, Unsayable, Untranslatable, View
from cachemw.translation.chat_to_messages import chat_to_messages
from cachemw.translation.claude_rows import ClaudeRow, ThinkingMode
from cachemw.wire.sse import Event, Parser, encode

Members = dict[str, Any]

SAMPLED = ClaudeRow(
    output_limit=1000,
    is_known=True,
    thinking=ThinkingMode.ADAPTIVE,
    efforts=("low", "medium", "high", "max"),
    can_disable=True,
    samplers=2,
    system_within=True,
    formats=True,
    continues=True,
)
"""A model that takes all there is."""

USER: Members = {"role": "user", "content": "hi"}
TOOL: Members = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def chat(*messages: Members, **members: Any) -> Members:
    """Return a request with these messages, or the shortest one."""
    return {"model": "m", "max_tokens": 10, "messages": [*(messages or (USER,))], **members}


def call(call_id: str = "a", arguments: Any = "{}", name: str = "f") -> Members:
    """Return a tool call as chat has it."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def sent(members: Members, row: ClaudeRow = SAMPLED) -> tuple[Members, dict[str, str]]:
    """Return the body that is sent, and what is told."""
    translated = chat_to_messages(members, row)
    assert isinstance(translated, Translated), translated
    return json.loads(translated.body), dict(translated.told)


def refused(members: Members, row: ClaudeRow = SAMPLED) -> Untranslatable:
    """Return why a request is refused."""
    outcome = chat_to_messages(members, row)
    assert isinstance(outcome, Untranslatable), outcome
    return outcome


def view(*, include_usage: bool = True) -> View:
    """Return the view of a request whose stream says usage, or does not."""
    options = {"stream": True, "stream_options": {"include_usage": include_usage}}
    translated = chat_to_messages(chat(**options), SAMPLED)
    assert isinstance(translated, Translated)
    return translated.view


def message(*content: Members, stop_reason: str | None = "end_turn", **members: Any) -> Members:
    """Return a message of Anthropic's API with these blocks."""
    usage = {"input_tokens": 3, "output_tokens": 5}
    named = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x"}
    return {**named, "content": [*content], "stop_reason": stop_reason, "stop_sequence": None, "usage": usage, **members}


def text(value: str = "hello") -> Members:
    """Return a block of text."""
    return {"type": "text", "text": value}


def thinking(value: str = "hm") -> Members:
    """Return a block of thinking."""
    return {"type": "thinking", "thinking": value, "signature": "EqQB"}


def tool_use(call_id: str = "toolu_1", **given: Any) -> Members:
    """Return a block that calls a tool."""
    return {"type": "tool_use", "id": call_id, "name": "f", "input": given}


def events_of(answer: Members, pieces: int = 2) -> list[Members]:
    """Return the events in which Anthropic's API streams a message."""
    events: list[Members] = [{"type": "message_start", "message": {**answer, "content": [], "stop_reason": None}}]
    for index, block in enumerate(answer["content"]):
        events += [{**event, "index": index} for event in _block_events(block, pieces)]
    delta = {"stop_reason": answer["stop_reason"], "stop_details": answer.get("stop_details")}
    return [*events, {"type": "message_delta", "delta": delta, "usage": answer["usage"]}, {"type": "message_stop"}]


def _block_events(block: Members, pieces: int) -> list[Members]:
    deltas: list[Members] = []
    match block["type"]:
        case "text":
            begun = {**block, "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in _sliced(block["text"], pieces)]
        case "thinking":
            begun = {**block, "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _sliced(block["thinking"], pieces)]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case "tool_use":
            begun = {**block, "input": {}}
            raw = json.dumps(block["input"]) if block["input"] else ""
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *_sliced(raw, pieces))]
        case _:
            begun = block
    added = [{"type": "content_block_delta", "delta": delta} for delta in deltas]
    return [{"type": "content_block_start", "content_block": begun}, *added, {"type": "content_block_stop"}]


def _sliced(value: str, pieces: int) -> list[str]:
    size = max(1, -(-len(value) // pieces))
    return [value[at : at + size] for at in range(0, len(value), size)]


def parsed(events: Iterable[Members]) -> list[Event]:
    """Return events as they are read from the wire."""
    stream = b"".join(encode(json.dumps(event).encode(), event["type"].encode()) for event in events)
    return Parser(ends=None).feed(stream)


def translated(events: Sequence[Event], *, include_usage: bool = True) -> tuple[bytes, EventTranslator]:
    """Return what a stream becomes, its end included, and who translated it."""
    translator = view(include_usage=include_usage).stream(None)
    return b"".join([*map(translator.feed, events), translator.end()]), translator


def chunks_in(stream: bytes) -> list[Members]:
    """Return the chunks of a stream that has come to its end."""
    events = Parser().feed(stream)
    assert events
    assert events[-1].data == b"[DONE]"
    return [json.loads(event.data) for event in events[:-1]]


def whole(answer: Members) -> Members:
    """Return the completion that a message becomes."""
    said = view().answer(json.dumps(answer).encode())
    assert isinstance(said, bytes), said
    completion: Members = json.loads(said)
    return completion


def unsayable(answer: Members) -> str:
    """Return why a message is no completion."""
    said = view().answer(json.dumps(answer).encode())
    assert isinstance(said, Unsayable)
    return said.why


def read_by_sdk(body: bytes) -> ChatCompletion:
    """Return the completion that the openai SDK reads of a body."""
    return _client(body, "application/json").chat.completions.create(model="m", messages=[])


def read_stream_by_sdk(body: bytes) -> Any:
    """Return the completion that the openai SDK puts together from a stream."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    with _client(body, "text/event-stream").chat.completions.create(model="m", messages=[], stream=True) as chunks:
        for chunk in chunks:
            state.handle_chunk(chunk)
    return state.current_completion_snapshot


def _client(body: bytes, content_type: str) -> openai.OpenAI:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": content_type}, content=body)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(api_key="k", base_url="http://upstream/v1", max_retries=0, http_client=http)


def essence(completion: Any) -> Members:
    """Return what a completion says, whichever way it came: text, reasoning, calls, why it is over, and what it took."""
    dumped = completion if isinstance(completion, dict) else completion.model_dump()
    choice = dumped["choices"][0]
    said = choice["message"]
    calls = [
        (one["id"], one["function"]["name"], _loaded(one["function"]["arguments"])) for one in said.get("tool_calls") or ()
    ]
    return {
        "id": dumped["id"],
        "model": dumped["model"],
        "content": said.get("content") or None,
        "refusal": said.get("refusal") or None,
        "reasoning": said.get("reasoning_content") or None,
        "calls": calls,
        "finish_reason": choice["finish_reason"],
        "usage": _numbers(dumped.get("usage")),
    }


def _loaded(arguments: str) -> Any:
    return json.loads(arguments) if arguments else None


def _numbers(usage: Any) -> Any:
    if not isinstance(usage, dict):
        return usage
    return {name: _numbers(value) for name, value in usage.items() if value is not None}
