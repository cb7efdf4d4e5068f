"""Tell people what went wrong, in narrow lines, so that no terminal obeys what somebody else has named."""

from collections.abc import Sequence
from textwrap import wrap

from cachemw.cli.figures import shown_name
from cachemw.cli.records import WIDEST

MOST_SHOWN = 10
"""How many are shown; then the others are counted."""


def failure_lines(failed: Sequence[tuple[str, str]], what: str) -> list[str]:
    """Return lines that say what failed, and why."""
    if not failed:
        return []
    told = [f"{shown_name(name)}: {shown_name(why)}" for name, why in failed[:MOST_SHOWN]]
    lines = [f"{len(failed):,} {what}:", *(line for one in told for line in _wrapped(one))]
    more = len(failed) - MOST_SHOWN
    return [*lines, f"  and {more:,} more (--json names all)"] if more > 0 else lines


def _wrapped(line: str) -> list[str]:
    return wrap(line, WIDEST, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
