"""S5: what a stream has of usage and padding depends on who asks, not on who asked first."""

import json
from typing import Any

import msgspec
import pytest

from cachemw.endpoints.chat.transcode import NO_USAGE, OTHER_KIND, derive
from cachemw.messages import Kind, StoredResponse
from cachemw.wire.sse import DONE, encode
from tests.endpoints.transcoding import (
    JSON,
    STREAM,
    USAGE,
    WITH_USAGE,
    Members,
    body_of,
    chunk,
    chunks_in,
    completion,
    ends_of,
    piece,
    record,
)

UNPADDED = Kind(stream=True, options=b'{"include_obfuscation":false}')
UNPADDED_WITH_USAGE = Kind(stream=True, options=b'{"include_obfuscation":false,"include_usage":true}')
PADDED = Kind(stream=True, options=b'{"include_obfuscation":true}')

SAID = [chunk(piece(role="assistant", content="")), chunk(piece(content="a")), chunk(piece(finish="stop"))]
NULLED = [one | {"usage": None} for one in SAID]
CEREBRAS = [*SAID[:2], SAID[2] | {"usage": USAGE}]


def adapted(chunks: list[Members], recorded: Kind, asked: Kind) -> Any:
    """Return the chunks that answer who asked, or why there are none."""
    derived = derive(record(body_of(chunks), recorded), asked)
    return derived if isinstance(derived, str) else chunks_in(derived)


@pytest.mark.parametrize(
    ("recorded", "chunks", "asked", "sent"),
    [
        pytest.param(WITH_USAGE, [*NULLED, chunk(usage=USAGE)], STREAM, SAID, id="usage is left out"),
        pytest.param(WITH_USAGE, [*NULLED, chunk(usage=USAGE, new=None)], STREAM, SAID, id="its chunk says nothing by a null"),
        pytest.param(STREAM, SAID, WITH_USAGE, NO_USAGE, id="there is none"),
        pytest.param(STREAM, NULLED, WITH_USAGE, NO_USAGE, id="there is none, said so"),
        pytest.param(WITH_USAGE, CEREBRAS, STREAM, CEREBRAS, id="usage on a finish chunk is kept"),
        pytest.param(STREAM, CEREBRAS, WITH_USAGE, CEREBRAS, id="usage on a finish chunk will do"),
        pytest.param(STREAM, [*SAID, chunk(usage=USAGE)], WITH_USAGE, [*SAID, chunk(usage=USAGE)], id="nobody had asked"),
        pytest.param(STREAM, [*NULLED, chunk(usage=USAGE)], UNPADDED, SAID, id="nobody has asked"),
        pytest.param(
            STREAM,
            [*SAID, chunk(usage={"x": 1}), chunk(usage=USAGE)],
            WITH_USAGE,
            [*SAID, chunk(usage=USAGE)],
            id="it comes once",
        ),
        pytest.param(
            STREAM,
            [*SAID, chunk(usage={"x": 1}, new=1), chunk(usage=USAGE)],
            WITH_USAGE,
            [*SAID, chunk(new=1), chunk(usage=USAGE)],
            id="it comes once, and takes nothing along",
        ),
        pytest.param(
            WITH_USAGE,
            [*NULLED, chunk(usage=USAGE), chunk(usage=None, moderation={"x": 1})],
            STREAM,
            [*SAID, chunk(moderation={"x": 1})],
            id="moderation after it",
        ),
        pytest.param(
            WITH_USAGE,
            [*NULLED, chunk(usage=USAGE, moderation={"x": 1}, new=None)],
            STREAM,
            [*SAID, chunk(moderation={"x": 1}, new=None)],
            id="moderation on its chunk",
        ),
        pytest.param(
            WITH_USAGE,
            [*(one | {"new": 1} for one in NULLED), chunk(usage=USAGE, new=2, obfuscation="x")],
            STREAM,
            [one | {"new": 1} for one in SAID],
            id="its chunk says nothing else of its own",
        ),
        pytest.param(
            WITH_USAGE, [*NULLED, {"usage": USAGE}, {"choices": None, "usage": USAGE}], STREAM, SAID, id="no list of choices"
        ),
        pytest.param(
            STREAM,
            [chunk(object="", usage=None, filter=1), *SAID],
            UNPADDED,
            [chunk(object="", filter=1), *SAID],
            id="what is no chunk stays",
        ),
        pytest.param(STREAM, [one | {"obfuscation": "x"} for one in SAID], UNPADDED, SAID, id="padding is left out"),
        pytest.param(UNPADDED, SAID, STREAM, SAID, id="padding is not made up"),
        pytest.param(UNPADDED, SAID, PADDED, SAID, id="padding is not made up for who asks for it"),
        pytest.param(
            STREAM,
            [*(one | {"obfuscation": "x"} for one in SAID), chunk(usage=USAGE, obfuscation="y")],
            UNPADDED_WITH_USAGE,
            [*SAID, chunk(usage=USAGE)],
            id="both",
        ),
    ],
)
def test_each_gets_what_it_asked_for(recorded: Kind, chunks: list[Members], asked: Kind, sent: Any) -> None:
    """S5."""
    assert adapted(chunks, recorded, asked) == sent


def test_an_event_that_needs_no_change_keeps_its_bytes_and_every_one_its_arrival() -> None:
    """S2, S5, S7."""
    events = [
        b': hello\r\ndata:  {"choices":[], "model" : "m\\u0061"}\r\n\r\n',
        b'\ndata: {"choices":[{"index":0,"delta":{"content":"a"},"n":1.50}],"usage":null}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}], "usage": {"t":1E2}}\n\n',
        b'data: {"choices":[],"usage":{"t":1}}\n\n',
        b"data:[DONE]\r\n\r\n",
    ]
    changed = encode(b'{"choices":[{"index":0,"delta":{"content":"a"},"n":1.5}]}')
    recorded = msgspec.structs.replace(record(b"".join(events), WITH_USAGE), arrivals=(0.5, 1.0, 1.5, 2.0, 2.5))

    derived = derive(recorded, STREAM)

    kept = [events[0], changed, events[2], events[4]]
    assert derived == msgspec.structs.replace(
        recorded,
        kind=STREAM,
        headers=((b"content-type", b"text/event-stream; charset=utf-8"), (b"openai-version", b"2020-10-01")),
        body=b"".join(kept),
        event_ends=ends_of(kept),
        arrivals=(0.5, 1.0, 1.5, 2.5),
    )


@pytest.mark.parametrize(
    "options",
    [
        b'{"include_usage":1}',
        b'{"include_usage":null}',
        b'{"include_usage":"true"}',
        b'{"include_obfuscation":0}',
        b'{"include_usage":true,"continuous_usage_stats":true}',
        b"null",
        b"[]",
        b"",
        b"{",
        b'{"\xff":1}',
    ],
)
def test_options_that_are_not_understood_are_not_met(options: bytes) -> None:
    """S5: on either side."""
    strange = Kind(stream=True, options=options)
    answer = json.dumps(completion({"role": "assistant", "content": "a"}, usage=USAGE)).encode()

    assert adapted(CEREBRAS, WITH_USAGE, strange) == OTHER_KIND
    assert adapted(CEREBRAS, strange, WITH_USAGE) == OTHER_KIND
    assert adapted(CEREBRAS, strange, JSON) == OTHER_KIND
    assert derive(record(answer, JSON), strange) == OTHER_KIND


@pytest.mark.parametrize("options", [b'{"include_usage":true}', b'{"include_usage":false}', b"{ }"])
def test_options_of_what_is_no_stream_are_not_understood(options: bytes) -> None:
    """S5."""
    strange = Kind(stream=False, options=options)
    answer = record(json.dumps(completion({"role": "assistant", "content": "a"}, usage=USAGE)).encode(), JSON)

    assert adapted(CEREBRAS, WITH_USAGE, strange) == OTHER_KIND
    assert derive(answer, strange) == OTHER_KIND
    assert derive(msgspec.structs.replace(answer, kind=strange), JSON) == OTHER_KIND
    assert derive(msgspec.structs.replace(answer, kind=strange), STREAM) == OTHER_KIND


def test_options_that_say_what_holds_anyway_change_nothing() -> None:
    """S5."""
    said = Kind(stream=True, options=b'{"include_obfuscation":true,"include_usage":false}')
    recorded = record(body_of(SAID), STREAM)

    derived = derive(recorded, said)

    assert isinstance(derived, StoredResponse)
    assert (derived.kind, derived.body, derived.event_ends) == (said, recorded.body, recorded.event_ends)


@pytest.mark.parametrize("done", [b"", b"data: [DONE]\n", b"data: [DONE] \n\n", encode(DONE) * 2])
def test_however_a_stream_ends_it_ends_so_for_others_too(done: bytes) -> None:
    """R1, S5: some upstreams send no `[DONE]`."""
    body = body_of([*NULLED, chunk(usage=USAGE)]).removesuffix(encode(DONE)) + done
    recorded = record(body, WITH_USAGE)

    derived = derive(recorded, STREAM)

    assert isinstance(derived, StoredResponse)
    count = done.count(DONE)
    assert derived.body == b"".join(encode(msgspec.json.encode(one)) for one in SAID) + done
    assert (derived.event_ends[-1], len(derived.event_ends)) == (len(derived.body), len(SAID) + count)
    assert derived.arrivals == (*recorded.arrivals[: len(SAID)], *recorded.arrivals[len(SAID) + 1 :])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        encode(DONE),
        body_of(SAID).replace(encode(DONE), encode(DONE) + encode(b"{}")),
        b"event: error\n" + body_of(SAID),
        b"data: [\n\n" + body_of(SAID),
        body_of([{"choices": {}, "usage": USAGE}, *SAID]),
        b"data: " + b"[" * 100_000 + b"\n\n" + body_of(SAID),
    ],
)
def test_a_malformed_stream_is_not_adapted(body: bytes) -> None:
    """S5: whatever is stored, nothing is raised."""
    assert derive(record(body, WITH_USAGE), STREAM) == OTHER_KIND


def test_a_record_whose_arrivals_are_not_those_of_its_events_is_not_adapted() -> None:
    """S5."""
    recorded = msgspec.structs.replace(record(body_of(SAID), WITH_USAGE), arrivals=(0.0,))

    assert derive(recorded, STREAM) == OTHER_KIND
