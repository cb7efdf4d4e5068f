"""Read a request for a legacy completion: its canonical form, and how many answers are due."""

from collections.abc import Mapping
from typing import Any

from cachemw.endpoints.base import ApiCall, Bypass, Endpoint, Place
from cachemw.endpoints.bodies import AMBIGUOUS_STREAM, choices_due, is_clear_of_stream, kind_of, model_in, read_object
from cachemw.endpoints.canonical import Shape, canonical, left_out, number, ordered
from cachemw.limits import Work
from cachemw.messages import Request, RouteTarget

_NO_PROMPT = "no-prompt"
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


def read_completion(
    endpoint: Endpoint,
    request: Request,
    bookkeeping: frozenset[str] = frozenset(),
    work: Work = Work(),
    cache_stored: bool = False,
) -> ApiCall | Bypass:
    """Parse and canonicalise the request's body; `Bypass` where its answer cannot be cached."""
    body = read_object(request, work, _NO_PROMPT)
    if isinstance(body, Bypass):
        return body
    prompts = _prompts_in(body.get("prompt"))
    if prompts is None:
        return Bypass(_NO_PROMPT)
    if not is_clear_of_stream(body):
        return Bypass(AMBIGUOUS_STREAM)
    options = body.get("stream_options") or {}
    kind = kind_of(body, options)
    return ApiCall(
        endpoint=endpoint,
        canonical=canonical(_SHAPE, body, left_out(_SHAPE, request.target, bookkeeping)),
        kind=kind,
        model=model_in(body),
        choices=prompts * choices_due(body.get("n")),  # nobody sees from how many they are taken (`best_of`)
        bounded=True,  # by 16 tokens, where nobody says how many: `length` is how most of these answers end
        wants_usage=kind.stream and options.get("include_usage") is True,
        members=body if isinstance(request.target, RouteTarget) else None,
    )


def _prompts_in(prompt: Any) -> int | None:
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
