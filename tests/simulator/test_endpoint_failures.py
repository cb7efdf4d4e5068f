"""What goes wrong, at every endpoint, in the words that its clients know."""

import json
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from cachemw.simulator import DIALECTS, Simulator
from cachemw.simulator.failures import ErrorAnswer
from tests.simulator.endpoint_requests import (
    NAMED_STREAMS,
    PATHS,
    STREAMS,
    USER,
    anthropic_client,
    ask_at,
    events_in,
    openai_client,
)

HOMES = {path: "anthropic" if "messages" in path else "openai" for path in PATHS} | {"/v1/chat/completions": "cerebras"}
OPENAI_PATHS = [path for path, home in HOMES.items() if home == "openai"]
ANTHROPIC_PATHS = [path for path, home in HOMES.items() if home == "anthropic"]


@pytest.mark.anyio
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("status", [401, 429, 500, 503, 529])
async def test_a_status_is_said_in_the_words_of_the_endpoints_home(path: str, status: int) -> None:
    by_name = await ask_at(path, fail=f"status:{status}")
    by_member = await ask_at(path, simulate={"status": status})
    by_script = await ask_at(path, Simulator(fail=f"status:{status}"))

    error = json.loads(by_name.body)
    assert by_name == by_member == by_script
    assert by_name.status == status
    assert error.get("type") == ("error" if HOMES[path] == "anthropic" else error.get("type"))
    assert ("error" in error) == (HOMES[path] != "cerebras")


@pytest.mark.anyio
@pytest.mark.parametrize("path", ANTHROPIC_PATHS)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
async def test_anthropic_has_a_type_for_each_status(path: str, status: int, kind: str) -> None:
    error = json.loads((await ask_at(path, fail=f"status:{status}")).body)

    assert (error["type"], error["error"]["type"], error["request_id"][:4]) == ("error", kind, "req_")


@pytest.mark.anyio
@pytest.mark.parametrize("path", PATHS)
async def test_each_failure_with_a_name_is_the_same_at_every_endpoint(path: str) -> None:
    names = [
        f"{provider}:{name}"
        for provider, dialect in DIALECTS.items()
        for name, failure in dialect.failures.items()
        if isinstance(failure, ErrorAnswer)
    ]

    for name in (*names, "html:502", "empty:500"):
        at_chat = await ask_at("/v1/chat/completions", fail=name)
        here = await ask_at(path, fail=name)

        assert (here.status, here.body) == (at_chat.status, at_chat.body)
        assert here.headers.keys() == at_chat.headers.keys()


@pytest.mark.anyio
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("after", [0, 1, 15])
async def test_a_transfer_breaks_at_every_endpoint(path: str, stream: bool, after: int) -> None:
    sound = await ask_at(path, stream=stream)

    broken = await ask_at(path, stream=stream, fail=f"cut:{after}")

    assert (broken.status, broken.complete) == (200, False)
    assert broken.body == sound.body[:after]


@pytest.mark.anyio
@pytest.mark.parametrize("path", STREAMS)
async def test_a_stream_can_be_cut_after_each_of_its_events(path: str) -> None:
    sound = (await ask_at(path, stream=True, max_tokens=6, max_output_tokens=6)).body
    events = [event + b"\n\n" for event in sound.split(b"\n\n")[:-1]]

    for count in range(len(events)):
        begun = b"".join(events[:count])
        cut = await ask_at(path, stream=True, max_tokens=6, max_output_tokens=6, fail=f"cut:{len(begun)}")
        ended = await ask_at(path, stream=True, max_tokens=6, max_output_tokens=6, fail=f"end:{count}")

        assert (cut.body, cut.complete) == (begun, False)
        assert (ended.body, ended.complete) == (begun, True)


@pytest.mark.anyio
@pytest.mark.parametrize("path", PATHS)
async def test_who_leaves_nothing_out_has_not_ended_early(path: str) -> None:
    assert (await ask_at(path, stream=True, fail="end:10000")).body == (await ask_at(path, stream=True)).body
    assert (await ask_at(path, fail="end:0")).body == (await ask_at(path)).body


@pytest.mark.anyio
@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("after", [0, 1, 5, 10_000])
async def test_a_stream_reports_an_error_after_so_many_events(path: str, after: int) -> None:
    sound = events_in((await ask_at(path, stream=True)).body)

    reply = await ask_at(path, stream=True, fail=f"error:{after}")

    events = events_in(reply.body)
    place = min(after, len(sound) - 1)
    name, error = events[place]
    assert reply.complete
    assert events[:place] == sound[:place]
    assert name == ("error" if path in NAMED_STREAMS else "")
    assert "error" in error
    assert len(events) - place == (2 if path == "/v1/responses" else 1)


@pytest.mark.anyio
@pytest.mark.parametrize("after", [2, 7])
async def test_a_response_that_fails_says_so_twice_and_counts_on(after: int) -> None:
    *_, (name, error), (last, failed) = events_in((await ask_at("/v1/responses", stream=True, fail=f"error:{after}")).body)

    assert (name, error["type"], last) == ("error", "error", "response.failed")
    assert (error["sequence_number"], failed["sequence_number"]) == (after, after + 1)
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"]["message"] == error["error"]["message"]


@pytest.mark.anyio
@pytest.mark.parametrize("path", PATHS)
async def test_an_error_can_hide_in_a_200(path: str) -> None:
    hidden = await ask_at(path, stream=True, fail="in-200:503")
    shown = await ask_at(path, fail="status:503")

    assert (hidden.status, hidden.headers[b"content-type"]) == (200, b"application/json")
    assert hidden.body == shown.body


@pytest.mark.anyio
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_can_be_of_another_endpoint(path: str, stream: bool) -> None:
    reply = await ask_at(path, stream=stream, fail="foreign")

    is_stream = stream and path in STREAMS
    content = events_in(reply.body)[0][1] if is_stream else json.loads(reply.body)
    forms = {"message", "message_start"} if path == "/v1/chat/completions" else {"chat.completion", "chat.completion.chunk"}
    assert reply.status == 200
    assert forms & {content.get("object"), content.get("type")}


@pytest.mark.anyio
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["no-choices", "no-content", "gemini:safety"])
async def test_a_200_can_say_nothing_at_every_endpoint(path: str, name: str) -> None:
    whole = json.loads((await ask_at(path, fail=name)).body)
    stream = (await ask_at(path, stream=True, fail=name)).body

    said = json.dumps([whole.get(member) for member in ("choices", "content", "output", "data", "results")])
    assert "Reference" not in said
    assert b"Reference" not in stream
    if name == "no-choices":
        assert said.count("[]") == (0 if path.endswith("count_tokens") else 1)


@pytest.mark.anyio
@pytest.mark.parametrize("path", PATHS)
async def test_a_name_that_nothing_has_is_refused_at_every_endpoint(path: str) -> None:
    reply = await ask_at(path, fail="boom")

    assert reply.status == 400
    assert b"no failure is called 'boom'" in reply.body


def test_anthropics_client_raises_what_it_is_told() -> None:
    asked: Any = {"model": "m", "max_tokens": 100, "messages": [USER]}
    table = {
        "status:429": anthropic.RateLimitError,
        "anthropic:overloaded": anthropic.InternalServerError,
        "anthropic:key": anthropic.AuthenticationError,
        "anthropic:context": anthropic.BadRequestError,
    }

    with anthropic_client(Simulator()) as client:
        for name, kind in table.items():
            with pytest.raises(kind):
                client.messages.create(**asked, extra_headers={"x-simulate-fail": name})
        with (
            pytest.raises(anthropic.APIStatusError, match="overloaded_error"),
            client.messages.stream(**asked, extra_headers={"x-simulate-fail": "anthropic:mid-stream"}) as stream,
        ):
            stream.get_final_message()
        with pytest.raises(anthropic.APIConnectionError):
            client.messages.create(**asked, extra_body={"simulate": {"cut_after": 20}})


def test_openais_client_raises_what_it_is_told() -> None:
    with openai_client(Simulator()) as client:
        with pytest.raises(openai.RateLimitError):
            client.embeddings.create(model="m", input="a", extra_headers={"x-simulate-fail": "openai:rate"})
        with pytest.raises(openai.NotFoundError):
            client.moderations.create(model="m", input="a", extra_headers={"x-simulate-fail": "openai:model"})
        with pytest.raises(openai.APIError, match="had an error"):
            list(client.completions.create(model="m", prompt="a", stream=True, extra_headers={"x-simulate-fail": "error:3"}))
        with pytest.raises(openai.APIError, match="had an error"):
            list(client.responses.create(model="m", input="a", stream=True, extra_headers={"x-simulate-fail": "error:3"}))


def test_a_stalled_stream_is_given_up() -> None:
    asked: Any = {"model": "m", "max_tokens": 100, "messages": [USER], "timeout": 0.3}

    with (
        anthropic_client(Simulator()) as client,
        client.messages.stream(**asked, extra_headers={"x-simulate-fail": "stall:200"}) as stream,
        pytest.raises(httpx2.ReadTimeout),
    ):
        stream.get_final_message()
