"""Chat completions: the endpoint whose form is all the dialect's."""

from dataclasses import dataclass, replace
from typing import ClassVar

from cachemw.simulator.answering import Said, SimulatedAnswer, answer
from cachemw.simulator.asking import Ask, AskedBody
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.endpoints.base import HollowReason
from cachemw.simulator.events import event, events, without_choices
from cachemw.simulator.failures import ErrorWithin
from cachemw.simulator.script import Json, ScriptEvent


def hollowed(said: SimulatedAnswer, reason: HollowReason) -> SimulatedAnswer:
    """Return an answer without its words."""
    return replace(said, choices=() if reason is None else (Said(0, (), None, reason),), thoughts=())


@dataclass(frozen=True, slots=True)
class SpokenChat:
    """An answer as a chat completion."""

    said: SimulatedAnswer
    dialect: Dialect
    include_usage: bool = False

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def tokens(self) -> int:
        return self.said.longest

    def whole(self) -> Json:
        return self.dialect.completion(self.said)

    def events(self) -> tuple[ScriptEvent, ...]:
        if not self.said.choices:
            return without_choices(self.said, self.dialect)
        return events(self.said, self.dialect, include_usage=self.include_usage)

    def failure(self, error: ErrorWithin, place: int) -> bytes:
        entry = error.entry
        chunk = {} if entry is None else self.dialect.chunk(self.said, entry, 0, include_usage=False)
        return event(chunk | error.event, error.name)


class ChatEndpoint:
    name: ClassVar[str] = "chat"
    path: ClassVar[str] = "/chat/completions"
    home: ClassVar[str] = "cerebras"
    streams: ClassVar[bool] = True

    @property
    def asked(self) -> type[AskedBody]:
        return AskedBody

    def prompt(self, body: AskedBody) -> AskedBody:
        return body

    def sound(self, ask: Ask[AskedBody], dialect: Dialect) -> SpokenChat:
        return SpokenChat(answer(ask), dialect, ask.body.wants_usage)

    def hollow(self, ask: Ask[AskedBody], dialect: Dialect, reason: HollowReason) -> SpokenChat:
        return SpokenChat(hollowed(answer(ask), reason), dialect, ask.body.wants_usage)
