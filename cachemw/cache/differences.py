"""Say in which parts two requests differ, by their sketches: names of parts, and nothing of what they hold."""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from cachemw.cache.sketch import URL, Sketch
from cachemw.redaction import printable, redacted_repr

_CIRCUMSTANCE = "@"
"""How the parts begin that are not of the body: where it was sent, in which namespace, with which header fields."""

CONVERSATIONS = ("messages[", "input[")
"""How the parts begin that are the turns of a conversation."""

_ELEMENT = re.compile(r"(.+)\[(\d+)(?:\.\.(\d+))?\]")
_LEAST_TURNS = 2
"""How many turns two conversations begin alike with that have something to do with each other."""

Span = tuple[str, int, int]
"""Some elements of a list: its name, and the first and the last place."""


class Difference(msgspec.Struct, frozen=True):
    """What one request, `here`, has in common with another, `there`, by the names of their parts, and in what they differ.

    `unknown` are the parts of which nobody can say: a long list has one part for all of its middle, and of a body alone nobody
    knows where it was sent. `turns` is how many turns of a conversation are equal, from the first on.
    """

    equal: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    only_here: tuple[str, ...] = ()
    only_there: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    turns: int = 0

    __repr__ = redacted_repr

    @property
    def names(self) -> tuple[str, ...]:
        """The parts that are not the same."""
        return (*self.differing, *self.only_here, *self.only_there)

    @property
    def circumstances(self) -> tuple[str, ...]:
        """Those of them that are not in the body: namespace, sample, URL and header fields."""
        return tuple([name for name in self.names if not is_of_body(name)])

    @property
    def is_telling(self) -> bool:
        """Whether so much is equal that it tells something: half of the body, or the beginning of a conversation."""
        equal, others = _of_body(self.equal), _of_body((*self.differing, *self.only_here))
        return equal >= others and equal > 0 or self.turns >= _LEAST_TURNS


def is_of_body(name: str) -> bool:
    """Say whether a part is one of the body, and none of the circumstances."""
    return not name.startswith(_CIRCUMSTANCE)


def _of_body(names: Iterable[str]) -> int:
    return sum(map(is_of_body, names))


def compare(here: Sketch, there: Sketch) -> Difference:
    """Return in what a request differs from another one of the same caller."""
    ours, theirs = _codes(here), _codes(there)
    unknown = _unknown(ours, theirs)
    both = [name for name in ours if name in theirs]
    equal = tuple([name for name in both if ours[name] == theirs[name]])
    return Difference(
        equal,
        tuple([name for name in both if ours[name] != theirs[name]]),
        tuple([name for name in ours if name not in theirs and name not in unknown]),
        tuple([name for name in theirs if name not in ours and name not in unknown]),
        tuple([name for name in dict.fromkeys((*ours, *theirs)) if name in unknown]),
        _turns(equal),
    )


def _codes(sketch: Sketch) -> dict[str, bytes]:
    codes: dict[str, bytes] = {}
    for part in sketch.parts:
        codes[part.name] = codes.get(part.name, b"") + part.code  # a header field may stand there more than once
    return codes


def _unknown(ours: Mapping[str, bytes], theirs: Mapping[str, bytes]) -> frozenset[str]:
    """Return the parts that one side alone has, and the other side does not say whether it has them."""
    one_sided = ours.keys() ^ theirs.keys()
    unknown = {name for name in one_sided if not is_of_body(name)} if URL in one_sided else set()
    for one, other in ((ours, theirs), (theirs, ours)):
        own = [span for name in one.keys() - other.keys() if (span := _span(name))]
        middles = [span for span in own if span[1] < span[2]]
        others = [span for name in other.keys() - one.keys() if (span := _span(name))] if middles else []
        for middle in middles:
            unknown.update(_name(*pair) for span in others if _overlap(middle, span) for pair in (middle, span))
    return frozenset(unknown)


def _overlap(one: Span, other: Span) -> bool:
    return one[0] == other[0] and one[1] <= other[2] and other[1] <= one[2]


def _turns(equal: Iterable[str]) -> int:
    spans = sorted(span for name in equal if name.startswith(CONVERSATIONS) and (span := _span(name)))
    turns = 0
    for _, first, last in spans:
        if first != turns:
            break
        turns = last + 1
    return turns


def grouped(names: Iterable[str]) -> tuple[str, ...]:
    """Return names as people read them: of a list, elements that follow one another are one, `messages[0..3]`."""
    return tuple(_runs(names))


def listed(names: Iterable[str]) -> str:
    """Return the names of parts as people read them, in one line."""
    return ", ".join(map(shown, grouped(names)))


def shown(name: str) -> str:
    """Return the name of a part as people read it; somebody else chose it."""
    return printable("URL" if name == URL else name.removeprefix("@"))


def _runs(names: Iterable[str]) -> Iterator[str]:
    run: Span | None = None
    for name in names:
        span = _span(name)
        if run and span and span[0] == run[0] and span[1] == run[2] + 1:
            run = (run[0], run[1], span[2])
            continue
        if run:
            yield _name(*run)
        run = span
        if span is None:
            yield name
    if run:
        yield _name(*run)


def _span(name: str) -> Span | None:
    found = _ELEMENT.fullmatch(name) if name.endswith("]") else None
    return None if found is None else (found[1], int(found[2]), int(found[3] or found[2]))


def _name(listed: str, first: int, last: int) -> str:
    return f"{listed}[{first}]" if first == last else f"{listed}[{first}..{last}]"
