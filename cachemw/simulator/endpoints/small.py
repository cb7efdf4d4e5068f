"""What the endpoints have in common whose answers are small, and no streams."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from cachemw.simulator.asking import AskedBody, Message, SimulatedBody
from cachemw.simulator.events import event
from cachemw.simulator.failures import ErrorWithin
from cachemw.simulator.script import Json, ScriptEvent

SimulatedInput = Annotated[str, Meta(min_length=1)] | Annotated[tuple[str | int | tuple[int, ...], ...], Meta(min_length=1)]
"""A text, tokens, or some of either."""


@dataclass(frozen=True, slots=True)
class SpokenObject:
    """An answer that is an object and no more."""

    content: Json
    tokens: int = 0

    __repr__ = object.__repr__  # it holds what somebody said

    def whole(self) -> Json:
        return self.content

    def events(self) -> tuple[ScriptEvent, ...]:
        return ()

    def failure(self, error: ErrorWithin, place: int) -> bytes:
        return event(error.event, error.name)


def unprompted(body: SimulatedBody) -> AskedBody:
    """Return a chat request of the same model, with nothing in it."""
    return AskedBody((Message("user"),), model=body.model)


def inputs_of(given: SimulatedInput) -> tuple[str | tuple[int, ...], ...]:
    """Return each input: a text, or tokens; raise ValueError for a mixture."""
    if isinstance(given, str):
        return (given,)
    if len({isinstance(one, int) for one in given}) > 1:
        raise ValueError("Expected a text, tokens, or a list of either")
    tokens = tuple(one for one in given if isinstance(one, int))
    return (tokens,) if tokens else tuple(one for one in given if not isinstance(one, int))


def tokens_in(one: str | tuple[int, ...]) -> int:
    """Return how many tokens an input has; a text has as many as words."""
    return len(one.split()) if isinstance(one, str) else len(one)
