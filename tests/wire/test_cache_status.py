"""Our member of `Cache-Status`: as a table, and as RFC 9211 reads it."""

from typing import Any, cast, get_args

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.report import ExchangeReport, Fwd
from cachemw.wire.cache_status import StatusMember, announce, member, member_in


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (ExchangeReport(), "cachemw"),
        (ExchangeReport(hit=True, ttl=3480, key="1f0c"), 'cachemw; hit; ttl=3480; key="1f0c"'),
        (
            ExchangeReport(hit=True, ttl=-412, key="1f0c", details=("max-stale",)),
            'cachemw; hit; ttl=-412; key="1f0c"; detail=max-stale',
        ),
        (ExchangeReport(hit=True, ttl=0, key="1f0c"), 'cachemw; hit; ttl=0; key="1f0c"'),
        (
            ExchangeReport(fwd="miss", fwd_status=200, stored=True, key="1f0c"),
            'cachemw; fwd=miss; fwd-status=200; stored; key="1f0c"',
        ),
        (ExchangeReport(fwd="miss", fwd_status=200, stored=None, key="1f0c"), 'cachemw; fwd=miss; fwd-status=200; key="1f0c"'),
        (
            ExchangeReport(fwd="miss", fwd_status=200, stored=False, key="1f0c", details=("finish-length",)),
            'cachemw; fwd=miss; fwd-status=200; key="1f0c"; detail=finish-length',
        ),
        (
            ExchangeReport(fwd="miss", fwd_status=200, collapsed=True, key="1f0c"),
            'cachemw; fwd=miss; fwd-status=200; collapsed; key="1f0c"',
        ),
        (
            ExchangeReport(fwd="request", fwd_status=200, stored=True, key="1f0c"),
            'cachemw; fwd=request; fwd-status=200; stored; key="1f0c"',
        ),
        (ExchangeReport(fwd="stale", key="1f0c"), 'cachemw; fwd=stale; key="1f0c"'),
        (
            ExchangeReport(fwd="stale", fwd_status=503, ttl=-412, key="1f0c", details=("stale-if-error",)),
            'cachemw; fwd=stale; fwd-status=503; ttl=-412; key="1f0c"; detail=stale-if-error',
        ),
        (
            ExchangeReport(hit=True, ttl=-412, key="1f0c", details=("stale-while-revalidate",)),
            'cachemw; hit; ttl=-412; key="1f0c"; detail=stale-while-revalidate',
        ),
        (ExchangeReport(fwd="miss", fwd_status=200, abandoned="finish"), "cachemw; fwd=miss; fwd-status=200"),
        (ExchangeReport(fwd="bypass", stored=False, details=("ambiguous-json",)), "cachemw; fwd=bypass; detail=ambiguous-json"),
        (ExchangeReport(details=("not-cached",)), "cachemw; detail=not-cached"),
        (ExchangeReport(details=("not-cached", "audio")), 'cachemw; detail="not-cached, audio"'),
        (ExchangeReport(details=("ignored-speed",)), "cachemw; detail=ignored-speed"),
        (ExchangeReport(details=('a "b" \\c',)), 'cachemw; detail="a \\"b\\" \\\\c"'),
        (ExchangeReport(details=("404",)), 'cachemw; detail="404"'),
    ],
    ids=[
        "nothing",
        "hit",
        "hit, stale",
        "hit, its last second",
        "miss, stored",
        "miss, not known yet",
        "miss, not stored",
        "collapsed",
        "on request",
        "stale, unreachable",
        "stale, the upstream failed",
        "stale, fetched anew",
        "left by every reader: nobody is there to be told",
        "bypass",
        "504",
        "two details",
        "a token",
        "no token: quotes",
        "no token: a digit first",
    ],
)
def test_the_words_are_these(report: ExchangeReport, text: str) -> None:
    """E1."""
    assert member(report) == text.encode()


reports = st.builds(
    ExchangeReport,
    hit=st.booleans(),
    fwd=st.none() | st.sampled_from(get_args(Fwd)),
    fwd_status=st.none() | st.integers(100, 999),
    ttl=st.none() | st.integers(-(10**9), 10**9),
    stored=st.none() | st.booleans(),
    collapsed=st.booleans(),
    key=st.none() | st.binary(min_size=16, max_size=16).map(bytes.hex),
    details=st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1), max_size=3).map(tuple),
    abandoned=st.none() | st.sampled_from(["finish", "cancel"]),
)


def parameters(report: ExchangeReport) -> dict[str, Any]:
    """Return what RFC 9211 §2 makes of a report."""
    said = {
        "hit": report.hit or None,
        "fwd": report.fwd,
        "fwd-status": report.fwd_status,
        "ttl": report.ttl,
        "stored": report.stored or None,
        "collapsed": report.collapsed or None,
        "key": report.key,
        "detail": ", ".join(report.details) or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def members_of(value: bytes) -> list[tuple[Any, dict[str, Any]]]:
    """Read a list of RFC 9651: its members, each with its parameters."""
    return cast(list[tuple[Any, dict[str, Any]]], http_sf.parse(value, tltype="list"))


@given(reports)
def test_it_is_one_member_of_a_list_of_structured_fields(report: ExchangeReport) -> None:
    """RFC 9211 §2."""
    [(name, said)] = members_of(member(report))

    assert (str(name), type(name)) == ("cachemw", http_sf.Token)
    assert {parameter: str(value) if isinstance(value, http_sf.Token) else value for parameter, value in said.items()} == (
        parameters(report)
    )


@given(reports, reports)
def test_it_can_be_appended_to_a_list(first: ExchangeReport, second: ExchangeReport) -> None:
    """RFC 9211 §2: the cache nearest to the origin is the first."""
    assert members_of(member(first) + b", " + member(second)) == [*members_of(member(first)), *members_of(member(second))]


# What every answer says.

REPORT = ExchangeReport(hit=True, ttl=1)


def test_json_is_private_and_not_to_be_stored() -> None:
    assert announce(((b"content-type", b"application/json"),), REPORT, is_stream=False) == (
        (b"content-type", b"application/json"),
        (b"cache-control", b"private, no-store"),
        (b"cache-status", b"cachemw; hit; ttl=1"),
    )


def test_a_stream_is_not_to_be_transformed_or_buffered_either() -> None:
    """H8."""
    assert announce(((b"content-type", b"text/event-stream"),), REPORT, is_stream=True) == (
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"private, no-store, no-transform"),
        (b"x-accel-buffering", b"no"),
        (b"cache-status", b"cachemw; hit; ttl=1"),
    )


@pytest.mark.parametrize("is_stream", [False, True])
def test_what_was_there_before_is_replaced_but_for_another_caches_status(is_stream: bool) -> None:
    before = (b"Cache-Control", b"no-cache"), (b"CACHEMW", b"off"), (b"Cache-Status", b"edge; hit"), (b"vary", b"origin")

    fields = announce(before, REPORT, is_stream)

    assert fields[:2] == ((b"Cache-Status", b"edge; hit"), (b"vary", b"origin"))
    assert {name.lower() for name, _ in fields[2:]} <= {b"cache-control", b"cache-status", b"x-accel-buffering"}
    assert fields[-1] == (b"cache-status", b"cachemw; hit; ttl=1")


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        ([b"cachemw; hit; ttl=9"], []),
        ([b'"cachemw"; hit'], []),
        ([b"edge; hit, cachemw; hit; ttl=9"], [b"edge;hit"]),
        ([b"edge; hit", b"cachemw; hit"], [b"edge;hit"]),
        ([b'edge; hit; detail="cachemw; hit"'], [b'edge; hit; detail="cachemw; hit"']),
        ([b"edge hit !!"], []),
        ([b"cachemw-edge; hit"], [b"cachemw-edge; hit"]),
    ],
)
def test_an_upstream_cannot_speak_in_our_name(before: list[bytes], kept: list[bytes]) -> None:
    """F88, I28: who reads the first member of that name reads ours; a list nobody can read would hide it."""
    fields = announce(tuple((b"cache-status", value) for value in before), ExchangeReport(fwd="miss"), is_stream=False)

    values = [value for name, value in fields if name == b"cache-status"]
    assert values == [*kept, b"cachemw; fwd=miss"]
    assert len(members_of(b", ".join(values))) == len(kept) + 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'cachemw; hit; ttl=60; key="7c5d"', StatusMember(is_hit=True, key="7c5d")),
        (b"cachemw; fwd=miss; stored; detail=transcoded", StatusMember(is_stored=True, detail="transcoded")),
        (b'other; hit, cachemw; fwd=miss; detail="a, b"', StatusMember(detail="a, b")),
        (b"other; hit", StatusMember()),
        (b"no list; (", StatusMember()),
    ],
)
def test_a_client_reads_what_our_member_says(value: bytes, expected: StatusMember) -> None:
    assert member_in(((b"Cache-Status", value),)) == expected


def test_without_the_field_nothing_is_said() -> None:
    assert member_in(()) == StatusMember()
