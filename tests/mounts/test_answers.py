"""What a client is given, field by field and byte by byte, in every mount."""

import json
from dataclasses import replace
from typing import Any

import pytest

from cachemw import Policy
from tests.asgi_driver import Reply
from tests.mounts.conftest import Mounted, status_of
from tests.mounts.mounting import TRANSPORTS
from tests.upstream import DONE, EVENT_STREAM, JSON, Asked, Told, always, completion, event, prompt, stream

pytestmark = pytest.mark.anyio

SERVERS_OWN = {b"date", b"server", b"transfer-encoding", b"connection"}
USAGE: dict[str, Any] = {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
HIT = "hit; ttl=86400; key"
TRANSCODED = f"{HIT}; detail=transcoded"


def fields_of(reply: Reply) -> dict[bytes, bytes]:
    """Return the header fields but for those a server adds, and without the key; none comes twice."""
    fields = [(name, value) for name, value in reply.raw_headers if name not in SERVERS_OWN]
    assert len(fields) == len(dict(fields))
    return dict(fields) | ({b"cache-status": status_of(reply).encode()} if b"cache-status" in dict(fields) else {})


def body_of(told: Told) -> bytes:
    return b"".join(part for part in told.parts if isinstance(part, bytes))


async def test_an_answer_of_json_has_these_fields(mounted: Mounted) -> None:
    """E1, S9: what the upstream says passes on a miss; a hit has what is stored of it, and its age."""
    told = completion()
    mounted.upstream.respond = always(replace(told, headers=(*told.headers, (b"x-request-id", b"r1"))))
    kept = {b"content-type": b"application/json", b"cache-control": b"private, no-store"}
    length = {b"content-length": b"%d" % len(body_of(told))}

    miss, hit = [await mounted.ask() for _ in range(2)]

    passed = {b"x-request-id": b"r1", b"cache-status": b"fwd=miss; fwd-status=200; stored; key"}
    assert fields_of(miss) == kept | length | passed
    assert fields_of(hit) == kept | length | {b"cache-status": HIT.encode(), b"age": b"0"}
    assert miss.body == hit.body == body_of(told)


async def test_a_cookie_that_comes_with_an_answer_does_not_make_the_same_request_another(mounted: Mounted) -> None:
    """S1: clients of httpx send back what they were given, and APIs behind Cloudflare give `__cf_bm` with every answer."""
    told = completion()
    mounted.upstream.respond = always(replace(told, headers=(*told.headers, (b"set-cookie", b"__cf_bm=x; path=/"))))

    miss, hit = [await mounted.ask() for _ in range(2)]

    assert miss.headers[b"set-cookie"] == b"__cf_bm=x; path=/"
    assert b"set-cookie" not in hit.headers
    assert status_of(hit) == HIT


async def test_an_answer_of_events_has_these_fields(mounted: Mounted) -> None:
    """E1, H8."""
    told = stream()
    mounted.upstream.respond = always(replace(told, headers=(*told.headers, (b"cache-control", b"no-cache"))))
    kept = {
        b"content-type": b"text/event-stream; charset=utf-8",
        b"cache-control": b"private, no-store, no-transform",
        b"x-accel-buffering": b"no",
    }

    miss, hit = [await mounted.ask("on", prompt(stream=True)) for _ in range(2)]

    assert fields_of(miss) == kept | {b"cache-status": b"fwd=miss; fwd-status=200; key"}
    length = {b"content-length": hit.headers[b"content-length"]} if b"content-length" in hit.headers else {}
    assert fields_of(hit) == kept | length | {b"cache-status": HIT.encode(), b"age": b"0"}
    assert miss.body == hit.body == body_of(told)


async def test_answers_of_ours_have_these_fields(mounted: Mounted) -> None:
    """E7, E6."""
    invalid = b"detail=invalid-cachemw"
    for control, status, says in (
        ("ttl=-1", 400, invalid),
        ("replay", 400, invalid),
        ("mode=replay", 504, b"detail=not-cached"),
    ):
        reply = await mounted.ask(control)

        assert reply.status == status
        assert fields_of(reply) == {
            b"content-type": b"application/json",
            b"content-length": b"%d" % len(reply.body),
            b"x-should-retry": b"false",
            b"cache-status": says,
            b"cache-control": b"private, no-store",
        }
    assert mounted.upstream.calls == 0


async def test_without_opting_in_an_answer_is_what_it_was(mounted: Mounted) -> None:
    """D9: relayed, whatever it says."""
    told = replace(completion(), headers=(*JSON, (b"cache-control", b"no-cache"), (b"x-request-id", b"r1")))
    mounted.upstream.respond = always(told)

    reply = await mounted.ask(None)

    assert fields_of(reply) == dict(told.headers)
    assert reply.body == body_of(told)
    assert {report.outcome for report in mounted.reports} <= {"passed"}


async def test_what_a_mount_does_unless_told_otherwise(mounted: Mounted) -> None:
    """E2: to put a transport into a client is to opt in; elsewhere each request does."""
    mounted.mount_by_default()

    says = [status_of(await mounted.ask(control)) for control in (None, None, "off")]

    is_on = mounted.kind in TRANSPORTS
    assert says == (["fwd=miss; fwd-status=200; stored; key", HIT, ""] if is_on else ["", "", ""])
    assert mounted.upstream.calls == (2 if is_on else 3)


async def test_what_is_not_chat_loses_the_control_header_and_passes(mounted: Mounted) -> None:
    """Clients put it in their defaults; who mounts no app is told."""
    reply = await mounted.ask("on", path="/v1/images/generations?a=b")

    assert (reply.status, reply.body) == (200, completion("you said hi").parts[0])
    assert mounted.upstream.asked[0].header(b"cachemw") is None
    assert (mounted.upstream.asked[0].path, mounted.upstream.asked[0].query) == ("/v1/images/generations", b"a=b")
    tells = mounted.kind == "proxy" or mounted.kind in TRANSPORTS
    assert status_of(reply) == ("fwd=bypass; detail=other-path" if tells else "")
    assert not list(mounted.store.scan())


async def test_what_opts_in_is_not_sent_on(mounted: Mounted) -> None:
    """K9: every other byte is."""
    body = prompt("hé", seed=2**60) + b"\n"

    await mounted.ask("on, ttl=5", body)

    assert mounted.upstream.asked[0].header(b"cachemw") is None
    assert mounted.upstream.asked[0].header(b"authorization") == b"Bearer alice"
    assert mounted.upstream.asked[0].body == body


@pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
async def test_an_upstreams_error_passes_verbatim(mounted: Mounted, status: int, streaming: bool) -> None:
    """H10, R2: with `Retry-After` and rate limits, and it is not kept."""
    own = ((b"retry-after", b"7"), (b"x-ratelimit-remaining-requests", b"0"), (b"x-should-retry", b"true"))
    told = Told((b'{"error": {"message": "no"}}',), status, (*JSON, *own))
    mounted.upstream.respond = always(told)

    replies = [await mounted.ask("on", prompt(stream=streaming)) for _ in range(2)]

    for reply in replies:
        assert (reply.status, reply.body, reply.complete) == (status, told.parts[0], True)
        assert fields_of(reply).items() >= dict(told.headers).items()
        detail = "" if streaming and status == 200 else "; detail=not-200"
        assert status_of(reply) == f"fwd=miss; fwd-status={status}; key{detail}"
    assert mounted.upstream.calls == 2
    assert not list(mounted.store.scan())


def by_kind(asked: Asked) -> Told:
    """Answer with usage, as JSON, and as a stream that was asked for it."""
    body = json.loads(asked.body)
    if not body.get("stream"):
        return completion("hello", **USAGE)
    usage = [event({}, choices=[], **USAGE)] if body.get("stream_options") else []
    return Told([event({"role": "assistant", "content": "hello"}), event({}, "stop"), *usage, DONE], headers=EVENT_STREAM)


STREAMED: dict[str, Any] = {"stream": True}
WITH_USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


async def test_a_completion_answers_streams_of_either_kind(mounted: Mounted) -> None:
    """S4, S5: with usage where that is due, and the same again from what was derived."""
    mounted.upstream.respond = by_kind
    await mounted.ask("on")

    plain, due, again = [await mounted.ask("on", prompt(**kind)) for kind in (STREAMED, WITH_USAGE, STREAMED)]

    assert [status_of(reply) for reply in (plain, due, again)] == [TRANSCODED] * 3
    assert b"hello" in plain.body
    assert (b'"total_tokens":3' in plain.body, b'"total_tokens":3' in due.body) == (False, True)
    assert plain.body.endswith(DONE)
    assert again.body == plain.body
    assert mounted.upstream.calls == 1


async def test_a_stream_with_usage_answers_every_other_kind(mounted: Mounted) -> None:
    """S4, S5."""
    mounted.upstream.respond = by_kind
    await mounted.ask("on", prompt(**WITH_USAGE))

    whole, plain = await mounted.ask("on"), await mounted.ask("on", prompt(stream=True))

    assert [status_of(whole), status_of(plain)] == [TRANSCODED] * 2
    completed = json.loads(whole.body)
    assert (completed["choices"][0]["message"]["content"], completed["usage"]) == ("hello", USAGE["usage"])
    assert b"total_tokens" not in plain.body
    assert mounted.upstream.calls == 1


async def test_a_stream_without_usage_does_not_answer_who_is_due_it(mounted: Mounted) -> None:
    """S5: a loss is a miss."""
    mounted.upstream.respond = by_kind
    await mounted.ask("on", prompt(stream=True))

    replies = [await mounted.ask("on", prompt(**WITH_USAGE)), await mounted.ask("on")]

    assert [status_of(reply) for reply in replies] == ["fwd=miss; fwd-status=200; key; detail=no-usage", TRANSCODED]
    assert mounted.upstream.calls == 2


async def test_what_is_larger_than_a_record_may_be_passes_whole(mounted: Mounted) -> None:
    """D7."""
    mounted.mount(Policy(max_record_bytes=300))
    told = completion("x" * 1_000)
    mounted.upstream.respond = always(told)

    reply = await mounted.ask()

    assert (reply.body, reply.complete) == (body_of(told), True)
    assert status_of(reply) == "fwd=miss; fwd-status=200; key; detail=record-too-large"
    assert not list(mounted.store.scan())
