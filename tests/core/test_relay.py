"""An answer under way: what leaves, how it ends, and what is put in the store."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from cachemw.core import codec
from cachemw.core.messages import Head, Headers, header_values
from cachemw.core.recording import start
from cachemw.core.relay import Emission, Put, Relay
from cachemw.core.report import ExchangeReport
from cachemw.core.sse import DONE, Event, Parser
from cachemw.errors import TruncatedResponse, UpstreamError, UpstreamTimeout
from tests.core.answers import (
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
OPEN = ExchangeReport(fwd="miss", fwd_status=200, key="1f0c")
NOT_KEPT = ExchangeReport(fwd="bypass", stored=False, details=("ambiguous-json",))

BROKEN = UpstreamError("reset")


def recorded(head: Head, **members: Any) -> Relay:
    """Return the relay of an answer that is recorded."""
    asked = terms(stream=head.headers[0] == STREAM_HEAD.headers[0], **members)
    return Relay(head, OPEN, start(head, asked, NOW))


def unrecorded(head: Head) -> Relay:
    """Return the relay of an answer of which nothing is kept."""
    return Relay(head, NOT_KEPT, None)


@dataclass
class Client:
    """Whom it is passed on to."""

    relay: Relay
    head: Head | None = None
    chunks: list[bytes] = field(default_factory=list)
    put: Put | None = None

    def gets(self, *chunks: bytes) -> "Client":
        """Let the head come, and these chunks."""
        self._take(self.relay.begin())
        self.gets_more(*chunks)
        return self

    def gets_more(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self._take(self.relay.feed(chunk, NOW))

    def to_the_end(self, fault: str | None = None) -> "Client":
        """Let the upstream's body end; `fault`: what the store says to the record."""
        self.put = self.relay.finish(NOW)
        self._take(self.relay.close(fault))
        return self

    def broken(self, error: UpstreamError = BROKEN) -> bool:
        """Let the upstream break off; return whether that is a whole response."""
        emissions, is_whole = self.relay.fail(error)
        self._take(emissions)
        return is_whole

    def waits_too_long(self) -> None:
        self._take(self.relay.overdue())

    def _take(self, emissions: tuple[Emission, ...]) -> None:
        for emission in emissions:
            if isinstance(emission, Head):
                assert (self.head, self.chunks) == (None, []), "one head, before any byte"
                self.head = emission
            else:
                assert self.head is not None, "no byte before the head"
                assert emission, "no empty chunk: to a server that is the end"
                self.chunks.append(emission)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def events(self) -> list[Event]:
        return Parser().feed(self.body)

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

    client = Client(recorded(with_headers(head, *said))).gets(STREAM)

    client.broken()  # so that the head of JSON leaves, too
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
    waits = client.relay.holds_for is not None

    client.to_the_end()

    assert (before, waits) == (STREAM.removesuffix(DONE_EVENT), True)
    assert client.body == STREAM
    assert client.relay.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=True)


@pytest.mark.parametrize(("head", "body"), [(STREAM_HEAD, STREAM), (JSON_HEAD, COMPLETION)], ids=["stream", "JSON"])
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
    assert client.relay.report is not None
    assert client.relay.report.stored is True


@pytest.mark.parametrize(("head", "body"), [(STREAM_HEAD, STREAM), (JSON_HEAD, COMPLETION)], ids=["stream", "JSON"])
def test_what_the_store_does_not_take_is_passed_on_all_the_same_and_told(head: Head, body: bytes) -> None:
    """D1, E1."""
    client = Client(recorded(head)).gets(body).to_the_end("store-full")

    assert client.body == body
    assert client.relay.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=False, details=("store-full",))
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
    assert client.relay.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=False, details=(fault,))


@pytest.mark.parametrize("head", [STREAM_HEAD, JSON_HEAD, Head(204, ())], ids=["a stream", "JSON", "nothing"])
def test_what_is_not_recorded_passes_untouched(head: Head) -> None:
    """S9."""
    client = Client(unrecorded(head)).gets(b"data: [DO", b"NE]\n\n", b"\xff").to_the_end()

    assert client.chunks == [b"data: [DO", b"NE]\n\n", b"\xff"]
    assert (client.put, client.relay.report, client.relay.holds_for) == (None, NOT_KEPT, None)


def test_json_beyond_the_limit_leaves_before_its_end() -> None:
    """S6, D7."""
    client = Client(recorded(JSON_HEAD, limit_bytes=20)).gets(COMPLETION[:15])
    before = client.head

    client.gets_more(COMPLETION[15:30], COMPLETION[30:])

    assert before is None
    assert client.chunks == [COMPLETION[:30], COMPLETION[30:]]
    assert client.to_the_end().put is None
    assert client.relay.report is not None
    assert client.relay.report.details == ("record-too-large",)


# An end that does not come.


def test_an_end_that_is_held_too_long_leaves_and_nothing_is_kept() -> None:
    """P2, §6: at most a second."""
    client = Client(recorded(STREAM_HEAD)).gets(STREAM)

    client.waits_too_long()

    assert client.body == STREAM
    assert client.relay.holds_for is None
    assert client.to_the_end().put is None
    assert client.body == STREAM
    assert client.relay.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=False, details=("no-end",))


def test_what_comes_after_it_leaves_at_once() -> None:
    """S9."""
    client = Client(recorded(STREAM_HEAD)).gets(STREAM)
    client.waits_too_long()

    client.gets_more(b": bye\n\n")

    assert client.body == STREAM + b": bye\n\n"


def test_where_nothing_is_recorded_nothing_is_held() -> None:
    assert unrecorded(STREAM_HEAD).overdue() == ()


# An upstream that breaks off.


ERRORS = [
    pytest.param(BROKEN, 502, "upstream_unreachable", "broken", id="reset"),
    pytest.param(UpstreamTimeout("silent"), 504, "upstream_timeout", "broken", id="silent"),
    pytest.param(TruncatedResponse("cut"), 502, "upstream_truncated", "truncated", id="cut"),
]


@pytest.mark.parametrize("came", [b"", COMPLETION[:9], COMPLETION], ids=["nothing", "half of it", "all but its end"])
@pytest.mark.parametrize(("error", "status", "code", "detail"), ERRORS)
def test_json_that_breaks_off_is_a_whole_error_of_ours(
    came: bytes, error: UpstreamError, status: int, code: str, detail: str
) -> None:
    """H10, R1: nobody has seen anything of it yet."""
    client = Client(recorded(JSON_HEAD)).gets(*filter(None, [came]))

    is_whole = client.broken(error)

    assert is_whole
    assert client.head is not None
    assert (client.head.status, error_in(client.body)) == (status, code)
    assert lower(client.head.headers) == [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(client.body)),
        (b"cache-control", b"private, no-store"),
        (b"cache-status", b'cachemw; fwd=miss; fwd-status=200; key="1f0c"; detail=' + detail.encode()),
    ]
    assert client.relay.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=False, details=(detail,))


@pytest.mark.parametrize("relay", [unrecorded(JSON_HEAD), recorded(JSON_HEAD, limit_bytes=5)], ids=["unrecorded", "large"])
def test_json_that_has_begun_to_leave_just_breaks_off(relay: Relay) -> None:
    """H10: the transfer is broken, and that is all that can be said."""
    client = Client(relay).gets(COMPLETION[:9])

    is_whole = client.broken()

    assert not is_whole
    assert client.body == COMPLETION[:9]


@pytest.mark.parametrize(("error", "status", "code", "detail"), ERRORS)
def test_a_stream_that_breaks_off_says_so_in_one_event(error: UpstreamError, status: int, code: str, detail: str) -> None:
    """H10."""
    client = Client(recorded(STREAM_HEAD)).gets(*EVENTS[:2])

    is_whole = client.broken(error)

    assert not is_whole
    assert client.chunks[:-1] == list(EVENTS[:2])
    assert error_in(client.events[-1].data) == code
    assert json.loads(client.events[-1].data)["status_code"] == status
    assert client.relay.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=False, details=(detail,))


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

    is_whole = client.broken()

    assert (client.body, is_whole) == (b"\x1f\x8b", False)


@pytest.mark.parametrize("relay_of", [recorded, unrecorded])
def test_a_stream_has_room_for_that_event(relay_of: Any) -> None:
    """No length is announced for it: a server would take the event for a mistake."""
    client = Client(relay_of(with_headers(STREAM_HEAD, (b"Content-Length", b"%d" % len(STREAM))))).gets()

    assert client.values(b"content-length") == []


@pytest.mark.parametrize("relay_of", [recorded, unrecorded])
def test_the_length_of_json_stays(relay_of: Any) -> None:
    length = (b"content-length", b"%d" % len(COMPLETION))

    client = Client(relay_of(with_headers(JSON_HEAD, length))).gets(COMPLETION).to_the_end()

    assert client.values(b"content-length") == [length[1]]


# A body that ends where the connection does.


def close_delimited(head: Head) -> Head:
    return Head(head.status, head.headers, delimited=False)


@pytest.mark.parametrize(("head", "body"), [(STREAM_HEAD, STREAM), (JSON_HEAD, COMPLETION)], ids=["stream", "JSON"])
def test_it_is_complete_by_its_content_alone(head: Head, body: bytes) -> None:
    """R1: cut after any byte it is a failure, and nobody is shown a clean end."""
    for at in range(len(body)):
        client = Client(recorded(close_delimited(head))).gets(*filter(None, [body[:at]]))
        with pytest.raises(TruncatedResponse):
            client.to_the_end()
        is_whole = client.broken(TruncatedResponse("cut"))

        assert is_whole == (head is JSON_HEAD)
        assert error_in(client.events[-1].data if head is STREAM_HEAD else client.body) == "upstream_truncated"

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
    assert client.relay.report is not None
    assert client.relay.report.details == (fault,)


# A client that leaves, and one that did not opt in.


def test_a_client_that_leaves_is_noted_and_nothing_is_kept() -> None:
    client = Client(recorded(STREAM_HEAD)).gets(EVENTS[0])

    client.relay.abandon()

    assert client.relay.report == ExchangeReport(fwd="miss", fwd_status=200, key="1f0c", stored=False, details=("client-left",))


@pytest.mark.parametrize("head", [STREAM_HEAD, JSON_HEAD], ids=["stream", "JSON"])
def test_a_client_that_did_not_opt_in_is_told_nothing(head: Head) -> None:
    whole = with_headers(head, (b"Cache-Control", b"no-cache"), (b"connection", b"close"))

    client = Client(Relay(whole, None, None)).gets(b"data: {}\n\n").to_the_end()

    assert client.head == with_headers(head, (b"Cache-Control", b"no-cache"))
    assert (client.body, client.relay.report) == (b"data: {}\n\n", None)


def test_but_of_a_stream_that_breaks_off_it_is() -> None:
    """H10."""
    client = Client(Relay(STREAM_HEAD, None, None)).gets(EVENTS[0])

    client.broken()
    client.relay.abandon()

    assert error_in(client.events[-1].data) == "upstream_unreachable"
    assert client.relay.report is None
