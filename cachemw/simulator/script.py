"""The script of a response: head, chunks, pauses, end. A fault is an edit to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from msgspec import json

Json = dict[str, object]
RawHeaders = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class ScriptEvent:
    """One event of a stream; `token` is the place, from 0, of the token that it waits for."""

    token: int
    chunk: bytes

    __repr__ = object.__repr__  # it holds what somebody said


def whole(content: object) -> bytes:
    """Return a JSON body."""
    return json.encode(content)


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace at which tokens come; 0 tokens per second is as fast as possible."""

    first_token_seconds: float = 0.0
    tokens_per_second: float = 0.0

    def __post_init__(self) -> None:
        if self.first_token_seconds < 0 or self.tokens_per_second < 0:
            raise ValueError("a pace cannot be negative")

    def seconds(self, tokens: int) -> float:
        """Return how long so many tokens take."""
        return tokens / self.tokens_per_second if self.tokens_per_second else 0.0


@dataclass(frozen=True, slots=True)
class Begin:
    status: int
    headers: RawHeaders


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Write:
    chunk: bytes

    __repr__ = object.__repr__  # it holds what somebody said


@dataclass(frozen=True, slots=True)
class Finish:
    """The body is complete; a script without this breaks the transfer."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """The connection is closed, and nothing was said: as a server that died before it answered."""


ScriptStep = Begin | Wait | Write | Finish | HangUp
ResponseScript = tuple[ScriptStep, ...]


def reply(
    status: int, headers: RawHeaders, body: bytes, seconds: float = 0.0, media_type: bytes = b"application/json"
) -> ResponseScript:
    """Answer with one body, head and all, after so many seconds."""
    length = (b"content-length", str(len(body)).encode())
    head = Begin(status, ((b"content-type", media_type), length, *headers))
    return (*_wait(seconds), head, Write(body), Finish())


def stream(headers: RawHeaders, preamble: bytes, events: Sequence[ScriptEvent], pace: Pace) -> ResponseScript:
    """Answer with an event stream: the head and the preamble at once, the events at their pace."""
    head = Begin(200, ((b"content-type", b"text/event-stream; charset=utf-8"), *headers))
    before = (Write(preamble),) if preamble else ()
    return (head, *before, *_wait(pace.first_token_seconds), *_paced(events, pace), Finish())


def cut(script: ResponseScript, after: int) -> ResponseScript:
    """Break the transfer once so many bytes of the body are sent."""
    return _split(script, after)[0]


def stall(script: ResponseScript, after: int, seconds: float) -> ResponseScript:
    """Send so many bytes of the body, pause, and go on."""
    before, rest = _split(script, after)
    return (*before, Wait(seconds), *rest) if rest else before


def _wait(seconds: float) -> ResponseScript:
    return (Wait(seconds),) if seconds > 0 else ()


def _paced(events: Sequence[ScriptEvent], pace: Pace) -> Iterator[ScriptStep]:
    yield from (Write(event.chunk) for event in events[:1])
    for previous, event in pairwise(events):
        yield from _wait(pace.seconds(event.token - previous.token))
        yield Write(event.chunk)


def _split(script: ResponseScript, after: int) -> tuple[ResponseScript, ResponseScript]:
    """Cut a script where `after` bytes of the body are sent; the rest is empty if they never are."""
    left = after
    begun = False
    for place, step in enumerate(script):
        if begun and left == 0:
            return script[:place], script[place:]
        begun = begun or isinstance(step, Begin)
        if not isinstance(step, Write):
            continue
        if len(step.chunk) > left:
            first, second = Write(step.chunk[:left]), Write(step.chunk[left:])
            return (*script[:place], first), (second, *script[place + 1 :])
        left -= len(step.chunk)
    return script, ()
