"""Make the options of a chat request those of Messages: how long, how random, how thoughtful, in which form."""

from collections.abc import Mapping
from typing import Any

from cachemw.translation.base import CannotSay
from cachemw.translation.chat_to_messages.reading import DROPPED, JsonMembers, Telling, items_in, object_in, text_in
from cachemw.translation.claude_rows import ClaudeRow, ThinkingMode

_APPROXIMATED = "approximated"

_LEAST_BUDGET = 1024
"""`thinking.budget_tokens` is no less, and less than `max_tokens`."""

_LEAST_TOP_P = 0.95
"""While there is thinking."""

_BUDGETS = {"minimal": _LEAST_BUDGET, "low": _LEAST_BUDGET, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 8192}
"""The tokens to think with, as LiteLLM has them; the last two, which it does not have, are twice the one before."""

_ABSENT: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "modalities": ([], ["text"]),
    "functions": ([],),
    "function_call": (),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
}
"""What Anthropic's API has nothing like, and the values that ask for nothing."""

_SILENT: Mapping[str, Any] = {"store": False, "service_tier": "auto"}
"""What is dropped, where it asks for nothing."""

KNOWN = frozenset(
    "model messages tools tool_choice parallel_tool_calls max_tokens max_completion_tokens stop temperature top_p"
    " reasoning_effort response_format user safety_identifier stream stream_options".split()
)
"""What is read."""


def refuse_absent(members: Mapping[str, Any]) -> None:
    """Raise `CannotSay` for what Anthropic's API has nothing like: to leave it out would be another answer."""
    for name, neutral in _ABSENT.items():
        value = members.get(name)
        if value is not None and not any(_is(value, other) for other in neutral):
            raise CannotSay(name, "Anthropic's API has nothing like it")


def tell_dropped(members: Mapping[str, Any], telling: Telling) -> None:
    """Tell of all that is not read and changes no answer, or that nobody knows."""
    silent = [name for name, value in _SILENT.items() if name in members and _is(members[name], value)]
    telling.tell_others(members, KNOWN | _ABSENT.keys() | set(silent))


def output_limit(members: Mapping[str, Any], row: ClaudeRow, telling: Telling) -> int:
    """Return how long the answer may be: as long as it can be, where the caller does not say."""
    newer, older = (_count(members, name) for name in ("max_completion_tokens", "max_tokens"))
    if newer is not None and older is not None and newer != older:
        telling.tell("max_tokens", DROPPED)
    wanted = older if newer is None else newer
    if wanted is None:
        telling.tell("max_tokens", "assumed")
        return row.output_limit
    if row.is_known and wanted > row.output_limit:
        telling.tell("max_tokens" if newer is None else "max_completion_tokens", "limited")
        return row.output_limit
    return wanted


def stop_of(members: Mapping[str, Any]) -> JsonMembers:
    """Return the texts at which the answer ends."""
    stop = members.get("stop")
    texts = [stop] if isinstance(stop, str) else items_in(stop, "stop")
    for at, text in enumerate(texts):
        if not text_in(text, f"stop[{at}]").strip():
            raise CannotSay(f"stop[{at}]", "Anthropic's API takes none of blanks alone")
    return {"stop_sequences": texts} if texts else {}


def sampling_of(members: Mapping[str, Any], row: ClaudeRow, telling: Telling, *, thinks: bool) -> JsonMembers:
    """Return temperature and top_p, as far as a model takes them; 1 is what both are anyway."""
    given = {name: value for name in ("temperature", "top_p") if (value := _fraction(members, name)) is not None}
    kept = {name: value for name, value in given.items() if _is_taken(name, value, row, thinks)}
    if len(kept) > row.samplers:
        kept.pop("temperature" if kept["temperature"] == 1 else "top_p")
    for name, value in given.items():
        if name not in kept and value != 1:
            telling.tell(name, DROPPED)
    return kept


def _is_taken(name: str, value: float, row: ClaudeRow, thinks: bool) -> bool:
    """Say whether a model takes a value: while it thinks it has a temperature of 1 (build-with-claude/extended-thinking)."""
    if row.samplers == 0:
        return False
    return not thinks or value == 1 or name == "top_p" and value >= _LEAST_TOP_P


def effort_of(members: Mapping[str, Any], row: ClaudeRow, telling: Telling, *, room: int, forced: bool) -> JsonMembers:
    """Return how much a model is to think.

    `room` is how long its answer may be; 0 where it may have no budget, for amid calls it would have to prove what it thought
    before them. One that is `forced` to call a tool cannot think first.
    """
    effort = members.get("reasoning_effort")
    if effort is None:
        return {}
    if effort == "none":
        return _without_thinking(row, telling)
    if not isinstance(effort, str) or effort not in _BUDGETS:
        raise CannotSay("reasoning_effort", f"this has to be none, {', '.join(_BUDGETS)}")
    if row.thinking is ThinkingMode.ADAPTIVE:
        telling.tell("reasoning_effort", _APPROXIMATED)
        config = {"output_config": {"effort": _level(effort, row)}}
        return config if forced else {"thinking": {"type": "adaptive"}, **config}
    budget = min(_BUDGETS[effort], room // 2)  # half is left for the answer
    if row.thinking is ThinkingMode.NONE or forced or budget < _LEAST_BUDGET:
        telling.tell("reasoning_effort", DROPPED)
        return {}
    telling.tell("reasoning_effort", _APPROXIMATED)
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _without_thinking(row: ClaudeRow, telling: Telling) -> JsonMembers:
    """Return that there is to be no thinking, or as little as there can be."""
    if row.can_disable:
        return {"thinking": {"type": "disabled"}}
    telling.tell("reasoning_effort", _APPROXIMATED if row.efforts else DROPPED)
    return {"output_config": {"effort": row.efforts[0]}} if row.efforts else {}


def _level(effort: str, row: ClaudeRow) -> str:
    if effort in row.efforts:
        return effort
    return "low" if effort == "minimal" else "high"


def format_of(members: Mapping[str, Any], row: ClaudeRow, telling: Telling) -> JsonMembers:
    """Return the schema that the answer is to fit."""
    if members.get("response_format") is None:
        return {}
    wanted = object_in(members["response_format"], "response_format")
    kind = wanted.get("type")
    if kind == "text":
        return {}
    if kind != "json_schema":
        raise CannotSay("response_format.type", "Anthropic's API has JSON with a schema alone")
    if not row.formats:
        raise CannotSay("response_format", "this model cannot be bound to a schema")
    described = object_in(wanted.get("json_schema"), "response_format.json_schema")
    schema = object_in(described.get("schema"), "response_format.json_schema.schema")
    telling.tell_others(wanted, ("type", "json_schema"), "response_format.")
    telling.tell_others(described, ("name", "schema", "strict"), "response_format.json_schema.")
    if described.get("strict") is False:  # there an answer always fits its schema
        telling.tell("response_format.json_schema.strict", "approximated")
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def metadata_of(members: Mapping[str, Any], telling: Telling) -> JsonMembers:
    """Return for whom the answer is."""
    given = [(name, text_in(members[name], name)) for name in ("safety_identifier", "user") if members.get(name) is not None]
    if len({user for _, user in given}) > 1:
        telling.tell("user", DROPPED)
    return {"metadata": {"user_id": given[0][1]}} if given else {}


def _is(value: Any, other: Any) -> bool:
    """Say whether two values are the same JSON, whole numbers written either way; true is not 1."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _count(members: Mapping[str, Any], name: str) -> int | None:
    value = members.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):  # 0 only fills a cache there
        raise CannotSay(name, "this has to be a whole number, and 1 at least")
    return value


def _fraction(members: Mapping[str, Any], name: str) -> float | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise CannotSay(name, "Anthropic's API takes what is between 0 and 1")
    return value
