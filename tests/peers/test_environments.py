"""How the peers' environments are made and kept, without installing anything."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.peers import environments
from tests.peers.environments import InstallationError, environment, python_of


class Maker:
    """Makes directories with one file in them, and counts."""

    def __init__(self) -> None:
        self.made: list[Path] = []

    def __call__(self, directory: Path) -> None:
        directory.mkdir()  # fails where something is left
        (directory / "file").touch()
        self.made.append(directory)


@pytest.fixture(autouse=True)
def _a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environments.PLACE, str(tmp_path / "place"))


def test_an_environment_is_made_once_for_all_who_ask_at_the_same_time() -> None:
    maker = Maker()

    with ThreadPoolExecutor(8) as pool:
        directories = set(pool.map(lambda _: environment("a", [b"1"], maker), range(50)))

    assert directories == set(maker.made)
    assert len(maker.made) == 1


def test_what_it_is_made_of_decides_which_one_it_is() -> None:
    maker = Maker()
    parts: list[list[bytes]] = [[b"1"], [b"2"], [b"12"], [b"1", b"2"], [b"", b"12"]]

    assert len({environment("a", each, maker) for each in parts} | {environment("b", [b"1"], maker)}) == 6


def test_one_that_was_left_half_made_is_made_anew() -> None:
    def fail(directory: Path) -> None:
        directory.mkdir()
        raise InstallationError("half-way")

    with pytest.raises(InstallationError):
        environment("a", [b"1"], fail)
    maker = Maker()

    assert [environment("a", [b"1"], maker)] == maker.made


@pytest.mark.peers
def test_what_pip_said_is_in_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "peer").mkdir()
    (tmp_path / "peer" / "requirements.txt").write_text("this is no requirement\n")
    monkeypatch.setattr(environments, "PEERS", tmp_path)

    with pytest.raises(InstallationError, match=r"Invalid requirement: 'this is no requirement'"):
        python_of("peer")


@pytest.mark.peers
def test_what_npm_said_is_told_and_the_command_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "js").mkdir()
    (tmp_path / "js" / "package.json").write_text("{}")
    monkeypatch.setattr(environments, "PEERS", tmp_path)

    assert environments.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("js: npm ci ")
    assert "package-lock.json" in said
