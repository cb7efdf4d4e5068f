"""Say how much a model should think as the effort that a chat upstream knows."""

from typing import Any

from cachemw.translation.base import CannotSay
from cachemw.translation.chat_rows import ChatRow
from cachemw.translation.messages_to_chat.reading import Notes, integer_at, text_at

_THINKING = frozenset({"type", "budget_tokens"})
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_HIGHEST, _NONE = "high", "none"


def effort_of(thinking: dict[str, Any] | None, effort: Any, row: ChatRow, notes: Notes) -> str | None:
    """Return the effort that is meant; `None` leaves it to the model. An effort that is asked for goes before a budget."""
    asked = None if effort is None else _asked(effort)
    if thinking is not None:
        notes.tell_others(thinking, _THINKING, "thinking.")
        kind = text_at(thinking.get("type"), "thinking.type")
        budget = _budget(thinking, kind)
        if kind == "disabled" and _NONE in row.efforts:
            if asked is not None:
                notes.tell("output_config.effort", "dropped")
            return _NONE
        if kind == "disabled" or not row.efforts:
            notes.tell("thinking", "dropped")
        elif budget is not None:
            notes.tell("thinking", "approximated")
            if asked is None:
                return _by_budget(budget, row)
    return None if asked is None else _known(asked, row, notes)


def _asked(effort: Any) -> str:
    asked = text_at(effort, "output_config.effort")
    if asked not in _EFFORTS:
        raise CannotSay("output_config.effort", f"it must be one of {', '.join(_EFFORTS)}")
    return asked


def _budget(thinking: dict[str, Any], kind: str) -> int | None:
    if kind == "enabled":
        return integer_at(thinking.get("budget_tokens"), "thinking.budget_tokens", 1)
    if kind not in ("adaptive", "disabled"):
        raise CannotSay("thinking.type", "it must be enabled, adaptive or disabled")
    return None


def _by_budget(budget: int, row: ChatRow) -> str | None:
    """Return the largest effort that is meant by a budget and known, else the least that is known."""
    known = [(least, effort) for least, effort in row.budgets if effort in row.efforts]
    fitting = [effort for least, effort in known if budget >= least]
    return fitting[0] if fitting else known[-1][1] if known else None


def _known(asked: str, row: ChatRow, notes: Notes) -> str | None:
    if asked in row.efforts:
        return asked
    known = _HIGHEST if _HIGHEST in row.efforts else None
    notes.tell("output_config.effort", "dropped" if known is None else "approximated")
    return known
