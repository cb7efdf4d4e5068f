"""What holds for every test."""

import pickle
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True, scope="session")
def nothing_is_unpickled() -> Iterator[None]:
    """I3: no pickle is read, by any test, on any path."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was unpickled")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pickle, "load", refuse)
        patched.setattr(pickle, "loads", refuse)
        yield
