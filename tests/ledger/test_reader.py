"""A ledger is read so that nothing is left beside it, which might be in the way of who writes it later."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from cachemw.ledger.ledger import Ledger
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.schema import LEDGER_FILE
from tests.ledger.test_ledger import MISS, NOW, AtOnce

COUNT = "SELECT coalesce(sum(count), 0) FROM exchanges"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger in which there is one exchange, and that is being written."""
    with closing(Ledger(tmp_path, AtOnce(), clock=lambda: NOW)) as made:
        made(MISS)
        yield made


def count(reader: LedgerReader) -> int:
    return int(reader.query(COUNT)[0][0])


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_to_read_a_ledger_that_nobody_writes_leaves_nothing_beside_it(tmp_path: Path, ledger: Ledger) -> None:
    ledger.close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    with closing(LedgerReader(tmp_path)) as reader:
        found, during = count(reader), names(tmp_path)

    assert found == 1
    assert during == set(before)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_is_written_meanwhile_is_read(tmp_path: Path, ledger: Ledger) -> None:
    with closing(LedgerReader(tmp_path)) as reader:
        counts = [count(reader)]
        for _ in range(3):
            ledger(MISS)
            counts.append(count(reader))

        assert counts == [1, 2, 3, 4]
        assert reader.openings == 1


def test_one_that_is_written_again_is_the_same_ledger(tmp_path: Path, ledger: Ledger) -> None:
    ledger.close()

    with closing(LedgerReader(tmp_path)) as reader:
        counts = [count(reader)]
        with closing(Ledger(tmp_path, AtOnce(), clock=lambda: NOW)) as again:
            again(replace(MISS, count=2))
            counts.append(count(reader))
        counts.append(count(reader))

        assert counts == [1, 3, 3]
        assert reader.openings == 1


def test_one_whose_writer_was_killed_is_read_from_its_log(tmp_path: Path, ledger: Ledger) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    for suffix in ("", "-wal"):
        shutil.copyfile(tmp_path / f"{LEDGER_FILE}{suffix}", killed / f"{LEDGER_FILE}{suffix}")

    with closing(LedgerReader(killed)) as reader:
        found = count(reader)

    assert found == 1
    assert names(killed) == {LEDGER_FILE, f"{LEDGER_FILE}-wal"}
