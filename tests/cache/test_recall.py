"""What is recalled of plain hits: digests that tell requests apart, seconds of their age, and bounds."""

import contextlib
import hashlib
import math
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw.cache import recall as module
from cachemw.cache import record as codec
from cachemw.cache import replay
from cachemw.cache.effects import Basis, Serve
from cachemw.cache.freshness import age, is_fresh, remaining
from cachemw.cache.header_rules import ROWS, Counts, HeaderRules, fate
from cachemw.cache.recall import HEADS, Recall, Recalled, told_by
from cachemw.messages import NOTHING_ATTESTED, URL_RECIPIENT, Attested, Caller, Headers, Inside, Recipient, StoredResponse
from cachemw.report import ExchangeReport
from tests.cache.answers import record_of, terms
from tests.cache.test_header_rules import ALL, TARGETS
from tests.cache.test_lookup import complete_answer, stored

NO_RULES = HeaderRules()
RULES = HeaderRules(
    vary=frozenset({b"user-agent"}), inert=frozenset({b"x-tenant", b"cookie", b"host"}), forward=frozenset({b"x-real-ip"})
)
SALT = b"a process's own"
ASKED = ("POST", b"/bot", b"/v1/chat/completions", b"/v1/chat/completions", b"a=b")
MEGABYTE = 1024 * 1024


def plain_hit(
    response: StoredResponse | None = None, record: bytes = b"record", now: float = 30.0, until: float | None = None
) -> Recalled:
    """Return what is remembered of a hit."""
    response = response or stored()
    fresh_until = response.stored_at + response.lifetime if until is None else until
    serve = Serve(response, ExchangeReport(hit=True, ttl=remaining(response, age(response, now))), now)
    return Recalled(serve, Basis(((bytes(16), record),), fresh_until), 1)


def recall(limit_bytes: int = 64 * MEGABYTE) -> Recall:
    return Recall(SALT, limit_bytes, threading.Lock())


# What a request is told by.

names = st.sampled_from([*ALL, b"X-Tenant", b"Authorization", b"X-Invented", b"cachemw"]) | st.binary(min_size=1, max_size=6)
values = st.binary(max_size=12) | st.sampled_from([b"", b"a", b"b", b"a, b", b"close, x-tenant"])
fields = st.lists(st.tuples(names, values), max_size=5).map(tuple)
attestations = st.builds(
    Attested,
    st.lists(st.tuples(st.sampled_from([b"tls", b"REMOTE_USER"]), values), max_size=2).map(tuple),
    values,
    st.booleans(),
)
asked_for = st.tuples(st.sampled_from(["POST", "GET"]), values, values, values, values)
callers = st.none() | st.builds(
    Caller,
    st.lists(st.tuples(st.just(b"authorization"), values), max_size=1).map(tuple),
    name=st.none() | st.sampled_from("ab"),
)
requests = st.tuples(asked_for, fields, attestations, callers)
recipients = st.sampled_from(list(TARGETS.values()))
rules = st.sampled_from([NO_RULES, RULES])


def that_count(headers: Headers, recipient: Recipient, of: HeaderRules) -> list[tuple[bytes, bytes]]:
    """Return the fields that the table does not call inert, in their order."""
    return [(name.lower(), value) for name, value in headers if fate(name.lower(), recipient, of).counts is not Counts.INERT]


@given(first=requests, second=requests, to=recipients, of=rules)
def test_two_requests_that_differ_in_anything_that_counts_are_told_apart(
    first: tuple[Any, Headers, Attested, Caller | None],
    second: tuple[Any, Headers, Attested, Caller | None],
    to: Recipient,
    of: HeaderRules,
) -> None:
    """C1, K1: what is asked for and where, every field that is not inert, and every word of the server's."""
    counting = [(asked, that_count(headers, to, of), attested, caller) for asked, headers, attested, caller in (first, second)]
    assume(counting[0] != counting[1])

    told = [told_by(asked, headers, attested, caller, to, of) for asked, headers, attested, caller in (first, second)]
    assert told[0] != told[1]


@given(headers=fields, at=st.integers(0, 4), name=names, value=values, to=recipients, of=rules)
def test_a_field_more_or_a_value_changed_tells_apart_exactly_where_it_is_read(
    headers: Headers, at: int, name: bytes, value: bytes, to: Recipient, of: HeaderRules
) -> None:
    """C1: one that is inert does not matter, wherever it stands, but for those that are read before there is a key."""
    more = (*headers[:at], (name, value), *headers[at:])
    matters = fate(name.lower(), to, of).counts is not Counts.INERT or name.lower() in READ_BEFORE

    told = [told_by(ASKED, fields, NOTHING_ATTESTED, None, to, of) for fields in (headers, more)]

    assert (told[0] != told[1]) == matters


READ_BEFORE = frozenset(
    b"content-type content-encoding content-length transfer-encoding te expect upgrade connection"
    b" cachemw cache-control host origin referer sec-fetch-site".split()
)
NAMED = sorted({name.replace("*", "anything").encode() for row in ROWS for name in row.names.split()} | {b"x-of-no-row"})


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("name", NAMED)
def test_every_row_of_the_table_is_told_by_unless_it_is_inert(name: bytes, to: str) -> None:
    """C1: in either letter case, which is none of the field's."""
    told = [
        told_by(ASKED, headers, NOTHING_ATTESTED, None, TARGETS[to], NO_RULES)
        for headers in (((name, b"a"),), ((name, b"b"),), ((name.upper(), b"a"),))
    ]

    matters = fate(name, TARGETS[to], NO_RULES).counts is not Counts.INERT or name in READ_BEFORE
    assert [told[0] != told[1], told[0] != told[2]] == [matters, False]


def test_an_unknown_upstream_is_told_by_all_that_any_other_is() -> None:
    """C1: the gate does not know whose it is."""
    read = {
        to: {name for name in {*ALL, *NAMED} if fate(name, recipient, NO_RULES).counts is not Counts.INERT}
        for to, recipient in TARGETS.items()
        if not isinstance(recipient, Inside)
    }

    assert all(those <= read["a URL"] for those in read.values())
    assert TARGETS["a URL"] == URL_RECIPIENT


def test_values_cannot_be_moved_from_one_field_or_place_to_another() -> None:
    """C1"""
    told = {
        told_by(ASKED, headers, attested, caller, Inside.APP, NO_RULES)
        for headers, attested, caller in [
            (((b"a", b"bc"),), NOTHING_ATTESTED, None),
            (((b"ab", b"c"),), NOTHING_ATTESTED, None),
            (((b"a", b"b"), (b"c", b"")), NOTHING_ATTESTED, None),
            (((b"a", b"b"), (b"a", b"c")), NOTHING_ATTESTED, None),
            (((b"a", b"c"), (b"a", b"b")), NOTHING_ATTESTED, None),
            ((), Attested(((b"a", b"bc"),)), None),
            ((), Attested((), b"abc"), None),
            ((), Attested((), b"", True), None),
            ((), NOTHING_ATTESTED, Caller(((b"a", b"bc"),))),
            ((), NOTHING_ATTESTED, Caller((), ((b"a", b"bc"),))),
            ((), NOTHING_ATTESTED, Caller(name="abc")),
            ((), NOTHING_ATTESTED, Caller()),
        ]
    }
    moved = {
        told_by(("POST", *parts), (), NOTHING_ATTESTED, None, Inside.APP, NO_RULES) for parts in ((b"ab", b""), (b"a", b"b"))
    }

    assert (len(told), len(moved)) == (12, 2)


# Digests.


class Blake3:
    """What `blake3` gives, of as much as is used of it."""

    def __init__(self, *, key: bytes) -> None:
        assert len(key) == 32
        self._state = hashlib.blake2b(key=key, digest_size=32)
        self.update = self._state.update
        self.digest = self._state.digest


BLAKE3 = [
    pytest.param(None, id="without BLAKE3"),
    pytest.param(Blake3, id="with it"),
    pytest.param(
        module._blake3, id="itself", marks=pytest.mark.skipif(module._blake3 is None, reason="blake3 is not installed here")
    ),
]


@pytest.fixture(params=BLAKE3)
def large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any] | None:
    """What large bodies are digested with, besides."""
    monkeypatch.setattr(module, "_blake3", request.param)
    given: Callable[..., Any] | None = request.param
    return given


SIZES = [0, 1, 31, 32, 33, 4095, 4096, 4097, 65_536]


def test_a_digest_is_of_every_byte_and_of_where_the_body_begins(large: object) -> None:
    """C1: `parts` are of one length, all but the last."""
    head, other = bytes(32), bytes(31) + b"\1"
    bodies = [bytes(size) for size in SIZES]
    bodies += [body[:at] + b"\1" + body[at + 1 :] for body in bodies for at in {0, len(body) // 2, len(body) - 1} if body]

    digests = [recall().digest(which, body) for which in (head, other) for body in bodies]

    assert len(set(digests)) == len(digests)
    assert digests == [recall().digest(which, body) for which in (head, other) for body in bodies]
    assert all(len(digest) == 32 for digest in digests)


def test_a_digest_is_this_processs_own(large: object) -> None:
    """C1: who knows a prompt cannot tell by digests that it was asked."""
    for size in SIZES:
        with_another_salt = Recall(b"another process's", MEGABYTE, threading.Lock()).digest(bytes(32), bytes(size))
        assert len({recall().digest(bytes(32), bytes(size)), with_another_salt, hashlib.sha256(bytes(32 + size)).digest()}) == 3


def test_from_four_kilobytes_on_blake3_digests_where_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """V4"""
    without = [recall().digest(bytes(32), bytes(size)) for size in SIZES]
    monkeypatch.setattr(module, "_blake3", Blake3 if module._blake3 is None else None)

    with_it = [recall().digest(bytes(32), bytes(size)) for size in SIZES]

    assert [one != other for one, other in zip(without, with_it, strict=True)] == [size >= 4096 for size in SIZES]


# Seconds.

clocks = st.floats(0, 2.0**32) | st.floats(1.7e9, 1.8e9) | st.sampled_from([0.0, 1e6, 2.0**31 - 0.25, 2.0**30 - 1e-7])
lifetimes = st.sampled_from([0.0, 0.5, 1.0, 1.5, 60.0, 86_400.0, 2.0**31]) | st.floats(0, 100)
offsets = st.floats(-3, 130) | st.integers(-2, 130).map(float)


@given(
    at=clocks, lifetime=lifetimes, decided=offsets, steps=st.lists(st.tuples(offsets, st.sampled_from([-1, 0, 1])), max_size=4)
)
@example(at=1e9, lifetime=1.5, decided=1.2, steps=[(1.7, 0)])
@example(at=0.1, lifetime=60.0, decided=0.0, steps=[(1.0, -1), (2.0, 1)])
def test_what_is_said_of_it_is_what_would_be_said_anew_at_every_fraction_of_a_second(
    at: float, lifetime: float, decided: float, steps: list[tuple[float, int]]
) -> None:
    """V1: and whenever the clock is set; never where it would be stale, or before it was stored."""
    response = replace(stored(), stored_at=at, lifetime=lifetime)
    kept = plain_hit(response, now=at + decided)

    for seconds, beside in ((decided, 0), *steps):
        now = at + seconds
        now = now if not beside else math.nextafter(now, beside * math.inf)
        moment = kept.at(now)
        if moment is None:
            assert not (at <= now < at + lifetime)
            continue
        assert now >= at
        assert is_fresh(response, now) or now - at >= lifetime - 1e-6  # what was stored after 2038 rounds
        assert (moment.report.age, moment.report.ttl) == (age(response, now), remaining(response, age(response, now)))
        assert moment.head == replay.head(response, moment.report, now)
        assert dict(moment.head.headers)[b"age"] == b"%d" % age(response, now)


def test_it_ends_where_what_it_depends_on_does() -> None:
    """C4: a lifetime with a fraction is over in the store before its last second is, and something else may be earlier."""
    half = plain_hit(replace(stored(), stored_at=1000.0, lifetime=1.5), now=1001.0)
    cut = plain_hit(replace(stored(), stored_at=1000.0, lifetime=60.0), now=1010.0, until=1010.25)

    assert [kept.at(now) is not None for kept in (half, cut) for now in (1001.25, 1001.5, 1010.2, 1010.25)] == [
        *(True, False, False, False),
        *(True, True, True, False),
    ]


def test_a_second_has_one_moment_and_the_next_one_another() -> None:
    """B2: hits are counted by it."""
    kept = plain_hit(replace(stored(), stored_at=1000.25, lifetime=60.0), now=1010.5)
    moments = [kept.at(1000.25 + seconds) for seconds in (10.25, 10.999, 11.0, 11.5, 10.5, 59.5, 60.0)]

    assert moments[0] is moments[1]
    assert moments[2] is moments[3]
    assert len({id(moment) for moment in moments[:6]}) == 4  # and one more where the clock was set back
    assert moments[6] is None


# Bounds.


def filled(kept: Recall) -> int:
    """Return what a recall holds, counted anew."""
    hits = {id(recalled): recalled for recalled in kept._kept.values()}
    assert all(hit.uses == sum(other is hit for other in kept._kept.values()) for hit in hits.values())
    return sum(hit.size for hit in hits.values()) + module._DIGEST_BYTES * len(kept._kept)


def test_bytes_are_counted_once_however_many_digests_lead_to_them() -> None:
    """V4"""
    kept, hit = recall(), plain_hit(record=bytes(50_000))
    kept.keep(b"head", b"1", hit)
    once = kept.size

    for digest in (b"2", b"3", b"3"):
        kept.keep(b"head", digest, hit)
    assert kept.size == once + 2 * module._DIGEST_BYTES == filled(kept)

    for digest in (b"1", b"2", b"3", b"3", b"none"):
        kept.forget(digest)
    assert (kept.size, hit.uses) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("kgf"), st.integers(0, 7), st.integers(0, 5)), max_size=40))
def test_what_is_held_is_what_is_counted_whatever_is_done(steps: list[tuple[str, int, int]]) -> None:
    """V4: and never more than the limit, nor less than nothing."""
    limit = 40_000
    kept, hits = recall(limit), [plain_hit(record=bytes(size)) for size in (0, 5_000, 9_000, 14_000, 20_000, 60_000)]
    for what, digest, which in steps:
        name = b"%d" % digest
        if what == "k":
            kept.keep(b"head", name, hits[which])
            assert (kept.get(name) is hits[which]) or hits[which].size > limit - module._DIGEST_BYTES
        elif what == "g":
            kept.get(name)
        else:
            kept.forget(name)
        assert 0 <= kept.size == filled(kept) <= limit


def test_what_was_asked_for_last_stays() -> None:
    """V4"""
    hit = plain_hit()
    kept = recall(3 * (hit.size + module._DIGEST_BYTES))
    for digest in (b"1", b"2", b"3"):
        kept.keep(b"head", digest, plain_hit())
    kept.get(b"1")

    kept.keep(b"head", b"4", plain_hit())

    assert [kept.get(digest) is not None for digest in (b"1", b"2", b"3", b"4")] == [True, False, True, True]


def test_what_is_larger_than_the_limit_is_not_kept_and_drives_nothing_out() -> None:
    """V4"""
    kept = recall(20_000)
    kept.keep(b"head", b"1", plain_hit())
    kept.keep(b"large", b"2", plain_hit(record=bytes(20_000)))

    assert [kept.get(b"1") is not None, kept.get(b"2"), kept.knows(b"large")] == [True, None, False]


def test_of_a_hundred_thousand_heads_so_many_are_known_and_those_that_are_used() -> None:
    """V4, P1"""
    kept, hit, used = recall(), plain_hit(), b"used"
    kept.keep(used, b"digest", hit)

    for number in range(100_000):
        kept.keep(b"%d" % number, b"digest", hit)
        if not number % 1000:
            assert kept.knows(used)

    known = sum(kept.knows(b"%d" % number) for number in range(100_000))
    assert (known, kept.knows(used)) == (HEADS - 1, True)
    assert kept.size == hit.size + module._DIGEST_BYTES


ANSWERS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "JSON": (complete_answer(terms().call), {}),
    "a large JSON": (complete_answer(terms().call).replace(b"Hello", b"Hello" * 40_000), {}),
    "a stream": (complete_answer(terms(stream=True).call), {"stream": True}),
    "a long stream": (
        complete_answer(terms(stream=True).call).replace(
            b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}',
            b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n' * 3_000
            + b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}',
        ),
        {"stream": True},
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("keep_request", [False, True])
def test_it_takes_no_more_memory_than_is_counted(name: str, keep_request: bool) -> None:
    """V4, P1: a stream is thousands of events, and a kept request may be larger than its answer."""
    body, members = ANSWERS[name]
    response = record_of([body], terms(keep_request=keep_request, **members))
    assert isinstance(response, StoredResponse)
    encoded = codec.encode(replace(response, request=bytes(100_000) if keep_request else None))
    plain_hit(codec.decode(encoded), bytes(encoded))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        hits = [plain_hit(codec.decode(encoded), bytes(bytearray(encoded))) for _ in range(10)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (after - before) / 10 <= hits[0].size
    assert b"".join(hits[0].pieces) == body
    assert hits[0].body_size == len(body)


def test_many_threads_may_use_it_at_once() -> None:
    """P4: what is counted in the end is what is there."""
    limit = 60_000
    kept, hits = recall(limit), [plain_hit(record=bytes(size)) for size in (100, 4_000, 9_000, 16_000)]
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for step in range(3_000):
                number = (step * 7 + seed * 13) % 23
                digest = b"%d" % (number % 11)
                kept.keep(b"h%d" % number, digest, hits[number % 4])
                kept.get(digest)
                kept.knows(b"h%d" % step)
                if number % 3 == 0:
                    kept.forget(digest)
        except BaseException as exc:  # noqa: BLE001 - raised below
            failures.append(exc)

    with _switching_often():
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert failures == []
    assert 0 <= kept.size == filled(kept) <= limit


@contextlib.contextmanager
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
