"""What the last misses of a caller have in common: the part that changes again and again, and what helps against that. Pure."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from cachemw.cache.differences import Difference, shown
from cachemw.cache.sketch import HEADER, SAMPLE
from cachemw.ledger.reasons import OtherCircumstance, OtherFields, reason_by
from cachemw.redaction import redacted_repr

HABIT = 3
"""How many misses there are at least for one part before anything is said of that."""

_COUNTED = ("user", "metadata", "service_tier", "prompt_cache_key", "safety_identifier", "store")
"""Members of bodies by which upstreams mostly only count and pay."""

_TEXTS = ("messages[", "input[", "system[", "documents[", "system", "input", "instructions", "prompt")


class Habit(msgspec.Struct, frozen=True):
    """A part that changed in `count` of the `of` last misses of a caller for which something similar was stored."""

    name: str
    count: int
    of: int

    __repr__ = redacted_repr


def habit_of(difference: Difference, before: Iterable[Difference]) -> Habit | None:
    """Return which part of a difference was another one in most of the misses before; `None` where it is no habit."""
    reasons = [reason for one in before if isinstance(reason := reason_by(one), OtherFields | OtherCircumstance)]
    counts = Counter(name for reason in reasons for name in reason.names)
    name = max(difference.names, key=lambda name: counts[name], default="")
    return Habit(name, counts[name], len(reasons)) if counts[name] >= HABIT else None


def hint(habit: Habit) -> str:
    """Return what a habit is, and what helps against it, in plain words."""
    told = f"{shown(habit.name)} changed in {habit.count:,} of your last {habit.of:,} such misses."
    helps = advice(habit.name)
    return f"{told} {helps}" if helps else told


def advice(name: str) -> str:
    """Return what helps where a part is another one in every request; nothing where nobody knows."""
    if name == "seed":
        return "A value of its own in every request makes every request new; `sample=` is the deliberate way."
    if name.startswith(HEADER):
        return f"If answers do not depend on it: `--inert {shown(name).removeprefix('header ')}` (Policy.inert)."
    if name in _COUNTED:
        return f"If the upstream only counts by it: `--bookkeeping {name}` (Policy.bookkeeping)."
    if name.startswith(_TEXTS):
        return "A date, an id, or anything else that is never the same in it makes every request new."
    return "" if name != SAMPLE else "Each sample is asked for and kept by itself."
