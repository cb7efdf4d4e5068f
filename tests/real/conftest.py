"""What every test here needs: two servers, and an environment that tells the SDKs and curl nothing."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.real.grounds import Ground, grounded
from tests.real.proxied import Servers, started


@pytest.fixture(scope="package")
def servers() -> Iterator[Servers]:
    """Give the servers that all tests share, one after the other."""
    with started() as servers:
        yield servers


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="package")
async def ground(anyio_backend: str) -> AsyncIterator[Ground]:
    """Give the servers in the tests' own event loop that all tests share, one after the other."""
    async with grounded() as ground:
        yield ground


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("OPENAI_", "CEREBRAS_", "SSL_CERT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))  # no certificates: for a client to read them takes longer than a test
