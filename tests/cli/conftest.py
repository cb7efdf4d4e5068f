import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cachemw.cli.app import run
from cachemw.simulator import Simulator
from tests.cli.command import Command, Done, at_home
from tests.serving import serving_in_thread


@pytest.fixture(autouse=True, scope="session")
def heard_interrupts() -> None:
    """A shell that starts tests in the background has them, and all that they start, ignore SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command, with a home and a place for temporary files of its own, and no key."""
    return at_home(tmp_path)


@pytest.fixture
def here(command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command, run in this process: for what ends before anything is served, and much faster."""

    def run_here(*arguments: object, **variables: str) -> Done:
        for name in [name for name in os.environ if name.startswith("CACHEMW_") or name.endswith(("_API_KEY", "_BASE_URL"))]:
            monkeypatch.delenv(name)
        for name, value in {**command.environment, **variables}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["cachemw", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run()
        said, code = capsys.readouterr(), ended.value.code
        if isinstance(code, str):  # as Python does it
            return Done(1, said.out, f"{code}\n")
        return Done(code or 0, said.out, said.err)

    return run_here


@pytest.fixture(scope="package")
def simulated() -> Iterator[tuple[Simulator, str]]:
    """A simulator, and the base URL it has."""
    simulator = Simulator()
    with serving_in_thread(simulator) as url:
        yield simulator, f"{url}/v1"
