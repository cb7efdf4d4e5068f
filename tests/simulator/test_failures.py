"""Every failure that has a name, in its provider's own words, and how a request asks for one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx
import pytest

from cachemw.simulator import DIALECTS, Simulator
from cachemw.simulator.failing import BARE, WITH_NUMBER
from cachemw.simulator.failures import ErrorAnswer, ErrorWithin
from tests.asgi_driver import Reply, call, call_and_leave
from tests.serving import serving_in_thread
from tests.simulator.requests import CHAT, ask, events_of, post

pytestmark = pytest.mark.anyio


class Row(NamedTuple):
    """A failure: its status, the word that a client knows it by and where it stands, and the fields that say more."""

    name: str
    status: int
    place: str
    word: Any
    fields: dict[str, str]


def row(name: str, status: int, place: str, word: Any, **fields: str) -> Row:
    return Row(name, status, place, word, {field.replace("_", "-"): value for field, value in fields.items()})


UNSUPPORTED = "store: property 'store' is unsupported"
ROWS = (
    row("cerebras:rate", 429, "/code", "request_quota_exceeded", retry_after="7"),
    row("cerebras:tokens", 429, "/code", "token_quota_exceeded", x_ratelimit_reset_tokens_minute="11.382867"),
    row("cerebras:quota", 429, "/code", "token_quota_exceeded", retry_after="86399"),
    row("cerebras:queue", 429, "/code", "queue_exceeded"),
    row("cerebras:payment", 402, "/code", "payment_required", x_should_retry="false"),
    row("cerebras:key", 401, "/code", "wrong_api_key"),
    row("cerebras:no-key", 403, "/detail", "Not authenticated"),
    row("cerebras:model", 404, "/code", "model_not_found"),
    row("cerebras:too-large", 400, "/code", "context_length_exceeded"),
    row("cerebras:unsupported", 400, "/message", UNSUPPORTED),
    row("cerebras:unprocessable", 422, "/code", "wrong_api_format"),
    row("openai:rate", 429, "/error/code", "rate_limit_exceeded", retry_after="2", retry_after_ms="1500"),
    row(
        "openai:tokens",
        429,
        "/error/type",
        "tokens",
        x_ratelimit_remaining_tokens="0",
        x_ratelimit_reset_tokens="1m6.5s",
    ),
    row("openai:insufficient_quota", 429, "/error/code", "insufficient_quota"),
    row("openai:billing", 429, "/error/code", "billing_hard_limit_reached"),
    row("openai:key", 401, "/error/code", "invalid_api_key"),
    row("openai:permission", 403, "/error/type", "invalid_request_error"),
    row("openai:country", 403, "/error/code", "unsupported_country_region_territory"),
    row("openai:model", 404, "/error/code", "model_not_found"),
    row("openai:too-large", 400, "/error/code", "context_length_exceeded"),
    row("openai:parameter", 400, "/error/code", "unsupported_parameter"),
    row("openai:value", 400, "/error/code", "unsupported_value"),
    row("openai:policy", 400, "/error/code", "content_policy_violation"),
    row("openai:filter", 400, "/error/code", "content_filter"),
    row("openai:slow-down", 503, "/error/code", "slow_down"),
    row("openai:overloaded", 503, "/error/code", "overloaded"),
    row("openai:server", 500, "/error/type", "server_error"),
    row("groq:tpm-too-large", 413, "/error/code", "rate_limit_exceeded", retry_after="1", x_ratelimit_remaining_tokens="6000"),
    row("groq:rate", 429, "/error/code", "rate_limit_exceeded", retry_after="5"),
    row("groq:rate-in-words", 429, "/error/type", "requests"),
    row("groq:daily", 429, "/error/code", "rate_limit_exceeded", retry_after="432"),
    row("groq:flex", 498, "/error/code", "capacity_exceeded"),
    row("groq:busy", 503, "/error/type", "internal_server_error"),
    row("groq:json", 400, "/error/code", "json_validate_failed"),
    row("groq:unsupported", 400, "/error/message", "`logprobs` is not supported with this model"),
    row("groq:property", 400, "/error/type", "invalid_request_error"),
    row("groq:key", 401, "/error/code", "invalid_api_key"),
    row("groq:model", 404, "/error/code", "model_not_found"),
    row("gemini:exhausted", 429, "/0/error/details/1/retryDelay", "52s"),
    row(
        "gemini:daily",
        429,
        "/0/error/details/0/violations/0/quotaId",
        "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
    ),
    row("gemini:unavailable", 503, "/0/error/status", "UNAVAILABLE"),
    row("gemini:key", 400, "/0/error/details/0/reason", "API_KEY_INVALID"),
    row("gemini:billing", 400, "/0/error/status", "FAILED_PRECONDITION"),
    row("gemini:permission", 403, "/0/error/status", "PERMISSION_DENIED"),
    row("gemini:too-large", 400, "/0/error/status", "INVALID_ARGUMENT"),
    row("gemini:model", 404, "/0/error/status", "NOT_FOUND"),
    row("deepinfra:busy", 429, "/error/message", "Model busy, retry later"),
    row("deepinfra:engine-overloaded", 429, "/error/type", "engine_overloaded"),
    row("deepinfra:key", 401, "/error/message", "User is not authenticated"),
    row("deepinfra:key-in-detail", 401, "/detail", "User is not authenticated"),
    row("deepinfra:balance", 402, "/detail/error", "Balance is too low: please add funds"),
    row("deepinfra:model", 404, "/error/message", "Model is not available"),
    row("mistral:rate", 429, "/code", "1300", x_ratelimitbysize_remaining_minute="0"),
    row("mistral:capacity", 429, "/code", "3505"),
    row("mistral:capacity-503", 503, "/message", "Service tier capacity exceeded for this model."),
    row("mistral:key", 401, "", {"detail": "Unauthorized"}),
    row("mistral:extra", 422, "/detail/0/type", "extra_forbidden"),
    row("mistral:extra-within", 422, "/message/detail/0/type", "extra_forbidden"),
    row("mistral:payment", 402, "/raw_status_code", 402),
    row("mistral:model", 404, "/type", "invalid_model"),
    row("xai:spent", 429, "/code", "Some resource has been exhausted"),
    row("xai:spent-403", 403, "/code", "The caller does not have permission to execute the specified operation"),
    row(
        "xai:no-credits",
        403,
        "/error",
        "Your newly created team doesn't have any credits yet. You can purchase credits.",
    ),
    row("xai:rate", 429, "/error", "Too many requests for team simulated and model simulated: 1 per second."),
    row("xai:argument", 400, "/error", "Argument not supported on this model: presencePenalty"),
    row("xai:parameter", 400, "/error", "Model simulated does not support parameter reasoningEffort."),
    row("xai:key", 400, "/error", "Incorrect API key provided. You can obtain one from the console."),
    row("xai:model", 404, "/code", "Some requested entity was not found"),
    row(
        "openrouter:rate",
        429,
        "/error/metadata/error_type",
        "rate_limit_exceeded",
        retry_after="9",
        x_ratelimit_remaining="0",
    ),
    row("openrouter:overloaded", 503, "/error/metadata/error_type", "provider_overloaded"),
    row("openrouter:unavailable", 502, "/error/metadata/error_type", "provider_unavailable"),
    row("openrouter:payment", 402, "/error/metadata/error_type", "payment_required"),
    row("openrouter:afford", 402, "/error/metadata", {"provider_name": None}),
    row("openrouter:too-large", 400, "/error/metadata/error_type", "context_length_exceeded"),
    row("openrouter:tokens", 400, "/error/metadata/error_type", "token_limit_exceeded"),
    row("openrouter:policy", 403, "/error/metadata/error_type", "content_policy_violation"),
    row("openrouter:refusal", 400, "/error/metadata/error_type", "refusal"),
    row("openrouter:guardrail", 403, "/error", {"message": "Request blocked by guardrail", "code": 403}),
    row("openrouter:key", 401, "/error/metadata/error_type", "authentication"),
    row("openrouter:model", 404, "/error/metadata/error_type", "not_found"),
    row("openrouter:no-endpoints", 404, "/error/message", "No endpoints found for simulated."),
    row(
        "openrouter:no-provider",
        503,
        "/error/message",
        "There is no available model provider that meets your routing requirements",
    ),
    row("anthropic:overloaded", 529, "/error/type", "overloaded_error", x_should_retry="true"),
    row(
        "anthropic:rate",
        429,
        "/error/type",
        "rate_limit_error",
        retry_after="12",
        anthropic_ratelimit_requests_remaining="0",
    ),
    row("anthropic:credit", 400, "/error/type", "invalid_request_error"),
    row("anthropic:key", 401, "/error/type", "authentication_error"),
    row("anthropic:permission", 403, "/error/type", "permission_error"),
    row("anthropic:model", 404, "/error/type", "not_found_error"),
    row("anthropic:context", 400, "/error/message", "prompt is too long: 210000 tokens > 200000 maximum"),
    row("anthropic:too-large", 413, "/error/type", "request_too_large"),
    row("anthropic:server", 500, "/error/type", "api_error"),
    row("anthropic:timeout", 504, "/error/type", "timeout_error"),
)


class Within(NamedTuple):
    """A failure inside a stream: how many events go before, how its own is called, and the word it is known by."""

    name: str
    status: int  # where the answer is no stream
    before: int
    event: str
    place: str
    word: Any


WITHIN = (
    Within("cerebras:mid-stream", 500, 5, "", "/status_code", 500),
    Within("openai:mid-stream", 500, 5, "", "/error/type", "server_error"),
    Within("groq:tool-use", 400, 5, "error", "/error/code", "tool_use_failed"),
    Within("openrouter:in-200", 200, 0, "", "/choices/0/finish_reason", "error"),
    Within("openrouter:mid-stream", 200, 5, "", "/error/metadata/error_type", "provider_unavailable"),
    Within("anthropic:overloaded-event", 529, 0, "error", "/error/type", "overloaded_error"),
    Within("anthropic:mid-stream", 529, 5, "error", "/error/type", "overloaded_error"),
)


def names(*kinds: type) -> set[str]:
    return {
        f"{provider}:{name}"
        for provider, dialect in DIALECTS.items()
        for name, failure in dialect.failures.items()
        if isinstance(failure, kinds)
    }


def test_the_tables_have_every_failure() -> None:
    assert {row.name for row in ROWS} == names(ErrorAnswer)
    assert {row.name for row in WITHIN} == names(ErrorWithin)


def at(place: str, content: Any) -> Any:
    """Return what stands at a JSON pointer."""
    for member in place.split("/")[1:]:
        content = content[int(member)] if isinstance(content, list) else content[member]
    return content


async def fail(name: str, app: Simulator | None = None, **members: Any) -> Reply:
    return await call(app or Simulator(), "POST", CHAT, ask(**members), [(b"x-simulate-fail", name.encode())])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("expected", ROWS, ids=lambda row: row.name)
async def test_a_provider_refuses_in_its_own_words(expected: Row, stream: bool) -> None:
    reply = await fail(expected.name, stream=stream)

    assert (reply.status, reply.complete) == (expected.status, True)
    assert reply.headers[b"content-type"] == b"application/json"
    assert at(expected.place, json.loads(reply.body)) == expected.word
    assert {name: reply.headers[name.encode()].decode() for name in expected.fields} == expected.fields
    assert len({name for name, _ in reply.raw_headers}) == len(reply.raw_headers)


@pytest.mark.parametrize("provider", DIALECTS)
async def test_who_refuses_has_the_fields_of_its_provider(provider: str) -> None:
    sound = await post(Simulator(dialect=provider))

    for name in DIALECTS[provider].failures:
        failed = await fail(f"{provider}:{name}")
        assert sound.headers.keys() <= failed.headers.keys()


def test_what_has_no_hint_has_none() -> None:
    """The recognisers take what stands there; a field too many would hide that a body alone says it."""
    hinted = {row.name for row in ROWS if "retry-after" in row.fields}

    for provider, dialect in DIALECTS.items():
        for name, failure in dialect.failures.items():
            fields = dict(failure.headers) if isinstance(failure, ErrorAnswer) else {}
            assert (b"retry-after" in fields) == (f"{provider}:{name}" in hinted)


@pytest.mark.parametrize("expected", WITHIN, ids=lambda row: row.name)
async def test_a_provider_breaks_off_a_stream_in_its_own_words(expected: Within) -> None:
    provider = expected.name.partition(":")[0]
    preamble = DIALECTS[provider].preamble.decode()
    sound = await post(Simulator(dialect=provider), stream=True)

    reply = await fail(expected.name, stream=True)

    *before, error = events_of(reply)
    named = f"event: {expected.event}\ndata: " if expected.event else ""
    assert (reply.status, reply.complete) == (200, True)
    assert reply.body.decode().removeprefix(preamble).startswith("event: " if not before and expected.event else "data: ")
    assert len(before) - preamble.count("\n\n") == expected.before
    assert before == events_of(sound)[: len(before)]
    assert error.startswith(named)
    assert at(expected.place, json.loads(error.removeprefix(named))) == expected.word


@pytest.mark.parametrize("expected", WITHIN, ids=lambda row: row.name)
async def test_the_same_without_a_stream_is_an_answer(expected: Within) -> None:
    reply = await fail(expected.name)

    assert reply.status == expected.status
    assert "choices" not in json.loads(reply.body)


@pytest.mark.parametrize(
    ("name", "choices"),
    [("no-choices", None), ("gemini:empty", None), ("no-content", "stop"), ("gemini:safety", "content_filter")],
)
async def test_a_200_can_say_nothing(name: str, choices: str | None) -> None:
    whole = json.loads((await fail(name)).body)
    *events, done = events_of(await fail(name, stream=True))

    entries = [entry for event in events for entry in json.loads(event)["choices"]]
    assert done == "[DONE]"
    assert whole["usage"]["completion_tokens"] == 0
    if choices is None:
        assert whole["choices"] == entries == []
    else:
        assert whole["choices"][0]["finish_reason"] == entries[-1]["finish_reason"] == choices
        assert not whole["choices"][0]["message"]["content"]
        assert not any(entry["delta"].get("content") for entry in entries)


@pytest.mark.parametrize(
    ("name", "status", "media_type"),
    [("html:502", 502, b"text/html"), ("html:525", 525, b"text/html"), ("empty:500", 500, b"text/plain")],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_stands_before_a_provider_speaks_no_json(name: str, status: int, media_type: bytes, stream: bool) -> None:
    reply = await fail(name, stream=stream)

    assert (reply.status, reply.headers[b"content-type"]) == (status, media_type)
    assert reply.headers[b"content-length"] == str(len(reply.body)).encode()
    assert reply.headers.keys() == {b"content-type", b"content-length"}
    assert (reply.body == b"") == name.startswith("empty")


async def test_an_error_can_be_huge() -> None:
    reply = await fail("huge-error")

    assert reply.status == 500
    assert len(reply.body) > 1_000_000


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_status_is_said_in_the_dialect_of_the_server(dialect: str) -> None:
    by_name = await fail("status:503", Simulator(dialect=dialect))
    by_member = await post(Simulator(dialect=dialect), simulate={"status": 503})

    assert by_name.status == 503
    assert by_name.body == by_member.body
    assert b"high traffic" in by_name.body


@pytest.mark.parametrize(
    ("name", "member"),
    [("cut:100", {"cut_after": 100}), ("error:3", {"error_after": 3}), ("status:418", {"status": 418})],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_number_is_that_of_the_member(name: str, member: dict[str, int], stream: bool) -> None:
    assert await fail(name, stream=stream) == await post(Simulator(), stream=stream, simulate=member)


async def test_a_stall_and_a_slow_first_token_take_their_time() -> None:
    stalled = await call_and_leave(Simulator(), "POST", CHAT, ask(), [(b"x-simulate-fail", b"stall:0")], after=1)
    slow = await fail("slow:0.05", stream=True)

    assert (stalled.status, stalled.body) == (200, b"")
    assert slow.complete
    assert slow.arrivals[0] >= 0.05


async def test_a_request_may_name_its_failure_itself() -> None:
    by_member = await post(Simulator(), simulate={"fail": "groq:rate"})

    assert by_member.status == 429
    assert by_member.body == (await fail("groq:rate")).body


async def test_the_field_goes_before_the_member() -> None:
    assert (await fail("status:418", simulate={"fail": "groq:rate"})).status == 418
    assert (await fail("ok", simulate={"fail": "groq:rate"})).status == 200


@pytest.mark.parametrize("name", ["boom", "groq", "groq:", "groq:boom", "cut", "cut:", "cut:-1", "html:200", "ok:1", ""])
async def test_a_name_that_nothing_has_is_refused_in_plain_words(name: str) -> None:
    by_field = await fail(name)
    by_member = await post(Simulator(), simulate={"fail": name})

    assert by_field.status == by_member.status == 400
    assert by_field.body == by_member.body
    assert f"'{'groq:' if name == 'groq' else name}'" in json.loads(by_field.body)["message"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving_in_thread(Simulator()) as served:
        yield f"{served}{CHAT}"


@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_can_be_closed_without_a_word(url: str, stream: bool) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(url, content=ask(stream=stream), headers={"x-simulate-fail": "reset"}, trust_env=False)


def test_a_server_can_accept_and_say_nothing(url: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url, content=ask(), headers={"x-simulate-fail": "silent"}, timeout=0.2, trust_env=False)


async def test_who_leaves_a_silent_server_is_not_waited_for() -> None:
    with anyio.fail_after(10):
        reply = await call_and_leave(Simulator(), "POST", CHAT, ask(), [(b"x-simulate-fail", b"silent")], after=0)

    assert reply.status is None


def test_the_page_names_every_failure() -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()

    for provider, dialect in DIALECTS.items():
        assert f"| `{provider}` | {', '.join(f'`{name}`' for name in dialect.failures)} |" in page
    for name in (*BARE, *WITH_NUMBER):
        assert f"`{name}" in page
