"""`cachemw stats` and `cachemw purge`."""

import re
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import diskcache
import pytest
from msgspec.structs import replace

from cachemw import DiskStore
from cachemw.cache import record as codec
from cachemw.messages import Kind, StoredResponse
from tests.cli.command import Done, refusal

Here = Callable[..., Done]

NOW = time.time()
JSON = StoredResponse(
    200, ((b"content-type", b"application/json"),), b"{}", (), (), Kind(False), b"p" * 32, NOW - 10, 3600.0, "chat"
)
STREAM = replace(
    JSON,
    headers=((b"content-type", b"text/event-stream"),),
    body=b"data: [DONE]\n\n",
    event_ends=(14,),
    arrivals=(0.5,),
    kind=Kind(True),
)
STALE = replace(JSON, body=b"{   }", stored_at=NOW - 7200)
DAMAGED = codec.encode(JSON)[:-1] + b"?"
RECORDS = {b"%016d" % place: record for place, record in enumerate([*map(codec.encode, (JSON, STREAM, STALE)), DAMAGED])}


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store that holds one record of each sort."""
    directory = tmp_path / "store"
    with closing(DiskStore(directory)) as store:
        for index, record in RECORDS.items():
            store.put(index, record, None)
    return directory


def held(directory: Path) -> Mapping[bytes, bytes]:
    with closing(DiskStore(directory)) as store:
        return dict(store.scan())


def test_stats_shows_what_a_store_holds(here: Here, filled: Path) -> None:
    done = here("stats", "--dir", filled)

    assert done.returncode == 0
    assert done.stdout.startswith(f"store   {filled}\n")
    assert "4 records" in done.stdout
    assert "2 fresh   1 stale   1 damaged   1 stream   2 JSON" in done.stdout
    assert re.search(r"oldest 2 h   newest \d+ [sm]", done.stdout)
    assert held(filled) == RECORDS


def test_the_store_that_is_looked_into_is_the_one_that_the_proxy_would_have(here: Here, filled: Path, tmp_path: Path) -> None:
    (tmp_path / "cachemw.toml").write_text(f'[serve]\ndir = "{filled}"')

    done = here("stats", CACHEMW_CONFIG=str(tmp_path / "cachemw.toml"))

    assert done.stdout.startswith(f"store   {filled}\n")


@pytest.mark.parametrize("changes", [{"stored_at": 1e300}, {"stored_at": -1e300}, {"lifetime": 1e308}], ids=str)
def test_a_record_that_no_recording_comes_to_counts_as_damaged(here: Here, tmp_path: Path, changes: dict[str, float]) -> None:
    """F111: its checksum is right, and there is no such day."""
    with closing(DiskStore(tmp_path / "store")) as store:
        store.put(b"0123456789abcdef", codec.encode(replace(JSON, **changes)), None)

    done = here("stats", "--dir", tmp_path / "store")
    removed = here("purge", "--older-than", 0, "--dir", tmp_path / "store")

    assert (done.returncode, done.stderr) == (0, "")
    assert "1 damaged" in done.stdout
    assert (removed.returncode, removed.stdout) == (0, "0 records removed\n")


def test_purge_repairs_a_store_that_another_program_changed(here: Here, filled: Path) -> None:
    """F106, D5."""
    with closing(sqlite3.connect(filled / "cache.db")) as connection:
        connection.execute("ALTER TABLE Cache RENAME TO Kept")
        connection.execute("CREATE VIEW Cache AS SELECT * FROM Kept")

    done = here("purge", "--all", "--dir", filled)

    assert (done.returncode, done.stdout) == (0, "0 records removed\n")
    assert held(filled) == {}
    assert list(filled.glob("cache.db.corrupt-*")) == []


@pytest.mark.parametrize("arguments", [("stats",), ("purge", "--all")])
def test_a_store_that_does_not_exist_is_not_made(here: Here, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    line = refusal(here(*arguments, CACHEMW_DIR=str(tmp_path / "nowhere")))

    assert line == f"there is no store in {tmp_path}/nowhere"
    assert not (tmp_path / "nowhere").exists()


def test_another_programs_cache_is_left_alone(here: Here, tmp_path: Path) -> None:
    with diskcache.Cache(str(tmp_path / "theirs")) as theirs:
        theirs["name"] = "value"

        line = refusal(here("purge", "--all", "--dir", tmp_path / "theirs"))

        assert line.startswith(f"there is no store in {tmp_path}/theirs: it has no database of cachemw's")
        assert theirs["name"] == "value"


def test_a_store_that_is_damaged_is_set_aside_by_who_writes_and_left_by_who_looks(here: Here, filled: Path) -> None:
    """D5."""
    (filled / "cache.db").write_bytes(b"not a database" * 100)

    line = refusal(here("stats", "--dir", filled))
    before = list(filled.glob("cache.db.corrupt-*"))
    purged = here("purge", "--older-than", 3600, "--dir", filled)
    done = here("stats", "--dir", filled)

    assert line == f"the store in {filled} does not work: file is not a database"
    assert before == []
    assert (purged.returncode, purged.stdout) == (0, "0 records removed\n")
    assert len(list(filled.glob("cache.db.corrupt-*"))) == 1
    assert done.returncode == 0
    assert "0 records" in done.stdout


def test_purge_removes_the_record_of_a_key(here: Here, filled: Path) -> None:
    index = min(RECORDS)

    done = here("purge", "--key", index.hex(), "--dir", filled)
    again = here("purge", "--key", index.hex(), "--dir", filled)

    assert (done.returncode, done.stdout) == (0, "1 record removed\n")
    assert (again.returncode, again.stdout) == (0, "0 records removed\n")
    assert held(filled) == {other: record for other, record in RECORDS.items() if other != index}


def test_purge_removes_what_is_older_and_of_a_damaged_record_nobody_knows(here: Here, filled: Path) -> None:
    done = here("purge", "--older-than", 3600, "--dir", filled)

    assert (done.returncode, done.stdout) == (0, "1 record removed\n")
    assert held(filled) == {index: record for index, record in RECORDS.items() if record != codec.encode(STALE)}


def test_purge_removes_everything_that_is_over_too(here: Here, filled: Path) -> None:
    with closing(DiskStore(filled)) as store:
        store.put(b"over", b"long ago", 0.0)

    done = here("purge", "--all", CACHEMW_DIR=str(filled))

    assert (done.returncode, done.stdout) == (0, "5 records removed\n")
    assert held(filled) == {}
    assert b"data: [DONE]" not in (filled / "cache.db").read_bytes()


@pytest.mark.parametrize("which", [(), ("--all", "--older-than", "5"), ("--key", "00" * 16, "--all"), ("--key", "xyz")])
def test_purge_wants_exactly_one_choice_that_can_be_read(here: Here, filled: Path, which: tuple[str, ...]) -> None:
    done = here("purge", *which, "--dir", filled)

    assert done.returncode == 2
    assert "--key" in done.stderr
    assert held(filled) == RECORDS
