"""Read what an answer took, out of the JSON in which its provider says so: tokens, and the cost where that is said, too."""

import math
from decimal import Decimal
from typing import Annotated

import msgspec

from cachemw.messages import Usage
from cachemw.money import NANO
from cachemw.redaction import redacted_repr
from cachemw.wire.strict_json import NULL, UNREADABLE

TICKS = 10_000_000_000
"""The parts of a dollar in which xAI says what an answer costs."""

_LIMIT = 2**53
_INVALID = (*UNREADABLE, ArithmeticError)

_Count = Annotated[int, msgspec.Meta(ge=0, lt=_LIMIT)]


class _Details(msgspec.Struct):
    """What the tokens are, of the input or of the output."""

    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None
    audio_tokens: _Count | None = None
    image_tokens: _Count | None = None
    video_tokens: _Count | None = None

    @property
    def has_other(self) -> bool:
        return bool(self.audio_tokens or self.image_tokens or self.video_tokens)


class _Written(msgspec.Struct):
    """What Anthropic was told to cache for longer, which is dearer."""

    ephemeral_1h_input_tokens: _Count | None = None


class _Counts(msgspec.Struct):
    """The tokens of an answer, in the words of chat completions, of Responses, and of Anthropic.

    Some say the tokens of reasoning beside the others.
    """

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    total_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    cache_read_input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_creation: _Written | None = None
    server_tool_use: dict[str, _Count | None] | None = None

    __repr__ = redacted_repr


class _CostDetails(msgspec.Struct):
    upstream_inference_cost: msgspec.Raw = NULL

    __repr__ = redacted_repr


class _Reported(msgspec.Struct):
    """What an answer costs, in the words of OpenRouter, of xAI, and of DeepInfra: each may be anything at another one."""

    cost: msgspec.Raw = NULL
    is_byok: msgspec.Raw = NULL
    cost_details: msgspec.Raw = NULL
    cost_in_usd_ticks: msgspec.Raw = NULL
    estimated_cost: msgspec.Raw = NULL

    __repr__ = redacted_repr


_counts_decoder = msgspec.json.Decoder(_Counts)
_reported_decoder = msgspec.json.Decoder(_Reported)
_amount_decoder = msgspec.json.Decoder(Decimal)
_details_decoder = msgspec.json.Decoder(_CostDetails)
_NOTHING = _Details()


def read_usage(raw: bytes) -> Usage | None:
    """Return what an answer says it took; `None` for what is not the usage of one, or cannot be.

    A cost that can be read counts also where the tokens cannot.
    """
    try:
        reported = _reported(_reported_decoder.decode(raw))
    except _INVALID:
        return None
    try:
        counts = _counts_decoder.decode(raw)
    except _INVALID:
        return None if reported is None else Usage(reported=reported)
    return _usage(counts, reported)


def takes_more(raw: bytes) -> bool:
    """Say whether an answer took what its tokens do not tell, or dearer ones: sounds, pictures, searches, a longer cache."""
    try:
        counts = _counts_decoder.decode(raw)
    except _INVALID:
        return False
    details = (counts.prompt_tokens_details, counts.input_tokens_details, counts.completion_tokens_details)
    return _has_dearer(counts) or any(part.has_other for part in (*details, counts.output_tokens_details) if part)


def _usage(counts: _Counts, reported: int | None) -> Usage:
    of_input = counts.prompt_tokens_details or counts.input_tokens_details or _NOTHING
    of_output = counts.completion_tokens_details or counts.output_tokens_details or _NOTHING
    input_tokens, cached, written = _input(counts, of_input)
    reasoning = of_output.reasoning_tokens
    return Usage(
        input_tokens,
        _output(counts, input_tokens),
        cached,
        counts.reasoning_tokens if reasoning is None else reasoning,
        written,
        reported,
    )


def _input(counts: _Counts, details: _Details) -> tuple[int | None, int | None, int | None]:
    """Return the tokens of the input, and those of them that were cached, or are to be: no more than there are."""
    tokens = counts.input_tokens if counts.prompt_tokens is None else counts.prompt_tokens
    cached, written = details.cached_tokens, details.cache_write_tokens
    if counts.cache_read_input_tokens is not None or counts.cache_creation_input_tokens is not None:  # Anthropic's: they add up
        cached, written = counts.cache_read_input_tokens, counts.cache_creation_input_tokens
        tokens = None if tokens is None else tokens + (cached or 0) + (written or 0)
    if tokens is not None:
        cached = None if cached is None else min(cached, tokens)
        written = None if written is None else min(written, tokens - (cached or 0))
    return tokens, cached, written


def _output(counts: _Counts, input_tokens: int | None) -> int | None:
    """Return the tokens of the output. Some leave reasoning out of them (xAI, Gemini): then only the total has it."""
    said = counts.output_tokens if counts.completion_tokens is None else counts.completion_tokens
    if counts.total_tokens is None or input_tokens is None:
        return said
    return max(said or 0, counts.total_tokens - input_tokens)


def _has_dearer(counts: _Counts) -> bool:
    written, tools = counts.cache_creation, counts.server_tool_use
    return bool(written and written.ephemeral_1h_input_tokens) or any((tools or {}).values())


def _reported(said: _Reported) -> int | None:
    """Return the nano-dollars of what was said, rounded up."""
    if said.cost_in_usd_ticks != NULL:
        return _nano(said.cost_in_usd_ticks, TICKS)
    if said.cost != NULL:
        return _with_own_key(said, _nano(said.cost))
    return _nano(said.estimated_cost)


def _with_own_key(said: _Reported, cost: int | None) -> int | None:
    """Return a cost and what is paid, with a key of one's own, to whom OpenRouter asked; `None` where that is not said."""
    if bytes(said.is_byok) != b"true":
        return cost
    try:
        besides = _details_decoder.decode(said.cost_details).upstream_inference_cost
    except _INVALID:
        return None
    extra = _nano(besides)
    return None if cost is None or extra is None else cost + extra


def _nano(raw: msgspec.Raw, parts: int = 1) -> int | None:
    """Return the nano-dollars, rounded up, of a number of so many parts of a dollar; `None` for what is no such number."""
    if not bytes(raw)[:1].isdigit():  # a text is none, nor is less than nothing
        return None
    try:
        nano = _amount_decoder.decode(raw) * NANO / parts
    except _INVALID:
        return None
    return math.ceil(nano) if nano < _LIMIT else None
