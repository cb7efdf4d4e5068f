"""A client in a process of its own that asks everything once, run twice."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import http_sf

from cachemw.simulator import Simulator
from tests.cli.command import Command
from tests.peers.environments import ROOT
from tests.serving import serving_in_thread

PATIENCE = 120.0

Told = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Twice:
    """What a client saw of each answer the first time and again, and how many chat requests came upstream."""

    first: Told
    again: Told
    calls_first: int
    calls_again: int


@dataclass(frozen=True, slots=True)
class Ground:
    """A provider that counts, at `direct`, and a directory for whatever is kept."""

    simulator: Simulator
    direct: str
    directory: Path

    def proxied(self, *options: object) -> contextlib.AbstractContextManager[str]:
        """Run `cachemw serve`, with further options, before the provider; gives its address."""
        return self.proxied_before(f"{self.direct}/v1", *options)

    @contextlib.contextmanager
    def proxied_before(self, upstream: str, *options: object) -> Iterator[str]:
        """Run `cachemw serve` before a provider that is named, and found in the place of whom the name means."""
        command, store = Command({**self.environment, **self.stand_in(upstream)}), self.directory / "store"
        with command.serving("serve", "--port", 0, "--upstream", upstream, "--dir", store, *options) as serving:
            yield serving.url

    def stand_in(self, upstream: str) -> dict[str, str]:
        """Return the variables that put the provider here in the place of a named one."""
        name = upstream.upper()
        return {} if "://" in upstream else {f"{name}_BASE_URL": self.direct, f"{name}_API_KEY": "sk-of-the-server"}

    def ask_twice(self, *command: object) -> Twice:
        """Run a client, and run it again."""
        before = self.simulator.calls
        first = self._ask(command)
        between = self.simulator.calls
        again = self._ask(command)
        return Twice(first, again, between - before, self.simulator.calls - between)

    def _ask(self, command: Sequence[object]) -> Told:
        arguments = [str(part) for part in command]
        done = subprocess.run(arguments, env=self.environment, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        told: Told = json.loads(done.stdout)
        return told

    @property
    def environment(self) -> dict[str, str]:
        """What a process here is told: no proxy, no key, and that the checkout's code is the one to run."""
        path = os.environ["PATH"]
        alone = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # else it waits for a file from the network at each start
        return {"PATH": path, "HOME": str(self.directory), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **alone}


@contextlib.contextmanager
def grounded(simulator: Simulator, directory: Path) -> Iterator[Ground]:
    """Serve a provider."""
    with serving_in_thread(simulator) as url:
        yield Ground(simulator, url, directory)


def without_provenance(told: Told) -> Told:
    """Return what was seen, but for what says where it came from."""
    return {
        name: {member: value for member, value in seen.items() if member not in {"cache_status", "hits"}}
        for name, seen in told.items()
    }


def cache_statuses(told: Told) -> list[Mapping[str, Any]]:
    """Return the parameters of our member of `Cache-Status`, of each answer whose headers the client shows."""
    return [_parameters(seen["cache_status"]) for seen in told.values() if seen["cache_status"] is not None]


def _parameters(field: str) -> Mapping[str, Any]:
    members: Any = http_sf.parse(field.encode(), tltype="list")
    return {name: value for _, parameters in members for name, value in parameters.items()}


def assert_the_second_time_is_the_first(twice: Twice, *, kinds: frozenset[str] = frozenset({"JSON", "stream"})) -> None:
    """Each answer was one upstream call, and again none, with nothing else to see; all kinds were asked for."""
    chunks = [seen["chunks"] for seen in twice.first.values()]  # None for what was not streamed

    assert (twice.calls_first, twice.calls_again) == (len(twice.first), 0)
    assert without_provenance(twice.again) == without_provenance(twice.first)
    assert all(seen["text"] or seen["calls"] for seen in twice.first.values())
    assert {"JSON" if count is None else "stream" for count in chunks} == kinds
    assert all(count is None or count > 1 for count in chunks)
