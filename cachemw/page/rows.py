"""One exchange as a row of a table: the texts of its cells, the same in the page and in what is sent to it later."""

from datetime import datetime

import msgspec

from cachemw.ledger.row import Row
from cachemw.page import figures
from cachemw.redaction import printable, redacted_repr

OUTCOMES = {
    "hit": "hit",
    "stale": "stale",
    "collapsed": "collapsed",
    "miss": "miss",
    "refresh": "refresh",
    "bypass": "bypass",
    "not_cached": "not cached",
    "refused": "refused",
    "passed": "passed",
}
"""The outcomes, as people read them."""

TIMES, MINUS = "\u00d7", "\u2212"

SHORT_KEY = 8
"""The digits of a key that are shown where there is little room."""


class Cells(msgspec.Struct, frozen=True):
    """The texts of a row; `kind` is the class of its outcome, and links are paths of this page, empty where there is none."""

    place: str
    time: str
    moment: str
    model: str
    outcome: str
    kind: str
    client: str
    target: str
    first: str
    total: str
    tokens: str
    money: str
    detail: str
    key: str
    record: str
    why: str
    count: str

    __repr__ = redacted_repr


def cells(row: Row) -> Cells:
    """Return the texts of an exchange's row."""
    return Cells(
        place=str(row.place),
        time=datetime.fromtimestamp(row.at).astimezone().strftime("%H:%M:%S"),
        moment=figures.moment(row.at_ms),
        model=printable(row.model or row.answered_model) or figures.NOTHING,
        outcome=OUTCOMES.get(row.outcome, printable(row.outcome)),
        kind=_kind(row),
        client=printable(row.client) or figures.NOTHING,
        target=printable(row.target) or figures.NOTHING,
        first=_in_seconds(row.first_ms),
        total=_in_seconds(row.total_ms),
        tokens=_tokens(row),
        money=money(row),
        detail=printable(row.detail or ""),
        key=(row.key or "")[:SHORT_KEY],
        record=f"/record/{row.key}" if row.key else "",
        why=f"/why/{row.place}",
        count=f"{TIMES}{row.count:,}" if row.count > 1 else "",
    )


def money(row: Row) -> str:
    """Return what an exchange cost, or what its answer from here saved: that has a minus before it."""
    if row.is_answered_here:
        return f"{MINUS}{figures.dollars(row.saved * row.count)}" if row.saved else "$0"
    least = "≥ " if row.at_least else ""
    return f"{least}{figures.dollars(row.cost)}"


def _kind(row: Row) -> str:
    if row.is_answered_here:
        return "here"
    return "bad" if row.outcome == "refused" or (row.status or 0) >= 400 else "asked"


def _tokens(row: Row) -> str:
    if row.input_tokens is None and row.output_tokens is None:
        return figures.NOTHING
    return f"{figures.amount(row.input_tokens)} / {figures.amount(row.output_tokens)}"


def _in_seconds(milliseconds: int | None) -> str:
    if milliseconds == 0:
        return f"<{figures.THIN}1{figures.THIN}ms"
    return figures.duration(None if milliseconds is None else milliseconds / 1000)
