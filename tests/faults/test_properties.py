"""Every property over many examples, and every row that a default run leaves out: that one tries a few."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HAVE_MORE = ("from hypothesis import", "import THOROUGH", "mounted: Mounted", "some_sdks")
FILES = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if any(word in path.read_text() for word in HAVE_MORE)]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.mark.parametrize("path", [path.relative_to(ROOT) for path in FILES if path != Path(__file__)], ids=str)
def test_what_holds_for_a_few_holds_for_many(path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]

    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "TESTS_LONG": "1"}, capture_output=True, text=True)

    assert done.returncode in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), done.stdout[-5_000:]
