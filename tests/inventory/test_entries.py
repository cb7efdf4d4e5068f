"""What is known of the records in a store, and how many there are of which sort."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from cachemw.cache import record as codec
from cachemw.cache.freshness import is_fresh
from cachemw.cache.key import index_beside, index_of_batch
from cachemw.inventory.answers import finish_reasons
from cachemw.inventory.entries import read_entries
from cachemw.inventory.entry import Entry, RecordPlace, Role, entry_of
from cachemw.inventory.filters import Filter
from cachemw.inventory.survey import AGES, Held, Stats, survey
from cachemw.messages import Kind, StoredResponse, Usage
from cachemw.stores import DiskStore, FileStore, MemoryStore, Store
from tests.inventory.records import INDEX, NOW, RECORDS, WITH_PARTS, chunks, completion, streamed, whole

STREAMED = index_beside(INDEX, Kind(True))
ROLES = {
    INDEX: (INDEX, Role.ANSWER),
    STREAMED: (INDEX, Role.BESIDE),
    b"stale ----------": (b"stale ----------", Role.ANSWER),
    b"cut short ------": (b"cut short ------", Role.ANSWER),
    WITH_PARTS: (WITH_PARTS, Role.ANSWER),
    index_of_batch(WITH_PARTS): (WITH_PARTS, Role.BATCH),
    b"part one -------": (WITH_PARTS, Role.PART),
    b"part two -------": (WITH_PARTS, Role.PART),
    b"damaged --------": (b"damaged --------", Role.ANSWER),
}


@pytest.fixture(params=["memory", "disk", "disk, read only"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else DiskStore(tmp_path / "store")
    with closing(made):
        for index, record in RECORDS.items():
            made.put(index, record, None)
        if request.param == "disk, read only":
            made.close()
        yield made.read_only() if request.param == "disk, read only" else made


def test_there_is_an_entry_for_each_record_and_it_says_of_which_key_it_is(store: Store) -> None:
    entries = list(read_entries(store, NOW))

    assert {entry.index: (bytes.fromhex(entry.key), entry.role) for entry in entries} == ROLES
    assert {entry.index: entry.size for entry in entries} == {index: len(record) for index, record in RECORDS.items()}
    assert [entry.index for entry in entries if entry.is_damaged] == [b"damaged --------"]


def test_an_entry_says_what_its_record_does(store: Store) -> None:
    (entry,) = [entry for entry in read_entries(store, NOW) if entry.index == b"cut short ------"]

    assert entry == Entry(
        index=b"cut short ------",
        key=b"cut short ------".hex(),
        size=len(RECORDS[b"cut short ------"]),
        body_bytes=len(codec.decode(RECORDS[b"cut short ------"]).body),
        endpoint="chat",
        target="https://api.x.test/v1",
        model="m",
        usage=Usage(8, 5),
        took=0.5,
        stored_at=NOW - 10,
        lifetime=3600.0,
        has_request=True,
    )
    assert "x.test" not in repr(entry)


def test_where_one_key_is_meant_nothing_else_is_read(store: Store) -> None:
    told: list[tuple[int, int]] = []

    entries = list(read_entries(store, NOW, Filter(key=INDEX.hex()), progress=lambda *read: told.append(read)))

    assert {entry.index for entry in entries} == {INDEX, STREAMED}
    assert told == [(4, 4)]


def test_reading_tells_how_far_it_is_and_reads_no_further_than_it_is_asked(store: Store) -> None:
    for number in range(40):
        if isinstance(store, MemoryStore):
            store.put(b"%016d" % number, b"damaged", None)
    told: list[tuple[int, int]] = []
    entries = read_entries(store, NOW, progress=lambda *read: told.append(read))

    next(entries)
    begun = list(told)
    rest = len(list(entries))

    count = 1 + rest
    assert begun == []
    assert told[-1] == (count, count)
    assert len(told) == -(-count // 16)


def test_a_file_that_was_changed_is_a_damaged_record(tmp_path: Path) -> None:
    files = FileStore(tmp_path)
    for index in (INDEX, b"stale ----------"):
        files.put(index, RECORDS[index], None)
    (path,) = tmp_path.glob(f"*{INDEX.hex()}.json")
    path.write_text(path.read_text().replace("Blue", "Red"))

    entries = list(read_entries(files.read_only(), NOW))

    assert {entry.index: entry.is_damaged for entry in entries} == {INDEX: True, b"stale ----------": False}


@pytest.mark.parametrize("age", [-5.0, 0.0, 59.9, 60.0, 60.5, 61.0])
def test_an_entry_is_fresh_as_long_as_its_record_is(age: float) -> None:
    stored = completion(stored_at=NOW - age, lifetime=60.0)
    entry = entry_of(RecordPlace(INDEX), codec.encode(stored), NOW)

    assert entry.is_fresh(NOW) is is_fresh(stored, NOW)
    assert entry.is_stale(NOW) is not is_fresh(stored, NOW)


MESSAGE = {"type": "message", "role": "assistant", "model": "c", "content": [{"type": "text", "text": "Blue."}]}
RESPONSE = {
    "object": "response",
    "id": "r",
    "status": "incomplete",
    "incomplete_details": {"reason": "max_output_tokens"},
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "Bl"}]}],
}
FINISHES: dict[str, tuple[StoredResponse, tuple[str, ...]]] = {
    "a completion": (completion(finish="length"), ("length",)),
    "chunks": (chunks("Bl", "ue.", finish="tool_calls"), ("tool_calls",)),
    "several choices": (
        whole(
            {
                "choices": [
                    {"index": place, "message": {"content": "b"}, "finish_reason": why}
                    for place, why in enumerate(["stop", "length", "stop"])
                ]
            }
        ),
        ("stop", "length"),
    ),
    "a text about finish reasons": (chunks('"finish_reason": "length"'), ("stop",)),
    "what stands behind the last event": (
        replace(chunks("Blue."), body=chunks("Blue.").body + b'data: {"choices": [{"finish_reason": "length"}]}'),
        ("stop",),
    ),
    "a legacy completion": (
        whole({"object": "text_completion", "choices": [{"text": "Bl", "finish_reason": "length"}]}, endpoint="completions"),
        ("length",),
    ),
    "a message": (whole({**MESSAGE, "stop_reason": "max_tokens"}, endpoint="messages"), ("max_tokens", "length")),
    "a streamed message": (
        streamed(
            {"type": "message_start", "message": MESSAGE},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
            names=("message_start", "message_delta", "message_stop"),
            endpoint="messages",
        ),
        ("end_turn", "stop"),
    ),
    "a response": (whole(RESPONSE, endpoint="responses"), ("length",)),
    "a streamed response": (
        streamed(
            {"type": "response.created", "response": {"id": "r", "status": "in_progress"}},
            {"type": "response.incomplete", "response": RESPONSE},
            names=("response.created", "response.incomplete"),
            endpoint="responses",
        ),
        ("length",),
    ),
    "embeddings": (whole({"data": []}, endpoint="embeddings"), ()),
    "what nobody knows": (completion(endpoint="of-later"), ()),
}


@pytest.mark.parametrize(("stored", "reasons"), FINISHES.values(), ids=FINISHES)
def test_why_an_answer_ended_is_read_from_it(stored: StoredResponse, reasons: tuple[str, ...]) -> None:
    assert finish_reasons(stored) == reasons


def test_why_answers_ended_is_looked_for_only_where_that_is_asked(store: Store) -> None:
    meant = Filter(finish="length")

    without = list(read_entries(store, NOW))
    found = [entry for entry in read_entries(store, NOW, meant) if meant.fits(entry, NOW)]

    assert all(entry.finish is None for entry in without)
    assert [entry.index for entry in found] == [b"cut short ------"]


def test_records_are_counted_by_what_they_are(store: Store) -> None:
    stats = survey(read_entries(store, NOW), NOW)

    of_models = {
        name: [len(RECORDS[index]) for index, model in MODELS.items() if model == name] for name in ("m", "llama-4", "e")
    }
    assert stats == Stats(
        streams=1,
        json=7,
        damaged=1,
        fresh=6,
        parts=3,
        size=sum(map(len, RECORDS.values())),
        body_bytes=sum(len(codec.decode(record).body) for index, record in RECORDS.items() if index in MODELS),
        stored_at=(NOW - 7200, NOW - 10),
        ages=(6, 0, 0, 2, 0, 0, 0, 0, 0),
        models={name: Held(len(sizes), sum(sizes)) for name, sizes in of_models.items()},
    )
    assert (stats.records, stats.stale) == (9, 2)
    assert list(stats.models) == sorted(stats.models, key=lambda name: -stats.models[name].size)
    assert len(stats.ages) == len(AGES) + 1


MODELS = {index: codec.decode(record).model for index, record in RECORDS.items() if index != b"damaged --------"}


def test_of_an_empty_store_there_is_nothing_to_say() -> None:
    assert survey(read_entries(MemoryStore(), NOW), NOW) == Stats()


@pytest.mark.parametrize(
    "changes", [{"stored_at": 1e300}, {"stored_at": -1e300}, {"lifetime": 1e308}, {"status": 500}], ids=str
)
def test_a_record_that_no_recording_comes_to_counts_as_damaged(changes: dict[str, float]) -> None:
    """F111: its checksum is right, and there is no such day."""
    assert entry_of(RecordPlace(INDEX), codec.encode(replace(completion(), **changes)), NOW).is_damaged


@pytest.mark.parametrize(
    ("field", "role"),
    [
        (b"", Role.ANSWER),
        (b"ab", Role.ANSWER),
        (b"ab 2", Role.BATCH),
        (b"ab zz 1", Role.ANSWER),
        (b"ab \xff 1", Role.ANSWER),
        (b"ab cd 1", Role.PART),
        (b"ab cd 1 1", Role.ANSWER),
    ],
)
def test_whatever_a_record_says_of_its_batch_it_has_an_entry(field: bytes, role: Role) -> None:
    said = completion()
    record = codec.encode(replace(said, headers=(*said.headers, (b"cachemw-batch", field))))

    entry = entry_of(RecordPlace(INDEX), record, NOW)

    assert (entry.role, entry.is_damaged) == (role, False)
    assert entry.key == ("cd" if role is Role.PART else INDEX.hex())
