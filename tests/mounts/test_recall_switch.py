"""V1: the suite runs with recall on, and with `TESTS_RECALL=off` without; each run says here that it does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cachemw import Limits, MemoryStore
from cachemw.proxy.app import create
from cachemw.proxy.settings import Settings
from cachemw.stores import Inline
from tests import recalling
from tests.mounts.conftest import Mounted

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]


class Counting(MemoryStore):
    """A store that counts how often a record is read; nobody reads one whose version says that it is there."""

    inline: Inline = Inline.READS

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def get(self, index: bytes) -> bytes | None:
        self.reads += 1
        return super().get(index)


@pytest.mark.parametrize("limits", [None, Limits()], ids=["by default", "with limits"])
async def test_a_hit_is_decided_once_where_recall_is_on_and_each_time_where_it_is_off(
    mounted: Mounted, limits: Limits | None
) -> None:
    """V1"""
    mounted.store = store = Counting()
    mounted.limits = limits or mounted.limits
    mounted.mount()
    for _ in range(2):  # a miss, and the hit that is remembered
        await mounted.ask()
    store.reads = 0

    for _ in range(3):
        assert (await mounted.ask()).status == 200

    assert store.reads == (0 if recalling.IS_ON else 3)


def test_a_proxy_is_told_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """V1"""
    monkeypatch.setenv("CACHEMW_DIR", str(tmp_path))
    monkeypatch.setenv("CEREBRAS_API_KEY", "sk-server")

    recaller = create().recaller

    assert (Settings.from_environment().recall_memory > 0) == recalling.IS_ON
    assert (recaller is not None) == recalling.IS_ON


def test_a_limit_that_is_given_is_obeyed() -> None:
    """V1"""
    assert (Limits().recall_bytes > 0) == recalling.IS_ON
    assert Limits(recall_bytes=5).recall_bytes == 5


@pytest.mark.skipif(not recalling.IS_ON, reason="this is that run")
def test_the_other_run_holds_too() -> None:
    """V1: of these very tests."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "TESTS_RECALL": "off"}, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout[-5_000:]
    assert "1 skipped" in done.stdout
