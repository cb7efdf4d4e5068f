"""Read a chat request: its canonical form, and the members that decide how its answer is judged."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from cachemw.endpoints.base import ApiCall, Bypass, Endpoint, Place, not_plain_json
from cachemw.errors import Unreadable
from cachemw.limits import Work
from cachemw.messages import AppTarget, ClientTarget, HttpTarget, Kind, Request, RouteTarget, Target, Unread
from cachemw.wire.strict_json import parse

NULL_IS_ABSENT = frozenset(
    "audio frequency_penalty logit_bias logprobs max_completion_tokens max_tokens modalities moderation n prediction"
    " presence_penalty reasoning_effort seed stop temperature top_logprobs top_p verbosity".split()
)
INTEGER_IS_FLOAT = ("temperature", "top_p", "frequency_penalty", "presence_penalty")


def canonical(body: Mapping[str, Any], left_out: frozenset[str]) -> bytes:
    """Return the canonical JSON of a chat request's body without the top-level members in `left_out`.

    Member order is ignored in the objects that are parsed into named fields, and only there: tools and schemas are
    rendered to the model in the order they came. Arrays, text and numbers stay as they are, in shortest form.
    """
    kept = {
        name: _by_name.get(name, _as_it_is)(body[name])
        for name in sorted(body.keys() - left_out)
        if not (body[name] is None and name in NULL_IS_ABSENT)
    }
    return msgspec.json.encode(kept)


def _forms_of(body: Mapping[str, Any]) -> tuple[tuple[str, bytes], ...]:
    """Return every member that may be in a canonical body, as it stands there: to put some together is far less work."""
    forms = [(name, _form_of(name, body[name])) for name in sorted(body)]
    return tuple([one for one in forms if one[1]])


def _form_of(name: str, value: Any) -> bytes:
    """Return a member as it stands in a canonical body; nothing where it is in none."""
    return canonical({name: value}, HOW_IT_TRAVELS)[1:-1]


def _put_together(forms: Iterable[tuple[str, bytes]], left_out: frozenset[str]) -> bytes:
    """Return the canonical JSON that has these members."""
    return b"{" + b",".join([form for name, form in forms if name not in left_out]) + b"}"


def ordered(value: Any) -> Any:
    """Return an object with its members sorted by name (code points, which is the order of their UTF-8)."""
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def _as_it_is(value: Any) -> Any:
    return value


def _number(value: Any) -> Any:
    if type(value) is not int:
        return value
    try:
        as_float = float(value)
    except OverflowError:
        return value
    return as_float if as_float == value else value


def _messages(value: Any) -> Any:
    return [_message(message) for message in value]


def _message(message: Any) -> Any:
    message = ordered(message)
    if isinstance(message, dict) and isinstance(message.get("content"), list):
        message["content"] = [ordered(part) for part in message["content"]]
    return message


def _with_ordered(*names: str) -> Any:
    def ordered_with_members(value: Any) -> Any:
        value = ordered(value)
        for name in names:
            if isinstance(value, dict) and name in value:
                value[name] = ordered(value[name])
        return value

    return ordered_with_members


_by_name = {
    **dict.fromkeys(INTEGER_IS_FLOAT, _number),
    "messages": _messages,
    "response_format": _with_ordered("json_schema"),
    "tool_choice": _with_ordered("function"),
    "logit_bias": ordered,
    "prediction": ordered,
}


# Every documented field. One that is not here is in the key, for it may change the answer.
FIELDS: Mapping[str, Place] = {
    **dict.fromkeys(
        "model messages temperature top_p frequency_penalty presence_penalty logit_bias logprobs top_logprobs n seed stop"
        " max_tokens max_completion_tokens min_tokens min_completion_tokens response_format tools tool_choice"
        " parallel_tool_calls functions function_call reasoning_effort verbosity modalities audio prediction"
        " web_search_options moderation disable_reasoning clear_thinking reasoning_format model_parameters store".split(),
        Place.KEY,
    ),
    **dict.fromkeys(("stream", "stream_options"), Place.TRANSPORT),
    **dict.fromkeys(
        "user safety_identifier metadata service_tier prompt_cache_key prompt_cache_options prompt_cache_retention".split(),
        Place.BOOKKEEPING,
    ),
}
PLAIN = Kind(stream=False)
_SWITCH = (bool, type(None))
_OPTIONS = (dict, type(None))

BOOKKEEPING = frozenset(name for name, place in FIELDS.items() if place is Place.BOOKKEEPING)
HOW_IT_TRAVELS = frozenset(name for name, place in FIELDS.items() if place is Place.TRANSPORT)


def read_chat(
    endpoint: Endpoint,
    request: Request,
    bookkeeping: frozenset[str] = frozenset(),
    work: Work = Work(),
    cache_stored: bool = False,
) -> ApiCall | Bypass:
    """Parse and canonicalise the request's body; `Bypass` where its answer cannot be cached.

    `bookkeeping` names members that an HTTP upstream only counts by, besides those that it is known to; `work` is how much
    the body may be. `cache_stored`: an answer may be cached that the upstream is asked to store.
    """
    if isinstance(request.body, Unread):
        return Bypass(request.body.value)
    if detail := not_plain_json(request.headers):
        return Bypass(detail)
    try:
        body = parse(request.body, work.document)
    except Unreadable as exc:
        return Bypass(exc.detail)
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        return Bypass("no-messages")
    if detail := _cannot_be_replayed(body, cache_stored):
        return Bypass(detail)
    left_out = _left_out(request.target, bookkeeping)
    if not isinstance(request.target, RouteTarget):
        return _call(endpoint, body, canonical(body, left_out))
    forms = _forms_of(body)
    return _call(endpoint, body, _put_together(forms, left_out), body, forms)


def sent_chat(call: ApiCall, target: HttpTarget, model: str | None, bookkeeping: frozenset[str]) -> ApiCall:
    """Return a call as it is sent to a target of a gateway, by that one's name for its model; `None` leaves the caller's.

    It is what `read_chat` makes of the body that is sent there, without reading that.
    """
    forms, left_out = call.forms, _left_out(target, bookkeeping)
    if model is None:
        model = call.model
    else:
        forms = tuple(sorted([*(one for one in forms if one[0] != "model"), ("model", _form_of("model", model))]))
    return replace(call, canonical=_put_together(forms, left_out), model=model, members=None, forms=())


def _left_out(target: Target, named: frozenset[str]) -> frozenset[str]:
    """Return the members that are not in the key; an app may read any of those that say who asks and who pays."""
    match target:
        case AppTarget():
            return HOW_IT_TRAVELS
        case ClientTarget():
            return _all_of(target.bookkeeping, named)
        case HttpTarget() | RouteTarget():
            return _all_of(target.recipient.bookkeeping, named)


@lru_cache(16)
def _all_of(known: frozenset[str], named: frozenset[str]) -> frozenset[str]:
    return HOW_IT_TRAVELS | known | named


def _call(
    endpoint: Endpoint,
    body: Mapping[str, Any],
    canonical: bytes,
    members: Mapping[str, Any] | None = None,
    forms: tuple[tuple[str, bytes], ...] = (),
) -> ApiCall:
    options = body.get("stream_options") or {}
    is_stream = body.get("stream") is True
    choices, model = body.get("n"), body.get("model")
    if isinstance(choices, float) and choices.is_integer():
        choices = int(choices)  # to most upstreams 2.0 are two
    return ApiCall(
        endpoint=endpoint,
        canonical=canonical,
        model=model if isinstance(model, str) else None,
        kind=Kind(is_stream, msgspec.json.encode(ordered(options))) if options or is_stream else PLAIN,
        choices=choices if type(choices) is int and choices > 0 else 1,
        bounded=body.get("max_tokens") is not None or body.get("max_completion_tokens") is not None,
        wants_usage=is_stream and options.get("include_usage") is True,
        members=members,
        forms=forms,
    )


def _cannot_be_replayed(body: Mapping[str, Any], cache_stored: bool) -> str | None:
    """Name what makes an answer one that a stored response cannot stand in for."""
    if type(body.get("stream")) not in _SWITCH or type(body.get("stream_options")) not in _OPTIONS:
        return "ambiguous-stream"
    store = body.get("store")
    if not (store is None or store is False or store is True and cache_stored):
        return "store-requested"
    if "web_search_options" in body:
        return "web-search"
    modalities = body.get("modalities")
    if body.get("audio") is not None or isinstance(modalities, list) and "audio" in modalities:
        return "audio"
    return None
