"""Records as files: nothing is lost on the way, the same records are the same files, and what cannot go back is told."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw import FileStore, StoreError
from cachemw.cache import record as codec
from cachemw.inventory.exporting import ExportFolder, ExportForm, ExportSums, WrittenRecord, export, line_of, seal_of, written
from cachemw.stores.file import form
from tests.inventory.records import INDEX, RECORDS, chunks, completion
from tests.stores.test_files import JSON_HEAD, answers, differences, stored

SECRET = b"the store's own"
REQUEST = b'{"messages":[],"model":"m"}'
WHOLE, TIMELESS = ExportForm(secret=SECRET), ExportForm(times=False, secret=SECRET)

times = st.floats(0, 1e6, allow_nan=False)
more = st.fixed_dictionaries({"sketch": st.none() | st.binary(max_size=9), "asked_endpoint": st.sampled_from(["", "messages"])})


def text_of(record: bytes, way: ExportForm = WHOLE) -> WrittenRecord:
    found = written((INDEX, record), way)
    assert isinstance(found, WrittenRecord)
    return found


@given(members=differences, answer=answers, others=more, data=st.data())
def test_any_record_comes_back_byte_for_byte(
    members: dict[str, Any], answer: dict[str, Any], others: dict[str, Any], data: st.DataObject
) -> None:
    """O7: times included, under its own key, and known to be as it was written."""
    answer = {**answer, "arrivals": tuple(data.draw(times) for _ in answer.get("event_ends", ()))}
    record = codec.encode(stored(**{**answer, **members, **others, "headers": JSON_HEAD}))

    text = text_of(record).text

    found = form.parse(text.encode())
    assert (found.record, found.index, found.expires, found.is_intact) == (record, INDEX, None, True)


@given(members=differences, answer=answers, others=more)
def test_what_was_exported_without_times_stays_as_it_is(
    members: dict[str, Any], answer: dict[str, Any], others: dict[str, Any]
) -> None:
    """O7: export, import, export gives the same file, in either form."""
    record = codec.encode(stored(**{**answer, **members, **others, "headers": JSON_HEAD}))
    once = text_of(record, TIMELESS).text

    kept = form.parse(once.encode()).record

    assert text_of(kept, TIMELESS).text == once
    assert form.parse(text_of(kept, WHOLE).text.encode()).record == kept


@given(members=differences, answer=answers)
def test_a_line_says_what_the_file_says(members: dict[str, Any], answer: dict[str, Any]) -> None:
    record = text_of(codec.encode(stored(**{**answer, **members, "headers": JSON_HEAD})))

    line = line_of(record)

    assert "\n" not in line
    assert form.parse(line.encode()) == form.parse(record.text.encode())


def test_times_stand_behind_the_answer_and_only_where_there_are_any() -> None:
    record = codec.encode(chunks("Bl", "ue.", stored_at=1_800_000_000.25, request=REQUEST))

    document, timeless = (json.loads(text_of(record, way).text) for way in (WHOLE, TIMELESS))

    assert document["times"] == {"stored_at": 1_800_000_000.25, "took": 0.5, "arrivals": [0.5] * 4}
    assert "times" not in timeless
    assert document["stored_at"] == timeless["stored_at"] == "2027-01-15T08:00:00Z"


def test_without_times_it_is_the_file_that_a_cassette_has(tmp_path: Path) -> None:
    record = codec.encode(chunks("Bl", "ue.", request=REQUEST))
    cassette = FileStore(tmp_path)
    cassette.put(INDEX, record, None)

    exported = text_of(record, TIMELESS)

    [file] = tmp_path.iterdir()
    assert (file.name, file.read_text(encoding="utf-8")) == (exported.name, exported.text)


def test_only_a_record_without_its_request_has_a_seal_and_it_is_the_stores_own() -> None:
    """O7: others need none, so that they are the same files wherever they come from."""
    with_request, without = codec.encode(completion(request=REQUEST)), codec.encode(completion())

    sealed = form.parse(text_of(without).text.encode())

    assert form.parse(text_of(with_request).text.encode()).seal is None
    assert sealed.seal == seal_of(SECRET, INDEX, without)
    assert sealed.seal != seal_of(b"another's", INDEX, without)


LEFT_OUT = [
    (codec.encode(completion()), ExportForm(secret=None), "without its request"),
    (codec.encode(completion()), ExportForm(secret=SECRET, only_with_request=True), "without its request"),
    (codec.encode(completion())[:-1], WHOLE, "damaged"),
    (b"", WHOLE, "damaged"),
    (RECORDS[b"part one -------"], WHOLE, "a part of another answer"),
]


@pytest.mark.parametrize(("record", "way", "why"), LEFT_OUT)
def test_what_could_never_go_back_is_left_out_and_told(record: bytes, way: ExportForm, why: str) -> None:
    assert written((INDEX, record), way) == why


def exported(place: Path, records: Iterable[tuple[bytes, bytes]], way: ExportForm = WHOLE) -> ExportSums:
    return export(records, ExportFolder(place), way)


def test_the_same_records_are_the_same_files_and_are_not_written_again(tmp_path: Path) -> None:
    """O7."""
    first = exported(tmp_path / "x", RECORDS.items())
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "x").iterdir()}

    second = exported(tmp_path / "x", RECORDS.items())

    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "x").iterdir()}
    assert (first.written, first.unchanged, first.exported) == (5, 0, 5)
    assert first.left_out == {"damaged": 1, "a part of another answer": 3}
    assert (second.written, second.unchanged) == (0, 5)
    assert after == before


def test_a_record_has_one_file_though_its_name_becomes_another(tmp_path: Path) -> None:
    exported(tmp_path, [(INDEX, codec.encode(completion(model="before")))])

    exported(tmp_path, [(INDEX, codec.encode(completion(model="after")))])

    assert [path.name for path in tmp_path.glob("*.json")] == [f"after--{INDEX.hex()}.json"]


def test_what_else_is_in_the_directory_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("ours")
    (tmp_path / ".gitattributes").write_text("*.json -diff\n")

    exported(tmp_path, RECORDS.items())

    assert (tmp_path / "README.md").read_text() == "ours"
    assert (tmp_path / ".gitattributes").read_text() == "*.json -diff\n"


def test_pull_requests_are_told_that_the_files_are_made(tmp_path: Path) -> None:
    exported(tmp_path, RECORDS.items())

    assert (tmp_path / ".gitattributes").read_text() == "*.json linguist-generated\n"


def test_nothing_is_written_through_a_link_nor_out_of_the_directory(tmp_path: Path) -> None:
    place, victim = tmp_path / "x", tmp_path / "victim"
    place.mkdir()
    victim.write_text("precious")
    (place / f"m--{INDEX.hex()}.json").symlink_to(victim)

    exported(place, [(INDEX, codec.encode(replace(completion(), model="../../m")))])

    assert victim.read_text() == "precious"
    assert {path.name for path in place.iterdir()} == {".gitattributes", f"-..-m--{INDEX.hex()}.json"}


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"cannot write to .*file/x"):
        exported(tmp_path / "file" / "x", RECORDS.items())
