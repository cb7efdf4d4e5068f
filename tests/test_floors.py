"""The releases that CI installs: the oldest that are let in, and today's by their hashes."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
USED = [*PROJECT["dependencies"], *EXTRAS["proxy"], *EXTRAS["httpx2"], *EXTRAS["otel"]]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_the_floors_that_are_installed_are_all_there_are() -> None:
    """A9: a floor that nobody installs is a guess."""
    lines = (ROOT / "tests" / "floors.txt").read_text(encoding="utf-8").splitlines()

    assert {line for line in lines if not line.startswith("#")} == {
        re.sub(r"\[.*\]", "", required).replace(">=", "==") for required in USED
    }


def test_the_lock_has_everything_that_is_required() -> None:
    """A9"""
    locked = set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE))
    named = [_name(required) for required in (*USED, *EXTRAS["dev"])]

    assert {name for name in named if name != PROJECT["name"]} <= locked


def test_the_lock_has_hashes_for_everything_and_names_no_place() -> None:
    """A9"""
    releases = re.split(r"^(?=[a-z0-9-]+==)", LOCK, flags=re.MULTILINE)[1:]

    assert [release for release in releases if "--hash=sha256:" not in release] == []
    assert "://" not in LOCK


def _name(required: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+?(?=[\[>=]|$)", required)
    assert found is not None, required
    return found[0].lower().replace("_", "-")
