"""Misses by their reasons: the same part that is another one again and again is one group, with what it cost. Pure."""

import re
from collections.abc import Iterable, Sequence

import msgspec

from cachemw.cache.differences import shown
from cachemw.cache.sketch import HEADER, URL
from cachemw.ledger.habits import HABIT, advice
from cachemw.ledger.reasons import NeverStored, OtherCircumstance, OtherFields, Reason, Unsketched
from cachemw.ledger.row import Row
from cachemw.redaction import redacted_repr

_PLACE = re.compile(r"\[(\d+)(?:\.\.\d+)?\]$")
_FIRST_TURNS = 2
"""Of a list so many elements are told apart by their places; the others are one."""


class MissGroup(msgspec.Struct, frozen=True):
    """Misses that have one reason: a `word` for it, and the `parts` that differed.

    Money is in nano-dollars; `unpriced` are those whose cost nobody knows. `place` is the last of them in the ledger.
    """

    word: str
    parts: tuple[str, ...]
    count: int
    tokens: int
    cost: int
    unpriced: int
    models: tuple[str, ...]
    clients: tuple[str, ...]
    place: int
    at_ms: int
    advice: str

    __repr__ = redacted_repr

    @property
    def name(self) -> str:
        """Return what people read of it."""
        return ", ".join(map(shown, self.parts)) if self.parts else self.word

    @property
    def is_near(self) -> bool:
        """Say whether something like it was asked before."""
        return self.word not in (NeverStored.word, Unsketched.word)


def group_of(reason: Reason) -> tuple[str, tuple[str, ...]]:
    """Return the word and the parts that misses of one group have in common."""
    if isinstance(reason, OtherFields | OtherCircumstance):
        word = OtherFields.word if isinstance(reason, OtherFields) else reason.word
        return word, tuple(sorted(set(map(_part, reason.names))))
    return reason.word, ()


def grouped_misses(misses: Iterable[tuple[Row, Reason]]) -> list[MissGroup]:
    """Return the groups of misses, the dearest first, then the largest."""
    found: dict[tuple[str, tuple[str, ...]], list[Row]] = {}
    for row, reason in misses:
        found.setdefault(group_of(reason), []).append(row)
    groups = [_group(word, parts, rows) for (word, parts), rows in found.items()]
    return sorted(groups, key=lambda group: (-group.cost, -group.count, group.name))


def _group(word: str, parts: tuple[str, ...], rows: Sequence[Row]) -> MissGroup:
    last = max(rows, key=lambda row: row.place)
    return MissGroup(
        word=word,
        parts=parts,
        count=len(rows),
        tokens=sum((row.input_tokens or 0) + (row.output_tokens or 0) for row in rows),
        cost=sum(row.cost or 0 for row in rows),
        unpriced=sum(row.cost is None for row in rows),
        models=_most(row.model or row.answered_model for row in rows),
        clients=_most(row.client for row in rows),
        place=last.place,
        at_ms=last.at_ms,
        advice=advice(parts[0]) if len(parts) == 1 and len(rows) >= HABIT else "",
    )


def _most(names: Iterable[str]) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return tuple(sorted((name for name in counts if name), key=lambda name: (-counts[name], name)))


def _part(name: str) -> str:
    """Return the name of a part with its place in a list only where that is one of the first."""
    if name == URL or name.startswith(HEADER):
        return name
    place = _PLACE.search(name)
    return name if place is None or int(place[1]) < _FIRST_TURNS else f"{name[: place.start()]}[…]"
