"""A conversation goes on alike after a live answer and after a replayed one."""

from collections.abc import Callable
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState

from tests.real.proxied import Servers, by_model
from tests.real.recordings import Body, stored
from tests.real.sdks import ASYNC_OPENAI, CEREBRAS, ON, OPENAI, Answer, Sdk, sdk_name, some_sdks

WITH_JSON = ("cerebras_simple_llama", "cerebras_glm_reasoning_1", "cerebras_glm_tool_json1", "openai_nonstream_tools")
WITH_STREAM = ("openai_stream_usage", "openai_stream_parallel_tools", "openai_stream_refusal")

FORMS: dict[str, Callable[[Any], Any]] = {
    "object": lambda message: message,
    "dict": lambda message: message.to_dict(),
    "dump": lambda message: message.model_dump(),
    "dump-without-none": lambda message: message.model_dump(exclude_none=True),
}
"""How people append an answer to their history."""

forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def message_of(answer: Answer) -> Any:
    """Return the assistant's message, of a stream as the SDK itself puts it together."""
    if len(answer.parsed) == 1:
        return answer.parsed[0].choices[0].message
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in answer.parsed:
        state.handle_chunk(chunk)
    return state.get_final_completion().choices[0].message


def continued(body: Body, message: Any) -> Body:
    return {**body, "messages": [*body["messages"], message, {"role": "user", "content": "And now?"}]}


def assert_goes_on_alike(name: str, form: Callable[[Any], Any], sdk: Sdk, servers: Servers) -> None:
    recording = stored(name)
    with servers.proxied(by_model({name: recording.told()})) as world, sdk.open(world.proxy, ON) as client:
        live, replayed = client.ask(recording.request()), client.ask(recording.request())
        after_live = client.ask(continued(recording.request(), form(message_of(live))))
        after_replay = client.ask(continued(recording.request(), form(message_of(replayed))))

        assert world.calls == 2
    assert (live.cache["fwd"], replayed.cache["hit"]) == ("miss", True)
    assert after_replay.cache["key"] == after_live.cache["key"] != live.cache["key"]
    assert after_replay.cache["hit"] is True


@some_sdks
@forms
@pytest.mark.parametrize("name", WITH_JSON)
def test_the_next_key_is_the_same_after_a_replayed_message(
    name: str, form: Callable[[Any], Any], sdk: Sdk, servers: Servers
) -> None:
    """K5: the SDK's object or a dictionary of it, with reasoning and with tool calls."""
    assert_goes_on_alike(name, form, sdk, servers)


@pytest.mark.parametrize("sdk", [OPENAI, ASYNC_OPENAI], ids=sdk_name)
@forms
@pytest.mark.parametrize("name", WITH_STREAM)
def test_the_next_key_is_the_same_after_a_replayed_stream(
    name: str, form: Callable[[Any], Any], sdk: Sdk, servers: Servers
) -> None:
    """K5: by the SDK's own accumulator."""
    assert_goes_on_alike(name, form, sdk, servers)


def test_another_message_makes_another_key(servers: Servers) -> None:
    """K3: or the tests above would show nothing."""
    recording = stored("cerebras_simple_llama")
    with servers.proxied(by_model({recording.name: recording.told()})) as world, CEREBRAS.open(world.proxy, ON) as client:
        message = message_of(client.ask(recording.request())).to_dict()
        said = client.ask(continued(recording.request(), message))
        unsaid = client.ask(continued(recording.request(), {**message, "content": message["content"] + " "}))

    assert said.cache["key"] != unsaid.cache["key"]
