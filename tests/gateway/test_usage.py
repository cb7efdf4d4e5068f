"""What answers took, found while their bytes pass."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.endpoints import CHAT
from cachemw.gateway.usage import LONGEST_USAGE, UsageWatch, estimated
from cachemw.messages import Usage
from cachemw.money import NANO, Cost, Price, Rates
from tests.cassettes import cassette

SAID = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
HELLO = {"choices": [{"index": 0, "delta": {"content": 'He said "usage": {"prompt_tokens": 9}'}}]}
PRICE = Price(Rates(2 * NANO, 6 * NANO))


def stream(*events: Any) -> bytes:
    return b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def watched(*chunks: bytes) -> UsageWatch:
    watch = UsageWatch()
    for chunk in chunks:
        watch.feed(chunk)
    return watch


def pieces(body: bytes, cuts: list[int]) -> Iterator[bytes]:
    ends = sorted({cut % (len(body) + 1) for cut in cuts} | {len(body)})
    for start, end in zip([0, *ends], ends, strict=False):
        yield body[start:end]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(stream(HELLO, {"choices": [], "usage": SAID}), id="a last chunk without choices"),
        pytest.param(stream(HELLO, {**HELLO, "usage": SAID}), id="the last chunk of a choice"),
        pytest.param(
            stream({**HELLO, "usage": None}, {"usage": {"prompt_tokens": 3, "completion_tokens": 1}}, {"usage": SAID}),
            id="every chunk",
        ),
        pytest.param(stream(HELLO, {"choices": [], "x_groq": {"id": "r", "usage": SAID}}), id="within x_groq"),
        pytest.param(msgspec.json.encode({"choices": [], "usage": SAID}), id="JSON"),
        pytest.param(
            json.dumps({"usage": SAID, "choices": [{"message": {"content": '"usage":{'}}]}, indent=4).encode(), id="tidy"
        ),
        pytest.param(
            stream({"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}})
            + stream({"type": "message_delta", "usage": {"output_tokens": 4}}),
            id="Anthropic, in two events",
        ),
        pytest.param(stream({"type": "response.completed", "response": {"usage": SAID}}), id="Responses"),
        pytest.param(stream({"choices": [], "usage": SAID}).replace(b"\n", b"\r\n"), id="other line ends"),
        pytest.param(
            stream({**HELLO, "usage": SAID}, {**HELLO, "usage": {}}, {"usage": {"prompt_tokens": -1}}), id="then nonsense"
        ),
    ],
)
def test_what_an_answer_took_is_found_wherever_it_stands(body: bytes) -> None:
    """G16"""
    assert watched(body).end() == Usage(3, 4)
    assert watched(*(body[at : at + 1] for at in range(len(body)))).end() == Usage(3, 4)


@pytest.mark.parametrize(
    "body",
    [
        stream(HELLO),
        stream({"choices": [], "usage": None}),
        stream({"choices": [], "usage": "free"}),
        stream({"choices": [], "usage": {"prompt_tokens": 2.5}}),
        b'data: {"usage":{"prompt_tokens":3,"completion_tokens":4',
        b"",
        b"<html>",
        json.dumps({"choices": [{"message": {"content": json.dumps({"usage": SAID})}}]}).encode(),
        json.dumps({"choices": [{"message": {"content": '\\"usage":{"prompt_tokens":3}'}}]}).encode(),
    ],
)
def test_where_nothing_is_said_nothing_is_found(body: bytes) -> None:
    """G17: unknown, and not 0."""
    assert watched(body).end() is None


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("openai_stream_usage.sse", Usage(12, 5, 0, 0)),
        ("openai_stream_n2.sse", Usage(26, 104, 0, 0)),
        ("cerebras_glm_stream_1.sse", Usage(322, 104, 256, 97)),
        ("cerebras_simple_llama.json", Usage(43, 9)),
        ("openrouter_stream_annotations.sse", Usage(2317, 53, 0, 0, 0, 7_650_917)),
        ("azure_stream_router.sse", Usage(15, 78, 0, 64)),
        ("groq_stream_error_event.sse", None),
        ("anthropic_cache_read.json", Usage(7361, 4, 7351, None, 0)),
        ("anthropic_stream_thinking.sse", Usage(43, 282, 0, None, 0)),
        ("anthropic_stream_tools.sse", Usage(506, 153, 0, None, 0)),
        ("openai_responses_stream_reasoning.sse", Usage(13, 284, 0, 256, 0)),
        ("openai_embeddings_batch.json", Usage(3, 0)),
    ],
)
def test_the_recordings_say_what_they_took(name: str, usage: Usage | None) -> None:
    """G16"""
    body = cassette(name)

    assert watched(body).end() == usage
    assert watched(*(body[at : at + 7] for at in range(0, len(body), 7))).end() == usage


BITS = st.sampled_from(
    [
        *(b'"usage"', b'\\"usage"', b'"usage":', b'"usage": {', b"{", b"}", b'"prompt_tokens":7', b",", b'"', b"\\", b":"),
        *(b" ", b"\n", b'"service_tier":"flex"', b'"service_tier"', b"data: ", b"x" * 150, b"\xff"),
        b'"usage":{"completion_tokens":5}',
    ]
)


@given(st.lists(BITS, max_size=30).map(b"".join), st.lists(st.integers(0, 5000), max_size=12))
def test_however_a_body_is_cut_the_same_is_found(body: bytes, cuts: list[int]) -> None:
    whole, cut = watched(body), watched(*pieces(body, cuts))

    assert cut.end() == whole.end()
    assert cut.tier == whole.tier
    assert cut.events == whole.events


def test_what_never_ends_is_not_kept() -> None:
    watch = watched(b'{"usage":{"a":"', *[b"x" * 1000] * 1000, b'"}, "usage":{"prompt_tokens":1}}')

    assert watch.end() == Usage(1)
    assert len(watch._rest) <= LONGEST_USAGE


@pytest.mark.parametrize(
    ("members", "usage", "cost"),
    [
        ({}, {}, Cost(30_000, "priced")),
        ({"service_tier": None}, {}, Cost(30_000, "priced")),
        ({"service_tier": "default"}, {}, Cost(30_000, "priced")),
        ({"service_tier": "on_demand"}, {}, Cost(30_000, "priced")),
        ({"service_tier": "flex"}, {}, None),
        ({"service_tier": "priority"}, {}, None),
        ({"service_tier": "priority"}, {"cost": 0.5}, Cost(NANO // 2, "reported")),
        ({}, {"prompt_tokens_details": {"audio_tokens": 2}}, Cost(30_000, "priced", at_least=True)),
        ({}, {"prompt_tokens_details": {"audio_tokens": 2}, "cost": 0.5}, Cost(NANO // 2, "reported")),
    ],
)
def test_what_has_no_price_in_a_table_makes_the_cost_unknown_or_a_lower_bound(
    members: dict[str, Any], usage: dict[str, Any], cost: Cost | None
) -> None:
    """E11: a tier whose price no table has, a member that is not counted; what is reported has all in it."""
    watch = watched(stream({"choices": [], **members, "usage": {**SAID, **usage}}))

    assert watch.cost(PRICE) == cost


def test_the_chat_endpoint_reads_the_same() -> None:
    assert CHAT.usage(msgspec.json.encode(SAID)) == watched(msgspec.json.encode({"choices": [], "usage": SAID})).end()


@pytest.mark.parametrize(
    ("bytes_in", "bytes_out", "events", "nano"),
    [(0, 0, 0, 0), (4_000_000, 0, 0, 2 * NANO), (0, 4_000_000, 0, 6 * NANO), (0, 4_000_000, 10, 60_000), (1, 1, 0, 8_000)],
)
def test_an_answer_whose_client_hung_up_is_estimated_by_its_sizes(
    bytes_in: int, bytes_out: int, events: int, nano: int
) -> None:
    """G19"""
    assert estimated(bytes_in, bytes_out, PRICE, events=events) == Cost(nano, "estimated")


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        (stream(*[HELLO] * 9), Cost(200 + 60, "estimated")),
        (stream({"message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}, *[HELLO] * 8), Cost(6 + 60, "estimated")),
        (stream(*[HELLO] * 2, {"usage": {"prompt_tokens": 3, "completion_tokens": 50}}), Cost(6 + 300, "priced")),
        (stream(*[HELLO] * 2, {"usage": {"cost": 0.25}}), Cost(NANO // 4, "reported")),
        (stream({**HELLO, "service_tier": "flex"}), None),
        (b"\n\n \n\n" + b'{"choices": [{}],\n\n\n' + b" " * 374, Cost(200 + 600, "estimated")),
    ],
)
def test_an_answer_that_broke_off_is_estimated_where_it_has_not_told_all(body: bytes, cost: Cost | None) -> None:
    """G19: Anthropic's tell the first token of their output in the first event, and all of them in the last."""
    watch = watched(body)
    price = Price(Rates(2_000_000, 6_000_000))

    assert watch.partial_cost(price, 400, 400) == cost
    assert watch.partial_cost(None, 400, 400) == (cost if cost and cost.basis == "reported" else None)


def test_without_a_price_nothing_is_estimated() -> None:
    """G17"""
    assert estimated(100, 100, None) is None


def test_the_events_of_a_stream_are_counted_about() -> None:
    """G19"""
    assert watched(stream(*[HELLO] * 9)).events == 10
