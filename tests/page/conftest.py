"""A day's store and ledger, and the page that shows them."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cachemw.page.app import PageApp
from tests.page.scenery import furnish
from tests.page.showing import asking, shell_of
from tests.serving import serving_in_thread


@pytest.fixture(scope="session")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as a day left it; whoever changes it takes a copy."""
    directory = tmp_path_factory.mktemp("day")
    furnish(directory, time.time(), count=150)
    return directory


@pytest.fixture(scope="session")
def page(day: Path) -> Iterator[str]:
    """The URL of the page of that day."""
    with shell_of(day) as shell, serving_in_thread(PageApp(shell)) as url:
        yield url


@pytest.fixture
def client(page: str) -> Iterator[httpx.Client]:
    """A client that brings the token, as scripts do."""
    with asking(page) as client:
        yield client


@pytest.fixture
def stranger(page: str) -> Iterator[httpx.Client]:
    """A client that brings nothing."""
    with httpx.Client(base_url=page, trust_env=False) as client:
        yield client
