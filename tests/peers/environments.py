"""An environment of its own for each peer, made when it is first asked for and kept by what it is made of.

`python -m tests.peers.environments` makes all that there are.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import platformdirs

PEERS = Path(__file__).parent
ROOT = PEERS.parents[1]
REQUIREMENTS = "requirements.txt"
PACKAGES = "package.json"
JAVASCRIPT = "js"
CLAUDE_CODE = "claude"
ALONE = {"aider"}
"""The peers whose requirements leave no room for ours: they are no SDK with a transport in it, and only ask a proxy."""
PLACE = "TESTS_PEERS"
READY = "ready"
AT_ONCE = 3
PATIENCE = 900.0
SAID_LINES = 200


class InstallationError(Exception):
    """An environment could not be made; the message ends in what pip or npm said."""


def python_of(peer: str) -> Path:
    """Return the Python of an environment with a peer's requirements and, but for `ALONE`, ours. Raises `InstallationError`."""
    requirements = PEERS / peer / REQUIREMENTS
    python = f"{sys.version_info} {sys.base_prefix}"
    ours = [] if peer in ALONE else [ROOT]
    parts = [requirements.read_bytes(), *((root / "pyproject.toml").read_bytes() for root in ours), python.encode()]

    def make(directory: Path) -> None:
        pip = _python_in(directory), "-m", "pip", "--no-input", "--disable-pip-version-check"
        _run(sys.executable, "-m", "venv", directory)
        _run(*pip, "install", "-r", requirements, *ours)

    return _python_in(environment(peer, parts, make))


def packages_of(peer: str) -> Path:
    """Return a directory with a JavaScript peer's scripts and the packages they need. Raises `InstallationError`."""
    sources = sorted(path for path in (PEERS / peer).iterdir() if path.suffix in {".json", ".mjs"})
    parts = [part for source in sources for part in (source.name.encode(), source.read_bytes())]

    def make(directory: Path) -> None:
        directory.mkdir()
        for source in sources:
            shutil.copy(source, directory)
        _run("npm", "ci", "--no-audit", "--no-fund", cwd=directory)

    return environment(peer, [_run("node", "--version").encode(), *parts], make)


def scripts_of_javascript() -> Path:
    """Return the directory of the JavaScript SDKs, and of the scripts that ask with them. Raises `InstallationError`."""
    return packages_of(JAVASCRIPT)


def claude_code() -> Path:
    """Return the program of Claude Code: of its packages, that for this machine. Raises `InstallationError`."""
    programs = packages_of(CLAUDE_CODE).glob("node_modules/@anthropic-ai/claude-code-*/claude")
    for program in programs:
        return program
    raise InstallationError("npm installed no Claude Code for this machine")


def python_peers() -> list[str]:
    """Name the peers that have a `requirements.txt`."""
    return sorted(path.parent.name for path in PEERS.glob(f"*/{REQUIREMENTS}"))


def javascript_peers() -> list[str]:
    """Name the peers that have a `package.json`."""
    return sorted(path.parent.name for path in PEERS.glob(f"*/{PACKAGES}"))


def environment(name: str, parts: list[bytes], make: Callable[[Path], None]) -> Path:
    """Return the directory for these parts, which the first who asks makes; one that was left half made is made anew."""
    place = Path(os.environ.get(PLACE) or platformdirs.user_cache_dir("cachemw-peers")).absolute()
    place.mkdir(parents=True, exist_ok=True)
    directory = place / f"{name}-{_digest(parts)}"
    with _locked(directory.with_suffix(".lock")):
        if not (directory / READY).exists():
            shutil.rmtree(directory, ignore_errors=True)
            make(directory)
            (directory / READY).touch()
    return directory


def _digest(parts: list[bytes]) -> str:
    framed = b"".join(len(part).to_bytes(8) + part for part in parts)  # lengths, so that no two lists read alike
    return hashlib.sha256(framed).hexdigest()[:16]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # let go when the file is closed, or the process ends
        yield


def _python_in(directory: Path) -> Path:
    return directory / "bin" / "python"


def _run(*command: object, cwd: Path | None = None) -> str:
    arguments = [str(part) for part in command]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            arguments, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise InstallationError(f"{' '.join(arguments)}: {exc}") from exc
    if done.returncode:
        said = "\n".join(done.stdout.splitlines()[-SAID_LINES:])
        raise InstallationError(f"{' '.join(arguments)} ended with {done.returncode}:\n{said}")
    return done.stdout


def main() -> int:
    """Make every environment, several at a time; return how many could not be made."""
    makers = {peer: functools.partial(packages_of, peer) for peer in javascript_peers()}
    makers |= {peer: functools.partial(python_of, peer) for peer in python_peers()}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(not is_made for is_made in pool.map(_make_and_tell, makers, makers.values()))


def _make_and_tell(name: str, make: Callable[[], Path]) -> bool:
    began = time.perf_counter()
    try:
        make()
    except InstallationError as exc:
        print(f"{name}: {exc}", file=sys.stderr, flush=True)
        return False
    print(f"{name}: {time.perf_counter() - began:.1f} s\n", end="", flush=True)  # one write: others tell too
    return True


if __name__ == "__main__":
    sys.exit(main())
