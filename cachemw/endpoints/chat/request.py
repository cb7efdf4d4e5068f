"""Read a chat request: its canonical form, and the members that decide how its answer is judged."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from cachemw.endpoints.base import ApiCall, Bypass, Endpoint, Place
from cachemw.endpoints.bodies import AMBIGUOUS_STREAM, choices_due, is_clear_of_stream, kind_of, model_in, read_object
from cachemw.endpoints.canonical import (
    Shape,
    canonical,
    form_of,
    forms_of,
    left_out,
    number,
    ordered,
    put_together,
    turns,
    with_ordered,
)
from cachemw.limits import Work
from cachemw.messages import HttpTarget, Request, RouteTarget

NULL_IS_ABSENT = frozenset(
    "audio frequency_penalty logit_bias logprobs max_completion_tokens max_tokens modalities moderation n prediction"
    " presence_penalty reasoning_effort seed stop temperature top_logprobs top_p verbosity".split()
)
INTEGER_IS_FLOAT = ("temperature", "top_p", "frequency_penalty", "presence_penalty")


_FORMS = {
    **dict.fromkeys(INTEGER_IS_FLOAT, number),
    "messages": turns(ordered),
    "response_format": with_ordered("json_schema"),
    "tool_choice": with_ordered("function"),
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
SHAPE = Shape(FIELDS, _FORMS, NULL_IS_ABSENT)

BOOKKEEPING = SHAPE.named(Place.BOOKKEEPING)


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
    body = read_object(request, work, "no-messages")
    if isinstance(body, Bypass):
        return body
    if not isinstance(body.get("messages"), list):
        return Bypass("no-messages")
    if detail := _cannot_be_replayed(body, cache_stored):
        return Bypass(detail)
    unkeyed = left_out(SHAPE, request.target, bookkeeping)
    if not isinstance(request.target, RouteTarget):
        return _call(endpoint, body, canonical(SHAPE, body, unkeyed))
    forms = forms_of(SHAPE, body)
    return _call(endpoint, body, put_together(forms, unkeyed), body, forms)


def sent_chat(call: ApiCall, target: HttpTarget, model: str | None, bookkeeping: frozenset[str]) -> ApiCall:
    """Return a call as it is sent to a target of a gateway, by that one's name for its model; `None` leaves the caller's.

    It is what `read_chat` makes of the body that is sent there, without reading that.
    """
    forms, unkeyed = call.forms, left_out(SHAPE, target, bookkeeping)
    if model is None:
        model = call.model
    else:
        forms = tuple(sorted([*(one for one in forms if one[0] != "model"), ("model", form_of(SHAPE, "model", model))]))
    return replace(call, canonical=put_together(forms, unkeyed), model=model, members=None, forms=())


def _call(
    endpoint: Endpoint,
    body: Mapping[str, Any],
    canonical: bytes,
    members: Mapping[str, Any] | None = None,
    forms: tuple[tuple[str, bytes], ...] = (),
) -> ApiCall:
    options = body.get("stream_options") or {}
    kind = kind_of(body, options)
    return ApiCall(
        endpoint=endpoint,
        canonical=canonical,
        model=model_in(body),
        kind=kind,
        choices=choices_due(body.get("n")),
        bounded=body.get("max_tokens") is not None or body.get("max_completion_tokens") is not None,
        wants_usage=kind.stream and options.get("include_usage") is True,
        members=members,
        forms=forms,
    )


def _cannot_be_replayed(body: Mapping[str, Any], cache_stored: bool) -> str | None:
    """Name what makes an answer one that a stored response cannot stand in for."""
    if not is_clear_of_stream(body):
        return AMBIGUOUS_STREAM
    store = body.get("store")
    if not (store is None or store is False or store is True and cache_stored):
        return "store-requested"
    if "web_search_options" in body:
        return "web-search"
    modalities = body.get("modalities")
    if body.get("audio") is not None or isinstance(modalities, list) and "audio" in modalities:
        return "audio"
    return None
