"""Virtual environments of their own, in temporary directories."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

SAID_CHARACTERS = 200


class Unavailable(Exception):
    """What cannot be measured on this machine; the message says why."""


@contextmanager
def environment(*requirements: str) -> Iterator[Path]:
    """Give the directory of an environment with these in it. Raises `Unavailable` where they do not install."""
    with TemporaryDirectory() as directory:
        place = Path(directory)
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        pip = [str(python_in(place)), "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "install", *requirements], capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip()[-SAID_CHARACTERS:]
            raise Unavailable(f"{' '.join(requirements)} does not install: …{said}")
        yield place


def python_in(place: Path) -> Path:
    """Return the Python of an environment."""
    return place / "bin" / "python"
