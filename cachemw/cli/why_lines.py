"""The explanation of a miss as people read it, at most 100 columns wide, and as programs do."""

import textwrap
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from cachemw.cache.differences import Difference, grouped, listed, shown
from cachemw.cache.sketch import URL
from cachemw.formats import lasting
from cachemw.ledger.changes import Change
from cachemw.ledger.explaining import STORED_NOW, Explanation, Neighbour
from cachemw.ledger.habits import hint
from cachemw.ledger.reasons import NoMiss, OtherCaller, Reason, sentence

COLUMNS = 100
_INDENT, _NAMES = 4, 24
_SHORT_KEY = 8
_LONG_VALUE = 40


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """Yield an explanation in words."""
    yield from _wrapped(_subject(explanation))
    if explanation.reason == NoMiss(STORED_NOW):
        return
    yield from _wrapped(f"{explanation.reason.word}: {sentence(explanation.reason, explanation.asked_ms)}")
    if explanation.nearest is not None:
        yield from _nearest(explanation, explanation.nearest)
    if explanation.habit is not None:
        yield from _wrapped(f"hint: {hint(explanation.habit)}")
    if explanation.row is not None and not isinstance(explanation.reason, NoMiss):
        now_told = "would be answered from the store" if explanation.is_stored else "would not be, either"
        yield from _wrapped(f"now: the same request {now_told}")


def _subject(explanation: Explanation) -> str:
    key = "" if explanation.key is None else f"{explanation.key[:_SHORT_KEY]}…"
    row = explanation.row
    if row is None:
        if explanation.is_stored:
            client = "" if explanation.nearest is None else explanation.nearest.candidate.client
            whose = f", asked for by {shown(client)}: theirs" if client else ": the same request"
            return f"it is stored, as {key}{whose} would be answered from the store"
        return f"no record has this key ({key})" if key else "no record answers this request"
    model = shown(row.model or "no model")
    return f"#{row.place} {_time(row.at_ms, row.at_ms)} {model}: {row.outcome}{key and f', key {key}'}"


def _nearest(explanation: Explanation, nearest: Neighbour) -> Iterator[str]:
    difference = nearest.difference
    yield from _wrapped(f"nearest: {', '.join(_about(explanation, nearest))}")
    for names, what in (
        (difference.differing, "differs"),
        (difference.only_here, "only here"),
        (difference.only_there, "only there"),
        (difference.unknown, "not known"),
    ):
        for name in grouped(names):
            yield from _wrapped(f"{shown(name):<{_NAMES - 1}} {what}", _INDENT)
    if difference.equal and difference.names:
        yield from _wrapped(f"{listed(difference.equal)}: equal", _INDENT)
    if nearest.changes is not None:
        yield from (line for change in nearest.changes for line in _changed(change))
    elif difference.names:
        yield from _wrapped(
            "the requests were not both kept, so values cannot be shown (Policy(keep_requests=True), --keep-requests)"
        )


def _about(explanation: Explanation, nearest: Neighbour) -> Iterator[str]:
    difference, candidate = nearest.difference, nearest.candidate
    yield f"{candidate.key[:_SHORT_KEY]}…"
    before = f" ({lasting(max(0, explanation.asked_ms - candidate.stored_ms) / 1000)} before)"
    yield f"stored {_time(candidate.stored_ms, explanation.asked_ms)}{before}"
    if isinstance(explanation.reason, OtherCaller):
        yield "another caller"
        return
    if not difference.equal:
        return
    yield "same caller"
    if URL in difference.equal:
        yield "same URL"
    yield f"{len(difference.equal)} of {len(difference.equal) + len(difference.names)} parts equal"
    if difference.turns > 1 and any(name.startswith(("messages[", "input[")) for name in difference.names):
        yield f"same conversation up to message {difference.turns - 1}"


def _changed(change: Change) -> Iterator[str]:
    sides = [("-", change.there), ("+", change.here)]
    told = [(sign, "absent" if value is None else shown(value)) for sign, value in sides]
    if all(len(value) <= _LONG_VALUE for _, value in told):
        yield from _wrapped(f"{shown(change.path)}: {told[0][1]} -> {told[1][1]}", _INDENT)
        return
    yield from _wrapped(shown(change.path), _INDENT)
    for sign, value in told:
        yield from _wrapped(f"{sign} {value}", 2 * _INDENT)


def _wrapped(text: str, indent: int = 0) -> Iterable[str]:
    return textwrap.wrap(
        text, COLUMNS, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2), break_on_hyphens=False
    )


def _time(ms: int, asked_ms: int) -> str:
    moment, asked = (datetime.fromtimestamp(each / 1000) for each in (ms, asked_ms))
    return moment.strftime("%H:%M:%S" if moment.date() == asked.date() else "%Y-%m-%d %H:%M:%S")


def explanation_json(explanation: Explanation) -> str:
    """Return an explanation as programs read it: one JSON object."""
    row, reason = explanation.row, explanation.reason
    members: dict[str, Any] = {
        "place": None if row is None else row.place,
        "id": None if row is None else row.id,
        "key": explanation.key,
        "asked_ms": explanation.asked_ms,
        "outcome": None if row is None else row.outcome,
        "model": row.model or None if row is not None else None,
        "stored_now": explanation.is_stored,
        "reason": reason.word,
        **_of_reason(reason),
        "told": sentence(reason, explanation.asked_ms),
        "nearest": None if explanation.nearest is None else _neighbour(explanation.nearest),
        "habit": explanation.habit,
    }
    return msgspec.json.encode(members).decode()


def _of_reason(reason: Reason) -> dict[str, Any]:
    return {name: getattr(reason, name) for name in reason.__struct_fields__ if name != "outcome"}


def _neighbour(nearest: Neighbour) -> dict[str, Any]:
    difference: Difference = nearest.difference
    return {
        "key": nearest.candidate.key,
        "id": nearest.candidate.id,
        "stored_ms": nearest.candidate.stored_ms,
        **{name: grouped(getattr(difference, name)) for name in ("equal", "differing", "only_here", "only_there", "unknown")},
        "turns": difference.turns,
        "changes": nearest.changes,
    }
