"""Answers recorded from real upstreams. They lie beside the project, and not everyone has them."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "cassettes"


def cassette(name: str) -> bytes:
    """Return the recorded body of this name, or skip the test that asks for it."""
    if not FOLDER.is_dir():
        pytest.skip("the recordings of real upstreams are not here")
    return (FOLDER / name).read_bytes()
