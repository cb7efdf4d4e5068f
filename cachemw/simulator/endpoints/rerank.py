"""Rerank, as Cohere has it: documents by how many words of the query they have."""

from typing import Annotated, ClassVar

from msgspec import Meta

from cachemw.simulator.asking import Ask, AskedBody, ContentPart, Positive, SimulatedBody
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.endpoints.base import HollowReason
from cachemw.simulator.endpoints.small import SpokenObject, unprompted
from cachemw.simulator.prose import derive, draw
from cachemw.simulator.script import Json


class RerankBody(SimulatedBody, frozen=True):
    query: str
    documents: Annotated[tuple[str | ContentPart, ...], Meta(min_length=1)]
    top_n: Positive | None = None
    return_documents: bool | None = None

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def texts(self) -> list[str]:
        return [document if isinstance(document, str) else document.text or "" for document in self.documents]


class RerankEndpoint:
    name: ClassVar[str] = "rerank"
    path: ClassVar[str] = "/rerank"
    home: ClassVar[str] = "openai"
    streams: ClassVar[bool] = False

    @property
    def asked(self) -> type[RerankBody]:
        return RerankBody

    def prompt(self, body: RerankBody) -> AskedBody:
        return unprompted(body)

    def sound(self, ask: Ask[RerankBody], dialect: Dialect) -> SpokenObject:
        body = ask.body
        ranked = sorted(((_score(body.query, text), -index) for index, text in enumerate(body.texts)), reverse=True)
        return SpokenObject(_ranking(ask, [_result(body, -place, score) for score, place in ranked[: body.top_n]]))

    def hollow(self, ask: Ask[RerankBody], dialect: Dialect, reason: HollowReason) -> SpokenObject:
        return SpokenObject(_ranking(ask, []))


def _ranking(ask: Ask[RerankBody], results: list[Json]) -> Json:
    meta: Json = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    return {"id": ask.digest.hex()[:32], "results": results, "meta": meta}


def _result(body: RerankBody, index: int, score: float) -> Json:
    document: Json = {"document": {"text": body.texts[index]}} if body.return_documents else {}
    return {"index": index, "relevance_score": score, **document}


def _score(query: str, text: str) -> float:
    """Return a score below one, which no two texts share by chance."""
    wanted, found = set(query.lower().split()), set(text.lower().split())
    share = len(wanted & found) / max(1, len(wanted))
    return round(0.9 * share + draw(derive(b"rerank", query), text, 10**6) / 10**7, 7)
