"""The openai SDK, over a socket, finds nothing to complain about."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from openai import APIConnectionError, APIError, APIStatusError, InternalServerError, OpenAI, RateLimitError
from openai.types.chat import ChatCompletionToolUnionParam, ChatCompletionUserMessageParam

from cachemw.simulator import DIALECTS, Simulator
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


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(dialect: str) -> Iterator[OpenAI]:
    with client_of(Simulator(dialect=dialect)) as client:
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


def test_some_say_the_usage_without_being_asked(client: OpenAI, dialect: str) -> None:
    with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
        final = stream.get_final_completion()

    assert (final.usage is not None) == (dialect in ("cerebras", "mistral", "openrouter"))


def test_tool_calls_are_put_together(client: OpenAI, dialect: str) -> None:
    completion = client.chat.completions.create(model="m", messages=MESSAGES, tools=TOOLS)
    with client.chat.completions.stream(model="m", messages=MESSAGES, tools=TOOLS) as stream:
        choice = stream.get_final_completion().choices[0]

    assert choice.finish_reason == ("stop" if dialect == "gemini" else "tool_calls")
    assert choice.message.tool_calls is not None
    assert json.loads(choice.message.tool_calls[0].function.arguments).keys() == {"city"}
    assert identities(choice.message.tool_calls) == identities(completion.choices[0].message.tool_calls)


def identities(calls: Any) -> list[str]:
    return [call.id for call in calls]


def test_log_probabilities_are_put_together(client: OpenAI) -> None:
    with client.chat.completions.stream(model="m", messages=MESSAGES, logprobs=True, top_logprobs=2) as stream:
        choice = stream.get_final_completion().choices[0]

    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert "".join(score.token for score in choice.logprobs.content) == choice.message.content


def test_an_error_under_way_is_raised(client: OpenAI, dialect: str) -> None:
    """Mistral's has no member `error`, and the SDK passes over it."""
    raised = nullcontext() if dialect == "mistral" else pytest.raises(APIError, match=r"had an error|during streaming")
    stream = client.chat.completions.create(
        model="m", messages=MESSAGES, stream=True, extra_body={"simulate": {"error_after": 3}}
    )

    with raised:
        list(stream)


def test_a_broken_transfer_is_noticed(client: OpenAI) -> None:
    with pytest.raises(APIConnectionError):
        client.chat.completions.create(model="m", messages=MESSAGES, extra_body={"simulate": {"cut_after": 20}})


@pytest.mark.parametrize(
    ("name", "kind"),
    [("cerebras:queue", RateLimitError), ("gemini:exhausted", RateLimitError), ("anthropic:overloaded", InternalServerError)],
)
def test_the_refusal_of_any_provider_is_raised(client: OpenAI, name: str, kind: type[APIStatusError]) -> None:
    with pytest.raises(kind):
        client.chat.completions.create(model="m", messages=MESSAGES, extra_headers={"x-simulate-fail": name})


def test_a_refusal_is_raised_as_what_it_is(client: OpenAI) -> None:
    with pytest.raises(RateLimitError) as caught:
        client.chat.completions.create(model="m", messages=MESSAGES, extra_body={"simulate": {"status": 429}})

    assert caught.value.response.headers["retry-after"] == "1"


def test_the_models_are_listed(client: OpenAI) -> None:
    assert "llama3.1-8b" in [model.id for model in client.models.list()]
