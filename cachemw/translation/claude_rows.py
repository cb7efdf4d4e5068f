"""What a Claude model takes, as data: a row for each, found by patterns on the model's name."""

import re
from collections.abc import Iterable
from enum import Enum

import msgspec

from cachemw.redaction import redacted_repr

_SURE = ("low", "medium", "high")
_MAX = (*_SURE, "max")
_ALL = (*_SURE, "xhigh", "max")


class ThinkingMode(Enum):
    """How a model is told to think: it decides itself, it has so many tokens for it, or nobody knows."""

    ADAPTIVE = "adaptive"
    BUDGET = "enabled"
    NONE = "none"


class ClaudeRow(msgspec.Struct, frozen=True):
    """What one model takes. The defaults are what is sure to be taken by a Claude of which nothing is known: the least.

    `output_limit` is the most that `max_tokens` may be, and what is sent where the caller gave none; of a model that is not
    `is_known` it is only the latter. `efforts` are the values of `output_config.effort`; `can_disable`: thinking may be turned
    off; `samplers` is how many of temperature and top_p may be there at once; `system_within`: there may be system messages
    behind a user's turn; `formats`: a schema may bind the answer, or the input of a tool; `continues`: a last message of the
    assistant is read as the beginning of the answer.
    """

    output_limit: int = 32_000
    is_known: bool = False
    thinking: ThinkingMode = ThinkingMode.NONE
    efforts: tuple[str, ...] = ()
    can_disable: bool = False
    samplers: int = 0
    system_within: bool = False
    formats: bool = True
    continues: bool = False

    __repr__ = redacted_repr


def claude_row(model: str | None) -> ClaudeRow:
    """Return the row of a model, by its name at whichever provider; one that is not known has the least, or is no Claude."""
    name = (model or "").lower().replace(".", "-")  # some write claude-opus-4.6
    if "claude" not in name:
        return _OTHERS
    return next((row for pattern, row in _ROWS if pattern.search(name)), _NEWER)


_NEWER = ClaudeRow()
"""A Claude that came later, or under a name of somebody's own: since 4.7 they take no sampling, since 4.6 no beginning."""

_OTHERS = ClaudeRow(samplers=2, continues=True)
"""Somebody else's model behind Anthropic's API: what it cannot do, it will say."""

_ENDS = r"(?=$|[@:\[]|-(?:[0-9]{6,}|v[0-9]|latest))"  # a date, or the version of a cloud; -9 would be another model


def _named(families: str, versions: str) -> re.Pattern[str]:
    """Match `claude-opus-4-6`, and `claude-4-6-opus`, as the first ones were named, and some still name them all."""
    return re.compile(rf"claude-(?:(?:{families})-(?:{versions})|(?:{versions})-(?:{families})){_ENDS}")


def _budget(limit: int, samplers: int, formats: bool) -> ClaudeRow:
    return ClaudeRow(limit, True, ThinkingMode.BUDGET, (), True, samplers, formats=formats, continues=True)


def _adaptive(efforts: Iterable[str], can_disable: bool, system_within: bool = False, samplers: int = 0) -> ClaudeRow:
    return ClaudeRow(128_000, True, ThinkingMode.ADAPTIVE, tuple(efforts), can_disable, samplers, system_within)


# Sources, read on 2026-11-30, all below https://platform.claude.com/docs/en: models/…/overview (limits of output),
# build-with-claude/thinking-troubleshooting (which types of thinking, and where none can be turned off),
# build-with-claude/effort (`supportedModels`; xhigh since Opus 4.7), build-with-claude/mid-conversation-system-messages,
# build-with-claude/structured-outputs (since 4.5, and Opus 4.1), api/errors (no beginning of an answer since 4.6), and the
# migration guides (temperature and top_p: one of them since Opus 4.1, none since 4.7). The names are `ModelParam` of
# anthropic 2.14. Where the sources are silent, as on 5.5 and 5.2, a row says the least.
_ROWS: tuple[tuple[re.Pattern[str], ClaudeRow], ...] = (
    (_named("fable", "5|5-1"), _adaptive(_ALL, can_disable=False, system_within=True)),
    (_named("fable|mythos", "5|5-1|5-2"), _adaptive(_ALL, can_disable=False)),
    (_named("mythos", "preview"), _adaptive(_MAX, can_disable=False)),
    (_named("opus", "5-5"), _adaptive(_ALL, can_disable=False, system_within=True)),
    (_named("opus", "5|4-8"), _adaptive(_ALL, can_disable=True, system_within=True)),
    (_named("opus", "4-7"), _adaptive(_ALL, can_disable=True)),
    (_named("sonnet|haiku", "5-5"), _adaptive(_SURE, can_disable=False)),
    (_named("sonnet", "5"), _adaptive(_SURE, can_disable=True)),
    (_named("opus|sonnet", "4-6"), _adaptive(_MAX, can_disable=True, samplers=1)),
    (_named("opus|sonnet|haiku", "4-5"), _budget(64_000, 1, formats=True)),
    (_named("opus", "4-1"), _budget(32_000, 1, formats=True)),
    (_named("opus", "4|4-0"), _budget(32_000, 2, formats=False)),
    (_named("sonnet", "4|4-0"), _budget(64_000, 2, formats=False)),
    (_named("sonnet", "3-7"), _budget(64_000, 2, formats=False)),
    (_named("sonnet|haiku", "3-5"), ClaudeRow(8_192, True, can_disable=True, samplers=2, formats=False, continues=True)),
    (_named("opus|sonnet|haiku", "3"), ClaudeRow(4_096, True, can_disable=True, samplers=2, formats=False, continues=True)),
)
