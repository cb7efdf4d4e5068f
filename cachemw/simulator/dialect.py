"""The port of dialects; `cerebras` and `openai` are the two spoken here."""

from collections.abc import Sequence
from typing import Protocol

from cachemw.simulator.answering import Choice, SimulatedAnswer
from cachemw.simulator.asking import SimulatedRefusal

Json = dict[str, object]
RawHeaders = tuple[tuple[bytes, bytes], ...]


class Dialect(Protocol):
    """The way in which one provider puts an answer on the wire."""

    def completion(self, answer: SimulatedAnswer) -> Json:
        """Return the whole answer as one object."""

    def opening(self, choice: Choice) -> Json:
        """Return the first entry of a streamed choice."""

    def entries(self, choice: Choice) -> Sequence[Json | None]:
        """Return one entry for each token; None where a token shows nothing yet."""

    def closing(self, choice: Choice) -> Json:
        """Return the entry with the finish reason."""

    def chunk(self, answer: SimulatedAnswer, entry: Json, *, include_usage: bool) -> Json:
        """Wrap an entry as a chunk."""

    def last_chunks(self, answer: SimulatedAnswer, entry: Json, *, include_usage: bool) -> Sequence[Json]:
        """Wrap the very last entry, and say the usage where the dialect does."""

    def error(self, refusal: SimulatedRefusal) -> Json:
        """Return the body of an error answer."""

    def error_event(self, refusal: SimulatedRefusal) -> Json:
        """Return the event that reports a failure under way."""

    def headers(self, digest: bytes) -> RawHeaders:
        """Return the fields, besides content-type, that come with every chat answer."""
