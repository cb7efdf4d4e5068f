"""The openai SDK, over a socket, finds nothing to complain about."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
from openai import APIConnectionError, APIError, OpenAI, RateLimitError
from openai.types.chat import ChatCompletionToolUnionParam, ChatCompletionUserMessageParam

from cachemw.simulator import Simulator
from tests.serving import serving_in_thread

MESSAGES: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Explain photosynthesis to me, please."}]
TOOLS: list[ChatCompletionToolUnionParam] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]


@contextmanager
def client_of(app: Simulator) -> Iterator[OpenAI]:
    """Serve an app on a port of its own, and give a client for it."""
    with serving_in_thread(app) as url, OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(params=["cerebras", "openai"])
def usage(request: pytest.FixtureRequest) -> Literal["cerebras", "openai"]:
    return "openai" if request.param == "openai" else "cerebras"


@pytest.fixture
def client(usage: Literal["cerebras", "openai"]) -> Iterator[OpenAI]:
    with client_of(Simulator(dialect=usage)) as client:
        yield client


def test_stream_and_json_are_one_completion(client: OpenAI) -> None:
    completion = client.chat.completions.create(model="m", messages=MESSAGES, n=2)

    with client.chat.completions.stream(model="m", messages=MESSAGES, n=2, stream_options={"include_usage": True}) as stream:
        final = stream.get_final_completion()

    assert final.id == completion.id
    assert [choice.message.content for choice in final.choices] == [one.message.content for one in completion.choices]
    assert [choice.finish_reason for choice in final.choices] == ["stop", "stop"]
    assert final.usage is not None
    assert final.usage == completion.usage


def test_usage_comes_unasked_from_cerebras_alone(client: OpenAI, usage: str) -> None:
    with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
        final = stream.get_final_completion()

    assert (final.usage is not None) == (usage == "cerebras")


def test_tool_calls_are_put_together(client: OpenAI) -> None:
    with client.chat.completions.stream(model="m", messages=MESSAGES, tools=TOOLS) as stream:
        choice = stream.get_final_completion().choices[0]

    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    assert json.loads(choice.message.tool_calls[0].function.arguments).keys() == {"city"}


def test_log_probabilities_are_put_together(client: OpenAI) -> None:
    with client.chat.completions.stream(model="m", messages=MESSAGES, logprobs=True, top_logprobs=2) as stream:
        choice = stream.get_final_completion().choices[0]

    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert "".join(score.token for score in choice.logprobs.content) == choice.message.content


def test_an_error_under_way_is_raised(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="m", messages=MESSAGES, stream=True, extra_body={"simulate": {"error_after": 3}}
    )

    with pytest.raises(APIError, match="had an error"):
        list(stream)


def test_a_broken_transfer_is_noticed(client: OpenAI) -> None:
    with pytest.raises(APIConnectionError):
        client.chat.completions.create(model="m", messages=MESSAGES, extra_body={"simulate": {"cut_after": 20}})


def test_a_refusal_is_raised_as_what_it_is(client: OpenAI) -> None:
    with pytest.raises(RateLimitError) as caught:
        client.chat.completions.create(model="m", messages=MESSAGES, extra_body={"simulate": {"status": 429}})

    assert caught.value.response.headers["retry-after"] == "1"


def test_the_models_are_listed(client: OpenAI) -> None:
    assert "llama3.1-8b" in [model.id for model in client.models.list()]
