"""A coding agent in a network of its own, which holds it, our proxy and a provider: run, run again, and run with no provider.

unshare -rn python run.py DIRECTORY PLAN    prints what was said and asked, as one JSON document
"""

import dataclasses
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from cachemw.simulator import Simulator
from tests.pages import ADDRESS
from tests.peers.asking import Ground, grounded

SET_FLAGS, UP_AND_RUNNING = 0x8914, 0x41  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING of <net/if.h>
PATIENCE = 120.0
REPLAY = "on, mode=replay"


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is run, before which provider, as the proxy is told of it."""

    program: str  # its directory is looked in first
    command: str
    dialect: str
    upstream: str
    options: list[str]
    default: str


def main() -> None:
    directory, plan = Path(sys.argv[1]), Plan(**json.loads(sys.argv[2]))
    _loopback_up()
    print(json.dumps(runs(plan, directory)))


def runs(plan: Plan, directory: Path) -> list[dict[str, Any]]:
    """Run the command three times, the last time with nobody behind the proxy."""
    with grounded(Simulator(dialect=plan.dialect), directory) as ground:
        told = _run(plan, ground, plan.default, times=2)
    return told + _run(plan, ground, REPLAY, times=1)


def _run(plan: Plan, ground: Ground, default: str, times: int) -> list[dict[str, Any]]:
    upstream = plan.upstream or f"{ground.direct}/v1"
    with ground.proxied_before(upstream, "--default", default, *plan.options) as url:
        return [_told(plan, ground, url) for _ in range(times)]


def _told(plan: Plan, ground: Ground, url: str) -> dict[str, Any]:
    before = ground.simulator.calls
    done = subprocess.run(
        ["sh", "-c", plan.command.replace(ADDRESS, url)],
        cwd=_project(ground.directory),
        env={"PATH": f"{Path(plan.program).parent}:{os.environ['PATH']}", "HOME": str(ground.directory)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {"said": done.stdout, "calls": ground.simulator.calls - before}


def _project(directory: Path) -> Path:
    project = directory / "project"
    project.mkdir(exist_ok=True)
    return project


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, SET_FLAGS, struct.pack("16sh14x", b"lo", UP_AND_RUNNING))


if __name__ == "__main__":
    main()
