"""The port of dialects: how a provider puts an answer, and each of its errors, on the wire."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from cachemw.simulator.answering import Choice, SimulatedAnswer
from cachemw.simulator.asking import SimulatedRefusal
from cachemw.simulator.failures import SimulatedFailure
from cachemw.simulator.prose import draw
from cachemw.simulator.script import Json, RawHeaders


class Dialect(Protocol):
    """The way in which one provider puts an answer on the wire."""

    failures: ClassVar[Mapping[str, SimulatedFailure]]
    """What goes wrong at this provider, by a name of ours."""

    endpoints: ClassVar[frozenset[str]]
    """What it has, by the names of the endpoints."""

    preamble: ClassVar[bytes]
    """What a stream begins with, before there is a token."""

    def completion(self, answer: SimulatedAnswer) -> Json:
        """Return the whole answer as one object."""

    def opening(self, choice: Choice) -> Json:
        """Return the first entry of a streamed choice."""

    def entries(self, choice: Choice) -> Sequence[Json | None]:
        """Return one entry for each token; None where a token shows nothing yet."""

    def closing(self, choice: Choice) -> Json:
        """Return the entry with the finish reason."""

    def chunk(self, answer: SimulatedAnswer, entry: Json, written: int, *, include_usage: bool) -> Json:
        """Wrap an entry as a chunk; so many tokens are written by then."""

    def last_chunks(self, answer: SimulatedAnswer, entry: Json, *, include_usage: bool) -> Sequence[Json]:
        """Wrap the very last entry, and say the usage where the dialect does."""

    def error(self, refusal: SimulatedRefusal) -> Json | list[Json]:
        """Return the body of an error answer."""

    def error_event(self, refusal: SimulatedRefusal) -> Json:
        """Return the event that reports a failure under way."""

    def headers(self, digest: bytes) -> RawHeaders:
        """Return the fields, besides content-type, that come with every chat answer."""


INPUT_NANO_DOLLARS = 400  # for each token, at every provider that says what an answer costs
OUTPUT_NANO_DOLLARS = 1_200


def nano_dollars(answer: SimulatedAnswer, reasoning_tokens: int = 0) -> int:
    """Return what an answer costs."""
    written = answer.completion_tokens + reasoning_tokens
    return answer.prompt_tokens * INPUT_NANO_DOLLARS + written * OUTPUT_NANO_DOLLARS


def dollars(nano: int) -> float:
    return nano / 1_000_000_000


def thought_tokens(answer: SimulatedAnswer) -> int:
    """Return how many tokens a model thinks that hides its thoughts: the same for the same request."""
    return 10 + draw(answer.digest, "thoughts", 40)
