"""Read a request for a response: its canonical form, and the members that decide how its answer is judged."""

import math
from collections.abc import Mapping
from typing import Any

from cachemw.endpoints.base import ApiCall, Bypass, Endpoint, Place
from cachemw.endpoints.bodies import AMBIGUOUS_STREAM, is_clear_of_stream, kind_of, model_in, read_object
from cachemw.endpoints.canonical import Shape, canonical, left_out, number, ordered, turns, with_ordered
from cachemw.limits import Work
from cachemw.messages import Kind, Request, RouteTarget

KEPT_UPSTREAM = 30 * 86_400.0
"""The seconds for which the upstream keeps a response that it was not told to forget: so long its id is good there."""

_NULL_IS_ABSENT = frozenset(
    "include instructions max_output_tokens max_tool_calls metadata parallel_tool_calls reasoning temperature top_logprobs"
    " top_p truncation".split()
)


_FORMS = {
    "input": turns(ordered),
    "reasoning": ordered,
    "temperature": number,
    "text": with_ordered("format"),
    "tool_choice": ordered,
    "top_p": number,
}

# Every documented field. One that is not here is in the key, for it may change the answer.
FIELDS: Mapping[str, Place] = {
    **dict.fromkeys(
        "model input tools tool_choice parallel_tool_calls text reasoning temperature top_p max_output_tokens max_tool_calls"
        " include truncation top_logprobs prompt instructions moderation image access_programs context_management"
        " previous_response_id conversation background background_options".split(),
        Place.KEY,
    ),
    **dict.fromkeys(
        "metadata prompt_cache_key prompt_cache_options prompt_cache_retention safety_identifier service_tier store"
        " user".split(),
        Place.ECHOED,
    ),
    **dict.fromkeys(("stream", "stream_options"), Place.TRANSPORT),
}
_SHAPE = Shape(FIELDS, _FORMS, _NULL_IS_ABSENT)

_RUN_BY_CALLER = frozenset(
    "function custom local_shell apply_patch computer computer_use_preview".split()
)  # all others change with what the upstream finds, or fetches


def read_response_call(
    endpoint: Endpoint,
    request: Request,
    bookkeeping: frozenset[str] = frozenset(),
    work: Work = Work(),
    cache_stored: bool = False,
) -> ApiCall | Bypass:
    """Parse and canonicalise the request's body; `Bypass` where its answer cannot be cached.

    `bookkeeping` names members that an HTTP upstream only counts by; `work` is how much the body may be. `cache_stored`: an
    answer may be cached that the upstream is told to store. That is its default, too: what says nothing of it is cached.
    """
    body = read_object(request, work, "no-input")
    if isinstance(body, Bypass):
        return body
    if not (isinstance(body.get("input"), (str, list)) or isinstance(body.get("prompt"), dict)):
        return Bypass("no-input")
    if not is_clear_of_stream(body):
        return Bypass(AMBIGUOUS_STREAM)
    if detail := _kept_state(body, cache_stored) or _changing_content(body):
        return Bypass(detail)
    return ApiCall(
        endpoint=endpoint,
        canonical=canonical(_SHAPE, body, left_out(_SHAPE, request.target, bookkeeping)),
        kind=_kind(body),
        model=model_in(body),
        bounded=body.get("max_output_tokens") is not None,
        longest=math.inf if body.get("store") is False else KEPT_UPSTREAM,
        members=body if isinstance(request.target, RouteTarget) else None,
    )


def _kind(body: Mapping[str, Any]) -> Kind:
    """Return the kind of the answer; to ask for obfuscation is to say nothing, for it is the default."""
    options = {
        name: value
        for name, value in (body.get("stream_options") or {}).items()
        if not (name == "include_obfuscation" and value is True)
    }
    return kind_of(body, options)


def _kept_state(body: Mapping[str, Any], cache_stored: bool) -> str | None:
    """Name what the upstream is to keep for this request, or has kept and may change."""
    store = body.get("store")
    if not (store is None or store is False or store is True and cache_stored):
        return "store-requested"
    if body.get("previous_response_id") is not None:
        return "previous-response"
    if body.get("conversation") is not None:
        return "conversation"
    if body.get("background") not in (None, False) or body.get("background_options") is not None:
        return "background"
    if body.get("context_management") is not None:
        return "context-management"
    prompt = body.get("prompt")
    if prompt is not None and not (isinstance(prompt, dict) and isinstance(prompt.get("version"), str)):
        return "prompt-version"
    return None


def _changing_content(body: Mapping[str, Any]) -> str | None:
    """Name what of a request does not say what it stands for, or makes the upstream look elsewhere."""
    items = _listed(body.get("input"))
    if any(map(_is_reference, items)):
        return "item-reference"
    if any(isinstance(item, dict) and item.get("type") == "compaction_trigger" for item in items):
        return "context-management"
    offered = (body.get("tools"), *(item.get("tools") for item in items if isinstance(item, dict)))
    if not all(map(_are_run_by_caller, offered)):
        return "server-tool"
    return "file" if _names_file([items, body.get("prompt"), body.get("image")]) else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_reference(item: Any) -> bool:
    """Say whether an item refers to one that the upstream keeps; an `id` alone is the short form."""
    if not isinstance(item, dict):
        return False
    is_short = item.get("id") is not None and item.get("type") is None and item.get("role") is None
    return is_short or item.get("type") == "item_reference"


def _are_run_by_caller(tools: Any) -> bool:
    return tools is None or isinstance(tools, list) and all(map(_is_run_by_caller, tools))


def _is_run_by_caller(tool: Any) -> bool:
    """Say whether the caller itself runs a tool; a namespace is some tools under one name."""
    if not isinstance(tool, dict) or not isinstance(kind := tool.get("type"), str):
        return False
    if kind == "namespace":
        return tool.get("tools") is not None and _are_run_by_caller(tool["tools"])
    if kind == "shell":
        environment = tool.get("environment")
        return isinstance(environment, dict) and environment.get("type") == "local"
    return kind in _RUN_BY_CALLER


def _names_file(value: Any) -> bool:
    """Say whether a value names a file that the upstream holds; who cites one does not send it."""
    if isinstance(value, list):
        return any(map(_names_file, value))
    if not isinstance(value, dict):
        return False
    if value.get("file_id") is not None:
        return True
    return any(_names_file(inner) for name, inner in value.items() if name != "annotations")
