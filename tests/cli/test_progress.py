"""The bar of progress: for what takes over a second, and on a terminal only."""

import pytest

from cachemw.cli.progress import progress_bar


def shown(capsys: pytest.CaptureFixture[str], seconds: float) -> str:
    """Return what is written where a third of 9 is done after so many seconds."""
    moments = iter([0.0, seconds, seconds])
    with progress_bar("reading", clock=lambda: next(moments)) as tell:
        tell(3, 9)
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_what_takes_over_a_second_shows_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")

    said = shown(capsys, seconds=1.0)

    assert "reading" in said
    assert "3/9" in said


def test_what_is_done_at_once_shows_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert shown(capsys, seconds=0.9) == ""


def test_where_there_is_no_terminal_nothing_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    assert shown(capsys, seconds=60.0) == ""
