"""The one filter: which records, or which exchanges, are meant. The same words in options, in URLs and in SQL. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Self, TypeVar, get_args

from cachemw.endpoints import ENDPOINTS
from cachemw.errors import InvalidSetting
from cachemw.formats import SECONDS, SWITCH, Format, choice, sizes
from cachemw.inventory.entry import Entry
from cachemw.redaction import redacted_repr
from cachemw.report import Result

T = TypeVar("T")

LONGEST_PATTERN = 200
"""The characters of the longest name or pattern: the ledger writes no longer names."""

_KEY = re.compile(r"[0-9a-f]{1,32}")


class Subject(Enum):
    """What a filter is of."""

    RECORDS = "records"
    EXCHANGES = "exchanges"


@dataclass(frozen=True, slots=True)
class Columns:
    """A member's condition on rows of the ledger: SQL, and the values for it, of the member's value and of the time."""

    sql: str
    values: Callable[[Any, float], tuple[object, ...]] = lambda value, now: (value,)

    __repr__ = redacted_repr


Fits = Callable[[Any, Entry, float], bool]
"""A member's condition on records: of its value, what is known of the record, and the time."""


def _member(form: Format[T], help_text: str, *, records: Fits | None = None, exchanges: Columns | None = None) -> T | None:
    """Return a row of the table: a field of `Filter`. It concerns what there is a condition for."""
    metadata = {"form": form, "help_text": help_text, "records": records, "exchanges": exchanges}
    return field(default=None, metadata=metadata)


def _key(text: str) -> str:
    if not _KEY.fullmatch(text.lower()):
        raise ValueError
    return text.lower()


def _name(text: str) -> str:
    if not (text.isprintable() and 0 < len(text) <= LONGEST_PATTERN):  # a lone surrogate is not printable either
        raise ValueError
    return text


def _literally(pattern: str) -> str:
    """Return a pattern in which only `*` and `?` stand for others, as `fnmatch` and SQLite both read it."""
    return pattern.replace("[", "[[]")


def _matches(pattern: str, *names: str | None) -> bool:
    return any(name is not None and fnmatchcase(name, _literally(pattern)) for name in names)


def _is_of(provider: str, entry: Entry, _: float) -> bool:
    return f"{entry.target}/".startswith(f"{provider}/")


def _is_older(seconds: float, entry: Entry, now: float) -> bool:
    return entry.stored_at is not None and entry.stored_at < now - seconds


def _is_newer(seconds: float, entry: Entry, now: float) -> bool:
    return entry.stored_at is not None and entry.stored_at >= now - seconds


def _since(seconds: float, now: float) -> tuple[object, ...]:
    return (max(0, int(max(0.0, now - seconds) * 1000)),)


def _one_of(*words: str) -> Format[str]:
    return replace(choice(*words), metavar="NAME")


_ENDPOINTS = tuple(endpoint.name for endpoint in ENDPOINTS)
_GIVEN = replace(SWITCH, show=lambda _: "1")
KEY_PREFIX = Format("PREFIX", "the beginning of a key: 1 to 32 hexadecimal digits", _key)
_TEXT = f"of 1 to {LONGEST_PATTERN} characters that can be shown"
_NAME = Format("NAME", f"a name {_TEXT}", _name)
_PATTERN = Format("GLOB", f"a pattern {_TEXT}", _name)
_WITH_PATTERNS = "* is any text, ? any character"


@dataclass(frozen=True, slots=True)
class Filter:
    """The one table of conditions, all of which must hold: each is an option and a member of a URL's query."""

    key: str | None = _member(
        KEY_PREFIX,
        "Only keys that begin so, as Cache-Status has them.",
        records=lambda prefix, entry, _: entry.key.startswith(prefix),
        exchanges=Columns("key GLOB ?", lambda prefix, _: (f"{prefix}*",)),
    )
    model: str | None = _member(
        _PATTERN,
        f"Only this model, asked for or answering; {_WITH_PATTERNS}.",
        records=lambda pattern, entry, _: _matches(pattern, entry.model, entry.asked_model),
        exchanges=Columns("(model GLOB ? OR answered_model GLOB ?)", lambda pattern, _: (_literally(pattern),) * 2),
    )
    provider: str | None = _member(
        _NAME,
        "Only this provider.",
        records=_is_of,
        exchanges=Columns("substr(target || '/', 1, ?) = ?", lambda name, _: (len(name) + 1, f"{name}/")),
    )
    endpoint: str | None = _member(
        _one_of(*_ENDPOINTS),
        f"Only this endpoint: {', '.join(_ENDPOINTS)}.",
        records=lambda name, entry, _: name in (entry.endpoint, entry.asked_endpoint),
        exchanges=Columns("endpoint = ?"),
    )
    namespace: str | None = _member(_NAME, "Only this namespace.", exchanges=Columns("namespace = ?"))
    client: str | None = _member(_NAME, "Only this client, by its name.", exchanges=Columns("client = ?"))
    target: str | None = _member(
        _PATTERN,
        f"Only this target: PROVIDER/MODEL, a URL or an app's name; {_WITH_PATTERNS}.",
        records=lambda pattern, entry, _: _matches(pattern, entry.target),
        exchanges=Columns("target GLOB ?", lambda pattern, _: (_literally(pattern),)),
    )
    older_than: float | None = _member(
        SECONDS, "Only what is older, as 90s, 15m, 2h or 7d.", records=_is_older, exchanges=Columns("at_ms < ?", _since)
    )
    newer_than: float | None = _member(
        SECONDS, "Only what is not older.", records=_is_newer, exchanges=Columns("at_ms >= ?", _since)
    )
    larger_than: int | None = _member(
        sizes(0),
        "Only what is larger, as 64kB or 1MB: records as the store has them, answers in the ledger.",
        records=lambda limit, entry, _: entry.size > limit,
        exchanges=Columns("bytes_out > ?", lambda limit, _: (min(limit, 2**63 - 1),)),
    )
    finish: str | None = _member(
        _NAME,
        "Only answers that ended so, as length, stop or tool_calls.",
        records=lambda reason, entry, _: reason in (entry.finish or ()),
    )
    stale: bool | None = _member(
        _GIVEN, "Only records whose lifetime is over.", records=lambda _, entry, now: entry.is_stale(now)
    )
    damaged: bool | None = _member(_GIVEN, "Only records that cannot be read.", records=lambda _, entry, __: entry.is_damaged)
    outcome: str | None = _member(
        _one_of(*get_args(Result)), f"Only what came out so: {', '.join(get_args(Result))}.", exchanges=Columns("outcome = ?")
    )

    __repr__ = redacted_repr

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Self:
        """Return the filter of a URL's query; what is empty there is not given, and others' members are not looked at.

        Raises `InvalidSetting`, whose place is the member's word.
        """
        values = {}
        for name, member in FILTER_MEMBERS.items():
            if text := query.get(member.word):
                try:
                    values[name] = member.form.from_text(text)
                except ValueError as exc:
                    raise InvalidSetting(member.word, str(exc)) from exc
        return cls(**values)

    def to_query(self) -> dict[str, str]:
        """Return the members of a URL's query that say the same."""
        return {member.word: member.form.show(value) for member, value in self._given()}

    @property
    def is_empty(self) -> bool:
        """Say whether it has no condition, so that everything fits."""
        return not list(self._given())

    @property
    def words(self) -> str:
        """The options that say the same, as people are told of it; they are not quoted for a shell."""
        return " ".join(
            member.option if member.is_switch else f"{member.option} {member.form.show(value)}"
            for member, value in self._given()
        )

    def concerns(self, subject: Subject) -> bool:
        """Say whether every condition is one on these."""
        return all(subject in member.subjects for member, _ in self._given())

    def fits(self, entry: Entry, now: float) -> bool:
        """Say whether a record is meant; conditions on exchanges alone are not looked at."""
        return all(member.records(value, entry, now) for member, value in self._given() if member.records is not None)

    def where(self, now: float) -> tuple[str, tuple[object, ...]]:
        """Return the condition on rows of the ledger's `exchanges`, and the values that are bound in it.

        Conditions on records alone are left out.
        """
        conditions = [(member.exchanges, value) for member, value in self._given() if member.exchanges is not None]
        values = [bound for columns, value in conditions for bound in columns.values(value, now)]
        return " AND ".join(columns.sql for columns, _ in conditions) or "1", tuple(values)

    def _given(self) -> Iterable[tuple["FilterMember", Any]]:
        for name, member in FILTER_MEMBERS.items():
            value = getattr(self, name)
            if value is not None and value is not False:
                yield member, value


@dataclass(frozen=True, slots=True)
class FilterMember:
    """A row of the table."""

    name: str
    form: Format[Any]
    help_text: str
    records: Fits | None
    exchanges: Columns | None

    __repr__ = redacted_repr

    @property
    def word(self) -> str:
        """Its name in a URL, as `older-than`."""
        return self.name.replace("_", "-")

    @property
    def option(self) -> str:
        """Its option, as `--older-than`."""
        return f"--{self.word}"

    @property
    def is_switch(self) -> bool:
        """Say whether it has no value but that it is given."""
        return self.form is _GIVEN

    @property
    def subjects(self) -> frozenset[Subject]:
        """What it is a condition on."""
        conditions = {Subject.RECORDS: self.records, Subject.EXCHANGES: self.exchanges}
        return frozenset(subject for subject, condition in conditions.items() if condition is not None)


FILTER_MEMBERS: Mapping[str, FilterMember] = {
    member.name: FilterMember(member.name, **member.metadata) for member in fields(Filter)
}

EVERYTHING = Filter()
"""The filter that everything fits."""
