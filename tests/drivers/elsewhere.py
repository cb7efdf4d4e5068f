"""Another process that uses a store on disk, on the clock of the test that started it; it can be killed at any statement."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diskcache.core

import cachemw.stores.disk.database
from cachemw import DiskStore, StoreError
from cachemw.stores.disk.database import Database

ROOT = Path(__file__).parents[2]


class Elsewhere:
    """A process that does to the store in a directory what it is told; a killed one is started anew when it is needed."""

    def __init__(self, path: Path, count_limit: int) -> None:
        self._command = [sys.executable, "-m", "tests.drivers.elsewhere", str(path), str(count_limit)]
        self._process: subprocess.Popen[str] | None = None
        self.kills = 0

    def do(self, what: str, now: float, *indexes: bytes, record: bytes = b"", dies_at: int | None = None) -> None:
        """Have something done, and wait until it is; `dies_at` is the statement at which the process is killed.

        Those with which it opens the store are counted below zero.
        """
        process = self._process = self._process or subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        told = {
            "what": what,
            "now": now,
            "indexes": [index.hex() for index in indexes],
            "record": record.hex(),
            "dies": dies_at,
        }
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        if process.stdout.readline() != "done\n":
            self.close()
            self.kills += 1

    def close(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def act(store: DiskStore, told: dict[str, Any]) -> None:
    """Do what was told."""
    indexes = [bytes.fromhex(index) for index in told["indexes"]]
    with suppress(StoreError):
        match told["what"]:
            case "put":
                store.put(indexes[0], bytes.fromhex(told["record"]), 600.0)
            case "delete":
                store.delete(*indexes)
            case "discard":
                store.discard(*indexes)
            case "clear":
                store.clear()


def main(path: str, count_limit: str) -> None:
    """Serve a test until it ends."""
    clock, left = SimpleNamespace(now=0.0), SimpleNamespace(statements=None)
    for module in (cachemw.stores.disk.database, diskcache.core):
        setattr(module, "time", SimpleNamespace(**{**vars(time), "time": lambda: clock.now}))  # noqa: B010
    execute = Database._execute

    def execute_or_die(database: Database, *statement: object) -> object:
        if left.statements is not None:
            left.statements -= 1
            if left.statements < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return execute(database, *statement)

    Database._execute = execute_or_die  # type: ignore[assignment, method-assign]
    store = DiskStore(path, count_limit=int(count_limit))
    for line in sys.stdin:
        told = json.loads(line)
        clock.now, dies_at = told["now"], told["dies"]
        if dies_at is not None and dies_at < 0:
            left.statements = -dies_at
        with suppress(StoreError):
            store.size()
        left.statements = dies_at
        act(store, told)
        left.statements = None
        print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
