"""Runs a script, or many at once, in processes of their own: what concerns umasks, forks and signals cannot be tried here."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: object, environment: Mapping[str, str] | None = None, expected: tuple[str, ...] = ()) -> str:
    """Run a script and return what it printed; warnings that begin otherwise than `expected` are failures."""
    with _started(script, arguments, environment) as process:
        return _output(process, expected)


def run_at_once(script: str, count: int, *arguments: object) -> list[str]:
    """Run a script so many times, in step: each waits in `input()` until all have come there."""
    with ExitStack() as stack:
        processes = [stack.enter_context(_started(script, arguments, None)) for _ in range(count)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [_output(process) for process in processes]


@contextmanager
def _started(
    script: str, arguments: tuple[object, ...], environment: Mapping[str, str] | None
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _output(process: subprocess.Popen[str], expected: tuple[str, ...] = ()) -> str:
    output, errors = process.communicate(timeout=50)
    unexpected = [line for line in errors.splitlines() if not line.startswith(expected)]
    assert (process.returncode, unexpected) == (0, []), errors
    return output
