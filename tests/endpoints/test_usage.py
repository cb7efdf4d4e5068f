"""What answers say they took, in every provider's words."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.endpoints.usage import read_usage, takes_more
from cachemw.messages import Usage

HUGE = 2**53

ROWS: list[tuple[dict[str, Any], Usage | None]] = [
    ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Usage(3, 4)),
    # Reasoning outside of the completion: xAI, Gemini.
    (
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        Usage(32, 103, None, 94),
    ),
    ({"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 3}, Usage(5, 9)),
    ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0)),
    ({"completion_tokens": 9, "total_tokens": 12}, Usage(None, 9)),
    ({"completion_tokens": 4, "reasoning_tokens": 4}, Usage(None, 4, None, 4)),
    # Cached, and to be cached: no more than there is.
    ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(3, None, 3)),
    (
        {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 9}},
        Usage(10, None, 4, None, 6),
    ),
    ({"prompt_tokens": 3, "prompt_tokens_details": None}, Usage(3)),
    # Responses.
    (
        {
            "input_tokens": 53,
            "input_tokens_details": {"cached_tokens": 3},
            "output_tokens": 469,
            "output_tokens_details": {"reasoning_tokens": 448},
            "total_tokens": 522,
        },
        Usage(53, 469, 3, 448),
    ),
    # Anthropic's add up.
    (
        {"input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 7351, "output_tokens": 4},
        Usage(7366, 4, 7351, None, 5),
    ),
    ({"input_tokens": 10, "output_tokens": 4}, Usage(10, 4)),
    ({"output_tokens": 153}, Usage(None, 153)),
    # What cannot be: unknown.
    ({"prompt_tokens": -1, "completion_tokens": 4}, None),
    ({"prompt_tokens": 1.5, "completion_tokens": 4}, None),
    ({"prompt_tokens": "3"}, None),
    ({"prompt_tokens": HUGE}, None),
    ({"prompt_tokens": 10**30}, None),
    ({"prompt_tokens": True}, None),
    ({}, Usage()),
]

MORE: list[tuple[dict[str, Any], bool]] = [
    ({"cache_creation": {"ephemeral_1h_input_tokens": 5}}, True),
    ({"cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 7}}, False),
    ({"server_tool_use": {"web_search_requests": 2, "new": None}}, True),
    ({"server_tool_use": {"web_search_requests": 0}}, False),
    ({"prompt_tokens_details": {"audio_tokens": 7}}, True),
    ({"completion_tokens_details": {"image_tokens": 7}}, True),
    ({"input_tokens_details": {"video_tokens": 7}}, True),
    ({"output_tokens_details": {"audio_tokens": 7}}, True),
    ({"prompt_tokens": 3, "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 2}}, False),
    ({"prompt_tokens": -1}, False),
    ({}, False),
]

REPORTED: list[tuple[dict[str, Any], int | None]] = [
    ({"cost": 0.0076509169000000005}, 7_650_917),
    ({"cost": 0}, 0),
    ({"cost": 1}, 1_000_000_000),
    ({"cost": 1e-12}, 1),
    # What OpenRouter asked is paid besides only with a key of one's own.
    ({"cost": 0.5, "cost_details": {"upstream_inference_cost": 0.25}}, 500_000_000),
    ({"cost": 0.5, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.25}}, 500_000_000),
    ({"cost": 0.5, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.25}}, 750_000_000),
    ({"cost": 0.5, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
    ({"cost": 0.5, "is_byok": True}, None),
    ({"cost": 0.5, "is_byok": "true"}, 500_000_000),
    ({"cost_in_usd_ticks": 37_756_000}, 3_775_600),
    ({"cost_in_usd_ticks": 1}, 1),
    ({"estimated_cost": 0.0000312}, 31_200),
    ({"cost": -0.1}, None),
    ({"cost": "0.1"}, None),
    ({"cost": {"total_cost": 0.1}}, None),
    ({"cost": [1]}, None),
    ({"cost": True}, None),
    ({"cost": 1e300}, None),
    ({"cost": None}, None),
    ({}, None),
]


@pytest.mark.parametrize(("said", "usage"), ROWS)
def test_what_an_answer_took_is_read_in_every_providers_words(said: dict[str, Any], usage: Usage | None) -> None:
    """G16"""
    assert read_usage(msgspec.json.encode(said)) == usage


@pytest.mark.parametrize(("said", "reported"), REPORTED)
def test_what_a_provider_charges_is_read_in_nano_dollars(said: dict[str, Any], reported: int | None) -> None:
    """E11: what OpenRouter says, and what was paid to another one only if it was with one's own key."""
    counted = {**said, "prompt_tokens": 3, "completion_tokens": 4}

    assert read_usage(msgspec.json.encode(counted)) == Usage(3, 4, reported=reported)


@pytest.mark.parametrize(("said", "more"), MORE)
def test_what_its_tokens_do_not_tell_is_seen(said: dict[str, Any], more: bool) -> None:
    """E11: a member without a price of its own makes the cost a lower bound."""
    assert takes_more(msgspec.json.encode(said)) is more


def test_a_cost_counts_where_the_tokens_cannot_be_read() -> None:
    assert read_usage(b'{"cost":0.25,"prompt_tokens":-1}') == Usage(reported=250_000_000)


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"3", b'"cost"', b'{"cost":1', b'{"cost":\xff}', b"[" * 5000])
def test_what_is_no_usage_is_none(raw: bytes) -> None:
    assert read_usage(raw) is None


@pytest.mark.parametrize(
    "cost", [b"1e400", b"1e99999999999999999", b"1" * 5000, b"0.0" + b"0" * 5000 + b"1", b"-0", b"NaN", b"01"]
)
def test_an_absurd_number_harms_nobody(cost: bytes) -> None:
    usage = read_usage(b'{"cost":' + cost + b"}")

    assert usage is None or usage.reported in (None, 1)


NAMES = st.sampled_from(
    "prompt_tokens completion_tokens total_tokens input_tokens output_tokens cost is_byok cost_details estimated_cost"
    " prompt_tokens_details cached_tokens cache_read_input_tokens cache_creation_input_tokens reasoning_tokens".split()
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_whatever_is_said_the_numbers_are_possible(said: dict[str, Any]) -> None:
    usage = read_usage(msgspec.json.encode(said))

    if usage is not None:
        numbers = [number for number in msgspec.structs.astuple(usage) if number is not None]
        assert all(number >= 0 for number in numbers)
        if usage.input_tokens is not None:
            assert (usage.cached_tokens or 0) + (usage.cache_write_tokens or 0) <= usage.input_tokens
