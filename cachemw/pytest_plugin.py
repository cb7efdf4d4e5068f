"""The plugin for pytest: the fixture `cachemw_cassette`, the option `--cachemw`, the mark `cachemw`.

pytest loads it in every run, so nothing but pytest is imported before a test asks for the fixture. PYTEST_DONT_REWRITE: it
asserts nothing.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cachemw.cassette import Cassette

MODES = ("replay", "record", "refresh", "off")
FOLDER = "cassettes"
"""The directory beside a test file in which each of them has one, unless a mark names another."""

_OUTPUT = "cachemw"
_WHOLE_RUNS = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)


class CassetteLedger:
    """What was asked of each cassette, and recorded there, in this run: the digits of records, by directory."""

    def __init__(self) -> None:
        self.asked: dict[str, set[str]] = {}
        self.recorded: dict[str, set[str]] = {}
        self.failed = set[str]()
        """Why records could not be made, in words."""
        self.is_partial = False
        """Whether not all tests were run that could have been: then nobody knows which records are of no use."""

    def to_output(self) -> dict[str, Any]:
        """Return it as the processes of pytest-xdist send it to each other."""
        asked, recorded = (
            {directory: sorted(digits) for directory, digits in each.items()} for each in (self.asked, self.recorded)
        )
        return {"asked": asked, "recorded": recorded, "failed": sorted(self.failed), "is_partial": self.is_partial}

    def add(self, output: dict[str, Any]) -> None:
        """Take in what another process noted."""
        for each, noted in ((self.asked, output["asked"]), (self.recorded, output["recorded"])):
            for directory, digits in noted.items():
                each.setdefault(directory, set()).update(digits)
        self.failed.update(output["failed"])
        self.is_partial |= output["is_partial"]

    def files(self) -> tuple[list[Path], list[Path]]:
        """Return the files that were recorded, and those that nobody asked for."""
        recorded, idle = list[Path](), list[Path]()
        for directory in sorted(self.asked):
            for path in sorted(Path(directory).glob("*--*.json")):
                digits = path.stem.rpartition("--")[2]
                if digits in self.recorded[directory]:
                    recorded.append(path)
                elif digits not in self.asked[directory]:
                    idle.append(path)
        return recorded, [] if self.is_partial else idle


_LEDGER = pytest.StashKey[CassetteLedger]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("cachemw", "recorded answers of LLM APIs").addoption(
        "--cachemw",
        choices=MODES,
        default=None,
        help="replay: give recorded answers again, and never ask; record: ask, and record, what is not recorded yet;"
        " refresh: ask for everything, and record it anew; off: ask for everything, and record nothing."
        " By default replay where the variable CI is set, else record.",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LEDGER] = CassetteLedger()
    config.addinivalue_line(
        "markers", "cachemw(directory): keep the recorded answers in this directory, as seen from the test file"
    )


@pytest.fixture
def cachemw_cassette(request: pytest.FixtureRequest) -> "Iterator[Cassette]":
    """Recorded answers for this test: `OpenAI(http_client=cachemw_cassette.http_client())`."""
    from cachemw.cassette import Cassette
    from cachemw.errors import ConfigurationError

    directory, ledger = _directory_of(request.node), request.config.stash[_LEDGER]
    asked, recorded = (each.setdefault(str(directory), set()) for each in (ledger.asked, ledger.recorded))
    try:
        cassette = Cassette(directory, _mode_of(request.config), asked=asked, recorded=recorded, failed=ledger.failed)
    except ConfigurationError as exc:
        pytest.fail(f"{exc} (--cachemw=record records what is missing)", pytrace=False)
    yield cassette
    cassette.close()


def _mode_of(config: pytest.Config) -> str:
    said = config.getoption("cachemw")
    is_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
    return str(said or ("replay" if is_ci else "record"))


def _directory_of(test: Any) -> Path:
    mark = test.get_closest_marker("cachemw")
    if mark is None:
        return Path(test.path).parent / FOLDER / Path(test.path).stem
    if len(mark.args) != 1 or mark.kwargs:
        raise pytest.UsageError('the mark cachemw takes one directory: @pytest.mark.cachemw("cassettes/bot")')
    return Path(os.path.abspath(Path(test.path).parent / mark.args[0]))


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items[:1]:
        item.config.stash[_LEDGER].is_partial = True


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Send what was noted here to the process that tells of it, where that is another one."""
    config = session.config
    ledger = config.stash[_LEDGER]
    is_narrowed = any("::" in argument for argument in config.args) or getattr(config.option, "lf", False)
    is_stopped = session.shouldfail or session.shouldstop or exitstatus not in _WHOLE_RUNS
    ledger.is_partial |= bool(is_narrowed or is_stopped or _mode_of(config) == "off")
    if hasattr(config, "workeroutput"):
        config.workeroutput[_OUTPUT] = ledger.to_output()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take in what a process of pytest-xdist noted; of one that was killed nobody knows what it asked for."""
    ledger = node.config.stash[_LEDGER]
    output = getattr(node, "workeroutput", {}).get(_OUTPUT)
    if output is None:
        ledger.is_partial = True
    else:
        ledger.add(output)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """List what was recorded, what could not be, and what nobody asked for."""
    ledger = config.stash[_LEDGER]
    recorded, idle = ledger.files()
    if not (recorded or idle or ledger.failed):
        return
    terminalreporter.section(f"cachemw ({_mode_of(config)})")
    _tell(terminalreporter, "recorded:", recorded, config.rootpath)
    for why in sorted(ledger.failed):
        terminalreporter.write_line(f"not recorded: {why}")
    _tell(terminalreporter, "asked for by no test of this run:", idle, config.rootpath)


def _tell(reporter: pytest.TerminalReporter, what: str, paths: Iterable[Path], root: Path) -> None:
    for path in paths:
        reporter.write_line(f"{what} {path.relative_to(root) if path.is_relative_to(root) else path}")
