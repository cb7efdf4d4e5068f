"""Read a request for a legacy completion: its canonical form, and how many answers are due."""

from collections.abc import Mapping
from typing import Any

import msgspec

from cachemw.endpoints.base import PLAIN, ApiCall, Bypass, Endpoint, Place, read_object
from cachemw.endpoints.canonical import Shape, canonical, left_out, number, ordered
from cachemw.limits import Work
from cachemw.messages import Kind, Request, RouteTarget

NO_PROMPT = "no-prompt"
"""The request has no prompt, or none of which it is clear how many there are."""

FIELDS: Mapping[str, Place] = {
    **dict.fromkeys(
        "model prompt suffix max_tokens min_tokens temperature top_p n best_of logprobs echo stop seed presence_penalty"
        " frequency_penalty logit_bias".split(),
        Place.KEY,
    ),
    **dict.fromkeys(("stream", "stream_options"), Place.TRANSPORT),
    "user": Place.BOOKKEEPING,
}

_SHAPE = Shape(
    FIELDS,
    {**dict.fromkeys(("temperature", "top_p", "presence_penalty", "frequency_penalty"), number), "logit_bias": ordered},
    frozenset(
        "best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty seed stop suffix temperature"
        " top_p".split()
    ),
)
_SWITCH = (bool, type(None))
_OPTIONS = (dict, type(None))


def read_completion(
    endpoint: Endpoint,
    request: Request,
    bookkeeping: frozenset[str] = frozenset(),
    work: Work = Work(),
    cache_stored: bool = False,
) -> ApiCall | Bypass:
    """Parse and canonicalise the request's body; `Bypass` where its answer cannot be cached."""
    body = read_object(request, work, NO_PROMPT)
    if isinstance(body, Bypass):
        return body
    prompts = prompts_in(body.get("prompt"))
    if prompts is None:
        return Bypass(NO_PROMPT)
    if type(body.get("stream")) not in _SWITCH or type(body.get("stream_options")) not in _OPTIONS:
        return Bypass("ambiguous-stream")
    options, is_stream, model = body.get("stream_options") or {}, body.get("stream") is True, body.get("model")
    return ApiCall(
        endpoint=endpoint,
        canonical=canonical(_SHAPE, body, left_out(_SHAPE, request.target, bookkeeping)),
        kind=Kind(is_stream, msgspec.json.encode(ordered(options))) if options or is_stream else PLAIN,
        model=model if isinstance(model, str) else None,
        choices=prompts * _each(body.get("n")),
        bounded=True,  # by 16 tokens, where nobody says how many: `length` is how most of these answers end
        wants_usage=is_stream and options.get("include_usage") is True,
        members=body if isinstance(request.target, RouteTarget) else None,
    )


def prompts_in(prompt: Any) -> int | None:
    """Return how many prompts there are: a text is one, and so are the tokens of one; `None` for what is neither."""
    if isinstance(prompt, str):
        return 1
    if not isinstance(prompt, list) or not prompt:
        return None
    if all(type(one) is int for one in prompt):
        return 1
    are_texts = all(isinstance(one, str) for one in prompt)
    are_tokens = all(isinstance(one, list) and one and all(type(token) is int for token in one) for one in prompt)
    return len(prompt) if are_texts or are_tokens else None


def _each(n: Any) -> int:
    """Return how many answers are due to each prompt; `best_of` says from how many they are taken, which nobody sees."""
    if isinstance(n, float) and n.is_integer():
        n = int(n)
    return n if type(n) is int and n > 0 else 1
