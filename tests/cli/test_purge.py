"""`cachemw purge`: what it would take, what it asks, and what it takes."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path

import pytest

from cachemw.cache.key import index_beside
from cachemw.ledger.reader import LedgerReader
from cachemw.messages import Kind
from cachemw.simulator import Simulator
from cachemw.stores import FileStore
from tests.cli.command import PATIENCE, Command, Done, cache_status
from tests.cli.command import ask as ask_proxy
from tests.cli.stored import KEY, ask, content, fill, held
from tests.inventory.records import INDEX, RECORDS

Here = Callable[..., Done]

BOTH = {INDEX, index_beside(INDEX, Kind(True))}
STALE = b"stale ----------"


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    fill(tmp_path / "store")
    ask(tmp_path / "store")
    return tmp_path / "store"


def purged(directory: Path) -> list[str]:
    """Return the keys whose purge the ledger has noted."""
    with closing(LedgerReader(directory)) as reader:
        return [key for (key,) in reader.query("SELECT key FROM purges ORDER BY rowid")]


FILTERED = [
    ("--model", "llama*"),
    ("--finish", "length"),
    ("--key", KEY),
    ("--key", KEY[:5]),
    ("--older-than", "1h"),
    ("--stale", "--endpoint", "chat"),
    ("--damaged",),
    ("--larger-than", "300"),
    ("--model", "nobody's"),
    ("--all",),
]


@pytest.mark.parametrize("meant", FILTERED, ids=" ".join)
def test_a_dry_run_changes_no_byte_and_counts_what_the_purge_then_removes(
    here: Here, filled: Path, meant: tuple[str, ...]
) -> None:
    """O6."""
    before = content(filled)

    dry = here("purge", *meant, "--dry-run", "--json", "--dir", filled)
    after = content(filled)
    told = here("purge", *meant, "--dry-run", "--dir", filled)
    done = here("purge", *meant, "--yes", "--json", "--dir", filled)

    count = json.loads(dry.stdout)["records"]
    assert after == before
    assert told.stdout.startswith(f"would remove {count} record")
    assert told.stdout.endswith(" Nothing was removed.\n")
    assert json.loads(done.stdout) == {"removed": count}
    assert len(held(filled)) == len(RECORDS) - count


def test_a_dry_run_says_how_much_how_old_and_how_often_it_was_asked_for_today(here: Here, filled: Path) -> None:
    done = here("purge", "--key", KEY, "--dry-run", "--dir", filled)

    size = sum(len(RECORDS[index]) for index in BOTH)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"would remove 2 records, {size} B, oldest ")
    assert done.stdout.endswith("; asked for 31 times today. Nothing was removed.\n")


def test_without_a_ledger_a_dry_run_says_nothing_of_that(here: Here, tmp_path: Path) -> None:
    fill(tmp_path)

    done = here("purge", "--model", "llama*", "--dry-run", "--dir", tmp_path)

    size = len(RECORDS[STALE]) / 1000
    assert done.stdout == f"would remove 1 record, {size:.1f} kB, oldest 2 h. Nothing was removed.\n"


def test_a_dry_run_needs_no_right_to_write(here: Here, filled: Path) -> None:
    """O6: it opens nothing to write."""
    (filled / "cache.db").chmod(0o400)

    done = here("purge", "--all", "--dry-run", "--dir", filled)

    assert done.stdout.startswith("would remove 9 records, ")


def test_purge_takes_both_kinds_of_a_key_and_notes_the_keys(here: Here, filled: Path) -> None:
    done = here("purge", "--model", "m", "--newer-than", "1h", "--endpoint", "chat", "--yes", "--dir", filled)

    assert (done.returncode, done.stdout) == (0, "3 records removed\n")
    assert held(filled) == set(RECORDS) - BOTH - {b"cut short ------"}
    assert sorted(purged(filled)) == sorted([KEY, b"cut short ------".hex()])


def test_a_purge_of_everything_is_noted_as_one(here: Here, filled: Path) -> None:
    here("purge", "--all", "--dir", filled)

    assert purged(filled) == [""]


@pytest.mark.parametrize("meant", [("--key", KEY), ("--older-than", "1h"), ("--all",)], ids=" ".join)
def test_scripts_purge_unasked_as_they_always_did(here: Here, filled: Path, meant: tuple[str, ...]) -> None:
    done = here("purge", *meant, "--dir", filled)

    assert done.returncode == 0
    assert done.stdout.endswith(" removed\n")
    assert len(held(filled)) < len(RECORDS)


@pytest.mark.parametrize("meant", [("--model", "*"), ("--older-than", "1h", "--model", "*"), ("--damaged",)], ids=" ".join)
def test_scripts_say_yes_to_every_other_purge(here: Here, filled: Path, meant: tuple[str, ...]) -> None:
    refused = here("purge", *meant, "--dir", filled)

    assert refused.returncode == 2
    assert "--yes: nobody is there to be asked" in refused.stderr
    assert held(filled) == set(RECORDS)


@pytest.mark.parametrize(
    "meant",
    [(), ("--yes",), ("--all", "--stale"), ("--model", "", "--older-than", "0"), ("--client", "alice"), ("--key", "xyz")],
)
def test_a_purge_of_nobody_knows_what_is_refused(here: Here, filled: Path, meant: tuple[str, ...]) -> None:
    refused = here("purge", *meant, "--dir", filled)

    assert refused.returncode == 2
    assert held(filled) == set(RECORDS)


def test_the_records_in_files_are_purged_and_no_ledger_is_made_among_them(here: Here, tmp_path: Path) -> None:
    files = FileStore(tmp_path)
    for index in (INDEX, STALE):
        files.put(index, RECORDS[index], None)

    done = here("purge", "--model", "llama*", "--yes", "--dir", tmp_path)

    assert done.stdout == "1 record removed\n"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [f"m--{KEY}.json"]


def at_a_terminal(environment: Mapping[str, str], answer: str, *arguments: object) -> tuple[int, str]:
    """Run the command at a terminal, where somebody answers what it asks; return its exit code and what it said."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        command = [sys.executable, "-m", "cachemw", *map(str, arguments)]
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=dict(environment))
        os.close(theirs)
        terminal.write(f"{answer}\n".encode())  # what is asked later is answered by what was typed before
        said = b""
        with suppress(OSError):  # the terminal is gone
            while piece := terminal.read(4096):
                said += piece
        return process.wait(PATIENCE), said.decode().replace("\r\n", "\n")


def test_at_a_terminal_purge_says_what_would_go_and_asks(command: Command, filled: Path) -> None:
    purge = ("purge", "--key", KEY, "--dir", filled)

    code, said = at_a_terminal(command.environment, "n", *purge)
    left = held(filled)
    code_of_yes, said_of_yes = at_a_terminal(command.environment, "y", *purge)

    assert "would remove 2 records, " in said
    assert "; asked for 31 times today.\nRemove this? [y/N]: " in said
    assert said.endswith("Nothing was removed.\n")
    assert (code, left) == (1, set(RECORDS))
    assert said_of_yes.endswith("2 records removed\n")
    assert (code_of_yes, held(filled)) == (0, set(RECORDS) - BOTH)


def test_at_a_terminal_purge_does_not_ask_where_nothing_fits(command: Command, filled: Path) -> None:
    code, said = at_a_terminal(command.environment, "", "purge", "--model", "nobody's", "--dir", filled)

    assert (code, said.strip()) == (0, "0 records removed")


def test_a_purge_from_the_command_line_is_obeyed_by_a_proxy_that_recalls(
    here: Here, command: Command, simulated: tuple[Simulator, str], tmp_path: Path
) -> None:
    """V2: the worker that has just given a hit from memory gives it no more."""
    with command.serving("serve", "--port", 0, "--upstream", simulated[1], "--dir", tmp_path / "store") as serving:
        hits = ["hit" in cache_status(ask_proxy(serving.url, "once", Cachemw="on")) for _ in range(4)]
        kept = cache_status(ask_proxy(serving.url, "another", Cachemw="on"))
        (key,) = (part.removeprefix("key=").strip('"') for part in kept if part.startswith("key="))

        done = here("purge", "--newer-than", "1h", "--key", key, "--yes", "--dir", tmp_path / "store")
        stays = "hit" in cache_status(ask_proxy(serving.url, "once", Cachemw="on"))
        everything = here("purge", "--newer-than", "1h", "--yes", "--dir", tmp_path / "store")
        again = "hit" in cache_status(ask_proxy(serving.url, "once", Cachemw="on"))

    assert hits == [False, True, True, True]
    assert (done.stdout, stays) == ("1 record removed\n", True)
    assert (everything.stdout, again) == ("1 record removed\n", False)


def test_a_variable_that_is_spelt_wrong_purges_nothing(here: Here, filled: Path) -> None:
    """D3: it may be the one that names the store."""
    before = content(filled)

    done = here("purge", "--all", CACHEMW_DIR=str(filled), CACHEMW_DRI="/somewhere/else")

    assert done.returncode == 1
    assert "unknown in the environment: CACHEMW_DRI" in done.stderr
    assert content(filled) == before
