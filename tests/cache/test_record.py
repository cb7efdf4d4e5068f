"""Records: what was encoded is decoded, and nothing else is."""

import hashlib
import pickle
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.cache import record as codec
from cachemw.errors import RecordError
from cachemw.messages import Kind, StoredResponse, Usage

RECORDS = Path(__file__).parents[1] / "data" / "records"

# What version 2 wrote. The files stay as they are: a version that cannot read them refuses them by their version.
V2 = {
    "v2-stream.bin": StoredResponse(
        status=200,
        headers=((b"content-type", b"text/event-stream; charset=utf-8"), (b"openai-version", b"2020-10-01")),
        body=b'data: {"choices":[{"index":0,"delta":{"content":"H\xc3\xa9"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
        event_ends=(82, 96),
        arrivals=(0.125, 0.25),
        kind=Kind(stream=True, options=b'{"include_usage":true}'),
        proof=hashlib.sha256(b"the parts of a key").digest(),
        stored_at=1_790_000_000.5,
        lifetime=86_400.0,
        request=None,
        endpoint="chat",
        target="cerebras/gpt-oss-120b",
        model="gpt-oss-120b",
        usage=Usage(812, 301, 128, None),
        took=0.75,
        sketch=b"\x00\xff",
    ),
    "v2-json.bin": StoredResponse(
        status=200,
        headers=((b"content-type", b"application/json"),),
        body=b'{"choices":[{"index":0,"message":{"content":"Hello"},"finish_reason":"stop"}]}',
        event_ends=(),
        arrivals=(),
        kind=Kind(stream=False, options=b"{}"),
        proof=hashlib.sha256(b"the parts of another key").digest(),
        stored_at=1_790_000_000.0,
        lifetime=60.0,
        request=b'{"messages":[],"model":"m"}',
        endpoint="chat",
        target="https://api.example/v1/chat/completions",
    ),
}
STREAM_RECORD, JSON_RECORD = (codec.encode(stored) for stored in V2.values())


def with_checksum(payload: bytes, version: int = codec.VERSION, magic: bytes = codec.MAGIC) -> bytes:
    """Return a record whose checksum is right."""
    return magic + bytes([version]) + codec.checksum(payload) + payload


def fields(**changed: Any) -> bytes:
    """Return the payload of a record with some of its fields changed."""
    names = (
        "status headers body event_ends arrivals stream options proof stored_at lifetime request endpoint target"
        " model usage took sketch".split()
    )
    values = msgspec.msgpack.decode(JSON_RECORD[codec.RECORD_HEAD_BYTES :])
    return msgspec.msgpack.encode([changed.get(name, value) for name, value in zip(names, values, strict=True)])


# What was written is read.

seconds = st.floats(allow_nan=False)
stored_responses = st.builds(
    StoredResponse,
    status=st.integers(0, 999),
    headers=st.lists(st.tuples(st.binary(), st.binary()), max_size=4).map(tuple),
    body=st.binary(max_size=2000),
    event_ends=st.lists(st.integers(0, 2**64 - 1)).map(tuple),
    arrivals=st.lists(seconds).map(tuple),
    kind=st.builds(Kind, st.booleans(), st.binary()),
    proof=st.binary(),
    stored_at=seconds,
    lifetime=seconds,
    request=st.none() | st.binary(),
    endpoint=st.text(),
    target=st.text(),
    model=st.none() | st.text(),
    usage=st.none() | st.builds(Usage, *[st.none() | st.integers(0, 2**53 - 1)] * 4),
    took=st.none() | seconds,
    sketch=st.none() | st.binary(),
    asked_endpoint=st.sampled_from(["", "messages"]),
)


@given(stored_responses)
def test_a_stored_response_comes_back_as_it_was(stored: StoredResponse) -> None:
    assert codec.decode(codec.encode(stored)) == stored


@pytest.mark.parametrize("name", V2)
def test_records_of_version_2_are_read(name: str) -> None:
    """D8."""
    assert codec.decode((RECORDS / name).read_bytes()) == V2[name]


@pytest.mark.parametrize("name", V2)
def test_records_are_still_written_as_version_2_wrote_them(name: str) -> None:
    """D8: what is written in another way needs another version."""
    assert codec.encode(V2[name]) == (RECORDS / name).read_bytes()


def test_a_record_begins_with_its_name_its_version_and_its_checksum() -> None:
    assert JSON_RECORD[:4] == b"CMW\x02"
    assert JSON_RECORD[4:12] == codec.checksum(JSON_RECORD[12:])
    assert codec.RECORD_HEAD_BYTES == 12


# Nothing else is.


@pytest.mark.parametrize("record", [STREAM_RECORD, JSON_RECORD], ids=["stream", "JSON"])
def test_a_record_with_any_bit_turned_over_is_none(record: bytes) -> None:
    """D8."""
    for at in range(len(record)):
        for bit in range(8):
            damaged = record[:at] + bytes([record[at] ^ 1 << bit]) + record[at + 1 :]

            with pytest.raises(RecordError):
                codec.decode(damaged)


@pytest.mark.parametrize("record", [STREAM_RECORD, JSON_RECORD], ids=["stream", "JSON"])
def test_a_record_that_was_cut_or_grew_is_none(record: bytes) -> None:
    """D8, D10."""
    for damaged in (*(record[:at] for at in range(len(record))), record + b"\0", record + record, record[1:]):
        with pytest.raises(RecordError):
            codec.decode(damaged)


@pytest.mark.parametrize("version", [version for version in range(256) if version != codec.VERSION])
def test_a_record_of_another_version_is_refused(version: int) -> None:
    """D8."""
    with pytest.raises(RecordError):
        codec.decode(with_checksum(fields(), version))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        fields()[:-1],
        fields() + b"\xc0",
        msgspec.msgpack.encode(None),
        msgspec.msgpack.encode({"status": 200}),
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode(msgspec.msgpack.decode(fields())[:-2]),
        msgspec.msgpack.encode([*msgspec.msgpack.decode(fields()), None]),
        fields(status="200"),
        fields(headers=[[b"a"]]),
        fields(headers=[["a", "b"]]),
        fields(body="text"),
        fields(event_ends=b"1234567"),
        fields(arrivals=b"123456789"),
        fields(stream=1),
        fields(stored_at="now"),
        b"\x91" * 100_000,
    ],
    ids=[
        "empty",
        "no MessagePack",
        "cut",
        "more than one",
        "null",
        "a map",
        "no fields",
        "a field missing",
        "a field too many",
        "a status of text",
        "half a header",
        "a header of text",
        "a body of text",
        "event ends of seven bytes",
        "arrivals of nine bytes",
        "a number for a boolean",
        "a time of text",
        "too deep",
    ],
)
def test_a_payload_that_is_none_is_refused_even_if_its_checksum_is_right(payload: bytes) -> None:
    """D8."""
    with pytest.raises(RecordError):
        codec.decode(with_checksum(payload))


@given(st.binary(max_size=200) | st.binary(max_size=200).map(with_checksum))
def test_bytes_that_are_no_record_are_refused_and_nothing_worse(record: bytes) -> None:
    """D8."""
    with pytest.raises(RecordError):
        codec.decode(record)


def test_no_pickle_is_written_or_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """I3."""
    planted = pickle.dumps(V2["v2-json.bin"])

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a pickle")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)

    assert codec.decode(codec.encode(V2["v2-json.bin"])) == V2["v2-json.bin"]
    for record in (planted, with_checksum(planted)):
        with pytest.raises(RecordError):
            codec.decode(record)
