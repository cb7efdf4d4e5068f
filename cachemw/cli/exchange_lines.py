"""An exchange as a line: for people, in columns that fit their terminal, and for programs, as JSON with exact amounts."""

from datetime import datetime

import msgspec
from rich.text import Text

from cachemw.cache.differences import listed, shown
from cachemw.cli.figures import NARROWEST, iso_time, shown_name, telling_places
from cachemw.ledger.miss_reasons import ToldReason
from cachemw.ledger.reasons import NoMiss, OtherCircumstance, OtherFields, Unkept, Unsketched, Unusable
from cachemw.ledger.row import Row
from cachemw.ledger.schema import ANSWERED_HERE, KEEPABLE
from cachemw.money import NANO, in_dollars

_KEY_DIGITS = 8
_COLUMNS = (
    *(("#", 6), ("time", -8), ("model", -13), ("outcome", -10), ("first", 6), ("total", 6), ("tok in/out", 10), ("USD", 11)),
    ("key", -_KEY_DIGITS),
)
_LONGEST_MODEL = 30
_UNITS = ((10**9, "G"), (10**6, "M"), (10**3, "k"))
_STYLES = {
    **dict.fromkeys(ANSWERED_HERE, "green"),
    **dict.fromkeys(KEEPABLE, "yellow"),
    **dict.fromkeys(("refused", "not_cached"), "red"),
}


def heading(width: int) -> Text:
    """Return the names of the columns of a terminal so wide."""
    return Text(_line([name for name, _ in _COLUMNS], "why", width), "bold")


def line(row: Row, why: str, width: int) -> Text:
    """Return an exchange in these columns: names are cut to fit, and figures are not."""
    outcome = row.outcome if row.count == 1 else f"{row.outcome} ×{_short(row.count)}"  # noqa: RUF001 - a count of times
    cells = [
        str(row.place),
        f"{datetime.fromtimestamp(row.at):%H:%M:%S}",
        shown_name(row.model or row.endpoint),
        outcome,
        _span(row.first_ms),
        _span(row.total_ms),
        "-" if row.input_tokens is None else f"{_short(row.input_tokens)}/{_short(row.output_tokens or 0)}",
        _dollars(row),
        (row.key or "-")[:_KEY_DIGITS],
    ]
    text = Text(_line(cells, shown_name(why) if why else "", width))
    if row.outcome in _STYLES:
        begins = text.plain.index(outcome, 16 + _model_width(width))
        text.stylize(_STYLES[row.outcome], begins, begins + len(outcome))
    return text


def reason_words(row: Row, told: ToldReason) -> str:
    """Return why an exchange came out as it did, in a few words, the most telling first."""
    words = "" if told.read is None else f"read #{told.read}"
    if not isinstance(told.reason, NoMiss):
        words = _miss_words(told)
    if row.stored == 0 and row.outcome in KEEPABLE and row.detail and not row.detail.startswith("was-"):
        return f"not kept: {row.detail}" + (f" ({words})" if words else "")
    return words or row.detail or ("" if row.status is None or row.status < 400 else f"status {row.status}")


def _miss_words(told: ToldReason) -> str:
    match told.reason:
        case OtherFields(names) | OtherCircumstance(names) if told.nearest is not None:
            return f"{listed(names)} ≠ {told.nearest[:_KEY_DIGITS]}"
        case Unkept(detail) | Unusable(detail):
            return f"was not kept: {detail}" if isinstance(told.reason, Unkept) else detail
        case Unsketched():
            return ""
    return told.reason.word


def json_line(row: Row, told: ToldReason) -> str:
    """Return an exchange as one JSON object: of an answer from here nothing is billed, and what that saved is said."""
    asked, written = row.billed_tokens
    saved = (row.input_tokens, row.output_tokens) if row.is_answered_here else (0, 0)
    members = {
        "place": row.place,
        "id": row.id,
        "at": iso_time(row.at),
        **{name: getattr(row, name) for name in ("outcome", "count", "detail")},
        **_reason_members(told),
        "key": row.key,
        **{name: getattr(row, name) or None for name in ("client", "namespace", "route", "target", "endpoint", "model")},
        "answered_model": row.answered_model or None,
        **{name: getattr(row, name) for name in ("status", "fwd", "fwd_status")},
        "stored": None if row.stored is None else bool(row.stored),
        "input_tokens": asked,
        "output_tokens": written,
        "saved_input_tokens": saved[0],
        "saved_output_tokens": saved[1],
        "cost_usd": None if row.billed_cost is None else in_dollars(row.billed_cost),
        "cost_basis": row.cost_basis,
        "at_least": bool(row.at_least),
        "saved_usd": None if row.saved is None else in_dollars(row.saved),
        **{name: getattr(row, name) for name in ("first_ms", "total_ms", "attempts", "bytes_in", "bytes_out")},
    }
    return msgspec.json.encode(members).decode()


def _reason_members(told: ToldReason) -> dict[str, object]:
    reason = told.reason
    names = reason.names if isinstance(reason, OtherFields | OtherCircumstance) else ()
    why = None if isinstance(reason, NoMiss) else reason.word
    return {"why": why, "differs": list(map(shown, names)), "nearest": told.nearest, "read": told.read}


def _line(cells: list[str], why: str, width: int) -> str:
    begun = " ".join([_fitted(cell, size) for cell, size in zip(cells, _sizes(width), strict=True)])
    return f"{begun} {_cut(why, max(width - len(begun) - 1, 0))}".rstrip()


def _sizes(width: int) -> list[int]:
    return [-_model_width(width) if name == "model" else size for name, size in _COLUMNS]


def _model_width(width: int) -> int:
    """Return the room that a model's name gets: a third of what there is beyond the narrowest line."""
    return min(13 + max(width - NARROWEST, 0) // 3, _LONGEST_MODEL)


def _fitted(cell: str, size: int) -> str:
    """Return a figure at the right of its column, whole; a name at the left of its, cut where it is longer."""
    return cell.rjust(size) if size > 0 else _cut(cell, -size).ljust(-size)


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…" if size else ""


def _short(count: int) -> str:
    """Return a number in four characters at most."""
    if count < 10_000:
        return str(count)
    size, unit = next((size, unit) for size, unit in _UNITS if count >= size)
    return f"{count // size}{unit}"


def _span(ms: int | None) -> str:
    if ms is None:
        return "-"
    if ms < 1000:
        return f"{ms} ms"
    return f"{ms / 1000:.1f} s" if ms < 100_000 else f"{ms // 60_000} m"


def _dollars(row: Row) -> str:
    """Return what an exchange cost, and what an answer from here saved; `≥` and `~` say how far that is known."""
    if row.is_answered_here:
        return "0" if not row.saved else f"0 (-{_digits(row.saved * row.count)})"
    if row.cost is None:
        return "?" if row.is_bought else "-"
    mark = "≥" if row.at_least else "~" if row.cost_basis == "estimated" else ""
    return f"{mark}{_digits(row.cost)}"


def _digits(nano: int) -> str:
    """Return an amount in two digits that say something, without a zero in front of the point."""
    digits = f"{nano / NANO:.{telling_places(nano)}f}" if nano else "0"
    return digits.removeprefix("0") if nano else digits
