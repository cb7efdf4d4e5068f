"""R1b, P2: clients of every endpoint hang up at the end of a stream; what they have read by then is stored by then."""

import json
import threading
from dataclasses import dataclass

import pytest

from tests.endpoints import messages, responding
from tests.mounts.conftest import Mounted, status_of
from tests.mounts.gates import Gate
from tests.mounts.mounting import AROUND_AN_APP, PATH
from tests.upstream import DONE, EVENT_STREAM, Told, always, event, prompt, stream_events

pytestmark = pytest.mark.anyio


@dataclass(frozen=True, slots=True)
class Streaming:
    """A stream of one endpoint, and the request for it. `last` begins the event at which its clients hang up."""

    path: str
    asks: bytes
    events: list[bytes]
    last: bytes


def _completion() -> Streaming:
    def piece(text: str, reason: str | None = None) -> bytes:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        return event({}, choices=[choice], object="text_completion")

    asks = json.dumps({"model": "m", "prompt": "hi", "stream": True}).encode()
    return Streaming("/v1/completions", asks, [piece("one "), piece("two", "stop"), DONE], DONE.strip())


def _message() -> Streaming:
    events = [messages.stream_of([one]) for one in messages.told(*messages.HELLO)]
    asks = json.dumps(messages.asked(stream=True)).encode()
    return Streaming("/v1/messages", asks, events, b"event: message_stop")


def _response() -> Streaming:
    events = [responding.body_of([one]) for one in responding.told(responding.HELLO)]
    return Streaming("/v1/responses", responding.asked(stream=True), events, b"event: response.completed")


STREAMS = {
    "chat": Streaming(PATH, prompt(stream=True), stream_events(), DONE.strip()),
    "completions": _completion(),
    "messages": _message(),
    "responses": _response(),
}
EACH = pytest.mark.parametrize("streaming", STREAMS.values(), ids=STREAMS)


@EACH
@pytest.mark.parametrize("size", [0, 1, 7], ids=["event by event", "byte by byte", "in awkward pieces"])
async def test_the_record_is_there_before_the_end_leaves(mounted: Mounted, streaming: Streaming, size: int) -> None:
    whole = b"".join(streaming.events)
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)] if size else streaming.events
    mounted.upstream.respond = always(Told(pieces, headers=EVENT_STREAM))
    heard, seen = bytearray(), list[tuple[bool, int]]()

    def hear(chunk: bytes) -> None:
        heard.extend(chunk)
        seen.append((streaming.last in heard, len(list(mounted.store.scan()))))

    reply = await mounted.ask("on", streaming.asks, path=streaming.path, hears=hear)
    again = await mounted.ask("on", streaming.asks, path=streaming.path)

    assert reply.body == again.body == whole
    assert {count for is_over, count in seen if is_over} == {1}
    assert status_of(again).startswith("hit")


@EACH
async def test_an_end_is_not_held_for_as_long_as_an_upstream_stays(mounted: Mounted, streaming: Streaming) -> None:
    """S6: some upstreams wait for their client to hang up."""
    if mounted.kind == AROUND_AN_APP[1]:
        pytest.skip("an app that runs in the server's own thread cannot be interrupted there")
    mounted.limit(done_hold=0.1)
    end = Gate()
    mounted.upstream.respond = always(Told([*streaming.events, end], headers=EVENT_STREAM))
    heard, came = bytearray(), list[bool]()

    def hear(chunk: bytes) -> None:
        heard.extend(chunk)
        if streaming.last in heard:
            came.append(end.is_set())
            end.set()

    too_late = threading.Timer(2.0, end.set)
    too_late.start()
    reply = await mounted.ask("on", streaming.asks, path=streaming.path, hears=hear)
    too_late.cancel()

    assert reply.body == b"".join(streaming.events)
    assert came[:1] == [False]


@EACH
async def test_a_stream_without_its_end_is_shown_none_and_not_kept(mounted: Mounted, streaming: Streaming) -> None:
    """R1."""
    for ends in (True, False):
        mounted.upstream.respond = always(Told(streaming.events[:-1], headers=EVENT_STREAM, ends=ends))

        reply = await mounted.ask("on", streaming.asks, path=streaming.path)

        assert reply.complete == ends
        assert streaming.last not in reply.body
        assert not list(mounted.store.scan())
