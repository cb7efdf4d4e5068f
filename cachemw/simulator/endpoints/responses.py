"""OpenAI's Responses: the request, and the response object that repeats most of it."""

from dataclasses import replace
from typing import Annotated, ClassVar

from msgspec import Meta, Struct, structs

from cachemw.simulator.answering import SimulatedAnswer, answer, thoughts
from cachemw.simulator.asking import Ask, AskedBody, ContentPart, Function, Message, Positive, SimulatedBody, Tool, ToolChoice
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.endpoints.base import HollowReason
from cachemw.simulator.endpoints.chat import hollowed
from cachemw.simulator.endpoints.response_events import SpokenResponse
from cachemw.simulator.script import Json

TURNS_OF_TOOLS = ("function_call_output", "custom_tool_call_output")


class InputItem(Struct, frozen=True):
    """An item of the input: a message, a call, or what came of one."""

    type: str = "message"
    role: str = "assistant"
    content: str | tuple[ContentPart, ...] | None = None
    output: str | tuple[ContentPart, ...] | None = None

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def message(self) -> Message:
        return Message("tool", self.output) if self.type in TURNS_OF_TOOLS else Message(self.role, self.content)


class ResponsesTool(Struct, frozen=True):
    type: str
    name: str = ""
    parameters: Json | None = None

    __repr__ = object.__repr__  # it holds what somebody said


class ResponsesToolChoice(Struct, frozen=True):
    name: str | None = None

    __repr__ = object.__repr__  # it holds what somebody said


class AskedReasoning(Struct, frozen=True):
    effort: str | None = None
    summary: str | None = None

    __repr__ = object.__repr__  # it holds what somebody said


class ResponsesBody(SimulatedBody, frozen=True):
    """The members of a request for a response that make a difference here, or are repeated."""

    input: str | Annotated[tuple[InputItem, ...], Meta(min_length=1)]
    instructions: str | None = None
    tools: tuple[ResponsesTool, ...] | None = None
    tool_choice: str | ResponsesToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: Positive | None = None
    reasoning: AskedReasoning | None = None
    include: tuple[str, ...] | None = None

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def is_thinking(self) -> bool:
        return self.reasoning is not None and self.reasoning.effort != "none"

    @property
    def chat(self) -> AskedBody:
        """Return the request as one for chat."""
        return AskedBody(
            tuple(self._messages()),
            model=self.model,
            tools=tuple(Tool(Function(tool.name, tool.parameters)) for tool in self.tools or () if tool.type == "function"),
            tool_choice=self._tool_choice(),
            parallel_tool_calls=self.parallel_tool_calls,
        )

    def _messages(self) -> list[Message]:
        system = [] if self.instructions is None else [Message("system", self.instructions)]
        if isinstance(self.input, str):
            return [*system, Message("user", self.input)]
        return [*system, *(item.message for item in self.input)]

    def _tool_choice(self) -> str | ToolChoice | None:
        choice = self.tool_choice
        if isinstance(choice, ResponsesToolChoice):
            return ToolChoice(None if choice.name is None else Function(choice.name))
        return choice


ECHOED: Json = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}
"""What a response repeats of its request, and what it says where the request says nothing."""


class ResponsesEndpoint:
    name: ClassVar[str] = "responses"
    path: ClassVar[str] = "/responses"
    home: ClassVar[str] = "openai"
    streams: ClassVar[bool] = True

    @property
    def asked(self) -> type[ResponsesBody]:
        return ResponsesBody

    def prompt(self, body: ResponsesBody) -> AskedBody:
        return body.chat

    def sound(self, ask: Ask[ResponsesBody], dialect: Dialect) -> SpokenResponse:
        return _spoken(ask, _answer(ask))

    def hollow(self, ask: Ask[ResponsesBody], dialect: Dialect, reason: HollowReason) -> SpokenResponse:
        return _spoken(ask, hollowed(_answer(ask), reason))


def _answer(ask: Ask[ResponsesBody]) -> SimulatedAnswer:
    body = ask.body
    thought = thoughts(ask.digest, body.max_output_tokens) if body.is_thinking else ()
    limit = None if body.max_output_tokens is None else body.max_output_tokens - len(thought)
    return replace(answer(Ask(structs.replace(body.chat, max_tokens=limit), ask.digest)), thoughts=thought)


def _spoken(ask: Ask[ResponsesBody], said: SimulatedAnswer) -> SpokenResponse:
    echo = {name: _echo(ask.content.get(name), usual) for name, usual in ECHOED.items()}
    reasoning, include = ask.body.reasoning, ask.body.include or ()
    return SpokenResponse(
        said,
        echo,
        is_summarised=reasoning is not None and reasoning.summary is not None,
        is_encrypted="reasoning.encrypted_content" in include,
    )


def _echo(given: object, usual: object) -> object:
    if isinstance(given, dict) and isinstance(usual, dict):
        return usual | given
    return usual if given is None else given
