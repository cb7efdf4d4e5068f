"""The request to the simulator: the prompt, the options, and the failure that the caller wants to see."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as field_of
from hashlib import sha256
from typing import Annotated, Generic, TypeVar

from msgspec import DecodeError, Meta, Struct, ValidationError, convert, field, json

_SENTENCES = {
    400: "The request is not valid.",
    401: "Wrong API Key",
    402: "Payment required to access this resource. Visit your billing tab.",
    403: "You are not allowed to access this resource.",
    404: "Model does not exist or you do not have access to it.",
    408: "The request took too long to arrive.",
    413: "The request is too large.",
    429: "Requests per minute limit exceeded - too many requests sent.",
    500: "The server had an error while processing your request. Sorry about that!",
    503: "We're experiencing high traffic right now! Please try again soon.",
}
EXTRA_HEADERS = {
    402: ((b"x-should-retry", b"false"),),
    429: ((b"retry-after", b"1"),),
}


@dataclass(frozen=True, slots=True)
class SimulatedRefusal:
    """Why there is no answer; `param` names the member of the request at fault."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None  # instead of the one that goes with the status

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return EXTRA_HEADERS.get(self.status, ())


def simulated(status: int) -> SimulatedRefusal:
    """Return the refusal a provider would give with this status."""
    return SimulatedRefusal(status, _SENTENCES.get(status, f"Simulated failure with status {status}."))


UNASKED = ("stream", "stream_options", "simulate")  # they change how an answer travels, not what it says

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Status = Annotated[int, Meta(ge=400, le=599)]


class Simulate(Struct, frozen=True, forbid_unknown_fields=True):
    """The `simulate` member of a request: failures on demand. Offsets count bytes of the body."""

    fail: str | None = None  # a failure's name, as `groq:rate`
    status: Status | None = None
    cut_after: Count | None = None
    stall_after: Count | None = None
    stall_seconds: Seconds = 3600.0
    error_after: Count | None = None
    end_after: Count | None = None
    first_token_seconds: Seconds | None = None
    tokens_per_second: Seconds | None = None

    __repr__ = object.__repr__  # it holds a word of the caller's

    @property
    def is_failure(self) -> bool:
        """Whether the request says itself what goes wrong."""
        failures = (self.status, self.cut_after, self.stall_after, self.error_after, self.end_after)
        return any(failure is not None for failure in failures)


class SimulatedBody(Struct, frozen=True, kw_only=True):
    """The members that a request to any endpoint may have."""

    model: str = "simulated"
    stream: bool | None = None
    simulate: Simulate = field(default_factory=Simulate)

    __repr__ = object.__repr__  # it holds what somebody said


class ContentPart(Struct, frozen=True):
    text: str | None = None

    __repr__ = object.__repr__  # it holds what somebody said


class Message(Struct, frozen=True):
    role: str
    content: str | tuple[ContentPart, ...] | None = None

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def text(self) -> str:
        if isinstance(self.content, tuple):
            return " ".join(part.text or "" for part in self.content)
        return self.content or ""


class Function(Struct, frozen=True):
    name: str
    parameters: dict[str, object] | None = None

    __repr__ = object.__repr__  # it holds what somebody said


class Tool(Struct, frozen=True):
    function: Function | None = None  # absent in tools of other types


class ToolChoice(Struct, frozen=True):
    function: Function | None = None

    __repr__ = object.__repr__  # it holds what somebody said


class StreamOptions(Struct, frozen=True):
    include_usage: bool | None = None


class AskedBody(SimulatedBody, frozen=True):
    """The members of a chat request that make a difference here; any other is welcome, and part of the digest."""

    messages: Annotated[tuple[Message, ...], Meta(min_length=1)]
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: str | tuple[str, ...] | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: tuple[Tool, ...] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    stream_options: StreamOptions | None = None

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


B = TypeVar("B", bound=SimulatedBody, covariant=True)
T = TypeVar("T", bound=SimulatedBody)


@dataclass(frozen=True, slots=True)
class Ask(Generic[B]):
    """A request that can be answered. The digest is of everything in it that is asked."""

    body: B
    digest: bytes
    content: Mapping[str, object] = field_of(default_factory=dict)  # as it was sent

    __repr__ = object.__repr__  # it holds what somebody said


def read(raw: bytes, kind: type[T]) -> Ask[T] | SimulatedRefusal:
    """Read a request's body as that of an endpoint, or say why it cannot be answered."""
    try:
        content = json.decode(raw)
        return Ask(convert(content, kind), _digest(content), content)
    except ValidationError as exc:
        return SimulatedRefusal(400, str(exc), _member(str(exc)))
    except (DecodeError, RecursionError) as exc:
        return SimulatedRefusal(400, f"We could not parse the JSON body of your request: {exc}", None)


def _digest(content: dict[str, object]) -> bytes:
    asked = {name: value for name, value in content.items() if name not in UNASKED}
    return sha256(json.encode(asked, order="sorted")).digest()


def _member(complaint: str) -> str | None:
    found = re.search(r"`\$\.(\w+)", complaint) or re.search(r"field `(\w+)`", complaint)
    return found[1] if found else None
