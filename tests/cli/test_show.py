"""`cachemw show`."""

import json
import re
import subprocess
import sys
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
from tests.cli.stored import KEY, ask, content, fill
from tests.inventory.records import INDEX, RECORDS, WITH_PARTS, completion

Here = Callable[..., Done]

CUT = b"cut short ------".hex()
DAMAGED = b"damaged --------".hex()


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    fill(tmp_path / "store")
    ask(tmp_path / "store")
    return tmp_path / "store"


def shown(done: Done) -> dict[str, str]:
    """Return what is told of a record, by what it is called."""
    assert (done.returncode, done.stderr) == (0, "")
    head = done.stdout.partition("\n\n")[0]
    return {line[:9].strip(): line[9:].strip() for line in head.splitlines()}


def test_show_tells_what_is_known_of_a_record_and_its_answer(here: Here, filled: Path) -> None:
    done = here("show", CUT[:6], "--dir", filled)

    told = shown(done)
    assert told["key"] == CUT
    assert told["stored"].endswith(" ago")
    assert re.fullmatch(r"fresh for \d+ m", told["state"])
    assert {name: told[name] for name in ("endpoint", "target", "model", "usage", "took", "request")} == {
        "endpoint": "chat",
        "target": "https://api.x.test/v1",
        "model": "m",
        "usage": "8 input tokens, 5 output tokens",
        "took": "500 ms",
        "request": "kept",
    }
    assert told["answer"].startswith("JSON, ")
    assert told["answer"].endswith("finish length")
    assert done.stdout.endswith('\nrequest\n{\n  "model": "m"\n}\n\nanswer\nBl\n')


def test_show_tells_how_often_a_record_was_asked_for(here: Here, filled: Path) -> None:
    told = shown(here("show", KEY, "--dir", filled))
    other = shown(here("show", CUT, "--dir", filled))

    assert told["asked for"].startswith("38 times, 37 of them answered from here, last ")
    assert other["asked for"] == "0 times, 0 of them answered from here"


def test_without_a_ledger_nobody_knows_how_often(here: Here, tmp_path: Path) -> None:
    fill(tmp_path)

    assert shown(here("show", KEY, "--dir", tmp_path))["asked for"].startswith("not known")


def test_show_tells_both_kinds_of_a_key(here: Here, filled: Path) -> None:
    done = here("show", KEY, "--dir", filled)

    assert done.stdout.count("\nanswer\nBlue.\n") == 2
    assert "JSON, " in done.stdout
    assert "a stream of 4 events, " in done.stdout
    assert "not kept (--keep-requests" in done.stdout


def test_show_tells_programs_the_same(here: Here, filled: Path) -> None:
    (line,) = (json.loads(line) for line in here("show", CUT, "--json", "--dir", filled).stdout.splitlines())

    expected: dict[str, Any] = {
        "key": CUT,
        "finish": ["length"],
        "asked": 0,
        "answered_here": 0,
        "at_least": False,
        "request": {"model": "m"},
        "answer": "Bl",
    }
    assert {name: line[name] for name in expected} == expected


@pytest.mark.parametrize("body", [b"\x00\xff\x1b[2J\r\n", b'{"choices": []}\n'])
def test_raw_writes_the_bytes_of_the_answer_and_nothing_else(command: Command, tmp_path: Path, body: bytes) -> None:
    with closing(DiskStore(tmp_path / "store")) as store:
        store.put(INDEX, codec.encode(replace(completion(), body=body)), None)

    done = subprocess.run(
        [sys.executable, "-m", "cachemw", "show", KEY[:4], "--raw", "--dir", str(tmp_path / "store")],
        env=dict(command.environment),
        capture_output=True,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, body, b"")


def test_no_answer_is_obeyed_by_a_terminal(here: Here, tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path)) as store:
        said = completion("a\x1b]0;title\x07\x9b2J\r\u202eb\nc\td", request=b'{"x": "\x1b[2J"}', target="\x1b[2J", model="[b]m")
        store.put(INDEX, codec.encode(said), None)

    done = here("show", KEY, "--dir", tmp_path)

    assert "a\\x1b]0;title\\x07\\x9b2J\\r\\u202eb\nc\td\n" in done.stdout
    assert not {"\x1b", "\x9b", "\x07", "\r", "\u202e"} & set(done.stdout)
    assert "[b]m" in done.stdout


def test_of_an_answer_without_words_the_beginning_is_shown(here: Here, tmp_path: Path) -> None:
    numbers = replace(completion(endpoint="embeddings"), body=b'{"data":[' + b"0.25," * 1000 + b"0]}")
    with closing(DiskStore(tmp_path)) as store:
        store.put(INDEX, codec.encode(numbers), None)

    done = here("show", KEY, "--dir", tmp_path)

    assert done.stdout.endswith("\n… and 4.0 kB more: --raw has all of it\n")
    assert len(done.stdout) < 3000


def test_a_damaged_record_is_shown_as_that(here: Here, filled: Path) -> None:
    told = shown(here("show", DAMAGED, "--dir", filled))
    line = refusal(here("show", DAMAGED, "--raw", "--dir", filled))

    assert told == {"key": DAMAGED, "state": "damaged", "size": f"{len(RECORDS[bytes.fromhex(DAMAGED)])} B"}
    assert line == f"the record of the key {DAMAGED} is damaged: it has no answer that can be read"


def test_a_file_that_was_changed_is_shown_as_damaged(here: Here, tmp_path: Path) -> None:
    FileStore(tmp_path).put(INDEX, RECORDS[INDEX], None)
    (path,) = tmp_path.glob("*.json")
    path.write_text(path.read_text().replace("Blue", "Red"))

    assert shown(here("show", KEY, "--dir", tmp_path))["state"] == "damaged"


def test_a_key_is_found_by_its_beginning_and_parts_are_no_keys(here: Here, filled: Path) -> None:
    several = refusal(here("show", "6", "--dir", filled))
    none = refusal(here("show", "ffff", "--dir", filled))
    part = refusal(here("show", b"part one".hex(), "--dir", filled))

    assert several.startswith("3 keys begin with 6: ")
    assert none == f"the store in {filled} has no record whose key begins with ffff"
    assert part.endswith(f"has no record whose key begins with {b'part one'.hex()}")


@pytest.mark.parametrize("key", ["xyz", "0" * 33, ""])
def test_what_is_no_key_is_refused(here: Here, filled: Path, key: str) -> None:
    done = here("show", key, "--dir", filled)

    assert done.returncode == 2
    assert "KEY" in done.stderr


def test_to_show_a_record_changes_no_byte(here: Here, filled: Path) -> None:
    before = content(filled)

    here("show", WITH_PARTS.hex(), "--dir", filled)

    assert content(filled) == before
