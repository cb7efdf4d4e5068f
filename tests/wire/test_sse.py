"""The parser of event streams, against a slow one that follows the standard line by line."""

import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.wire.sse import DONE, Event, Parser, encode
from tests.cache.answers import cut_in_two, one_by_one
from tests.cassettes import cassette

BOM = b"\xef\xbb\xbf"

RECORDED = [
    "anthropic_stream_tools.sse",
    "azure_stream_router.sse",
    "cerebras_glm_stream_1.sse",
    "groq_stream_error_event.sse",
    "openai_responses_stream.sse",
    "openai_stream_n2.sse",
    "openai_stream_parallel_tools.sse",
    "openrouter_stream_annotations.sse",
]


def parse(chunks: Iterable[bytes]) -> list[Event]:
    """Return the events of a stream that comes in these chunks."""
    parser = Parser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events + parser.close()


def parse_slowly(stream: bytes) -> list[Event]:
    """WHATWG HTML §9.2.6, once the stream is whole. What is after the last blank line is no event."""
    events: list[Event] = []
    name, data, start = b"", list[bytes](), 0
    at = len(BOM) if stream.startswith(BOM) else 0
    while line_end := re.compile(rb"\r\n|\n|\r").search(stream, at):
        line, at = stream[at : line_end.start()], line_end.end()
        if line == b"" and data:
            events.append(Event(name, b"\n".join(data), start, at))
            start = at
        if line == b"":
            name, data = b"", []
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if field == b"data":
            data.append(value)
        if field == b"event":
            name = value
    return events


# Forms a stream may take.


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data: a\r\n\r\n", [(b"", b"a")]),
        (b"data: a\r\r", [(b"", b"a")]),
        (b"data: a\n\r\n", [(b"", b"a")]),
        (b"data: a\r\n\n", [(b"", b"a")]),
        (b"data: a\n\r", [(b"", b"a")]),
        (b"data:a\n\n", [(b"", b"a")]),
        (b"data:  a \n\n", [(b"", b" a ")]),
        (b"data: a: b\n\n", [(b"", b"a: b")]),
        (b"data\n\n", [(b"", b"")]),
        (b"data:\n\n", [(b"", b"")]),
        (b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
        (b"data: a\ndata\ndata: b\n\n", [(b"", b"a\n\nb")]),
        (b"event: error\ndata: a\n\n", [(b"error", b"a")]),
        (b"data: a\nevent: error\n\n", [(b"error", b"a")]),
        (b"event: error\n\ndata: a\n\n", [(b"", b"a")]),
        (b"event: error\ndata: a\n\ndata: b\n\n", [(b"error", b"a"), (b"", b"b")]),
        (b": processing\n\ndata: a\n\n", [(b"", b"a")]),
        (b"data: a\n: processing\ndata: b\n\n", [(b"", b"a\nb")]),
        (b"id: 1\nretry: 10\ndata: a\nwhatever: b\n\n", [(b"", b"a")]),
        (b" data: a\n\n", []),
        (b"DATA: a\n\n", []),
        (b"\n\n\ndata: a\n\n\n\n", [(b"", b"a")]),
        (BOM + b"data: a\n\n", [(b"", b"a")]),
        (b"data: a\n\n" + BOM + b"data: b\n\n", [(b"", b"a")]),
        (b"data: \xff\x00\n\n", [(b"", b"\xff\x00")]),
        (b"data: a\x0bb\xe2\x80\xa8\x85\n\n", [(b"", b"a\x0bb\xe2\x80\xa8\x85")]),
        (b"data: a\n\ndata: b\n", [(b"", b"a")]),
        (b"data: a\n\ndata: b", [(b"", b"a")]),
        (b"data: a\r\n\r", [(b"", b"a")]),
        (b"data: a\r\n", []),
        (b"data: a\r", []),
        (b"", []),
    ],
    ids=[
        "LF",
        "CRLF",
        "CR",
        "LF, CRLF",
        "CRLF, LF",
        "LF, CR",
        "no space",
        "only one space goes",
        "a colon in the data",
        "a name alone",
        "empty data",
        "data of two lines",
        "data of three lines",
        "a name of an event",
        "a name that comes last",
        "a name without data",
        "a name is for one event",
        "a comment before",
        "a comment within",
        "other fields",
        "a space before the name",
        "another case",
        "blank lines",
        "a byte order mark",
        "a byte order mark later on",
        "bytes that are no UTF-8",
        "what other parsers take for line ends",
        "no blank line",
        "half a line",
        "the stream ends in the blank line's CR",
        "no blank line, CRLF",
        "no blank line, CR",
        "nothing",
    ],
)
def test_every_form_of_the_standard_is_read(stream: bytes, events: list[tuple[bytes, bytes]]) -> None:
    """S8: cut anywhere."""
    assert [(event.name, event.data) for event in parse_slowly(stream)] == events

    for chunks in ([stream], one_by_one(stream), *cut_in_two(stream)):
        assert parse(chunks) == parse_slowly(stream)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_a_line_of_two_megabytes_is_one_event(line_end: bytes) -> None:
    """S8."""
    line = b"data: " + b"x" * 2_000_000
    stream = line + 2 * line_end

    [event] = parse(stream[at : at + 4096] for at in range(0, len(stream), 4096))

    assert event == Event(b"", line[6:], 0, len(stream))


def test_an_event_is_given_by_the_chunk_that_completes_it() -> None:
    """S6."""
    parser = Parser()

    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\nda") == [Event(b"", b"a", 0, 9)]
    assert parser.feed(b"ta: b\n\ndata: c\n\n") == [Event(b"", b"b", 9, 18), Event(b"", b"c", 18, 27)]
    assert parser.close() == []


def test_events_are_the_bytes_of_the_stream_one_after_another() -> None:
    """Comments and blank lines belong to the event they stand before."""
    stream = b": hello\n\nid: 1\ndata: a\n\n\r\n: still here\n\ndata: b\r\n\r\n: bye\n\n"

    first, second = parse([stream])

    assert stream[first.start : first.end] == b": hello\n\nid: 1\ndata: a\n\n"
    assert stream[second.start : second.end] == b"\r\n: still here\n\ndata: b\r\n\r\n"
    assert (first.start, first.end) == (0, second.start)


# Any stream, cut anywhere.


fields = [b"data", b"data:", b"data: ", b"event: e", b"event", b"id: 1", b":", b": c", b"data: [DONE]"]
line_ends = [b"\n", b"\n\n", b"\r", b"\r\r", b"\r\n", b"\r\n\r\n"]
pieces = st.sampled_from([*fields, *line_ends, *line_ends, b" ", b"[DONE]", b"{}", b"\xff", BOM])
streams = st.lists(pieces, max_size=24).map(b"".join)


@st.composite
def cut_streams(draw: st.DrawFn) -> list[bytes]:
    """Return a stream in chunks, some of them empty."""
    stream = draw(streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@given(cut_streams())
def test_however_a_stream_is_cut_its_events_are_the_same(chunks: list[bytes]) -> None:
    """S8."""
    assert parse(chunks) == parse_slowly(b"".join(chunks))


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_streams_are_read_as_the_standard_says(name: str) -> None:
    """S8."""
    stream = cassette(name)

    assert parse([stream]) == parse(one_by_one(stream)) == parse_slowly(stream)


# Where `data: [DONE]` begins.


def done_at(stream: bytes, size: int = 1) -> list[int | None]:
    """Feed a stream in chunks of this size; return what was known after each."""
    parser, known = Parser(), []
    for at in range(0, len(stream), size):
        parser.feed(stream[at : at + size])
        known.append(parser.done_at())
    return known


@pytest.mark.parametrize("before", [b"", b"data: a\n\n", b"data: a\r\n\r\n", b"data: a\r\r", b": c\n", b"event: e\r"])
@pytest.mark.parametrize("done", [b"data: [DONE]", b"data:[DONE]"])
@pytest.mark.parametrize("after", [b"\n\n", b"\r\n\r\n", b"\r\r", b""])
def test_the_end_is_known_as_soon_as_its_bytes_are_there(before: bytes, done: bytes, after: bytes) -> None:
    """P2: not only at the end of the line, for then it would have left."""
    known = done_at(before + done + after)

    unknown = len(before + done) - 1
    assert known == [None] * unknown + [len(before)] * (len(known) - unknown)


@pytest.mark.parametrize(
    "stream",
    [
        b'data: {"content":"data: [DONE]"}\n\n',
        b"data: a [DONE]\n\n",
        b"data:  [DONE]\n\n",
        b": data: [DONE]\n\n",
        b"event: [DONE]\n\n",
        b"data: [DONE\n\n",
        b"xdata: [DONE]\n\n",
    ],
)
def test_nothing_else_is_the_end(stream: bytes) -> None:
    assert set(done_at(stream)) == {None}


def test_a_line_that_begins_like_the_end_is_one_too() -> None:
    """As the SDKs read it: they hang up there."""
    assert done_at(b"data: a\n\ndata: [DONE] and more\n\n", size=100) == [9]
    assert parse([b"data: [DONE] and more\n\n"])[0].data != DONE


@given(streams.filter(lambda stream: not stream.startswith(BOM)), st.integers(1, 40))
def test_however_a_stream_is_cut_its_end_is_the_same(stream: bytes, size: int) -> None:
    """S8."""
    lines = re.split(rb"(?<=\n)|(?<=\r)(?!\n)", stream)
    starts = [sum(map(len, lines[:at])) for at in range(len(lines))]
    ends = [start for start in starts if re.match(rb"data: ?\[DONE\]", stream[start:])]

    known = [None, *done_at(stream, size)]

    assert known[-1] == (ends[0] if ends else None)


# The end of the body.


@pytest.mark.parametrize(
    ("stream", "last"),
    [
        (b"data: [DONE]", b"[DONE]"),
        (b"data:[DONE]", b"[DONE]"),
        (b"data: [DONE]\n", b"[DONE]"),
        (b"data: [DONE]\r", b"[DONE]"),
        (b"data: [DONE]\r\n", b"[DONE]"),
        (b"data: [DONE] \t\n", b"[DONE] \t"),
        (b"data: [DONE] ", b"[DONE] "),
        (b"data: [DONE]\n\n", b"[DONE]"),
        (b"data: [DONE", None),
        (b"data: [DONE]x", None),
        (b"data:  [DONE]", None),
        (b"data: [DONE]\ndata: x\n", None),
        (b"data: [DONE]\nda", None),
        (b"data: {}\n", None),
        (b"", None),
    ],
)
def test_a_body_that_ended_by_itself_may_end_within_its_done(stream: bytes, last: bytes | None) -> None:
    """R1: all clients take it for the end. It is the bytes to the end of the body, and to ask again changes nothing."""
    for before in (b"", b"data: a\n\n", b": c\n\n"):
        body = before + stream
        for kept in (None, bytearray(body)):
            parser = Parser(kept)
            events = parser.feed(body) if kept is None else parser.read_on()
            come = [*events, *parser.end()][before.startswith(b"data") :]
            assert [(event.data, event.end) for event in come] == ([] if last is None else [(last, len(body))])
            assert kept in (None, body)


@pytest.mark.parametrize(
    ("stream", "is_within"),
    [
        *[(b"", False), (b"data: a\n\n", False), (b"data: a\r\n\r\n", False), (b"data: a\r\r", False), (b": c\n", False)],
        *[(b"data: a\n", True), (b"data: a\r", True), (b"data: a", True), (b"d", True), (b"data: a\n\n:", True)],
    ],
)
def test_it_is_known_whether_a_body_ended_within_an_event(stream: bytes, is_within: bool) -> None:
    """R1."""
    parser = Parser()
    parser.feed(stream)
    parser.end()

    assert parser.is_within_event is is_within


# The encoder.


def test_what_is_encoded_is_read_back() -> None:
    assert encode(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert parse([encode(b"a"), encode(b"[DONE]")]) == [Event(b"", b"a", 0, 9), Event(b"", DONE, 9, 23)]
