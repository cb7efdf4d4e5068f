"""Find, among many sketches, the one that is nearest to another.

A rare part that two requests share says more than many that all requests share: candidates are ranked by how rare that is which
they share, and only the best of them are compared part by part.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from functools import reduce
from heapq import nlargest
from itertools import takewhile
from operator import xor

from cachemw.cache.differences import CONVERSATIONS
from cachemw.cache.sketch import Sketch, SketchPart

NEWEST = 10_000
"""How many sketches are looked through at most: the newest ones."""

_LAST = 256
"""How many of the sketches that share a part are candidates: the last ones."""

_COMPARED = 32
"""How many of the candidates are compared part by part."""


class SketchIndex:
    """Sketches, in the order in which they were made, found by what they share with another one.

    Each has a place, its number in that order. Parts of two callers are never the same.
    """

    def __init__(self, sketches: Iterable[Sketch] = ()) -> None:
        self._sketches: list[Sketch] = []
        self._places: defaultdict[SketchPart, list[int]] = defaultdict(list)
        self._wholes: dict[bytes, int] = {}
        self._bodies: dict[bytes, int] = {}
        self._but_one: dict[int, int] = {}
        for sketch in sketches:
            self.add(sketch)

    def __len__(self) -> int:
        return len(self._sketches)

    def __getitem__(self, place: int) -> Sketch:
        return self._sketches[place]

    def add(self, sketch: Sketch) -> None:
        """Take in one that was made after all others."""
        place = len(self._sketches)
        self._sketches.append(sketch)
        self._wholes[sketch.whole] = self._bodies[sketch.body] = place
        places = self._places
        for part in sketch.parts:
            places[part].append(place)
        self._but_one.update(dict.fromkeys(_sums(sketch), place))

    def same_for_anybody(self, sketch: Sketch) -> int | None:
        """Return the last one that is the same in everything but its caller; `None` where there is none."""
        return self._wholes.get(sketch.whole)

    def same_body(self, body: bytes) -> int | None:
        """Return the last one of this body, whoever asked, and where; `None` where there is none."""
        return self._bodies.get(body)

    def nearest(self, sketch: Sketch) -> int | None:
        """Return the one that differs in the fewest parts; of several the one whose conversation is the same for longest.

        `None` where none shares anything.
        """
        places = self._places
        shared = {part: places[part] for part in sketch.parts if part in places}
        weights = {part: math.log(len(self) / len(found)) for part, found in shared.items()}
        scores: defaultdict[int, float] = defaultdict(float)
        for part, found in shared.items():
            weight = weights[part]
            for place in found[-_LAST:]:
                scores[place] += weight
        candidates = nlargest(_COMPARED, scores, key=lambda place: (scores[place], place))
        candidates += {self._but_one[total] for total in _sums(sketch) if total in self._but_one}
        parts, turns = frozenset(sketch.parts), _conversation(sketch)

        def distance(place: int) -> tuple[int, int, float, int]:
            other = self._sketches[place]
            others = frozenset(other.parts)
            alike = sum([weights[part] for part in parts & others])
            return len({part.name for part in parts ^ others}), -_alike(turns, _conversation(other)), -alike, -place

        return min(candidates, key=distance, default=None)


def _sums(sketch: Sketch) -> list[int]:
    """Return numbers of which two sketches share one that differ in one part; all others hardly ever do."""
    numbers = [hash(part) for part in sketch.parts]
    total = reduce(xor, numbers, 0)
    return [total, *[total ^ number for number in numbers]]


def _conversation(sketch: Sketch) -> list[SketchPart]:
    return [part for part in sketch.parts if part.name.startswith(CONVERSATIONS)]


def _alike(turns: Iterable[SketchPart], others: Iterable[SketchPart]) -> int:
    """Return how many turns two conversations begin with that are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(turns, others, strict=False)))
