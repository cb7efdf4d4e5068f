"""A record with the right checksum and proof that no recording comes to: whoever can write to a store can make one."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from cachemw.cache.lookup import is_sound
from cachemw.cache.policy import Policy
from cachemw.cache.recording import head_fault
from cachemw.messages import Head, Kind, StoredResponse

JSON = ((b"content-type", b"application/json"),)
STREAM = ((b"content-type", b"text/event-stream; charset=utf-8"),)
ANSWER = StoredResponse(200, JSON, b"{}", (), (), Kind(False), bytes(32), 1000.0, 60.0, "chat")
EVENTS = StoredResponse(
    200, STREAM, b"data: 1\n\ndata: 2\n\n", (9, 18), (0.0, 1.5), Kind(True), bytes(32), 1000.0, 60.0, "chat"
)
NAN, INF = float("nan"), float("inf")
NOW, DAY = 2000.0, 86_400.0


@dataclass(frozen=True)
class Case:
    """What is changed in a sound record."""

    of: StoredResponse = ANSWER
    changes: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    "case",
    [
        Case(),
        Case(EVENTS),
        Case(EVENTS, {"arrivals": (1.5, 0.5)}),
        Case(EVENTS, {"event_ends": (9, 16)}),
        *[Case(changes={"lifetime": seconds}) for seconds in (0.0, Policy(max_lifetime=INF).lifetime_of(2**40))],
        *[Case(changes={"stored_at": when}) for when in (NOW - 2**31, NOW, NOW + DAY)],
        Case(changes={"headers": (*JSON, (b"content-language", b"en"), (b"content-language", b"\xe9"))}),
        Case(changes={"headers": ((b"content-type", b"application/json; charset=utf-8"), (b"openai-version", b"1"))}),
    ],
    ids=str,
)
def test_what_a_recording_comes_to_is_sound(case: Case) -> None:
    assert is_sound(msgspec.structs.replace(case.of, **case.changes), NOW)


HEADERS = [
    (b"set-cookie", b"a=b"),
    (b"transfer-encoding", b"chunked"),
    (b"content-length", b"2"),
    (b"content-encoding", b"gzip"),
    (b"cache-status", b"cachemw; hit"),
    (b"Content-Language", b"en"),
    (b"content-language", b"en\r\nset-cookie: a=b"),
    (b"content-language", b"en\n"),
    (b"content-language", b"\x00"),
    (b"content-type", b"text/html"),
]


@pytest.mark.parametrize(
    "case",
    [
        *[Case(changes={"headers": (*JSON, line)}) for line in HEADERS],
        *[Case(changes={"headers": headers}) for headers in ((), ((b"content-type", b"text/html"),), STREAM)],
        *[Case(changes={"status": status}) for status in (0, 100, 204, 304, 500)],
        *[Case(changes={"stored_at": when}) for when in (NAN, INF, -INF, NOW - 2**31 - 1, NOW + DAY + 1, 1e300, -1e300)],
        *[Case(changes={"lifetime": seconds}) for seconds in (NAN, INF, -1.0, 2.0**31 + 1, 1e308)],
        Case(changes={"event_ends": (1,), "arrivals": (0.0,)}),
        *[Case(EVENTS, {"event_ends": ends}) for ends in ((18, 9), (9, 9), (0, 9), (9, 19), (9,), (2**63, 2**64 - 1))],
        *[Case(EVENTS, {"arrivals": when}) for when in ((0.0, NAN), (0.0, INF), (-1.0, 0.0), (0.0,))],
        Case(EVENTS, {"event_ends": (), "arrivals": ()}),
    ],
    ids=str,
)
def test_what_no_recording_comes_to_is_not(case: Case) -> None:
    """F59, F110, R2, I5"""
    assert not is_sound(msgspec.structs.replace(case.of, **case.changes), NOW)


@pytest.mark.parametrize(
    "field",
    [
        (b"content-language", b"en\r\nset-cookie: a=b"),
        (b"content-language", b"\x0ben"),
        (b"Openai-Version", b"\x7f"),
        (b"connection", b"Content-Type"),
    ],
)
def test_a_head_that_would_not_be_sound_is_not_recorded(field: tuple[bytes, bytes]) -> None:
    """F58, E1: else it is said to be stored, and never is a hit."""
    assert head_fault(Head(200, (*JSON, field)), stream=False) == "content-type"
