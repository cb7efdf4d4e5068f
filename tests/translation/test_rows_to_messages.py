"""What each Claude takes, by its name."""

from typing import get_args

import pytest
from anthropic.types.model_param import ModelParam

from cachemw.translation.claude_rows import ThinkingMode, claude_row

NAMES = get_args(get_args(ModelParam)[0])


@pytest.mark.parametrize("name", NAMES)
def test_every_model_that_the_sdk_names_has_a_row(name: str) -> None:
    assert claude_row(name).is_known


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("claude-3-opus-20240229", 4_096),
        ("claude-3-5-sonnet-20240620", 8_192),
        ("claude-3-7-sonnet-latest", 64_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-4-opus-20250514", 32_000),
        ("claude-opus-4-1@20250805", 32_000),
        ("claude-sonnet-4-0", 64_000),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", 64_000),
        ("anthropic/claude-sonnet-4.5", 64_000),
        ("claude-sonnet-4-6", 128_000),
        ("anthropic/claude-4.7-opus", 128_000),
        ("CLAUDE-OPUS-5-5", 128_000),
    ],
)
def test_a_model_is_known_by_its_name_at_any_provider(name: str, limit: int) -> None:
    row = claude_row(name)

    assert (row.output_limit, row.is_known) == (limit, True)


@pytest.mark.parametrize(
    "name", [None, "", "claude", "claude-opus-4-9", "claude-opus-45", "claude-sonnet-6", "our-claude", "kimi"]
)
def test_a_model_that_nobody_knows_has_the_least(name: str | None) -> None:
    row = claude_row(name)

    assert not row.is_known
    assert row.output_limit == 32_000
    assert row.thinking is ThinkingMode.NONE
    assert not row.system_within
    assert not row.can_disable


@pytest.mark.parametrize(
    ("name", "samplers"), [("claude-sonnet-6", 0), ("claude-opus-4-7", 0), ("claude-opus-4-6", 1), ("kimi", 2)]
)
def test_a_claude_of_today_takes_no_sampling_and_others_do(name: str, samplers: int) -> None:
    assert claude_row(name).samplers == samplers


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_decides_itself_how_much_it_thinks_takes_efforts_and_goes_on_from_nothing(name: str) -> None:
    row = claude_row(name)

    assert (row.thinking is ThinkingMode.ADAPTIVE) == bool(row.efforts) == (not row.continues)
