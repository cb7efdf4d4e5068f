"""Embeddings: the same text has the same vector, of length one, as numbers or as base64."""

import math
from base64 import b64encode
from collections.abc import Iterator
from struct import pack, unpack
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from cachemw.simulator.asking import Ask, AskedBody, SimulatedBody
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.endpoints.base import HollowReason
from cachemw.simulator.endpoints.small import SimulatedInput, SpokenObject, inputs_of, tokens_in, unprompted
from cachemw.simulator.prose import derive
from cachemw.simulator.script import Json

DIMENSIONS = 1536
NUMBERS_A_SEED = 16


class EmbeddingsBody(SimulatedBody, frozen=True):
    input: SimulatedInput
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=4096)] | None = None

    __repr__ = object.__repr__  # it holds what somebody said

    def __post_init__(self) -> None:
        inputs_of(self.input)


class EmbeddingsEndpoint:
    name: ClassVar[str] = "embeddings"
    path: ClassVar[str] = "/embeddings"
    home: ClassVar[str] = "openai"
    streams: ClassVar[bool] = False

    @property
    def asked(self) -> type[EmbeddingsBody]:
        return EmbeddingsBody

    def prompt(self, body: EmbeddingsBody) -> AskedBody:
        return unprompted(body)

    def sound(self, ask: Ask[EmbeddingsBody], dialect: Dialect) -> SpokenObject:
        vectors = (_vector(ask.body, one) for one in inputs_of(ask.body.input))
        return SpokenObject(_list(ask.body, [_entry(ask.body, index, vector) for index, vector in enumerate(vectors)]))

    def hollow(self, ask: Ask[EmbeddingsBody], dialect: Dialect, reason: HollowReason) -> SpokenObject:
        return SpokenObject(_list(ask.body, [] if reason is None else [_entry(ask.body, 0, ())]))


def _list(body: EmbeddingsBody, entries: list[Json]) -> Json:
    tokens = sum(tokens_in(one) for one in inputs_of(body.input))
    return {
        "object": "list",
        "data": entries,
        "model": body.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _entry(body: EmbeddingsBody, index: int, vector: tuple[float, ...]) -> Json:
    raw = pack(f"<{len(vector)}f", *vector)
    shown = b64encode(raw).decode() if body.encoding_format == "base64" else unpack(f"<{len(vector)}f", raw)
    return {"object": "embedding", "index": index, "embedding": shown}


def _vector(body: EmbeddingsBody, one: str | tuple[int, ...]) -> tuple[float, ...]:
    """Return the vector of an input: a shorter one is the beginning of a longer, brought to length one again."""
    dimensions = body.dimensions or DIMENSIONS
    seed = derive(derive(b"embeddings", body.model), repr(one))
    numbers = [number for block in range(-(-dimensions // NUMBERS_A_SEED)) for number in _numbers(seed, block)][:dimensions]
    length = math.sqrt(sum(number * number for number in numbers))
    return tuple(number / length for number in numbers)


def _numbers(seed: bytes, block: int) -> Iterator[float]:
    """Yield odd whole numbers: none is zero, and so no vector is."""
    return (number * 2.0 + 1.0 for number in unpack(f"<{NUMBERS_A_SEED}h", derive(seed, f"numbers {block}")))
