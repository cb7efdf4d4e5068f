"""`cachemw ls`."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cachemw import DiskStore
from cachemw.cache import record as codec
from cachemw.stores import FileStore
from tests.cli.command import Command, Done, refusal
from tests.cli.stored import KEY, content, fill
from tests.inventory.records import INDEX, NOW, RECORDS, WITH_PARTS, completion

Here = Callable[..., Done]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    fill(tmp_path / "store")
    return tmp_path / "store"


def lines(done: Done) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def rows(done: Done) -> dict[str, list[str]]:
    """Return the cells of a table, by the keys."""
    assert (done.returncode, done.stderr) == (0, "")
    table = [line.split() for line in done.stdout.splitlines()[2:-1]]
    return {row[0]: row[1:] for row in table}


def test_ls_tells_each_answer_in_a_line_and_how_many_records_there_are(here: Here, filled: Path) -> None:
    done = here("ls", "--dir", filled)

    said = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(said) == 2 + 6 + 1  # the two kinds of one key have one key
    assert said[-1].startswith("9 records, ")
    assert said[-1].endswith("3 of them are parts of answers to many inputs")
    assert rows(done)[b"stale ----------".hex()[:12]] == [
        "2",
        "h",
        "stale",
        "2.3",
        "kB",
        "JSON",
        "chat",
        "llama-4",
        "8/5",
        "500",
        "ms",
    ]
    assert rows(done)[b"damaged --------".hex()[:12]][:2] == ["-", "damaged"]


def test_ls_lists_what_fits_every_filter(here: Here, filled: Path) -> None:
    done = here("ls", "--model", "m", "--finish", "stop", "--newer-than", "1h", "--json", "--dir", filled)

    assert [(line["key"], line["role"], line["kind"]) for line in lines(done)] == [
        (KEY, "answer", "json"),
        (KEY, "other kind", "stream"),
    ]


def test_ls_tells_programs_all_that_is_known(here: Here, filled: Path) -> None:
    (line,) = lines(here("ls", "--finish", "length", "--json", "--dir", filled))

    age = line.pop("age")
    assert 10 <= age < 3600
    assert line.pop("stored_at").startswith("20")
    assert line == {
        "key": b"cut short ------".hex(),
        "role": "answer",
        "damaged": False,
        "kind": "json",
        "endpoint": "chat",
        "asked_endpoint": None,
        "target": "https://api.x.test/v1",
        "model": "m",
        "size": len(RECORDS[b"cut short ------"]),
        "body_bytes": len(codec.decode(RECORDS[b"cut short ------"]).body),
        "lifetime": 3600.0,
        "fresh": True,
        "input_tokens": 8,
        "output_tokens": 5,
        "cached_tokens": None,
        "reasoning_tokens": None,
        "took": 0.5,
        "has_request": True,
    }


def test_ls_tells_programs_of_parts_and_of_damage_too(here: Here, filled: Path) -> None:
    told = lines(here("ls", "--json", "--dir", filled))

    assert len(told) == len(RECORDS)
    assert sorted(line["role"] for line in told if line["key"] == WITH_PARTS.hex()) == ["answer", "batch", "part", "part"]
    assert [line["key"] for line in told if line["damaged"]] == [b"damaged --------".hex()]


SORTED = {
    "newest": [b"c", b"b", b"a"],
    "oldest": [b"a", b"b", b"c"],
    "largest": [b"b", b"c", b"a"],
    "slowest": [b"a", b"c", b"b"],
    "model": [b"c", b"a", b"b"],
}


@pytest.mark.parametrize(("sort", "order"), SORTED.items())
@pytest.mark.parametrize("limit", [1, 2, None])
def test_ls_shows_the_first_in_an_order(here: Here, tmp_path: Path, sort: str, order: list[bytes], limit: int | None) -> None:
    records = {
        b"a": completion("x", stored_at=NOW - 30, took=3.0, model="n"),
        b"b": completion("x" * 500, stored_at=NOW - 20, took=1.0, model="z"),
        b"c": completion("x" * 50, stored_at=NOW - 10, took=2.0, model="m"),
    }
    with closing(DiskStore(tmp_path)) as store:
        for name, stored in records.items():
            store.put(name * 16, codec.encode(stored), None)
    options = ("--sort", sort, *(("--limit", limit) if limit else ()), "--dir", tmp_path)

    shown = [line["key"] for line in lines(here("ls", *options, "--json"))]
    in_table = list(rows(here("ls", *options)))

    assert shown == [(name * 16).hex() for name in order[:limit]]
    assert in_table == [key[:12] for key in shown]


def test_ls_says_that_not_all_are_shown(here: Here, filled: Path) -> None:
    done = here("ls", "--limit", 2, "--dir", filled)

    assert done.stdout.splitlines()[-1].endswith("; 2 are shown (--limit)")


@pytest.mark.parametrize("columns", ["100", "300"])
def test_a_table_fits_a_hundred_columns_and_is_not_coloured_where_there_is_no_terminal(
    here: Here, tmp_path: Path, columns: str
) -> None:
    long = completion(model="a-model-with-a-name-that-has-no-end/" * 5, stored_at=NOW - 99 * 86_400, took=3599.0)
    with closing(DiskStore(tmp_path)) as store:
        store.put(INDEX, codec.encode(replace(long, endpoint="moderations")), None)

    done = here("ls", "--dir", tmp_path, COLUMNS=columns)

    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) > 2 + 175 // 40 + 1  # no name is cut


def test_a_name_is_not_obeyed_by_a_terminal(here: Here, tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path)) as store:
        store.put(INDEX, codec.encode(completion(model="[red]\x1b[2J\r\nm")), None)

    done = here("ls", "--dir", tmp_path)

    assert "[red]\\x1b[2J\\r\\nm" in done.stdout
    assert "\x1b" not in done.stdout


def test_what_is_not_found_is_said(here: Here, filled: Path, tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path / "empty")) as store:
        store.put(INDEX, b"", None)
        store.delete(INDEX)

    nothing = here("ls", "--model", "gpt*", "--stale", "--dir", filled)
    empty = here("ls", "--dir", tmp_path / "empty")

    assert (nothing.returncode, nothing.stdout) == (0, f"no record in {filled} fits --model gpt* --stale\n")
    assert (empty.returncode, empty.stdout) == (0, f"no record is in {tmp_path}/empty\n")


def test_parts_alone_are_counted(here: Here, tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path)) as store:
        store.put(b"part one -------", RECORDS[b"part one -------"], None)

    done = here("ls", "--dir", tmp_path)

    assert done.stdout.splitlines()[-1].endswith("1 of them is a part of answers to many inputs")


def test_ls_lists_the_records_in_files(here: Here, tmp_path: Path) -> None:
    files = FileStore(tmp_path)
    files.put(INDEX, RECORDS[INDEX], None)
    before = content(tmp_path)

    (line,) = lines(here("ls", "--json", "--dir", tmp_path))

    assert (line["key"], line["model"]) == (KEY, "m")
    assert content(tmp_path) == before


def test_ls_reads_a_store_that_nobody_may_write_to(here: Here, filled: Path) -> None:
    before = content(filled)

    here("ls", "--dir", filled)

    assert content(filled) == before


@pytest.mark.parametrize("name", ["README.md", "model--xyz.json"])
def test_a_directory_without_a_store_is_refused_in_words(here: Here, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")

    line = refusal(here("ls", "--dir", tmp_path))

    assert line == f"there is no store in {tmp_path}: it has no database of cachemw's, and no records in files"


def test_a_store_that_cannot_be_read_is_said_in_a_line(here: Here, filled: Path) -> None:
    (filled / "cache.db").write_bytes(b"not a database" * 100)

    line = refusal(here("ls", "--dir", filled))

    assert line.startswith(f"the store in {filled} does not work: ")


def test_ls_is_a_command(command: Command, filled: Path) -> None:
    done = command("ls", "--dir", filled, "--json")

    assert (done.returncode, len(done.stdout.splitlines())) == (0, len(RECORDS))


def test_at_a_terminal_there_is_colour_and_a_narrow_one_has_fewer_columns(here: Here, filled: Path) -> None:
    wide = here("ls", "--dir", filled, FORCE_COLOR="1", COLUMNS="100", TERM="xterm")
    narrow = here("ls", "--dir", filled, FORCE_COLOR="1", COLUMNS="72", TERM="xterm")

    assert "\x1b[33mstale" in wide.stdout
    assert "\x1b[31mdamaged" in wide.stdout
    assert "endpoint" in wide.stdout
    assert "endpoint" not in narrow.stdout
    assert "…" not in narrow.stdout
    assert "llama-4" in narrow.stdout
