"""V1: whatever is done to a store, by whom, and to the clock, what is recalled is what would be decided anew."""

from pathlib import Path

import pytest

from tests.drivers.states import run
from tests.thorough import THOROUGH

STEPS = {"memory": 25_000, "silent": 15_000, "disk": 60_000} if THOROUGH else {"memory": 150, "silent": 100, "disk": 150}
PART = 2_500
"""The steps of one run: each begins with nothing."""

PARTS = [(kind, seed) for kind, steps in STEPS.items() for seed in range(max(1, steps // PART))]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "seed"), PARTS)
def test_what_is_recalled_is_what_would_be_decided_whatever_happens(kind: str, seed: int, tmp_path: Path) -> None:
    """V1, C2, C3, R14, D5: but for a millisecond after another's commit, and until a directory is missed."""
    tried = run(kind, seed, min(PART, STEPS[kind]), tmp_path / "store")

    assert tried.differences == []
    assert tried.recalled > tried.steps / 10
    print(f"\n{tried}")
