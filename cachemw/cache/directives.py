"""The wishes of a client to the cache: the `Cachemw` and `Cache-Control` fields of a request."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from typing import Any, cast

import http_sf
import msgspec

from cachemw.messages import Headers, values_of_two
from cachemw.redaction import redacted_repr

_DIRECTIVE = re.compile(rb'[ \t]*([^=,; \t"]+)[ \t]*(?:=[ \t]*(?:"((?:[^"\\]|\\.)*)"[ \t]*(?=,|$)|([^,]*)))?[^,]*(?:,|$)')
_EMPTY = re.compile(rb"[ \t,]*")

FOREVER = 2**31
"""The value of every larger number of seconds (RFC 9111 §1.2.2)."""


class CacheControl(msgspec.Struct, frozen=True):
    """The `Cache-Control` of a request, read; in seconds. `max_stale` is infinite where it has no argument."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    min_fresh: float | None = None
    max_stale: float | None = None
    stale_if_error: float | None = None

    @property
    def bounds_age(self) -> bool:
        """Say whether it restricts a stored response by its age, in seconds."""
        return not self.max_age is self.min_fresh is self.max_stale is None


UNRESTRICTED = CacheControl()


@lru_cache(256)
def cache_control(field: bytes) -> CacheControl:
    """Read the field's combined value. A bad number is the strictest reading; repeats add up to the strictest."""
    said: dict[bytes, list[bytes | None]] = {}
    for name, argument in _named_directives(field):
        said.setdefault(name, []).append(argument)
    max_age = [_seconds(argument, bad=0) for argument in said.get(b"max-age", ())]
    min_fresh = [_seconds(argument, bad=math.inf) for argument in said.get(b"min-fresh", ())]
    max_stale = [math.inf if argument is None else _seconds(argument, bad=0) for argument in said.get(b"max-stale", ())]
    stale_if_error = [_seconds(argument, bad=0) for argument in said.get(b"stale-if-error", ())]  # RFC 5861 §4
    return CacheControl(
        no_store=b"no-store" in said,
        no_cache=b"no-cache" in said,
        only_if_cached=b"only-if-cached" in said,
        max_age=int(min(max_age)) if max_age else None,
        min_fresh=max(min_fresh, default=None),
        max_stale=min(max_stale, default=None),
        stale_if_error=min(stale_if_error, default=None),
    )


def _named_directives(field: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    at = 0
    while (blank := _EMPTY.match(field, at)) and (at := blank.end()) < len(field):
        found = _DIRECTIVE.match(field, at)
        if found is None:  # nothing that reads as a name: on to the next comma
            comma = field.find(b",", at)
            at = len(field) if comma < 0 else comma
            continue
        name, quoted, plain = found.groups()
        argument = plain.strip() if plain is not None else quoted
        yield name.lower(), argument
        at = found.end()


def _seconds(argument: bytes | None, bad: float) -> float:
    if argument is None or not argument.isdigit():
        return bad
    digits = argument.lstrip(b"0") or b"0"
    return min(int(digits), FOREVER) if len(digits) < 20 else FOREVER


CONTROL_HEADER = b"cachemw"
NAMESPACE_LIMIT = 128
NAME_LIMIT = UNKNOWN_LIMIT = 16
"""The characters of an unknown member that are reported, and the number of such members."""
SHOWN_LIMIT = 16
"""The characters that are shown of what cannot be read."""


class Mode(Enum):
    """The member `mode`."""

    READ_WRITE = "read-write"
    READ = "read"
    REFRESH = "refresh"
    REPLAY = "replay"


class Abandon(Enum):
    """The member `abandon`: what becomes of a response that every reader has left."""

    FINISH = "finish"
    CANCEL = "cancel"


class Directives(msgspec.Struct, frozen=True):
    """A request that opted in, and what it asked for. `ttl` is in seconds; `ignored` names what was not obeyed.

    `speed` is the pace of a replay: 0 at once, 1 as recorded, 2 twice as fast. `partial`: of embeddings only those inputs are
    asked for that are not known.
    """

    mode: Mode = Mode.READ_WRITE
    ttl: int | None = None
    namespace: str | None = None
    sample: int = 0
    speed: float = 0.0
    abandon: Abandon | None = None
    partial: bool = False
    control: CacheControl = UNRESTRICTED
    ignored: tuple[str, ...] = ()

    __repr__ = redacted_repr

    @property
    def wants_fresh_answer(self) -> bool:
        """Say whether nothing stored may answer, and what comes replaces it: so `no-cache` and `refresh` have it."""
        return self.control.no_cache or self.mode is Mode.REFRESH

    @property
    def may_forward(self) -> bool:
        """Say whether the upstream may be contacted at all."""
        return not self.control.only_if_cached and self.mode is not Mode.REPLAY

    @property
    def may_store(self) -> bool:
        """Say whether the answer may be kept."""
        return not self.control.no_store and self.mode is not Mode.READ


class InvalidControl(msgspec.Struct, frozen=True):
    """A `Cachemw` field that cannot be read, or a known member with a bad value."""

    param: str
    message: str

    __repr__ = redacted_repr


class ControlMembers(msgspec.Struct, frozen=True):
    """A `Cachemw` dictionary: whether it opts in (`None`: says nothing of it), its known members, and the others."""

    on: bool | None = None
    known: dict[str, Any] = {}
    unknown: tuple[str, ...] = ()

    __repr__ = redacted_repr


NO_MEMBERS = ControlMembers()


def read_directives(headers: Headers, default: str, honour: frozenset[str]) -> Directives | InvalidControl | None:
    """Return what a request asks of the cache, `None` where it did not opt in.

    The request's members override the operator's `default` one by one; what is not in `honour` is reported, not obeyed.
    """
    asked, control = values_of_two(headers, CONTROL_HEADER, b"cache-control")
    if not asked and default == "off":
        return None
    return _directives(b", ".join(asked) if asked else None, b", ".join(control), default, honour)


@lru_cache(256)
def _directives(
    field: bytes | None, control: bytes, default: str, honour: frozenset[str]
) -> Directives | InvalidControl | None:
    asked = NO_MEMBERS if field is None else parse_members(field)
    by_default = parse_members(default.encode())
    if isinstance(asked, InvalidControl) or isinstance(by_default, InvalidControl):
        return asked if isinstance(asked, InvalidControl) else None
    switch = asked.on if "on" in honour else None
    if not (by_default.on if switch is None else switch):
        return None
    obeyed = {name: value for name, value in asked.known.items() if name in honour}
    ignored = [*asked.unknown, *(name for name in asked.known if name not in honour)]
    if asked.on is False and switch is None:
        ignored.append("off")
    if control and "cache-control" not in honour:
        ignored.append("cache-control")
    limits = cache_control(control) if control and "cache-control" in honour else UNRESTRICTED
    return Directives(**{**by_default.known, **obeyed}, control=limits, ignored=tuple(ignored))


@lru_cache(256)
def parse_members(value: bytes) -> ControlMembers | InvalidControl:
    """Read a `Cachemw` field value, an RFC 9651 dictionary. Nothing is guessed; an empty one says nothing."""
    dictionary = _dictionary(value)
    return _unreadable(value) if dictionary is None else _members_of(dictionary)


def _dictionary(value: bytes) -> dict[str, Any] | None:
    try:
        return cast(dict[str, Any], http_sf.parse(value, tltype="dictionary"))
    except http_sf.StructuredFieldError:
        return None


def _members_of(dictionary: dict[str, Any]) -> ControlMembers | InvalidControl:
    known: dict[str, Any] = {}
    for name, (item, parameters) in dictionary.items():
        member = _MEMBERS.get(name)
        if member is None:
            continue
        if parameters:  # `on; ttl=60` for `on, ttl=60`: a typo must not become a paid call
            return InvalidControl(name, f"{name} takes no parameters; members are separated by commas")
        known[name] = member.read(item)
        if known[name] is None:
            return InvalidControl(name, member.takes + _instead(item))
    unknown = [name for name in dictionary if name not in _MEMBERS]
    if unknown and not known:  # that is a typo of somebody who wanted something of the cache
        return InvalidControl("cachemw", f"Cachemw has no member {_named(unknown[0])}; {_ALL_MEMBERS}")
    switches = [known.pop("on", True), not known.pop("off", False)]
    on = all(switches) if dictionary else None
    return ControlMembers(on, known, tuple([name[:NAME_LIMIT] for name in unknown[:UNKNOWN_LIMIT]]))


def likely_member(unknown: str) -> str | None:
    """Return what was probably meant by a name that is no member's, as it would be written."""
    name = unknown.lower()
    if name in _WORDS:
        return _WORDS[name]
    near = nearest(name, (*_MEMBERS, *_VALUES))
    return _VALUES.get(near, near) if near is not None else None


def nearest(name: str, words: Iterable[str]) -> str | None:
    """Return the word that was probably meant by a name; `None` where it is near to none of them."""
    near = [word for word in words if _distance(name, word) <= (1 if len(name) < 5 else 2)]
    return min(near, key=partial(_distance, name), default=None)


def _distance(one: str, other: str) -> float:
    """Return how many letters are to be changed, swapped, put in or left out, a little less where they are at the end."""
    if abs(len(one) - len(other)) > 2:
        return math.inf
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        before, last, row = row, before, [at]
        for place, known in enumerate(other, 1):
            least = min(before[place] + 1, row[-1] + 1, before[place - 1] + (letter != known))
            if last and place > 1 and letter == other[place - 2] and one[at - 2] == known:
                least = min(least, last[place - 2] + 1)
            row.append(least)
    is_longer = one.startswith(other) or other.startswith(one)
    return row[-1] - is_longer / 2


def _named(unknown: str) -> str:
    likely = likely_member(unknown)
    return f"'{unknown[:NAME_LIMIT]}'" + (f" (did you mean {likely}?)" if likely else "")


def _unreadable(value: bytes) -> InvalidControl:
    """Say why a field value is no dictionary: what is wrong with its first member that is none."""
    pieces: list[bytes] = [piece.strip() for piece in _PIECE.findall(value[:_DIAGNOSED_BYTES])]
    piece = next((piece for piece in pieces if not _dictionary(piece)), b"")
    what, reason = (ascii(_shown(piece.decode("latin-1"))), _reason(piece)) if piece else ("a comma", "it is one too many")
    message = f"Cachemw is a dictionary, such as on, ttl=3600, and cannot be read at {what}: {reason}; {_ALL_MEMBERS}"
    return InvalidControl("cachemw", message)


def _shown(text: str) -> str:
    """Return the beginning of what was sent, and nothing of a text in quotes, which may be anything."""
    return text.partition('"')[0][:SHOWN_LIMIT] or '"'


def _reason(piece: bytes) -> str:
    matched = _WRITTEN.match(piece)
    assert matched is not None  # noqa: S101 - it takes anything
    name, equals, value = [part.decode("latin-1") for part in matched.groups()]
    meant = name.lower() + equals + value
    dictionary = _dictionary(meant.encode("latin-1"))
    if dictionary and isinstance(_members_of(dictionary), ControlMembers):
        return f"did you mean {_shown(meant)}?"
    if name.lower() in _MEMBERS:
        return _MEMBERS[name.lower()].takes if equals else "there are commas between members"
    likely = likely_member(name)
    return f"did you mean {likely}?" if likely else "a member is a name, or a name, = and a value"


def _instead(item: object) -> str:
    """Say what came in the place of a value that can be used, where that is a word or a number."""
    match item:
        case bool():
            return ", and not ?0" if item is False else ", and not without one"
        case int() | Decimal() | http_sf.Token():
            return f", and not {str(item)[:SHOWN_LIMIT]}"
        case str():  # which may be anything
            return ", and not in quotes"
    return ""


def _boolean(item: object) -> bool | None:
    return item if isinstance(item, bool) else None


def _count(item: object) -> int | None:
    return item if isinstance(item, int) and not isinstance(item, bool) and item >= 0 else None


def _pace(item: object) -> float | None:
    return float(item) if isinstance(item, (int, Decimal)) and not isinstance(item, bool) and item >= 0 else None


def _text(item: object) -> str | None:
    text = str(item) if isinstance(item, (str, http_sf.Token)) else None
    return text if text is not None and len(text) <= NAMESPACE_LIMIT else None


def _word(words: type[Enum], item: object) -> Enum | None:
    return next((word for word in words if isinstance(item, http_sf.Token) and word.value == str(item)), None)


class _Member(msgspec.Struct, frozen=True):
    """A member: the reader of its value, which gives `None` for one that cannot be used, and what it takes, for people."""

    read: Callable[[object], Any]
    takes: str

    __repr__ = redacted_repr


def _one_of(name: str, words: type[Enum]) -> _Member:
    return _Member(partial(_word, words), f"{name} is one of {', '.join([word.value for word in words])}")


_MEMBERS: Mapping[str, _Member] = {
    "on": _Member(_boolean, "on takes no value, or ?0 for no"),
    "off": _Member(_boolean, "off takes no value, or ?0 for no"),
    "mode": _one_of("mode", Mode),
    "ttl": _Member(_count, "ttl is a whole number of seconds, 0 or more, such as ttl=3600"),
    "namespace": _Member(_text, f'namespace is text of {NAMESPACE_LIMIT} characters at most, such as namespace="evals"'),
    "sample": _Member(_count, "sample is a whole number, 0 or more, such as sample=2"),
    "speed": _Member(_pace, "speed is a number, 0 or more, such as speed=1.5"),
    "abandon": _one_of("abandon", Abandon),
    "partial": _Member(_boolean, "partial takes no value, or ?0 for no"),
}
_ALL_MEMBERS = f"its members are {', '.join(_MEMBERS)}"

_VALUES = {
    **{mode.value: f"mode={mode.value}" for mode in Mode},
    **{word.value: f"abandon={word.value}" for word in Abandon},
}
_WORDS = {
    **dict.fromkeys(("true", "yes", "1", "?1", "enable", "enabled"), "on"),
    **dict.fromkeys(("false", "no", "0", "?0", "none", "disable", "disabled"), "off"),
    **{name: f"Cache-Control: {name}" for name in ("no-store", "no-cache", "only-if-cached")},
}
"""What else people write, and what they mean by it."""

_DIAGNOSED_BYTES = 1024
_PIECE = re.compile(rb'(?:[^",]|"(?:[^"\\]|\\.)*"?)+|(?<=,)(?=,|$)|^(?=,)', re.DOTALL)
_WRITTEN = re.compile(rb'"?([^="\s]*)"?\s*(=?)\s*(.*)', re.DOTALL)


def details_of(asked: Directives, *details: str | None) -> tuple[str, ...]:
    """Return why, most telling first, without repeats; and what of the request was not obeyed."""
    given = [*details, *map("ignored-{}".format, asked.ignored)]
    return tuple([detail for detail in dict.fromkeys(given) if detail is not None]) if any(given) else ()
