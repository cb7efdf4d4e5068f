"""The one filter: as options, in URLs, in SQL and on records it says the same."""

import sqlite3
import string
from contextlib import closing
from typing import Any, get_args
from urllib.parse import parse_qsl, urlencode

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from typer.testing import CliRunner

from cachemw.cli.filtering import FilterOptions, filter_of, takes_filters
from cachemw.endpoints import ENDPOINTS
from cachemw.errors import InvalidSetting
from cachemw.inventory.entry import Entry
from cachemw.inventory.filters import FILTER_MEMBERS, Filter, Subject
from cachemw.report import Result

NOW = 1_800_000_000.0
NAMES = st.text("abcAB/-.:*?[]! ü%&=+", min_size=1, max_size=8).filter(str.strip)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "key": st.text(string.hexdigits.lower()[:16], min_size=1, max_size=32),
    "endpoint": st.sampled_from([endpoint.name for endpoint in ENDPOINTS]),
    "outcome": st.sampled_from(get_args(Result)),
    "larger_than": st.integers(0, 2**70),
    **dict.fromkeys(("older_than", "newer_than"), st.floats(0, 1e12) | st.integers(0, 10**7).map(float)),
    **dict.fromkeys(("stale", "damaged"), st.just(True)),
    **dict.fromkeys(("model", "provider", "namespace", "client", "target", "finish"), NAMES),
}
FILTERS = st.fixed_dictionaries({}, optional=VALUES).map(lambda given: Filter(**given))

ENTRY = Entry(
    index=bytes.fromhex("7c5d" * 8),
    key="7c5d" * 8,
    size=1000,
    endpoint="chat",
    asked_endpoint="messages",
    target="cerebras/gpt-oss-120b",
    model="gpt-oss-120b-2025",
    stored_at=NOW - 100,
    lifetime=60.0,
    finish=("stop", "length"),
)
FRESH, DAMAGED = replace(ENTRY, lifetime=101.0), Entry(index=b"i" * 16, key="69" * 16, size=3000, is_damaged=True)
OF_URL = replace(ENTRY, target="https://api.example.com/v1/chat/completions", model=None)

FITS = [
    (ENTRY, "key=7C5d"),
    (ENTRY, f"key={'7c5d' * 8}"),
    (ENTRY, "model=gpt-oss-120b"),
    (ENTRY, "model=gpt-oss-120b-2025"),
    (ENTRY, "model=*oss*"),
    (ENTRY, "model=gpt-?ss-120b"),
    (ENTRY, "provider=cerebras"),
    (ENTRY, "endpoint=chat"),
    (ENTRY, "endpoint=messages"),
    (ENTRY, "target=cerebras/*"),
    (ENTRY, "older-than=99"),
    (ENTRY, "newer-than=100"),
    (ENTRY, "larger-than=999"),
    (ENTRY, "finish=length"),
    (ENTRY, "stale=1"),
    (ENTRY, "model=gpt*&provider=cerebras&stale=on"),
    (ENTRY, "stale=0&damaged=0&model="),
    (DAMAGED, "damaged=1"),
    (DAMAGED, "larger-than=2kB&key=6"),
    (OF_URL, "target=https://*"),
]
FITS_NOT = [
    (ENTRY, "key=5d"),
    (ENTRY, "model=gpt-oss"),
    (ENTRY, "model=GPT*"),
    (ENTRY, "model=[g]pt*"),
    (ENTRY, "provider=cere"),
    (ENTRY, "provider=gpt-oss-120b"),
    (ENTRY, "endpoint=embeddings"),
    (ENTRY, "target=cerebras"),
    (ENTRY, "older-than=100"),
    (ENTRY, "newer-than=99"),
    (ENTRY, "larger-than=1kB"),
    (ENTRY, "finish=tool_calls"),
    (replace(ENTRY, finish=None), "finish=stop"),
    (FRESH, "stale=1"),
    (ENTRY, "damaged=1"),
    (ENTRY, "model=gpt*&provider=groq"),
    *((DAMAGED, condition) for condition in ("stale=1", "older-than=0", "newer-than=99d", "model=*", "target=?*")),
    (OF_URL, "model=v1*"),
]


def of_query(query: str) -> Filter:
    return Filter.from_query(dict(parse_qsl(query)))


@pytest.mark.parametrize(("entry", "query"), FITS)
def test_a_record_fits_where_every_condition_holds(entry: Entry, query: str) -> None:
    assert of_query(query).fits(entry, NOW)


@pytest.mark.parametrize(("entry", "query"), FITS_NOT)
def test_a_record_fits_not_where_one_condition_does_not_hold(entry: Entry, query: str) -> None:
    assert not of_query(query).fits(entry, NOW)


def test_everything_fits_the_empty_filter() -> None:
    assert Filter().is_empty
    assert Filter(stale=False).is_empty
    assert not Filter(older_than=0.0).is_empty
    assert all(Filter().fits(entry, NOW) for entry in (ENTRY, DAMAGED))
    assert Filter().where(NOW) == ("1", ())


@pytest.mark.parametrize(
    "query", ["key=xyz", f"key={'0' * 33}", "older-than=soon", "larger-than=1.5MB", "endpoint=chats", "outcome=hits", "stale=?"]
)
def test_what_no_member_takes_is_said_with_what_it_does(query: str) -> None:
    word, _, value = query.partition("=")

    with pytest.raises(InvalidSetting) as refused:
        of_query(query)

    assert refused.value.place == word
    assert refused.value.reason.startswith(repr(value))


@pytest.mark.parametrize("name", ["\x00", "a\nb", "\udc80", "x" * 201])
def test_a_name_that_cannot_be_shown_or_written_is_refused(name: str) -> None:
    with pytest.raises(InvalidSetting):
        Filter.from_query({"model": name})


@given(FILTERS)
def test_a_filter_comes_back_from_a_url_as_it_went(meant: Filter) -> None:
    assert Filter.from_query(dict(parse_qsl(urlencode(meant.to_query())))) == meant


@given(FILTERS)
def test_a_filter_comes_back_from_options_as_it_went(meant: Filter) -> None:
    options: dict[str, FilterOptions] = {
        name: True if FILTER_MEMBERS[name].is_switch else meant.to_query()[FILTER_MEMBERS[name].word]
        for name in FILTER_MEMBERS
        if getattr(meant, name) is not None
    }

    assert filter_of(options) == meant


class Ledger:
    """A table like the ledger's, in memory."""

    COLUMNS = ("key", "model", "answered_model", "target", "endpoint", "namespace", "client", "at_ms", "bytes_out", "outcome")

    def __init__(self, *rows: dict[str, object]) -> None:
        self.book = sqlite3.connect(":memory:")
        self.book.execute(f"CREATE TABLE exchanges (place INTEGER PRIMARY KEY, {', '.join(self.COLUMNS)})")
        for row in rows:
            marks = ", ".join("?" * len(self.COLUMNS))
            self.book.execute(
                f"INSERT INTO exchanges ({', '.join(self.COLUMNS)}) VALUES ({marks})", [row.get(name) for name in self.COLUMNS]
            )

    def found(self, meant: Filter) -> list[int]:
        sql, values = meant.where(NOW)
        return [place for (place,) in self.book.execute(f"SELECT place FROM exchanges WHERE {sql} ORDER BY place", values)]


ROWS: tuple[dict[str, object], ...] = (
    {"key": "7c5d" * 8, "model": "gpt-oss-120b", "answered_model": "gpt-oss-120b-2025", "target": "cerebras/gpt-oss-120b"},
    {"key": None, "model": "", "answered_model": "", "target": "cerebras", "client": "alice", "bytes_out": 1001},
    {"key": "69" * 16, "model": "a[b]c*", "target": "https://api.example.com/v1", "namespace": "n", "outcome": "hit"},
    {"key": "69" * 16, "endpoint": "chat", "at_ms": int((NOW - 100) * 1000), "outcome": "miss", "target": "cerebras-2/m"},
)


@pytest.mark.parametrize(
    ("query", "places"),
    {
        "": [1, 2, 3, 4],
        "key=69": [3, 4],
        "model=gpt*": [1],
        "model=*2025": [1],
        "model=a[b]c?": [3],
        "provider=cerebras": [1, 2],
        "target=https:*": [3],
        "namespace=n": [3],
        "client=alice": [2],
        "endpoint=chat": [4],
        "older-than=99": [4],
        "older-than=100": [],
        "newer-than=100": [4],
        "newer-than=inf": [4],
        "newer-than=99": [],
        "larger-than=1kB": [2],
        "outcome=hit": [3],
        "key=69&outcome=miss": [4],
    }.items(),
)
def test_rows_of_the_ledger_fit_where_every_condition_holds(query: str, places: list[int]) -> None:
    with closing((ledger := Ledger(*ROWS)).book):
        assert ledger.found(of_query(query)) == places


@given(FILTERS)
def test_every_filter_is_sql_with_bound_values(meant: Filter) -> None:
    with closing((ledger := Ledger(*ROWS)).book):
        ledger.found(meant)

    assert not any(character in meant.where(NOW)[0] for character in '"%&ü;')


@given(NAMES, NAMES)
def test_records_and_rows_agree_on_patterns(pattern: str, name: str) -> None:
    meant = Filter(target=pattern)

    with closing((ledger := Ledger({"target": name})).book):
        assert (ledger.found(meant) == [1]) is meant.fits(replace(ENTRY, target=name), NOW)


def test_each_member_is_marked_with_what_it_is_a_condition_on() -> None:
    of = {subject: {name for name, one in FILTER_MEMBERS.items() if one.subjects == {subject}} for subject in Subject}

    assert of == {Subject.RECORDS: {"finish", "stale", "damaged"}, Subject.EXCHANGES: {"namespace", "client", "outcome"}}
    assert not Filter(stale=True).concerns(Subject.EXCHANGES)
    assert Filter(model="m").concerns(Subject.EXCHANGES)


def command_for(subject: Subject, came: list[Filter]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @takes_filters(subject)
    def look(limit: int = 5, **options: FilterOptions) -> None:
        came.append(filter_of(options))

    return app


def test_a_command_has_the_options_that_concern_it_and_no_others() -> None:
    came: list[Filter] = []
    app = command_for(Subject.RECORDS, came)

    taken = CliRunner().invoke(app, ["--older-than", "2d", "--stale", "--limit", "3", "--model", "gpt*"])
    refused = CliRunner().invoke(app, ["--client", "alice"])

    assert (taken.exit_code, came) == (0, [Filter(older_than=172_800.0, stale=True, model="gpt*")])
    assert refused.exit_code == 2
    assert "No such option" in refused.output


@pytest.mark.parametrize("arguments", [["--older-than", "soon"], ["--model", ""]])
def test_a_command_refuses_a_value_that_is_none_and_names_the_option(arguments: list[str]) -> None:
    refused = CliRunner().invoke(command_for(Subject.RECORDS, []), arguments)

    assert refused.exit_code == 2
    assert arguments[0] in refused.output


def test_the_words_of_a_filter_are_its_options() -> None:
    assert Filter(model="gpt*", older_than=172_800.0, stale=True).words == "--model gpt* --older-than 2d --stale"
