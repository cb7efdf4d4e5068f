"""The run of an agent as its prompt wants it: `[tools x3]` or `[tools Read, Bash+Grep x2]`, and then text."""

import re

MARK = re.compile(r"\[tools ([^\[\]]{1,1000})\]")
TOOL_TURN = re.compile(r"x(?P<bare>[1-9]\d?)|(?!x\d+\Z)(?P<names>[\w.-]+(?:\+[\w.-]+)*)(?: +x(?P<times>[1-9]\d?))?")

ToolTurn = tuple[str, ...]
"""The names of the tools that are called side by side; empty: those that are called without a mark."""

UNMARKED_RUN: tuple[ToolTurn, ...] = ((),)


def tool_turns(prompt: str) -> tuple[ToolTurn, ...]:
    """Return the turns in which a run calls tools; a mark that cannot be read is text as any other."""
    found = MARK.search(prompt)
    steps = [TOOL_TURN.fullmatch(step.strip()) for step in found[1].split(",")] if found else []
    turns = [turn for step in steps if step for turn in _turns(step)]
    return tuple(turns) if found and all(steps) else UNMARKED_RUN


def unmarked(prompt: str) -> str:
    """Return what a prompt says besides."""
    return MARK.sub(" ", prompt)


def _turns(step: re.Match[str]) -> list[ToolTurn]:
    if step["bare"]:
        return [()] * int(step["bare"])
    return [tuple(step["names"].split("+"))] * int(step["times"] or 1)
