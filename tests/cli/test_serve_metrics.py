"""Metrics of `cachemw serve` with workers, one of which is killed: what is counted, and that nothing of it falls (O2)."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cachemw.metrics.exposition import exposition
from cachemw.simulator import Simulator
from tests.cli.command import PATIENCE, Command, Serving

Simulated = tuple[Simulator, str]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]

OURS: tuple[dict[str, str], ...] = ({"cachemw": "on"}, {"cachemw": "on"}, {})
"""Of three requests two opt in."""

LAST_SECOND = 1.1


def counters(directory: Path) -> Samples:
    """Return all that may only grow, as a scraper reads it."""
    text, _ = exposition(directory, None)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


def counted(directory: Path) -> int:
    return int(sum(value for (name, _), value in counters(directory).items() if name == "cachemw_requests_total"))


def passed(directory: Path) -> int:
    return int(
        sum(
            value
            for (_, labels), value in counters(directory).items()
            if ("outcome", "passed") in labels and ("endpoint", "chat") in labels
        )
    )


def until_counted(directory: Path, at_least: int) -> int:
    deadline = time.monotonic() + PATIENCE
    while (count := counted(directory)) < at_least:
        assert time.monotonic() < deadline, f"{count} of {at_least}"
        time.sleep(0.05)
    return count


class Asker:
    """Asks, over a new connection each time, and notes when it had an answer."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.sent = 0
        self.answered: list[float] = []

    def ask(self, count: int) -> None:
        for _ in range(count):
            number, self.sent = self.sent, self.sent + 1
            body = {"messages": [{"role": "user", "content": f"question {number % 7}"}], "stream": number % 2 == 0}
            with contextlib.suppress(httpx.TransportError), httpx.Client(trust_env=False, timeout=PATIENCE) as client:
                answer = client.post(f"{self._url}/v1/chat/completions", json=body, headers=OURS[number % 3])
                assert answer.status_code == 200
                self.answered.append(time.monotonic())

    def last_second(self, at: float) -> int:
        """Return how many answers came, or were under way, in the second before this."""
        return sum(at - LAST_SECOND <= answered <= at for answered in self.answered) + self.sent - len(self.answered)


class Watch:
    """Scrapes all the time, and notes what fell."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._over = directory, threading.Event()
        self._thread = threading.Thread(target=self._scrape)
        self.fallen: list[object] = []
        self.scrapes = 0

    def _scrape(self) -> None:
        before: Samples = {}
        while not self._over.wait(0.02):
            now = counters(self._directory)
            self.fallen += [series for series, value in before.items() if now.get(series, 0.0) < value]
            before, self.scrapes = now, self.scrapes + 1

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@contextlib.contextmanager
def served(command: Command, upstream: str, directory: Path) -> Iterator[Serving]:
    arguments = ("--workers", 2, "--upstream", upstream, "--dir", directory)
    with command.serving("serve", "--port", 0, *arguments) as serving:
        yield serving


def kill_one(serving: Serving) -> float:
    """Kill a worker, and return when."""
    victim = serving.workers()[0]
    os.kill(victim, signal.SIGKILL)
    return time.monotonic()


def until_replaced(serving: Serving) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(serving.workers()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.faults)])
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="workers are told apart as Linux does it")
def test_a_worker_that_is_killed_takes_its_last_second_with_it_and_no_counter_falls(
    command: Command, simulated: Simulated, tmp_path: Path, kills: int
) -> None:
    """O2, G3: the sum over outcomes is the number of requests, those that did not opt in among them."""
    directory, may_be_lost = tmp_path / "kept", 0
    with served(command, simulated[1], directory) as serving, Watch(directory) as watch:
        asker = Asker(serving.url)
        asker.ask(30)
        assert until_counted(directory, 30) == 30
        assert passed(directory) == 10
        for _ in range(kills):
            asker.ask(30)
            killed = kill_one(serving)
            may_be_lost += asker.last_second(killed)
            until_replaced(serving)
            asker.ask(10)
        until_counted(directory, len(asker.answered) - may_be_lost)
        assert serving.end() == 0

    assert watch.fallen == []
    assert watch.scrapes > 5
    assert len(asker.answered) - may_be_lost <= counted(directory) <= asker.sent
    assert sorted(file.name for file in (directory / "metrics").glob("*.bin")) == ["0.bin", "1.bin"]
