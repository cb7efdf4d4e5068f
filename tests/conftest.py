"""What holds for every test."""

import gc
import pickle
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import recalling
from tests.thorough import THOROUGH

pytest_plugins = ("pytester",)

if not recalling.IS_ON:  # before any mount is made
    recalling.switch_off()

settings.register_profile(  # a busy machine is no failure
    "ours", max_examples=300 if THOROUGH else 25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ours")


def pytest_collection() -> None:
    """Collect no rubbish while tests are: there is little, and to look for it takes a third of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Look through what is collected no more when rubbish is: ten thousand tests would take a fifth longer."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Let plugins look for what refers to what again."""
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="session")
def nothing_is_unpickled() -> Iterator[None]:
    """I3: no pickle is read, by any test, on any path."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was unpickled")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pickle, "load", refuse)
        patched.setattr(pickle, "loads", refuse)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_certificates_are_read() -> Iterator[None]:
    """No test speaks TLS, and every client that is made would read them anew: 20 ms each time."""

    def leave(*_: Any, **__: Any) -> None:
        """Read nothing."""

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ssl.SSLContext, "load_verify_locations", leave)
        patched.setattr(ssl.SSLContext, "load_default_certs", leave)
        yield
