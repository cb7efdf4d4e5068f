"""A response in progress: what its readers see of it and when, how it ends, and what of it is put in the store."""

import json
import tracemalloc
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.cache import record as codec
from cachemw.cache.live_response import LiveResponse, Put, Relay, begin
from cachemw.errors import TruncatedResponse, UpstreamError, UpstreamTimeout
from cachemw.limits import PIECE_BYTES
from cachemw.messages import Head
from cachemw.report import ExchangeReport
from cachemw.wire.sse import DONE, Event, Parser
from tests.cache.answers import (
    COMPLETION,
    DONE_EVENT,
    EVENTS,
    JSON_HEAD,
    STREAM,
    STREAM_HEAD,
    lower,
    one_by_one,
    terms,
    with_headers,
)

NOW = 100.0
UNASKED = ExchangeReport(opted_in=False)
OPEN = ExchangeReport(fwd="miss", fwd_status=200, key="1f0c")
COLLAPSED = ExchangeReport(fwd="miss", fwd_status=200, collapsed=True, key="1f0c")
BROKEN = UpstreamError("reset")
BODIES = [pytest.param(STREAM_HEAD, STREAM, id="stream"), pytest.param(JSON_HEAD, COMPLETION, id="JSON")]
LINE_ENDS = pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])


def recorded(head: Head, **members: Any) -> LiveResponse:
    """Begin a response that is recorded."""
    return begin(head, terms(stream=head.headers[0] == STREAM_HEAD.headers[0], **members), NOW)


def unrecorded(head: Head) -> LiveResponse:
    """Begin a response of which nothing is kept."""
    return begin(head, None, NOW)


EITHER = pytest.mark.parametrize("begun", [recorded, unrecorded])


@dataclass
class Reader:
    """A client to whom it is relayed, and the writer that feeds it."""

    response: LiveResponse
    report: ExchangeReport = OPEN
    chunks: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.relay = Relay(self.response, self.report)

    def gets(self, *chunks: bytes) -> "Reader":
        """Let these chunks come."""
        for chunk in chunks:
            self.response.feed(chunk, NOW)
            self.looks()
        return self

    def to_the_end(self) -> Put | None:
        """Let the upstream's body end, and store what is to be stored."""
        put = self.response.finish(NOW)
        self.response.close(None)
        self.looks()
        return put

    def broken(self, error: UpstreamError = BROKEN) -> "Reader":
        """Let the upstream break off."""
        self.response.fail(error)
        self.looks()
        self.chunks += filter(None, [self.response.broken(error)])
        return self

    def looks(self) -> None:
        """Take what may leave, to the last byte."""
        while self.takes():
            pass

    def takes(self) -> bool:
        """Take a piece of what may leave; return whether there was one."""
        parts = self.relay.take()
        chunks = [part for part in parts if isinstance(part, bytes)]
        assert all(0 < len(chunk) <= PIECE_BYTES for chunk in chunks), "no empty chunk: to a server that is the end"
        self.chunks += chunks
        return bool(parts)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def events(self) -> list[Event]:
        return Parser().feed(self.body)


def code_of(event: Event) -> str:
    code: str = json.loads(event.data)["error"]["code"]
    return code


def details_of(response: LiveResponse) -> tuple[str, ...]:
    return response.final_report(OPEN).details


# What leaves, and when.


def test_a_stream_leaves_as_it_comes_and_its_end_when_it_is_stored() -> None:
    """S6, S9, P2: clients hang up at `[DONE]`."""
    reader = Reader(recorded(STREAM_HEAD)).gets(*EVENTS)
    before = list(reader.chunks)

    put = reader.to_the_end()

    assert before == list(EVENTS[:-1])
    assert reader.body == STREAM
    assert put is not None
    assert (put.index, put.keep) == (terms(stream=True).key.index, 600.0)
    assert (codec.decode(put.record).body, codec.decode(put.record).stored_at) == (STREAM, NOW)


@pytest.mark.parametrize("at", range(len(b"data: [DONE]")))
def test_an_end_that_comes_in_two_does_not_leave_whole(at: int) -> None:
    """P2: what has left is no end to anyone."""
    reader = Reader(recorded(STREAM_HEAD)).gets(*EVENTS[:-1], DONE_EVENT[:at], DONE_EVENT[at:])

    assert reader.body == b"".join(EVENTS[:-1]) + DONE_EVENT[:at]


def test_json_is_not_shown_before_it_is_whole_and_stored() -> None:
    """H8, P2: its head says that it is stored."""
    reader = Reader(recorded(JSON_HEAD)).gets(*one_by_one(COMPLETION))
    before = reader.response.is_open

    put = reader.to_the_end()

    assert (before, reader.body) == (False, COMPLETION)
    assert put is not None
    assert b"stored" in dict(reader.relay.head.headers)[b"cache-status"]


@pytest.mark.parametrize("shared", [None, terms()], ids=["unrecorded", "recorded"])
def test_a_cookie_is_for_who_asked_first_and_for_nobody_who_shares_that_answer(shared: Any) -> None:
    """I5."""
    cookies = ((b"Set-Cookie", b"who=alice"), (b"set-cookie", b"b=2"), (b"Set-Cookie2", b"c=3"))
    response = begin(with_headers(JSON_HEAD, *cookies, (b"x-other", b"1")), shared, NOW)

    led, collapsed, unasked = (lower(response.client_head(said).headers) for said in (OPEN, COLLAPSED, UNASKED))

    assert [name for name, _ in led].count(b"set-cookie") == [name for name, _ in unasked].count(b"set-cookie") == 2
    assert [name for name, _ in collapsed] == [name for name, _ in led if not name.startswith(b"set-cookie")]
    assert (b"x-other", b"1") in collapsed


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), st.integers(0, 40)),
        st.tuples(st.just("take"), st.integers(0, 2)),
        st.tuples(st.sampled_from(["forget", "drop", "release"]), st.just(0)),
    ),
    max_size=60,
)


@pytest.mark.parametrize(("head", "body"), [*BODIES, pytest.param(STREAM_HEAD, b'data: {"a":1}\n\n' * 40, id="no end")])
@pytest.mark.parametrize("limit_bytes", [100, 1_000_000])
@given(steps=STEPS)
def test_whatever_is_done_when_every_reader_gets_every_byte(
    head: Head, body: bytes, limit_bytes: int, steps: list[tuple[str, int]]
) -> None:
    """S9, P1, P3, D7: nothing is lost to who joins late, to a limit, or to what is given up or held too long."""
    response = recorded(head, limit_bytes=limit_bytes)
    readers = [Reader(response, said) for said in (OPEN, COLLAPSED, COLLAPSED)]
    fed = 0

    for step, number in steps:
        if step == "feed":
            response.feed(body[fed : fed + number], NOW)
            fed = min(fed + number, len(body))
        elif step == "take":
            readers[number].takes()
        elif step == "forget":
            response.forget(min(reader.relay.at for reader in readers))
        elif step == "drop":
            response.drop("busy")
        else:
            response.release_held()
    response.feed(body[fed:], NOW)
    put = readers[0].to_the_end()
    for reader in readers:
        reader.looks()

    assert [reader.body for reader in readers] == [body] * 3
    assert put is None or codec.decode(put.record).body == body


# How it ends.


@pytest.mark.parametrize(
    ("head", "body", "fault"),
    [
        (STREAM_HEAD, EVENTS[0] + DONE_EVENT, "unfinished-choice"),
        (STREAM_HEAD, EVENTS[0], "incomplete"),
        (STREAM_HEAD, b"", "incomplete"),
        (JSON_HEAD, b'{"choices":[]}', "missing-choice"),
        (JSON_HEAD, COMPLETION[:-1], "unreadable-answer"),
        (JSON_HEAD, b"", "unreadable-answer"),
    ],
    ids=["unfinished", "no end", "an empty stream", "no choices", "half a JSON", "an empty body"],
)
def test_what_is_not_complete_is_passed_on_and_not_put(head: Head, body: bytes, fault: str) -> None:
    """R1, R2, E1: the upstream said that this was its end."""
    reader = Reader(recorded(head)).gets(body)

    assert (reader.to_the_end(), reader.body) == (None, body)
    assert reader.relay.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=False, details=(fault,))


@pytest.mark.parametrize(
    ("error", "code", "detail"),
    [
        (BROKEN, "upstream_truncated", "truncated"),
        (UpstreamTimeout("silent"), "upstream_timeout", "timeout"),
        (TruncatedResponse("cut"), "upstream_truncated", "truncated"),
    ],
)
def test_what_breaks_off_says_how(error: UpstreamError, code: str, detail: str) -> None:
    """H10, R1: a stream in one event; of JSON nothing is shown, so that there can be a whole answer in its place."""
    stream = Reader(recorded(STREAM_HEAD)).gets(*EVENTS[:2]).broken(error)
    completion = Reader(recorded(JSON_HEAD)).gets(COMPLETION).broken(error)

    assert stream.chunks[:-1] == list(EVENTS[:2])
    assert code_of(stream.events[-1]) == code
    assert (completion.body, completion.response.is_open) == (b"", False)
    assert details_of(stream.response) == details_of(completion.response) == (detail,)


@LINE_ENDS
@EITHER
def test_wherever_it_breaks_off_that_is_an_event_of_its_own_and_no_end_is_made_up(begun: Any, line_end: bytes) -> None:
    """H10, R1."""
    body = b"".join(EVENTS[:-1]).replace(b"\n", line_end) + b"data: [DONE"
    events = Parser().feed(body)

    for at in range(len(body) + 1):
        reader = Reader(begun(STREAM_HEAD)).gets(body[:at]).broken()

        *came, last = reader.events
        whole = [event for event in events if event.end <= at]
        assert came[: len(whole)] == whole
        assert len(came) <= len(whole) + 1  # what was cut short
        assert code_of(last) == "upstream_truncated"
        assert reader.body.count(b"upstream_truncated") == 1
        assert DONE not in [event.data for event in reader.events]


def test_an_end_that_is_held_does_not_leave_when_the_transfer_breaks() -> None:
    """R1: it was not the end of anything."""
    reader = Reader(recorded(STREAM_HEAD)).gets(STREAM).broken()

    assert reader.body.startswith(STREAM.removesuffix(DONE_EVENT) + b"data: {")
    assert DONE not in [event.data for event in reader.events]


def test_no_event_is_added_to_a_coded_stream() -> None:
    """H9: it would be bytes that no decoder can read."""
    coded = with_headers(STREAM_HEAD, (b"content-encoding", b"gzip"))

    assert Reader(unrecorded(coded)).gets(b"\x1f\x8b").broken().body == b"\x1f\x8b"


@LINE_ENDS
def test_it_is_known_whether_an_event_has_ended_though_its_bytes_are_held_no_more(line_end: bytes) -> None:
    """H10: forgotten a byte at a time, or as they come, or all at once."""
    body = EVENTS[0].replace(b"\n", line_end)

    for at in range(1, len(body) + 1):
        for step in (1, 2, 5, at):
            response = unrecorded(STREAM_HEAD)
            response.feed(body[:at], NOW)
            for before in (*range(0, at, step), at):
                response.forget(before)
            response.fail(BROKEN)

            assert response.held == 0
            assert response.broken(BROKEN).startswith(b"data: ") == (at == len(body))


SIZE = len(STREAM)
RIGHT = [b"%d" % SIZE, b"0%d" % SIZE, b" %d " % SIZE, b"%d, %d" % (SIZE, SIZE), b"nonsense", b"1, 2", b""]
WRONG = [b"%d" % (SIZE + 1), b"%d" % (SIZE - 1), b"0", b"%d,%d" % (SIZE + 1, SIZE + 1)]


@pytest.mark.parametrize("length", WRONG)
def test_a_stream_that_is_not_as_long_as_it_said_has_no_clean_end(length: bytes) -> None:
    """F55, F56, R1: its length is not announced any more, so the server cannot notice."""
    response = recorded(with_headers(STREAM_HEAD, (b"Content-Length", length)))
    response.feed(STREAM, NOW)

    assert b"content-length" not in dict(lower(response.client_head(OPEN).headers))
    with pytest.raises(TruncatedResponse):
        response.finish(NOW)


@pytest.mark.parametrize("length", RIGHT)
def test_a_stream_that_is_as_long_as_it_said_or_said_nothing_has_one(length: bytes) -> None:
    """F55: RFC 9110 §8.6."""
    Reader(recorded(with_headers(STREAM_HEAD, (b"Content-Length", length)))).gets(STREAM).to_the_end()


@pytest.mark.parametrize("head", [Head(204, STREAM_HEAD.headers), Head(304, STREAM_HEAD.headers), STREAM_HEAD])
def test_what_has_no_body_is_not_measured(head: Head) -> None:
    """F57: RFC 9110 §8.6: of a HEAD, a 204 and a 304 the length is another answer's."""
    unrecorded(with_headers(head, (b"Content-Length", b"1000"))).finish(NOW)


@pytest.mark.parametrize(("head", "body"), BODIES)
def test_what_ends_where_its_connection_does_is_complete_by_its_content_alone(head: Head, body: bytes) -> None:
    """R1: cut after any byte it is a failure, and nobody is shown a clean end."""
    open_ended = Head(head.status, head.headers, delimited=False)

    for at in range(len(body)):
        reader = Reader(recorded(open_ended)).gets(body[:at])
        with pytest.raises(TruncatedResponse):
            reader.to_the_end()
        reader.broken(TruncatedResponse("cut"))

        assert details_of(reader.response) == ("truncated",)
        assert [code_of(event) for event in reader.events[-1:]] == ["upstream_truncated"] * (head is STREAM_HEAD)

    assert Reader(recorded(open_ended)).gets(body).to_the_end() is not None


@pytest.mark.parametrize(
    ("head", "body", "fault"),
    [
        (STREAM_HEAD, EVENTS[0] + DONE_EVENT, "unfinished-choice"),
        (STREAM_HEAD, EVENTS[0] + b'data: {"error":{"message":"m"}}\n\n', "error-event"),
        (JSON_HEAD, b'{"error":{"message":"m"}}', "error-answer"),
    ],
    ids=["an end, though not of every choice", "an error, after which nothing comes", "an error"],
)
def test_what_says_itself_that_it_is_over_is_not_cut(head: Head, body: bytes, fault: str) -> None:
    """R1, H10."""
    reader = Reader(recorded(Head(head.status, head.headers, delimited=False))).gets(body)

    assert (reader.to_the_end(), reader.body, details_of(reader.response)) == (None, body, (fault,))


# What is in memory.


@pytest.mark.parametrize("size", [7, 1_000])
@pytest.mark.parametrize("limit_bytes", [0, 5_000])
@pytest.mark.parametrize("head", [STREAM_HEAD, JSON_HEAD], ids=["stream", "JSON"])
def test_no_more_is_held_than_the_limit_and_a_chunk(head: Head, limit_bytes: int, size: int) -> None:
    """S6, P3: and that whole, for somebody may yet join; then until the slowest has read it."""
    reader, held = Reader(recorded(head, limit_bytes=limit_bytes)), []

    for _ in range(0, 10_000, size):
        reader.gets(b"x" * size)
        held.append(reader.response.held)
        reader.response.forget(reader.relay.at)

    assert limit_bytes < max(held) <= limit_bytes + size
    assert reader.response.held == 0


@pytest.mark.parametrize("chunk", [b"x" * 10_000, b"data: {}\n\n" * 1_000], ids=["one line", "many events"])
@pytest.mark.parametrize("head", [STREAM_HEAD, JSON_HEAD], ids=["stream", "JSON"])
def test_what_is_not_recorded_any_more_is_not_in_memory(head: Head, chunk: bytes) -> None:
    """S6, P3."""
    relay = Relay(recorded(head, limit_bytes=40_000), OPEN)
    tracemalloc.start()

    for _ in range(40):
        relay.response.feed(chunk, NOW)
        while relay.take():
            pass
        relay.response.forget(relay.at)

    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 20_000


@pytest.mark.parametrize("chunk", [b"x" * 10_000, b"data:{}\n\n" * 1_000], ids=["one line", "many events"])
def test_what_is_noted_of_a_stream_is_no_more_than_the_stream(chunk: bytes) -> None:
    """P3: a line that is parsed, and where events end and when they came, are in memory too."""
    response = recorded(STREAM_HEAD, limit_bytes=60_000)
    tracemalloc.start()

    for at in range(60_000 // len(chunk)):
        response.feed(chunk, NOW + at)

    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response.is_recorded
    assert held < 3 * response.held
