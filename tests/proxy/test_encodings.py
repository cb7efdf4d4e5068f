"""Content codings: whatever the upstream speaks, what the client decodes is what the upstream encoded (H9)."""

import gzip
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard

from cachemw.cache import record as codec
from tests.proxy.conftest import ALICE, ON, Place, status_of
from tests.upstream import EVENT_STREAM, JSON, Asked, Told, completion, prompt, stream_events

pytestmark = pytest.mark.anyio

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": lambda body: gzip.compress(body, mtime=0),
    "br": brotli.compress,
    "zstd": zstandard.compress,
}
BODIES = {True: b": caf\xc3\xa9\n\n" + b"".join(stream_events("one two three " * 50)), False: b"".join(completion().parts)}  # type: ignore[arg-type]
KINDS = pytest.mark.parametrize("streaming", [False, True], ids=["JSON", "stream"])
ENCODED = pytest.mark.parametrize("coding", CODINGS)


def speaking(coding: str, streaming: bool, only_if_accepted: bool) -> Callable[[Asked], Told]:
    """Answer in a content coding, as a considerate upstream does, or a stubborn one."""

    def respond(asked: Asked) -> Told:
        is_accepted = coding.encode() in (asked.header(b"accept-encoding") or b"")
        used = coding if is_accepted or not only_if_accepted else "identity"
        headers = (*(EVENT_STREAM if streaming else JSON), (b"vary", b"Accept-Encoding"))
        said = headers if used == "identity" else (*headers, (b"content-encoding", used.encode()))
        body = CODINGS[used](BODIES[streaming])
        return Told((body[:20], body[20:]), headers=said)

    return respond


@KINDS
@ENCODED
async def test_miss_and_hit_decode_to_what_the_upstream_said(place: Place, coding: str, streaming: bool) -> None:
    """S9, H9, I5: what is recorded is asked for, and comes, without coding; the record has none."""
    place.upstream.respond = speaking(coding, streaming, only_if_accepted=True)

    replies = [await place.ask(prompt(stream=streaming), {**ON, "accept-encoding": coding}) for _ in range(2)]

    assert [status_of(reply) for reply in replies] == [
        f"fwd=miss; fwd-status=200;{'' if streaming else ' stored;'} key",
        "hit; ttl=86400; key",
    ]
    assert [reply.content for reply in replies] == [BODIES[streaming]] * 2
    assert all("content-encoding" not in reply.headers for reply in replies)
    assert [asked.header(b"accept-encoding") for asked in place.upstream.asked] == [b"identity"]
    assert codec.decode(place.records()[0]).body == BODIES[streaming]


@KINDS
@ENCODED
@pytest.mark.parametrize(
    "headers",
    [ALICE, {**ON, "cache-control": "no-store"}, {**ON, "cachemw": "mode=read"}],
    ids=["not opted in", "no-store", "read"],
)
async def test_what_is_not_recorded_comes_in_the_coding_the_client_chose(
    place: Place, coding: str, streaming: bool, headers: dict[str, str]
) -> None:
    """S9, H9."""
    place.upstream.respond = speaking(coding, streaming, only_if_accepted=True)

    reply = await place.ask(prompt(stream=streaming), {**headers, "accept-encoding": coding})

    assert reply.content == BODIES[streaming]
    assert reply.headers.get("content-encoding", "identity") == coding
    assert place.upstream.asked[0].header(b"accept-encoding") == coding.encode()


@KINDS
@ENCODED
async def test_a_coding_that_nobody_asked_for_is_passed_on_and_not_stored(place: Place, coding: str, streaming: bool) -> None:
    """H9, R2: byte for byte; a client that sent no such thing would not understand it from the store either."""
    place.upstream.respond = speaking(coding, streaming, only_if_accepted=False)

    replies = [await place.ask(prompt(stream=streaming)) for _ in range(2)]

    assert [reply.content for reply in replies] == [BODIES[streaming]] * 2
    if coding == "identity":
        assert (place.upstream.calls, len(place.records())) == (1, 1)
        return
    assert [status_of(reply) for reply in replies] == ["fwd=miss; fwd-status=200; key; detail=encoded-answer"] * 2
    assert [reply.headers["content-encoding"] for reply in replies] == [coding] * 2
    assert (place.upstream.calls, len(place.records())) == (2, 0)


@KINDS
@ENCODED
async def test_a_coded_answer_passes_undecoded(place: Place, coding: str, streaming: bool) -> None:
    """S9: the very bytes."""
    place.upstream.respond = speaking(coding, streaming, only_if_accepted=False)

    for headers in (ALICE, ON):
        async with place.client.stream(
            "POST", "/v1/chat/completions", content=prompt(stream=streaming), headers=headers
        ) as reply:
            raw = b"".join([piece async for piece in reply.aiter_raw()])

        assert raw == CODINGS[coding](BODIES[streaming])


async def test_a_client_that_takes_no_coding_gets_none_from_what_one_that_does_had_stored(place: Place) -> None:
    """H9: and the reverse; accept-encoding is not in the key."""
    place.upstream.respond = speaking("gzip", streaming=False, only_if_accepted=True)

    first = await place.ask(headers={**ON, "accept-encoding": "gzip"})
    second = await place.ask(headers={**ON, "accept-encoding": "identity"})

    assert status_of(second) == "hit; ttl=86400; key"
    assert first.content == second.content == BODIES[False]
    assert "content-encoding" not in second.headers
