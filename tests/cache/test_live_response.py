"""An answer under way: what leaves, how it ends, and what is put in the store."""

import json
import tracemalloc
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachemw.cache import record as codec
from cachemw.cache.directives import Abandon
from cachemw.cache.live_response import LiveResponse, Put, Relay, begin, last_left
from cachemw.errors import TruncatedResponse, UpstreamError, UpstreamTimeout
from cachemw.limits import PIECE_BYTES, Limits
from cachemw.messages import Head, Headers, header_values
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
NOT_KEPT = ExchangeReport(fwd="bypass", stored=False, details=("ambiguous-json",))
COLLAPSED = ExchangeReport(fwd="miss", fwd_status=200, collapsed=True, key="1f0c")

BROKEN = UpstreamError("reset")

BODIES = [pytest.param(STREAM_HEAD, STREAM, id="stream"), pytest.param(JSON_HEAD, COMPLETION, id="JSON")]


def kept(head: Head, **members: Any) -> LiveResponse:
    """Return an answer that is recorded."""
    return begin(head, terms(stream=head.headers[0] == STREAM_HEAD.headers[0], **members), NOW)


def recorded(head: Head, **members: Any) -> Relay:
    """Return the relay of an answer that is recorded."""
    return Relay(kept(head, **members), OPEN)


def unrecorded(head: Head) -> Relay:
    """Return the relay of an answer of which nothing is kept."""
    return Relay(begin(head, None, NOW), NOT_KEPT)


@dataclass
class Client:
    """Whom it is passed on to; the writer's part is played here too."""

    relay: Relay
    head: Head | None = None
    chunks: list[bytes] = field(default_factory=list)
    put: Put | None = None

    @property
    def response(self) -> LiveResponse:
        return self.relay.response

    def gets(self, *chunks: bytes) -> "Client":
        """Let the head come, and these chunks."""
        self.looks()
        for chunk in chunks:
            self.response.feed(chunk, NOW)
            self.looks()
        return self

    def to_the_end(self, fault: str | None = None) -> "Client":
        """Let the upstream's body end; `fault`: what the store says to the record."""
        self.put = self.response.finish(NOW)
        self.response.close(None if self.put is None else fault)
        self.looks()
        return self

    def broken(self, error: UpstreamError = BROKEN) -> None:
        """Let the upstream break off."""
        self.response.fail(error)
        self.looks()
        self.chunks += filter(None, [self.response.broken(error)])

    def waits_too_long(self) -> None:
        self.response.release_held()
        self.looks()

    def looks(self) -> None:
        """Take what may leave, to the last byte."""
        while self.takes():
            pass

    def takes(self) -> bool:
        """Take a piece of what may leave; return whether there was one."""
        parts = self.relay.take()
        for part in parts:
            if isinstance(part, Head):
                assert (self.head, self.chunks) == (None, []), "one head, before any byte"
                self.head = part
            else:
                assert self.head is not None, "no byte before the head"
                assert 0 < len(part) <= PIECE_BYTES, "no empty chunk: to a server that is the end"
                self.chunks.append(part)
        return bool(parts)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def events(self) -> list[Event]:
        return Parser().feed(self.body)

    @property
    def report(self) -> ExchangeReport | None:
        return self.relay.report

    def values(self, name: bytes) -> list[bytes]:
        return header_values(self.head.headers if self.head else (), name)


def error_in(body: bytes) -> str:
    code: str = json.loads(body)["error"]["code"]
    return code


# The head.


@pytest.mark.parametrize(
    ("relay", "leaves"),
    [
        (recorded(STREAM_HEAD), True),
        (unrecorded(STREAM_HEAD), True),
        (unrecorded(JSON_HEAD), True),
        (recorded(JSON_HEAD), False),
    ],
    ids=["a stream", "a stream that is not kept", "JSON that is not kept", "JSON"],
)
def test_the_head_leaves_when_it_comes_but_for_json_that_may_be_stored(relay: Relay, leaves: bool) -> None:
    """H8: the head of stored JSON says so, and that is not known yet."""
    client = Client(relay).gets()

    assert (client.head is not None) == leaves
    assert client.chunks == []


@pytest.mark.parametrize(
    ("relay", "fields"),
    [
        (
            recorded(STREAM_HEAD),
            [
                (b"content-type", b"text/event-stream"),
                (b"cache-control", b"private, no-store, no-transform"),
                (b"x-accel-buffering", b"no"),
                (b"cache-status", b'cachemw; fwd=miss; fwd-status=200; key="1f0c"'),
            ],
        ),
        (
            recorded(JSON_HEAD),
            [
                (b"content-type", b"application/json"),
                (b"cache-control", b"private, no-store"),
                (b"cache-status", b'cachemw; fwd=miss; fwd-status=200; stored; key="1f0c"'),
            ],
        ),
        (
            unrecorded(JSON_HEAD),
            [
                (b"content-type", b"application/json"),
                (b"cache-control", b"private, no-store"),
                (b"cache-status", b"cachemw; fwd=bypass; detail=ambiguous-json"),
            ],
        ),
        (
            unrecorded(STREAM_HEAD),
            [
                (b"content-type", b"text/event-stream"),
                (b"cache-control", b"private, no-store, no-transform"),
                (b"x-accel-buffering", b"no"),
                (b"cache-status", b"cachemw; fwd=bypass; detail=ambiguous-json"),
            ],
        ),
    ],
    ids=["a stream", "JSON", "JSON that is not kept", "a stream that is not kept"],
)
def test_the_head_says_what_happened(relay: Relay, fields: list[tuple[bytes, bytes]]) -> None:
    """E1, H8."""
    client = Client(relay).gets(STREAM if fields[0][1] == b"text/event-stream" else COMPLETION).to_the_end()

    assert client.head == Head(200, tuple(fields))


@pytest.mark.parametrize("head", [JSON_HEAD, STREAM_HEAD], ids=["JSON", "stream"])
def test_what_the_upstream_said_of_caching_is_replaced_and_what_it_said_of_a_cache_stays(head: Head) -> None:
    said = (b"Cache-Control", b"no-cache"), (b"Cache-Status", b"edge; hit"), (b"Cachemw", b"on"), (b"X-Accel-Buffering", b"yes")

    client = Client(recorded(with_headers(head, *said))).gets(STREAM).to_the_end("store-full")

    assert len(client.values(b"cache-control")) == 1
    assert client.values(b"cachemw") == []
    if head is STREAM_HEAD:
        assert client.values(b"cache-status") == [b"edge; hit", b'cachemw; fwd=miss; fwd-status=200; key="1f0c"']
        assert client.values(b"x-accel-buffering") == [b"no"]


@pytest.mark.parametrize("relay_of", [recorded, unrecorded])
def test_what_is_for_one_connection_does_not_pass(relay_of: Any) -> None:
    """H11."""
    one_hop: Headers = (
        (b"Connection", b"close, X-Hop"),
        (b"connection", b"x-Other"),
        (b"X-Hop", b"1"),
        (b"x-other", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Authenticate", b"Basic"),
        (b"Proxy-Connection", b"close"),
        (b"TE", b"trailers"),
        (b"Trailer", b"expires"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"h2c"),
    )
    passes: Headers = ((b"X-Request-Id", b"7"), (b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2"), (b"Retry-After", b"3"))
    client = Client(relay_of(with_headers(STREAM_HEAD, *one_hop, *passes))).gets()

    assert client.head is not None
    ours = {b"cache-control", b"cache-status", b"x-accel-buffering"}
    assert tuple(each for each in client.head.headers if each[0] not in ours) == (*STREAM_HEAD.headers, *passes)


@pytest.mark.parametrize("of", [None, terms()], ids=["unrecorded", "recorded"])
def test_a_cookie_is_for_who_asked_first_and_for_nobody_who_shares_that_answer(of: Any) -> None:
    """I5."""
    cookies = ((b"Set-Cookie", b"who=alice"), (b"set-cookie", b"b=2"), (b"Set-Cookie2", b"c=3"))
    response = begin(with_headers(JSON_HEAD, *cookies, (b"x-other", b"1")), of, NOW)

    led, shared, unasked = (lower(response.client_head(said).headers) for said in (OPEN, COLLAPSED, UNASKED))

    assert [name for name, _ in led].count(b"set-cookie") == [name for name, _ in unasked].count(b"set-cookie") == 2
    assert [name for name, _ in shared] == [name for name, _ in led if not name.startswith(b"set-cookie")]
    assert (b"x-other", b"1") in shared


def test_the_status_passes() -> None:
    """H10."""
    client = Client(unrecorded(Head(418, ((b"retry-after", b"7"),)))).gets(b"I'm a teapot").to_the_end()

    assert client.head is not None
    assert (client.head.status, client.values(b"retry-after"), client.body) == (418, [b"7"], b"I'm a teapot")


# The body, to its end.


def test_a_stream_leaves_as_it_comes_and_its_end_when_it_is_stored() -> None:
    """S6, S9, P2."""
    client = Client(recorded(STREAM_HEAD)).gets(*EVENTS)
    before = client.body
    hold_seconds = client.response.hold_seconds

    client.to_the_end()

    assert (before, hold_seconds) == (STREAM.removesuffix(DONE_EVENT), Limits().done_hold)
    assert client.body == STREAM
    assert client.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=True)


@pytest.mark.parametrize(("head", "body"), BODIES)
def test_what_is_complete_is_put(head: Head, body: bytes) -> None:
    put = Client(recorded(head)).gets(body).to_the_end().put

    asked = terms(stream=head is STREAM_HEAD)
    assert put is not None
    assert (put.index, put.keep) == (asked.key.index, 600.0)
    assert (codec.decode(put.record).body, codec.decode(put.record).stored_at) == (body, NOW)


def test_json_leaves_when_it_is_stored() -> None:
    client = Client(recorded(JSON_HEAD)).gets(COMPLETION[:5], COMPLETION[5:])
    before = client.head

    client.to_the_end()

    assert before is None
    assert client.body == COMPLETION
    assert client.report is not None
    assert client.report.stored is True


@pytest.mark.parametrize(("head", "body"), BODIES)
def test_what_the_store_does_not_take_is_passed_on_all_the_same_and_told(head: Head, body: bytes) -> None:
    """D1, E1."""
    client = Client(recorded(head)).gets(body).to_the_end("store-full")

    assert client.body == body
    assert client.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=False, details=("store-full",))
    told = b'cachemw; fwd=miss; fwd-status=200; key="1f0c"' + (b"; detail=store-full" if head is JSON_HEAD else b"")
    assert client.values(b"cache-status") == [told]


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
    client = Client(recorded(head)).gets(*filter(None, [body])).to_the_end()

    assert (client.body, client.put) == (body, None)
    assert client.head is not None
    assert client.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=False, details=(fault,))


@pytest.mark.parametrize("head", [STREAM_HEAD, JSON_HEAD, Head(204, ())], ids=["a stream", "JSON", "nothing"])
def test_what_is_not_recorded_passes_untouched(head: Head) -> None:
    """S9."""
    client = Client(unrecorded(head)).gets(b"data: [DO", b"NE]\n\n", b"\xff").to_the_end()

    assert client.chunks == [b"data: [DO", b"NE]\n\n", b"\xff"]
    assert (client.put, client.report, client.response.hold_seconds) == (None, NOT_KEPT, None)


def test_json_beyond_the_limit_leaves_before_its_end() -> None:
    """S6, D7."""
    client = Client(recorded(JSON_HEAD, limit_bytes=20)).gets(COMPLETION[:15])
    before = client.head

    client.gets(COMPLETION[15:30], COMPLETION[30:])

    assert before is None
    assert client.chunks == [COMPLETION[:30], COMPLETION[30:]]
    assert client.to_the_end().put is None
    assert client.report is not None
    assert client.report.details == ("record-too-large",)


# An end that does not come.


def test_an_end_that_is_held_too_long_leaves_and_nothing_is_kept() -> None:
    """P2, §6: at most a second."""
    client = Client(recorded(STREAM_HEAD)).gets(STREAM)

    client.waits_too_long()

    assert client.body == STREAM
    assert client.response.hold_seconds is None
    assert client.to_the_end().put is None
    assert client.body == STREAM
    assert client.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=False, details=("no-end",))


def test_what_comes_after_it_leaves_at_once() -> None:
    """S9."""
    client = Client(recorded(STREAM_HEAD)).gets(STREAM)
    client.waits_too_long()

    client.gets(b": bye\n\n")

    assert client.body == STREAM + b": bye\n\n"


def test_json_that_is_held_too_long_leaves_as_it_comes_and_is_kept_all_the_same() -> None:
    """Its head left before that was known."""
    client = Client(recorded(JSON_HEAD)).gets(b" ")
    hold_seconds, before = client.response.hold_seconds, client.head

    client.waits_too_long()
    client.gets(COMPLETION[:9], COMPLETION[9:])

    assert (hold_seconds, before) == (Limits().json_hold, None)
    assert client.chunks == [b" ", COMPLETION[:9], COMPLETION[9:]]
    assert client.to_the_end().put is not None
    assert client.values(b"cache-status") == [b'cachemw; fwd=miss; fwd-status=200; key="1f0c"']
    assert client.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=True)


def test_where_nothing_is_recorded_nothing_is_held() -> None:
    client = Client(unrecorded(STREAM_HEAD)).gets(DONE_EVENT)

    client.waits_too_long()

    assert (client.body, client.report) == (DONE_EVENT, NOT_KEPT)


# An upstream that breaks off.


ERRORS = [
    pytest.param(BROKEN, 502, "upstream_unreachable", "broken", id="reset"),
    pytest.param(UpstreamTimeout("silent"), 504, "upstream_timeout", "broken", id="silent"),
    pytest.param(TruncatedResponse("cut"), 502, "upstream_truncated", "truncated", id="cut"),
]


@pytest.mark.parametrize("came", [b"", COMPLETION[:9], COMPLETION], ids=["nothing", "half of it", "all but its end"])
@pytest.mark.parametrize(
    ("error", "detail"), [(BROKEN, "broken"), (UpstreamTimeout("silent"), "broken"), (TruncatedResponse("cut"), "truncated")]
)
def test_of_json_that_breaks_off_nothing_is_ever_shown(came: bytes, error: UpstreamError, detail: str) -> None:
    """H10, R1: so there can be a whole answer in its place; which one says the script."""
    client = Client(recorded(JSON_HEAD)).gets(*filter(None, [came]))

    client.broken(error)

    assert (client.head, client.body, client.response.is_open) == (None, b"", False)
    assert client.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=False, details=(detail,))


@pytest.mark.parametrize("relay", [unrecorded(JSON_HEAD), recorded(JSON_HEAD, limit_bytes=5)], ids=["unrecorded", "large"])
def test_json_that_has_begun_to_leave_just_breaks_off(relay: Relay) -> None:
    """H10: the transfer is broken, and that is all that can be said."""
    client = Client(relay).gets(COMPLETION[:9])

    client.broken()

    assert client.body == COMPLETION[:9]
    assert client.report is not None
    assert client.report.details[0] == "broken"


def test_json_that_left_late_just_breaks_off_too() -> None:
    """H10."""
    client = Client(recorded(JSON_HEAD)).gets(COMPLETION[:9])
    client.waits_too_long()

    client.broken()

    assert client.body == COMPLETION[:9]


@pytest.mark.parametrize(("error", "status", "code", "detail"), ERRORS)
def test_a_stream_that_breaks_off_says_so_in_one_event(error: UpstreamError, status: int, code: str, detail: str) -> None:
    """H10."""
    client = Client(recorded(STREAM_HEAD)).gets(*EVENTS[:2])

    client.broken(error)

    assert client.chunks[:-1] == list(EVENTS[:2])
    assert error_in(client.events[-1].data) == code
    assert json.loads(client.events[-1].data)["status_code"] == status
    assert client.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=False, details=(detail,))


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("relay_of", [recorded, unrecorded])
def test_wherever_it_breaks_off_that_is_an_event_of_its_own_and_no_end_is_made_up(relay_of: Any, line_end: bytes) -> None:
    """H10, R1."""
    body = b"".join(EVENTS[:-1]).replace(b"\n", line_end) + b"data: [DONE"
    events = Parser().feed(body)

    for at in range(len(body) + 1):
        client = Client(relay_of(STREAM_HEAD)).gets(*filter(None, [body[:at]]))
        client.broken()

        *came, last = client.events
        whole = [event for event in events if event.end <= at]
        assert came[: len(whole)] == whole
        assert len(came) <= len(whole) + 1  # what was cut short
        assert error_in(last.data) == "upstream_unreachable"
        assert client.body.count(b"upstream_unreachable") == 1
        assert DONE not in [event.data for event in client.events]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_between_two_events_nothing_stands_before_it(line_end: bytes) -> None:
    first = EVENTS[0].replace(b"\n", line_end)

    client = Client(recorded(STREAM_HEAD)).gets(*one_by_one(first))
    client.broken()

    assert client.body.startswith(first + b"data: {")


def test_an_end_that_is_held_does_not_leave_when_the_transfer_breaks() -> None:
    """R1: it was not the end of anything."""
    client = Client(recorded(STREAM_HEAD)).gets(STREAM)

    client.broken()

    assert client.body.startswith(STREAM.removesuffix(DONE_EVENT))
    assert DONE not in [event.data for event in client.events]


def test_a_stream_that_breaks_off_in_what_came_after_its_held_end_was_shown_says_so_too() -> None:
    client = Client(recorded(STREAM_HEAD)).gets(STREAM)
    client.waits_too_long()

    client.broken()

    assert client.body.startswith(STREAM)
    assert error_in(client.events[-1].data) == "upstream_unreachable"


def test_no_event_is_added_to_a_coded_stream() -> None:
    """It would be bytes that no decoder can read."""
    client = Client(unrecorded(with_headers(STREAM_HEAD, (b"content-encoding", b"gzip")))).gets(b"\x1f\x8b")

    client.broken()

    assert client.body == b"\x1f\x8b"


@pytest.mark.parametrize("relay_of", [recorded, unrecorded])
def test_a_stream_has_room_for_that_event(relay_of: Any) -> None:
    """No length is announced for it: a server would take the event for a mistake."""
    client = Client(relay_of(with_headers(STREAM_HEAD, (b"Content-Length", b"%d" % len(STREAM))))).gets()

    assert client.values(b"content-length") == []


SIZE = len(STREAM)
RIGHT = [b"%d" % SIZE, b"0%d" % SIZE, b" %d " % SIZE, b"%d, %d" % (SIZE, SIZE), b"nonsense", b"1, 2", b""]
WRONG = [b"%d" % (SIZE + 1), b"%d" % (SIZE - 1), b"0", b"%d,%d" % (SIZE + 1, SIZE + 1)]


@pytest.mark.parametrize(
    ("length", "is_right"), [*[(length, True) for length in RIGHT], *[(length, False) for length in WRONG]]
)
def test_a_stream_that_is_not_as_long_as_it_said_has_no_clean_end(length: bytes, is_right: bool) -> None:
    """F55, F56, R1: its length is not announced any more, so the server cannot notice."""
    response = recorded(with_headers(STREAM_HEAD, (b"Content-Length", length))).response
    response.feed(STREAM, 0.0)

    if is_right:
        response.finish(0.0)
    else:
        with pytest.raises(TruncatedResponse):
            response.finish(0.0)


@pytest.mark.parametrize("head", [Head(204, STREAM_HEAD.headers), Head(304, STREAM_HEAD.headers), STREAM_HEAD])
def test_what_has_no_body_is_not_measured(head: Head) -> None:
    """F57: RFC 9110 §8.6: of a HEAD, a 204 and a 304 the length is another answer's."""
    unrecorded(with_headers(head, (b"Content-Length", b"1000"))).response.finish(0.0)


@pytest.mark.parametrize("relay_of", [recorded, unrecorded])
def test_the_length_of_json_stays(relay_of: Any) -> None:
    length = (b"content-length", b"%d" % len(COMPLETION))

    client = Client(relay_of(with_headers(JSON_HEAD, length))).gets(COMPLETION).to_the_end()

    assert client.values(b"content-length") == [length[1]]


# A body that ends where the connection does.


def close_delimited(head: Head) -> Head:
    return Head(head.status, head.headers, delimited=False)


@pytest.mark.parametrize(("head", "body"), BODIES)
def test_it_is_complete_by_its_content_alone(head: Head, body: bytes) -> None:
    """R1: cut after any byte it is a failure, and nobody is shown a clean end."""
    for at in range(len(body)):
        client = Client(recorded(close_delimited(head))).gets(*filter(None, [body[:at]]))
        with pytest.raises(TruncatedResponse):
            client.to_the_end()
        client.broken(TruncatedResponse("cut"))

        assert client.report is not None
        assert client.report.details == ("truncated",)
        if head is STREAM_HEAD:
            assert error_in(client.events[-1].data) == "upstream_truncated"
        else:
            assert (client.head, client.body) == (None, b"")

    assert Client(recorded(close_delimited(head))).gets(body).to_the_end().put is not None


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
    client = Client(recorded(close_delimited(head))).gets(body).to_the_end()

    assert (client.body, client.put) == (body, None)
    assert client.report is not None
    assert client.report.details == (fault,)


# A client that did not opt in.


@pytest.mark.parametrize("head", [STREAM_HEAD, JSON_HEAD], ids=["stream", "JSON"])
def test_a_client_that_did_not_opt_in_is_told_nothing(head: Head) -> None:
    whole = with_headers(head, (b"Cache-Control", b"no-cache"), (b"connection", b"close"))

    client = Client(Relay(begin(whole, None, NOW), UNASKED)).gets(b"data: {}\n\n").to_the_end()

    assert client.head == with_headers(head, (b"Cache-Control", b"no-cache"))
    assert (client.body, client.report) == (b"data: {}\n\n", UNASKED)


def test_but_of_a_stream_that_breaks_off_it_is() -> None:
    """H10."""
    client = Client(Relay(begin(STREAM_HEAD, None, NOW), UNASKED)).gets(EVENTS[0])

    client.broken()

    assert error_in(client.events[-1].data) == "upstream_unreachable"
    assert client.report is not None
    assert client.report.outcome == "passed"


# When it may be shown.


def test_json_that_may_be_kept_is_not_shown_before_it_is_whole() -> None:
    """H8: nor before the store has it, or has not."""
    answer = kept(JSON_HEAD)
    shown = [answer.is_open]

    for chunk in one_by_one(COMPLETION):
        answer.feed(chunk, NOW)
        shown.append(answer.is_open)
    answer.finish(NOW)
    shown.append(answer.is_open)
    answer.close(None)

    assert not any(shown)
    assert answer.is_open


@pytest.mark.parametrize("came", [b"", COMPLETION[:9]], ids=["before its first byte", "half-way"])
@pytest.mark.parametrize("why", ["busy", "record-too-large"])
def test_nor_before_it_is_given_up(came: bytes, why: str) -> None:
    answer = kept(JSON_HEAD)
    answer.feed(came, NOW)

    answer.drop(why)

    assert (answer.is_open, answer.is_recorded, answer.hold_seconds) == (True, False, None)


def test_nor_before_it_is_late() -> None:
    answer = kept(JSON_HEAD)
    answer.feed(b" ", NOW)

    answer.release_held()

    assert (answer.is_open, answer.is_recorded) == (True, True)


def test_json_that_is_not_complete_is_shown_when_it_has_ended() -> None:
    """R1: the upstream says that this is all."""
    answer = kept(JSON_HEAD)
    answer.feed(COMPLETION[:9], NOW)

    assert (answer.is_open, answer.finish(NOW), answer.is_open) == (False, None, True)


ALWAYS_SHOWN = [
    pytest.param(kept, STREAM_HEAD, id="a stream"),
    pytest.param(kept, Head(503, JSON_HEAD.headers), id="an error"),
    pytest.param(kept, with_headers(JSON_HEAD, (b"cachemw", b"off")), id="JSON that is kept out"),
    pytest.param(lambda head: begin(head, None, NOW), JSON_HEAD, id="JSON that may not be kept"),
]


@pytest.mark.parametrize(("of", "head"), ALWAYS_SHOWN)
def test_anything_else_is_shown_from_its_head_on(of: Any, head: Head) -> None:
    """H8, H10: and stays shown when it breaks off."""
    answer = of(head)
    before = answer.is_open

    answer.fail(BROKEN)

    assert (before, answer.is_open) == (True, True)


# Several readers.

SMALL = b"".join(b'data: {"a":%d}\n\n' % at for at in range(40))


def test_whoever_comes_later_sees_the_same_bytes_from_the_first_on() -> None:
    """P1."""
    answer = kept(STREAM_HEAD)
    leader, late, last = (Client(Relay(answer, said)) for said in (OPEN, COLLAPSED, COLLAPSED))

    leader.gets(EVENTS[0], EVENTS[1])
    late.looks()
    leader.gets(*EVENTS[2:])
    before = (leader.body, late.body)
    leader.to_the_end()
    late.looks()
    last.looks()

    assert before == (STREAM.removesuffix(DONE_EVENT), EVENTS[0] + EVENTS[1])
    assert leader.body == late.body == last.body == STREAM


def test_each_reader_is_cut_by_how_it_reads() -> None:
    """S6: who keeps up gets a chunk when it comes, and who does not gets what has come."""
    answer = kept(STREAM_HEAD)
    prompt, slow = Client(Relay(answer, OPEN)), Client(Relay(answer, COLLAPSED))

    prompt.gets(*EVENTS).to_the_end()
    slow.looks()

    assert prompt.chunks == list(EVENTS)
    assert slow.chunks == [STREAM]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), st.integers(0, 40)),
        st.tuples(st.just("take"), st.integers(0, 2)),
        st.tuples(st.just("forget"), st.just(0)),
        st.tuples(st.sampled_from(["drop", "overdue"]), st.just(0)),
    ),
    max_size=60,
)


@pytest.mark.parametrize(("head", "body"), [*BODIES, pytest.param(STREAM_HEAD, SMALL, id="no end")])
@pytest.mark.parametrize("limit_bytes", [100, 1_000_000])
@settings(deadline=None, max_examples=60)
@given(steps=STEPS)
def test_whatever_is_done_when_every_reader_gets_every_byte(
    head: Head, body: bytes, limit_bytes: int, steps: list[tuple[str, int]]
) -> None:
    """S9, P3: `forget` never loses what somebody has to read, nor `drop` anything."""
    answer = kept(head, limit_bytes=limit_bytes)
    readers = [Client(Relay(answer, said)) for said in (OPEN, COLLAPSED, COLLAPSED)]
    fed = 0

    for step, number in steps:
        if step == "feed":
            answer.feed(body[fed : fed + number], NOW)
            fed = min(fed + number, len(body))
        elif step == "take":
            readers[number].takes()
        elif step == "forget":
            answer.forget(min(reader.relay.at for reader in readers))
        elif step == "drop":
            answer.drop("busy")
        else:
            answer.release_held()
    answer.feed(body[fed:], NOW)
    put = answer.finish(NOW)
    answer.close(None)
    for reader in readers:
        reader.looks()

    assert [reader.body for reader in readers] == [body] * 3
    assert all(reader.relay.has_had_all for reader in readers)
    assert put is None or codec.decode(put.record).body == body


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_a_stream_that_is_given_up_at_any_moment_is_passed_on_whole(at: int) -> None:
    """S9, D7."""
    client = Client(recorded(STREAM_HEAD)).gets(*filter(None, [STREAM[:at]]))

    client.response.drop("busy")
    client.gets(*filter(None, [STREAM[at:]])).to_the_end()

    assert (client.body, client.put) == (STREAM, None)
    assert client.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=False, details=("busy",))


@pytest.mark.parametrize("at", range(len(COMPLETION) + 1))
def test_json_that_is_given_up_at_any_moment_says_so_in_its_head(at: int) -> None:
    """S9, E1."""
    client = Client(recorded(JSON_HEAD)).gets(*filter(None, [COMPLETION[:at]]))

    client.response.drop("busy")
    client.gets(*filter(None, [COMPLETION[at:]])).to_the_end()

    assert (client.body, client.put) == (COMPLETION, None)
    assert client.values(b"cache-status") == [b'cachemw; fwd=miss; fwd-status=200; key="1f0c"; detail=busy']


def test_what_is_given_up_twice_says_the_first_reason() -> None:
    client = Client(recorded(JSON_HEAD)).gets(COMPLETION)

    client.response.drop("busy")
    client.response.drop("record-too-large")

    assert client.response.faults == ("busy",)


# What is in memory.


def test_what_may_be_kept_is_held_whole_whoever_has_read_it() -> None:
    """P1: somebody may yet join, from its first byte on."""
    client = Client(recorded(STREAM_HEAD)).gets(*EVENTS[:2])

    client.response.forget(client.relay.at)

    assert client.response.held == len(EVENTS[0] + EVENTS[1])
    assert client.response.read(0) == EVENTS[0] + EVENTS[1]


def test_what_is_not_kept_is_held_until_the_slowest_has_read_it() -> None:
    """P3."""
    answer = begin(STREAM_HEAD, None, NOW)
    prompt, slow = Client(Relay(answer, OPEN)), Client(Relay(answer, COLLAPSED))
    prompt.gets(SMALL)

    answer.forget(slow.relay.at)
    before = answer.held
    slow.looks()
    answer.forget(slow.relay.at)
    answer.forget(slow.relay.at - 5)  # and is not remembered

    assert (before, answer.held, answer.end) == (len(SMALL), 0, len(SMALL))
    assert prompt.body == slow.body == SMALL


@pytest.mark.parametrize("size", [1, 7, 1_000])
@pytest.mark.parametrize("limit_bytes", [0, 5_000])
@pytest.mark.parametrize("head", [STREAM_HEAD, JSON_HEAD], ids=["stream", "JSON"])
def test_no_more_is_held_than_the_limit_and_a_chunk(head: Head, limit_bytes: int, size: int) -> None:
    """S6, P3."""
    client, held = Client(recorded(head, limit_bytes=limit_bytes)), []

    for at in range(0, 10_000, size):
        client.gets(SMALL[at % 100 : at % 100 + size])
        held.append(client.response.held)
        client.response.forget(client.relay.at)

    assert limit_bytes < max(held) <= limit_bytes + min(size, len(SMALL))
    assert client.response.held == 0


@pytest.mark.parametrize("chunk", [b"x" * 50_000, b"data: {}\n\n" * 5_000], ids=["one line", "many events"])
@pytest.mark.parametrize("head", [STREAM_HEAD, JSON_HEAD], ids=["stream", "JSON"])
def test_what_is_not_recorded_any_more_is_not_in_memory(head: Head, chunk: bytes) -> None:
    """S6, P3."""
    relay = recorded(head, limit_bytes=200_000)
    tracemalloc.start()

    for _ in range(40):
        relay.response.feed(chunk, NOW)
        while relay.take():
            pass
        relay.response.forget(relay.at)

    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 50_000


@pytest.mark.parametrize("chunk", [b"x" * 50_000, b"data:{}\n\n" * 5_000], ids=["one line", "many events"])
def test_what_is_noted_of_a_stream_is_no_more_than_the_stream(chunk: bytes) -> None:
    """P3: a line that is parsed, and where events end and when they came, are in memory too."""
    answer = kept(STREAM_HEAD, limit_bytes=300_000)
    tracemalloc.start()

    for at in range(300_000 // len(chunk)):
        answer.feed(chunk, NOW + at)

    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.is_recorded
    assert held < 3 * answer.held


def test_what_is_read_at_once_is_a_piece() -> None:
    """P3: who reads from the middle of a long answer does not get a copy of the rest."""
    body = bytes(range(256)) * (PIECE_BYTES // 100)
    sizes = [PIECE_BYTES, PIECE_BYTES, len(body) - 2 * PIECE_BYTES]
    client = Client(unrecorded(JSON_HEAD)).gets(body)

    assert [len(chunk) for chunk in client.chunks] == sizes
    assert client.body == body
    assert list(accumulate(sizes))[-1] == client.relay.at


def test_a_piece_of_a_stream_does_not_reach_into_what_is_held() -> None:
    """P2."""
    answer = kept(STREAM_HEAD)
    answer.feed(STREAM, NOW)

    assert answer.read(3) == STREAM.removesuffix(DONE_EVENT)[3:]
    assert answer.read(answer.end) == b""


def test_somebody_has_had_all_only_when_the_head_is_out() -> None:
    relay = Relay(begin(Head(204, ()), None, NOW), OPEN)
    before = relay.has_had_all

    relay.take()

    assert (before, relay.has_had_all) == (False, True)


# What is said in the end, to whom.


@pytest.mark.parametrize(
    ("fault", "leader", "reader"),
    [(None, (True, ()), (None, ())), ("store-full", (False, ("store-full",)), (None, ("store-full",)))],
    ids=["stored", "not stored"],
)
@pytest.mark.parametrize(("head", "body"), BODIES)
def test_only_who_leads_says_that_it_is_stored(
    head: Head, body: bytes, fault: str | None, leader: tuple[Any, ...], reader: tuple[Any, ...]
) -> None:
    """P1, E1."""
    client = Client(recorded(head)).gets(body).to_the_end(fault)

    final_report = [client.response.final_report(said) for said in (OPEN, COLLAPSED)]

    assert [(report.stored, report.details) for report in final_report] == [leader, reader]
    assert client.response.is_stored == (fault is None)


def test_while_it_is_under_way_nothing_is_said_of_it() -> None:
    client = Client(recorded(STREAM_HEAD)).gets(*EVENTS)

    assert client.report == OPEN


def test_why_it_is_not_kept_comes_before_why_it_was_forwarded_and_once() -> None:
    """E1."""
    said = ExchangeReport(fwd="miss", details=("key-mismatch", "no-end"))
    answer = kept(STREAM_HEAD)
    answer.drop("no-end")
    answer.fail(BROKEN)

    assert answer.final_report(said) == ExchangeReport(fwd="miss", stored=False, details=("broken", "no-end", "key-mismatch"))


# The event that tells of a failure, once something is forgotten.


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_it_is_known_whether_an_event_has_ended_though_its_bytes_are_held_no_more(line_end: bytes) -> None:
    """H10: forgotten a byte at a time, or as they come, or all at once."""
    body = EVENTS[0].replace(b"\n", line_end)

    for at in range(1, len(body) + 1):
        for step in (1, 2, 5, at):
            answer = begin(STREAM_HEAD, None, NOW)
            answer.feed(body[:at], NOW)
            for before in (*range(0, at, step), at):
                answer.forget(before)

            answer.fail(BROKEN)

            assert answer.held == 0
            assert answer.broken(BROKEN).startswith(b"data: ") == (at == len(body))


def test_what_was_held_is_not_taken_for_the_end_of_an_event() -> None:
    """H10: it never left."""
    client = Client(recorded(STREAM_HEAD)).gets(EVENTS[0][:-1], b"\n" + DONE_EVENT)

    client.broken()

    assert client.body.startswith(EVENTS[0] + b"data: {")


@pytest.mark.parametrize("head", [STREAM_HEAD, JSON_HEAD], ids=["stream", "JSON"])
def test_what_was_stopped_has_no_fault_and_is_not_kept(head: Head) -> None:
    """H3: nobody reads it any more, and the upstream did nothing wrong."""
    response = recorded(head).response
    response.feed(b"half of it", NOW)

    response.fail(None)

    assert (response.faults, response.is_stored, response.is_recorded) == ((), False, False)
    assert response.final_report(OPEN) == OPEN


@pytest.mark.parametrize("wish", Abandon)
@pytest.mark.parametrize("has_room", [True, False])
@pytest.mark.parametrize(
    ("response", "may_be_kept"),
    [(None, True), (recorded(STREAM_HEAD).response, True), (unrecorded(STREAM_HEAD).response, False)],
    ids=["no head yet", "recorded", "not recorded"],
)
def test_what_all_have_left_is_read_on_only_where_that_is_wanted_and_of_use(
    wish: Abandon, has_room: bool, response: LiveResponse | None, may_be_kept: bool
) -> None:
    """H3."""
    finishes = wish is Abandon.FINISH and has_room and may_be_kept

    assert last_left(wish, response, has_room) is (Abandon.FINISH if finishes else Abandon.CANCEL)


@pytest.mark.parametrize(
    ("held", "is_full", "over_limit"),
    [
        (b"", False, None),
        (b"", True, None),
        (b"1234", False, None),
        (b"12345", False, "record-too-large"),
        (b"1", True, "busy"),
        (b"12345", True, "busy"),
    ],
)
def test_what_is_held_is_bounded_for_each_and_for_all(held: bytes, is_full: bool, over_limit: str | None) -> None:
    """P3."""
    response = unrecorded(STREAM_HEAD).response
    response.feed(held, NOW)

    assert response.over_limit(4, is_full) == over_limit
