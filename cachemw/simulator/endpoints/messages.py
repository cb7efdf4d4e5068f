"""Anthropic's Messages: blocks one after another, named events, a signature after each thought."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from msgspec import Meta, Struct, json, structs

from cachemw.simulator.answering import Call, Called, Said, SimulatedAnswer, answer, thoughts
from cachemw.simulator.asking import Ask, AskedBody, ContentPart, Function, Message, Positive, SimulatedBody, Tool, ToolChoice
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.endpoints.base import HollowReason
from cachemw.simulator.endpoints.chat import hollowed
from cachemw.simulator.events import event
from cachemw.simulator.failures import ErrorWithin
from cachemw.simulator.prose import derive
from cachemw.simulator.script import Json, ScriptEvent


class Block(Struct, frozen=True):
    type: str = "text"
    text: str | None = None
    content: str | tuple[ContentPart, ...] | None = None  # of a tool's result
    cache_control: Json | None = None

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def message(self) -> Message:
        return Message("tool", self.content) if self.type == "tool_result" else Message("user", self.text)


class AskedTurn(Struct, frozen=True):
    role: str
    content: str | tuple[Block, ...] = ""

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def message(self) -> Message:
        blocks = _blocks(self.content)
        is_result = any(block.type == "tool_result" for block in blocks)
        parts = tuple(ContentPart(block.message.text) for block in blocks)
        return Message("tool" if is_result else self.role, parts)


class MessagesTool(Struct, frozen=True):
    name: str = ""
    input_schema: Json | None = None  # absent in tools that the server runs

    __repr__ = object.__repr__  # it holds what somebody said


class MessagesToolChoice(Struct, frozen=True):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def chat(self) -> str | ToolChoice:
        return ToolChoice(Function(self.name)) if self.type == "tool" else self.type


class Thinking(Struct, frozen=True):
    type: str

    __repr__ = object.__repr__  # it holds what somebody said


class CountedBody(SimulatedBody, frozen=True):
    """What is counted of a request: all that it asks for, without how much the answer may be."""

    messages: Annotated[tuple[AskedTurn, ...], Meta(min_length=1)]
    system: str | tuple[Block, ...] | None = None
    tools: tuple[MessagesTool, ...] | None = None
    tool_choice: MessagesToolChoice | None = None
    thinking: Thinking | None = None

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def chat(self) -> AskedBody:
        """Return the request as one for chat."""
        system = [Message("system", block.text) for block in _blocks(self.system)]
        choice = self.tool_choice
        return AskedBody(
            (*system, *(turn.message for turn in self.messages)),
            model=self.model,
            tools=tuple(Tool(Function(tool.name, tool.input_schema)) for tool in self.tools or () if tool.input_schema),
            tool_choice=None if choice is None else choice.chat,
            parallel_tool_calls=False if choice and choice.disable_parallel_tool_use else None,
        )

    @property
    def cached_tokens(self) -> int:
        """Return what stands before the last breakpoint: the cache is always warm, else an answer would depend on others."""
        contents = [self.system, *(turn.content for turn in self.messages)]
        blocks = [block for content in contents for block in _blocks(content)]
        marked = [place for place, block in enumerate(blocks, 1) if block.cache_control]
        return sum(len(block.message.text.split()) for block in blocks[: max(marked, default=0)])


class MessagesBody(CountedBody, frozen=True, kw_only=True):
    """The members of a request for a message that make a difference here."""

    max_tokens: Positive
    stop_sequences: tuple[str, ...] | None = None

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def is_thinking(self) -> bool:
        return self.thinking is not None and self.thinking.type in ("enabled", "adaptive")


def _blocks(content: str | tuple[Block, ...] | None) -> tuple[Block, ...]:
    return (Block(text=content),) if isinstance(content, str) else content or ()


STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use"}


@dataclass(frozen=True, slots=True)
class SpokenMessage:
    """An answer as a message."""

    said: SimulatedAnswer
    cached_tokens: int = 0

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def tokens(self) -> int:
        return self.said.longest

    def whole(self) -> Json:
        return self._message([whole for whole, _ in self._written()], self._usage(), **self._stop())

    def events(self) -> tuple[ScriptEvent, ...]:
        opening = self._message(
            [], self._usage() | {"output_tokens": 1}, stop_reason=None, stop_sequence=None, stop_details=None
        )
        closing: Json = {"delta": self._stop(), "usage": self._usage()}
        last = max(0, self.tokens - 1)
        stream: tuple[tuple[int, Json], ...] = (
            (0, {"type": "message_start", "message": opening}),
            *self._block_events(),
            (last, {"type": "message_delta", **closing}),
            (last, {"type": "message_stop"}),
        )
        return tuple(ScriptEvent(token, event(content, str(content["type"]))) for token, content in stream)

    def failure(self, error: ErrorWithin, place: int) -> bytes:
        return event(error.event, "error")

    def _block_events(self) -> Iterator[tuple[int, Json]]:
        token = 0
        for index, (whole, deltas) in enumerate(self._written()):
            yield (
                token,
                {"type": "content_block_start", "index": index, "content_block": whole | BEGINNINGS[str(whole["type"])]},
            )
            if index == 0:
                yield token, {"type": "ping"}
            written = sum(delta["type"] != "signature_delta" for delta in deltas)  # a signature takes no token of its own
            last = token + max(0, written - 1)
            for place, delta in enumerate(deltas):
                yield min(token + place, last), {"type": "content_block_delta", "index": index, "delta": delta}
            yield last, {"type": "content_block_stop", "index": index}
            token += written

    def _written(self) -> Iterator[tuple[Json, list[Json]]]:
        """Yield each block as a whole, and its deltas."""
        if self.said.thoughts:
            yield _thought(self.said)
        for choice in self.said.choices[:1]:
            if isinstance(choice, Called):
                yield from map(_tool_use, choice.calls)
            elif choice.pieces or choice.finish_reason == "stop":
                yield _text(choice)

    def _message(self, content: list[Json], usage: Json, **stop: object) -> Json:
        identity = {"id": f"msg_{self.said.digest.hex()[:24]}", "type": "message", "role": "assistant"}
        return {"model": self.said.model, **identity, "content": content, **stop, "usage": usage | ONCE}

    def _stop(self) -> Json:
        choice = self.said.choices[0] if self.said.choices else Said(0, (), None, "stop")
        stop = choice.stop if isinstance(choice, Said) else None
        reason = STOP_REASONS[choice.finish_reason] if stop is None else "stop_sequence"
        return {"stop_reason": reason, "stop_sequence": stop, "stop_details": None}

    def _usage(self) -> Json:
        """Return the usage as far as it is told again at the end of a stream."""
        return {
            "input_tokens": self.said.prompt_tokens - self.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self.cached_tokens,
            "output_tokens": self.said.completion_tokens,
        }


ONCE: Json = {
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "service_tier": "standard",
    "inference_geo": "not_available",
}
"""What of the usage is told where a message is."""

BEGINNINGS: dict[str, Json] = {"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""}, "tool_use": {"input": {}}}


def _thought(said: SimulatedAnswer) -> tuple[Json, list[Json]]:
    signature = derive(said.digest, "signature").hex()
    deltas: list[Json] = [{"type": "thinking_delta", "thinking": piece} for piece in said.thoughts]
    whole: Json = {"type": "thinking", "thinking": "".join(said.thoughts), "signature": signature}
    return whole, [*deltas, {"type": "signature_delta", "signature": signature}]


def _text(choice: Said) -> tuple[Json, list[Json]]:
    return {"type": "text", "text": choice.text}, [{"type": "text_delta", "text": piece} for piece in choice.pieces]


def _tool_use(call: Call) -> tuple[Json, list[Json]]:
    whole: Json = {"type": "tool_use", "id": f"toolu_{call.mark}", "name": call.name, "input": json.decode(call.arguments)}
    return whole, [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *call.pieces)]


class MessagesEndpoint:
    name: ClassVar[str] = "messages"
    path: ClassVar[str] = "/messages"
    home: ClassVar[str] = "anthropic"
    streams: ClassVar[bool] = True

    @property
    def asked(self) -> type[MessagesBody]:
        return MessagesBody

    def prompt(self, body: MessagesBody) -> AskedBody:
        return body.chat

    def sound(self, ask: Ask[MessagesBody], dialect: Dialect) -> SpokenMessage:
        return SpokenMessage(_answer(ask), ask.body.cached_tokens)

    def hollow(self, ask: Ask[MessagesBody], dialect: Dialect, reason: HollowReason) -> SpokenMessage:
        return SpokenMessage(hollowed(_answer(ask), reason), ask.body.cached_tokens)


def _answer(ask: Ask[MessagesBody]) -> SimulatedAnswer:
    body = ask.body
    thought = thoughts(ask.digest, body.max_tokens) if body.is_thinking else ()
    limits = {"stop": body.stop_sequences, "max_tokens": body.max_tokens - len(thought)}
    return replace(answer(Ask(structs.replace(body.chat, **limits), ask.digest)), thoughts=thought)
