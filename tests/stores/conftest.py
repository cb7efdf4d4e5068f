import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from cachemw import DiskStore


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """I3"""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("pickle was called")

    for name in ("load", "loads", "dump", "dumps", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    """Give a store on disk that no other test uses."""
    store = DiskStore(tmp_path / "store")
    yield store
    store.close()
