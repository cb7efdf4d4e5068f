"""ruling F3, T9: an answer in another dialect is the same however its bytes come; and what is said where it is none."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw.cache.presentation import TOO_LARGE, Presentation, Presenter
from cachemw.endpoints.errors import ANTHROPIC, OPENAI, Refusal
from cachemw.messages import Head, StoredResponse, Usage
from cachemw.translation.base import Unsayable
from tests.cassettes import FOLDER
from tests.endpoints.transcoding import JSON, STREAM, record
from tests.mounts.translating import BOTH_WAYS, MESSAGES, OTHER, WHOLE_ANSWER, Client
from tests.translation import messages_reading, talking_to_messages

TRANSLATED = pytest.mark.parametrize("client", BOTH_WAYS, ids=lambda client: f"{client.dialect} client")
EVENTS = Head(200, ((b"content-type", b"text/event-stream; charset=utf-8"), (b"x-request-id", b"req_1"), (b"etag", b"x")))
DOCUMENT = Head(200, ((b"content-type", b"application/json"), (b"content-length", b"7")))
LIMIT = 1 << 20

RECORDED: dict[str, tuple[str, ...]] = {
    "messages": ("cerebras_glm_stream_1", "openai_stream_usage", "openai_stream_parallel_tools", "openai_stream_refusal"),
    "chat": (
        *("anthropic_stream_thinking", "anthropic_stream_parallel_tools", "anthropic_stream_max_tokens"),
        *("anthropic_stream_redacted_thinking", "anthropic_stream_tools"),
    ),
}


def presentation_to(client: Client, *told: tuple[str, str]) -> Presentation:
    """Return how answers of the other dialect are presented to a client."""
    if client is MESSAGES:
        return Presentation(messages_reading.view_of(stream=True), told, ANTHROPIC)
    return Presentation(talking_to_messages.view(), told, OPENAI)


def streams_for(client: Client) -> list[bytes]:
    """Return streams of who speaks as the upstream of a client: ours, and recorded ones where these are."""
    recorded = [(FOLDER / f"{name}.sse").read_bytes() for name in RECORDED[client.dialect]] if FOLDER.is_dir() else []
    return [b"".join(OTHER[client].event_stream()), *recorded]


@dataclass
class Presented:
    """An answer as it was said to a client: what stands in its head, and in its body."""

    head: Head | None
    body: bytes
    presenter: Presenter


def presenting(presentation: Presentation, head: Head, limit_bytes: int) -> Presenter:
    assert presentation.view is not None
    return Presenter(presentation, presentation.view, head, limit_bytes)


def live(client: Client, pieces: list[bytes], head: Head = EVENTS) -> Presented:
    presenter = presenting(presentation_to(client), head, LIMIT)
    said = b"".join([presenter.feed(piece) for piece in pieces])
    begun = presenter.begin(head) if presenter.is_stream else None
    ended, rest = presenter.finish(head)
    return Presented(ended or begun, said + rest, presenter)


def pieces_of(body: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({cut % (len(body) + 1) for cut in cuts} | {len(body)})
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@TRANSLATED
@given(cuts=st.lists(st.integers(0, 2**16), max_size=40), which=st.integers(0, 9))
def test_however_a_stream_is_cut_into_pieces_it_is_the_same(client: Client, cuts: list[int], which: int) -> None:
    """ruling F3."""
    streams = streams_for(client)
    stream = streams[which % len(streams)]

    assert live(client, pieces_of(stream, cuts)).body == live(client, [stream]).body


@TRANSLATED
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_stream_that_comes_byte_by_byte_is_the_same(client: Client, size: int) -> None:
    for stream in streams_for(client):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]

        assert live(client, pieces).body == live(client, [stream]).body


def stored_stream(stream: bytes, usage: Usage | None) -> StoredResponse:
    return replace(record(stream, STREAM), usage=usage)


@TRANSLATED
@pytest.mark.parametrize("usage", [None, Usage(input_tokens=7, output_tokens=5)], ids=["no usage", "usage"])
def test_a_stored_stream_is_the_live_one_but_for_what_is_known_by_now(client: Client, usage: Usage | None) -> None:
    """T9, T24: event by event, and the arrivals are those of the events that said it."""
    for stream in streams_for(client):
        shown = presentation_to(client).of_stored(stored_stream(stream, usage))

        assert isinstance(shown, StoredResponse)
        assert _but_for_input(shown.body) == _but_for_input(live(client, [stream]).body)
        assert usage is not None or shown.body == live(client, [stream]).body
        assert shown.event_ends[-1] == len(shown.body)
        assert len(shown.event_ends) == len(shown.arrivals)
        assert list(shown.arrivals) == sorted(shown.arrivals)
        ends = [shown.body[:end].endswith(b"\n\n") for end in shown.event_ends]
        assert all(ends)


def _but_for_input(stream: bytes) -> Any:
    first, _, rest = stream.partition(b"\n\n")
    said = json.loads(first.partition(b"data: ")[2])
    if said.get("type") == "message_start":
        del said["message"]["usage"]
    return said, rest


@TRANSLATED
def test_the_end_of_a_stream_is_said_with_the_last_event_and_only_once(client: Client) -> None:
    """S6."""
    *events, last = OTHER[client].event_stream()
    presenter = presenting(presentation_to(client), EVENTS, LIMIT)
    before = b"".join([presenter.feed(event) for event in events])

    assert client.last not in before
    assert client.last in presenter.feed(last)
    assert presenter.finish(EVENTS) == (None, b"")


@TRANSLATED
@pytest.mark.parametrize("comment", [b": ping\n\n", b": OPENROUTER PROCESSING\r\n\r\n"], ids=repr)
def test_what_keeps_a_connection_alive_does_so_in_the_other_dialect(client: Client, comment: bytes) -> None:
    """§3.3: and a colon within an event is no comment."""
    events = OTHER[client].event_stream()
    quiet = live(client, events)

    said = live(client, [comment, events[0], comment, *events[1:]])
    within = live(client, [piece for event in events for piece in _at_colons(event)])

    ping = {"messages": b'event: ping\ndata: {"type": "ping"}\n\n', "chat": b": ping\n\n"}[client.dialect]
    assert said.body.count(ping) == 2
    assert said.body.replace(ping, b"") == quiet.body == within.body
    assert client.read(said.body, True) == WHOLE_ANSWER


def _at_colons(event: bytes) -> list[bytes]:
    first, *rest = event.split(b":")
    return [first, *(b":" + piece for piece in rest)]


# Heads and documents.


def values_of(head: Head | None) -> dict[bytes, bytes]:
    assert head is not None
    return dict(head.headers)


@TRANSLATED
def test_a_head_says_what_the_body_has_become(client: Client) -> None:
    document = OTHER[client].document()
    streamed, whole = live(client, [b"".join(OTHER[client].event_stream())]), live(client, [document], DOCUMENT)

    assert values_of(streamed.head)[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert b"etag" not in values_of(streamed.head)
    assert values_of(streamed.head)[b"request-id" if client is MESSAGES else b"x-request-id"] == b"req_1"
    assert values_of(whole.head)[b"content-length"] == b"%d" % len(whole.body)
    assert client.read(whole.body, False) == WHOLE_ANSWER


@TRANSLATED
def test_a_document_is_said_when_it_is_whole_and_not_before(client: Client) -> None:
    document = OTHER[client].document()
    presenter = presenting(presentation_to(client), DOCUMENT, LIMIT)

    assert [presenter.feed(bytes([byte])) for byte in document] == [b""] * len(document)
    assert client.read(presenter.finish(DOCUMENT)[1], False) == WHOLE_ANSWER


@TRANSLATED
def test_a_document_beyond_the_limit_is_given_up_and_not_held(client: Client) -> None:
    presenter = presenting(presentation_to(client), DOCUMENT, 100)

    for _ in range(50):
        presenter.feed(b" " * 60)
    head, body = presenter.finish(DOCUMENT)

    assert (head and head.status) == 502
    assert "too large" in client.error_in(body)[1]


NO_ANSWERS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"1" * 5000,
    b"[" * 100_000,
    b'{"choices":1}',
    b'{"type":"message"}',
    b"\xff",
    b"<html>",
]


@TRANSLATED
@pytest.mark.parametrize("status", [200, 400, 429, 500])
def test_whatever_comes_is_said_in_the_callers_shape(client: Client, status: int) -> None:
    for body in (*NO_ANSWERS, OTHER[client].document() if status != 200 else b"", client.document()):
        said = live(client, [body], replace(DOCUMENT, status=status))

        assert said.head is not None
        assert said.head.status == (502 if status == 200 else status)
        assert client.error_in(said.body)[1]


@TRANSLATED
@given(body=st.binary(max_size=60) | st.sampled_from([b"data: " + body + b"\n\n" for body in NO_ANSWERS]))
def test_no_stream_of_anything_has_an_end(client: Client, body: bytes) -> None:
    """R1: nothing hostile makes one, or escapes."""
    said = live(client, [body])

    assert said.presenter.fault is not None
    assert client.last not in said.body
    assert client.error_event_in(said.body.rstrip(b"\n").rpartition(b"\n\n")[2] + b"\n\n")[1]


@TRANSLATED
@given(at=st.integers(0, 2**16))
def test_a_stream_that_breaks_off_says_so_once_and_has_no_end(client: Client, at: int) -> None:
    events = OTHER[client].event_stream()
    whole = b"".join(events)
    presenter = presenting(presentation_to(client), EVENTS, LIMIT)
    said = presenter.feed(whole[: at % (len(whole) - len(events[-1]))])

    head, rest = presenter.break_off(EVENTS, Refusal(502, "it broke off", code="x"))

    assert head is None
    assert client.error_event_in(rest)[1] == "it broke off"
    assert client.last not in said + rest


@TRANSLATED
def test_what_cannot_be_said_of_what_is_stored_is_unsayable(client: Client) -> None:
    presentation = presentation_to(client)
    foreign = (
        record(client.document(), JSON, b"application/json"),
        record(b"".join(client.event_stream()), STREAM),
        record(b"".join(OTHER[client].event_stream()[:-1]), STREAM) if client.dialect == "chat" else record(b"{}", JSON),
    )

    assert [isinstance(presentation.of_stored(stored), Unsayable) for stored in foreign] == [True] * 3


@TRANSLATED
def test_what_is_told_stands_on_both(client: Client) -> None:
    presentation = presentation_to(client, ("top_k", "dropped"), ("seed", "dropped"))
    stored = presentation.of_stored(record(OTHER[client].document(), JSON, b"application/json"))
    presenter = presenting(presentation, EVENTS, LIMIT)

    assert isinstance(stored, StoredResponse)
    assert dict(stored.headers)[b"cachemw-translation"] == b"top_k=dropped, seed=dropped"
    assert values_of(presenter.begin(EVENTS))[b"cachemw-translation"] == b"top_k=dropped, seed=dropped"


def an_event_without_an_end() -> Iterator[bytes]:
    yield b"data: "
    yield from [b"a" * 1024] * 64


def a_call_whose_turn_does_not_come() -> Iterator[bytes]:
    call = '{"index":%d,"id":"%s","function":{"name":"f","arguments":"%s"}}'
    chunk = 'data: {"id":"c","choices":[{"index":0,"delta":{"tool_calls":[%s]}}]}\n\n'
    yield (chunk % ",".join([call % (0, "a", "{"), call % (1, "b", "{")])).encode()
    yield from [(chunk % ('{"index":1,"function":{"arguments":"%s"}}' % ("a" * 1024))).encode()] * 64


@pytest.mark.parametrize("pieces", [an_event_without_an_end, a_call_whose_turn_does_not_come])
def test_a_stream_of_which_too_much_has_to_be_held_is_given_up(pieces: Callable[[], Iterator[bytes]]) -> None:
    """P1."""
    presenter = presenting(presentation_to(MESSAGES), EVENTS, 8 * 1024)

    said = b"".join([presenter.feed(piece) for piece in pieces()]) + presenter.finish(EVENTS)[1]

    assert presenter.fault == TOO_LARGE
    assert TOO_LARGE.encode() in said
    assert b"message_stop" not in said
