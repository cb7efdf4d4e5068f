"""What the official SDKs make of a replay, over real sockets and from recordings of real upstreams."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.real.proxied import Servers, by_model
from tests.real.recordings import STORED, Recording, name_of, stored
from tests.real.sdks import ASYNC_CEREBRAS, ASYNC_OPENAI, CEREBRAS, ON, OPENAI, Answer, Sdk, some_sdks
from tests.thorough import THOROUGH

STREAMS = tuple(recording for recording in STORED if recording.is_stream)

all_stored = pytest.mark.parametrize("recording", STORED, ids=name_of)


@some_sdks
@all_stored
def test_the_second_call_is_a_hit_and_the_sdk_parses_what_it_parses_without_us(
    recording: Recording, sdk: Sdk, servers: Servers
) -> None:
    """S1, S3: one upstream call in all; miss and hit are what the upstream said."""
    with servers.proxied(by_model({recording.name: recording.told()})) as world:
        with sdk.open(world.direct) as client:
            expected = client.ask(recording.request())
        asked = len(world.upstream.asked)
        with sdk.open(world.proxy, ON) as client:
            miss, hit = client.ask(recording.request()), client.ask(recording.request())

        assert len(world.upstream.asked) == asked + 1  # nor did anything else get through, like a request to warm up
    assert miss.cache["fwd"] == "miss"
    assert hit.cache["hit"] is True
    assert miss.members == expected.members
    assert hit.members == expected.members
    assert len(hit.members) > 1 or not recording.is_stream


@some_sdks
@pytest.mark.parametrize("recording", STREAMS, ids=name_of)
def test_the_sdk_reads_the_recorded_payloads_byte_for_byte(recording: Recording, sdk: Sdk, servers: Servers) -> None:
    """S2: comments and spacing included."""
    with servers.proxied(by_model({recording.name: recording.told()})) as world, sdk.open(world.proxy, ON) as client:
        miss, hit = client.read(recording.request()), client.read(recording.request())

        assert world.calls == 1
    assert payloads(hit) == payloads(recording.body())
    assert miss == hit == recording.body()


@pytest.mark.parametrize(
    ("storing", "reading"),
    [(OPENAI, ASYNC_CEREBRAS), (CEREBRAS, ASYNC_OPENAI)],
    ids=["openai-to-cerebras", "cerebras-to-openai"],
)
@pytest.mark.parametrize("recording", STORED if THOROUGH else STORED[::3], ids=name_of)
def test_what_one_sdk_stored_the_other_reads(recording: Recording, storing: Sdk, reading: Sdk, servers: Servers) -> None:
    """S1: neither the path nor the headers that tell the SDKs apart are in the key."""
    with servers.proxied(by_model({recording.name: recording.told()})) as world:
        with storing.open(world.proxy, ON) as client:
            stored = client.ask(recording.request())
        with reading.open(world.proxy, ON) as client:
            read = client.ask(recording.request())

        assert world.calls == 1
    assert read.cache["hit"] is True
    assert [members for _, members in read.members] == [members for _, members in stored.members]


def choices(answer: Answer) -> list[Any]:
    return [choice for one in answer.parsed for choice in one.to_dict().get("choices", ())]


def message(choice: Any) -> Any:
    return choice["delta"] if "delta" in choice else choice["message"]


def said(answer: Answer, member: str, index: int = 0) -> str:
    """Put a choice's text together."""
    return "".join(message(one).get(member) or "" for one in choices(answer) if one["index"] == index)


def tool_calls(answer: Answer) -> list[tuple[str, str]]:
    """Put the tool calls together: their names and arguments."""
    calls: dict[int, list[str]] = {}
    for choice in choices(answer):
        for place, call in enumerate(message(choice).get("tool_calls") or ()):
            name_and_arguments = calls.setdefault(call.get("index", place), ["", ""])
            name_and_arguments[0] += call["function"].get("name") or ""
            name_and_arguments[1] += call["function"].get("arguments") or ""
    return [(name, arguments) for name, arguments in calls.values()]


def tokens(answer: Answer) -> list[str]:
    scored = [choice["logprobs"]["content"] for choice in choices(answer) if choice.get("logprobs")]
    return [score["token"] for scores in scored for score in scores]


def finishes(answer: Answer) -> dict[int, str]:
    return {one["index"]: one["finish_reason"] for one in choices(answer) if one.get("finish_reason")}


def total_tokens(answer: Answer) -> int:
    tokens: int = answer.parsed[-1].to_dict()["usage"]["total_tokens"]
    return tokens


def last_words(answer: Answer) -> list[str]:
    return [said(answer, "content", index)[-20:] for index in finishes(answer)]


def begins(member: str) -> Callable[[Answer], str]:
    return lambda answer: said(answer, member)[:20]


WEATHER = [
    ("get_current_weather", '{"location": "Seattle, WA"}'),
    ("get_current_weather", '{"location": "San Francisco, CA"}'),
]
SPECIALS: tuple[tuple[str, str, Callable[[Answer], object], object], ...] = (
    ("tool calls", "cerebras_glm_tool_json1", tool_calls, [("nonUsefulTool", "{}")]),
    ("a streamed tool call", "cerebras_glm_stream_1", tool_calls, [("nonUsefulTool", "{}")]),
    ("parallel tool calls", "openai_nonstream_tools", tool_calls, WEATHER),
    ("streamed parallel tool calls", "openai_stream_parallel_tools", tool_calls, WEATHER),
    ("reasoning", "cerebras_gptoss_harmony", begins("reasoning"), "User asks simple que"),
    ("streamed reasoning", "cerebras_glm_stream_1", begins("reasoning"), "The user is asking a"),
    ("two choices", "openai_stream_n2", last_words, [" weather conditions.", "nd this information?"]),
    ("log probabilities", "openai_stream_logprobs", tokens, ["Foo", "!"]),
    ("a refusal", "openai_stream_refusal", begins("refusal"), "I'm sorry, I can't a"),
    ("usage", "openai_stream_usage", total_tokens, 17),
    ("usage on the finish chunk", "cerebras_glm_stream_1", total_tokens, 426),
    ("an end by length", "openai_stream_length", finishes, {0: "length"}),
)


@some_sdks
@pytest.mark.parametrize(
    ("name", "look", "expected"), [row[1:] for row in SPECIALS], ids=[row[0].replace(" ", "-") for row in SPECIALS]
)
def test_nothing_is_lost_in_a_replay(
    name: str, look: Callable[[Answer], object], expected: object, sdk: Sdk, servers: Servers
) -> None:
    """S3: judged by the objects that the SDK makes of a hit."""
    recording = stored(name)
    with servers.proxied(by_model({name: recording.told()})) as world, sdk.open(world.proxy, ON) as client:
        client.ask(recording.request())
        hit = client.ask(recording.request())

    assert hit.cache["hit"] is True
    assert look(hit) == expected


def payloads(body: bytes) -> list[bytes]:
    return [line for line in body.splitlines() if line.startswith(b"data:")]
