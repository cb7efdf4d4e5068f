"""Findings of `cachemw check`: one thing that was looked at each, for people and for programs."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import msgspec

WIDTH = 100
"""Columns of what is shown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. What is no more than a `note` keeps nothing from working; `advice` says what to do."""

    state: Literal["ok", "note", "wrong"]
    subject: str
    text: str
    advice: str = ""

    @property
    def is_wrong(self) -> bool:
        return self.state == "wrong"


def in_words(findings: list[Finding]) -> str:
    """Write findings for people."""
    wrong = sum(finding.is_wrong for finding in findings)
    last = "nothing is wrong" if not wrong else "1 thing is wrong" if wrong == 1 else f"{wrong} things are wrong"
    return "\n".join([*[line for finding in findings for line in _lines(finding)], last])


def in_json(findings: list[Finding]) -> str:
    """Write findings for programs."""
    return msgspec.json.encode(findings).decode()


def _lines(finding: Finding) -> Iterator[str]:
    first = f"{finding.state.upper() if finding.is_wrong else finding.state:<6} {finding.subject:<9} "
    wrapped = partial(
        textwrap.wrap, width=WIDTH, subsequent_indent=" " * len(first), break_long_words=False, break_on_hyphens=False
    )
    yield from wrapped(finding.text, initial_indent=first)
    if finding.advice:
        yield from wrapped(f"-> {finding.advice}", initial_indent=" " * len(first))
