"""Moderations: a text that names a category, as violence or harassment, is flagged with it."""

from typing import Annotated, ClassVar

from msgspec import Meta

from cachemw.simulator.asking import Ask, AskedBody, ContentPart, SimulatedBody
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.endpoints.base import HollowReason
from cachemw.simulator.endpoints.small import SpokenObject, unprompted
from cachemw.simulator.prose import derive, draw
from cachemw.simulator.script import Json

CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm"),
    *("self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic"),
)


class ModerationsBody(SimulatedBody, frozen=True):
    input: str | Annotated[tuple[str | ContentPart, ...], Meta(min_length=1)]

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def texts(self) -> tuple[str, ...]:
        """Return what is judged, each by itself; the parts of one with images are judged together."""
        if isinstance(self.input, str):
            return (self.input,)
        parts = [part.text or "" for part in self.input if isinstance(part, ContentPart)]
        return (" ".join(parts),) if parts else tuple(str(text) for text in self.input)


class ModerationsEndpoint:
    name: ClassVar[str] = "moderations"
    path: ClassVar[str] = "/moderations"
    home: ClassVar[str] = "openai"
    streams: ClassVar[bool] = False

    @property
    def asked(self) -> type[ModerationsBody]:
        return ModerationsBody

    def prompt(self, body: ModerationsBody) -> AskedBody:
        return unprompted(body)

    def sound(self, ask: Ask[ModerationsBody], dialect: Dialect) -> SpokenObject:
        return SpokenObject(_judged(ask, [_result(text) for text in ask.body.texts]))

    def hollow(self, ask: Ask[ModerationsBody], dialect: Dialect, reason: HollowReason) -> SpokenObject:
        return SpokenObject(_judged(ask, []))


def _judged(ask: Ask[ModerationsBody], results: list[Json]) -> Json:
    return {"id": f"modr-{ask.digest.hex()[:29]}", "model": ask.body.model, "results": results}


def _result(text: str) -> Json:
    found = {category: category in text.lower() for category in CATEGORIES}
    seed = derive(b"moderations", text)
    scores = {category: (0.9 if hit else 0.0) + draw(seed, category, 10**5) / 10**6 for category, hit in found.items()}
    applied = {category: ["text"] if hit else [] for category, hit in found.items()}
    return {
        "flagged": any(found.values()),
        "categories": found,
        "category_scores": scores,
        "category_applied_input_types": applied,
    }
