"""A cassette without pytest: one directory, one mode, and clients for it."""

import re
from pathlib import Path

import httpx
import pytest

from cachemw import ConfigurationError
from cachemw.cassette import POLICIES, Cassette
from cachemw.pytest_plugin import MODES
from tests.mounts.inner_transports import URL, answering, inner_of
from tests.upstream import prompt

TYPE = {"content-type": "application/json"}


def test_the_modes_are_those_of_the_option() -> None:
    assert set(POLICIES) == set(MODES)


@pytest.mark.parametrize("mode", ["", "Replay", "read-write", "mode=replay"])
def test_another_mode_is_refused_and_the_modes_are_named(mode: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="replay, record, refresh, off"):
        Cassette(tmp_path, mode)


@pytest.mark.parametrize(("mode", "calls"), [("replay", 0), ("record", 0), ("refresh", 2), ("off", 2)])
def test_what_was_recorded_is_given_again_unless_the_mode_says_otherwise(mode: str, calls: int, tmp_path: Path) -> None:
    """F3."""
    ask(Cassette(tmp_path, "record"))
    asked, recorded = set[str](), set[str]()

    requests = ask(Cassette(tmp_path, mode, asked=asked, recorded=recorded))

    digits = {path.stem.rpartition("--")[2] for path in tmp_path.iterdir()}
    assert requests == calls
    assert recorded == (digits if mode == "refresh" else set())
    assert (digits <= asked) is (mode in ("replay", "record"))


def test_what_cannot_be_recorded_is_noted_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """F3: the answers are given all the same."""
    place, failed = tmp_path / "file", set[str]()
    place.touch()

    assert ask(Cassette(place, "record", failed=failed)) == 2

    [why] = failed
    assert str(place) in why
    assert [record.getMessage() for record in caplog.records] == [f"not recorded: {why}"]


def ask(cassette: Cassette) -> int:
    """Ask twice, by both kinds of its clients; return how often the upstream was asked."""
    inner = inner_of(httpx, answering)
    for client in (cassette.http_client(httpx, inner), httpx.Client(transport=cassette.transport(httpx, inner))):
        assert client.post(URL, content=prompt(), headers=TYPE).status_code == 200
    cassette.close()
    cassette.close()
    assert inner.closed == 2
    return len(inner.requests)


def test_what_is_only_compared_with_is_not_asked_for(tmp_path: Path) -> None:
    """F3: else no record were of no use after a request that has none."""
    ask(Cassette(tmp_path, "record"))
    [path] = tmp_path.iterdir()
    asked = set[str]()
    cassette = Cassette(tmp_path, "replay", asked=asked)

    with cassette.http_client(httpx, inner_of(httpx, answering)) as client:
        reply = client.post(URL, content=prompt(seed=9), headers=TYPE)

    assert "seed (only here) differs from" in reply.text
    assert path.stem.rpartition("--")[2] not in asked


def test_there_has_to_be_something_to_replay(tmp_path: Path) -> None:
    """F3."""
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "c"))):
        Cassette(tmp_path / "c", "replay")
