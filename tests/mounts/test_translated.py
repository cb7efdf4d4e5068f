"""rulings F2, F3, T9: an answer in another dialect than its upstream's, from every mount: live, stored, and in both kinds."""

import json
import threading
from dataclasses import replace
from itertools import count

import pytest

from cachemw.limits import RECALL_BYTES
from tests.endpoints import messages as anthropics
from tests.mounts import test_scenarios as story
from tests.mounts.conftest import note_recalled, status_of
from tests.mounts.gates import Gate
from tests.mounts.translating import MESSAGES, USAGE, WHOLE_ANSWER, Client, Front, InSteps
from tests.upstream import DONE, EVENT_STREAM, Told, always, completion, event

pytestmark = pytest.mark.anyio

MISS = "fwd=miss; fwd-status=200; stored; key"
HIT = "hit; ttl=86400; key"


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_a_miss_is_read_and_so_is_every_hit(front: Front, stream: bool) -> None:
    """T9."""
    miss, *hits = [await front.ask(stream=stream) for _ in range(4)]

    assert front.client.read(miss.body, stream) == WHOLE_ANSWER
    assert front.client.read(hits[0].body, stream) == WHOLE_ANSWER
    assert [hit.body for hit in hits] == [hits[0].body] * 3
    assert status_of(miss) == (MISS.replace("stored; ", "") if stream else MISS)
    assert [status_of(hit) for hit in hits] == [HIT] * 3
    assert front.upstream.calls == 1


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_both_clients_have_one_record(front: Front, stream: bool) -> None:
    """ruling F2."""
    replies = [await front.ask(client, stream=stream) for client in (front.client, front.spoken)]
    again = await front.ask(front.spoken, stream=not stream)

    assert [client.read(reply.body, stream) for client, reply in zip((front.client, front.spoken), replies, strict=True)] == [
        WHOLE_ANSWER
    ] * 2
    assert status_of(replies[1]) == HIT
    assert status_of(again) == HIT + "; detail=transcoded"
    assert front.upstream.calls == 1


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_the_record_of_who_speaks_as_the_upstream_serves_the_other(front: Front, stream: bool) -> None:
    """ruling F2."""
    await front.ask(front.spoken, stream=stream)
    same, other = await front.ask(stream=stream), await front.ask(stream=not stream)

    assert front.client.read(same.body, stream) == WHOLE_ANSWER
    assert front.client.read(other.body, not stream) == WHOLE_ANSWER
    assert [status_of(same), status_of(other)] == [HIT, HIT + "; detail=transcoded"]
    assert front.upstream.calls == 1


SCENARIOS = (
    "age goes up",
    "fresh while age is below the lifetime",
    "read stores nothing",
    "refresh replaces",
    "replay serves any age and never forwards",
    "no-store",
    "no-cache replaces",
    "only-if-cached",
    "only-if-cached with max-stale",
    "replay or only-if-cached with no-cache",
    "max-stale",
    "stale-if-error",
    "stale-while-revalidate",
    "sample",
    "namespace",
)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_it_is_the_same_story_as_in_the_upstreams_own_dialect(front: Front, name: str, stream: bool) -> None:
    """S1, R4, E1, E2: and what is no answer is an error in the caller's shape."""
    if name == "stale-if-error" and front.is_routed:
        pytest.skip("a target of a gateway that fails is not asked for a while")
    front.mount(stale_while_revalidate=100.0 if name == "stale-while-revalidate" else 0.0)
    for number, step in enumerate(story.SCENARIOS[name]):
        front.driver.clock = lambda at=step.at: 1_000_000.0 + at
        failing = Told((b'{"error":{"message":"no","type":"x"}}',), status=step.fails or 200)
        front.upstream.respond = front.spoken.answers if step.fails is None else always(failing)
        control = () if step.cache_control is None else ((b"cache-control", step.cache_control.encode()),)

        reply = await front.ask(control=step.control, stream=stream, headers=control)

        says = step.pulled if step.pulled is not None and front.is_pulled else step.says
        expected = says.replace("stored; ", "") if stream else says
        assert (status_of(reply), front.upstream.calls, reply.status) == (expected, step.calls, step.status), number
        assert reply.complete
        if reply.status == 200:
            assert front.client.read(reply.body, stream) == WHOLE_ANSWER
        else:
            front.client.error_in(reply.body)
        assert reply.headers.get(b"age") == (b"%d" % step.age if step.age is not None else reply.headers.get(b"age"))


# Recall.


@pytest.mark.parametrize("recalls", [True, False], ids=["recalled", "read"])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_hits_are_equal_byte_for_byte_recalled_or_not(front: Front, stream: bool, recalls: bool) -> None:
    """T9, C1."""
    front.limits = replace(front.limits, recall_bytes=RECALL_BYTES if recalls else 0)
    front.mount()
    found = note_recalled(front.driver)
    await front.ask(front.spoken, stream=stream, key=None)

    hits = [await front.ask(stream=stream, key=None) for _ in range(4)]
    other_kind = [await front.ask(stream=not stream, key=None) for _ in range(3)]
    spoken = await front.ask(front.spoken, stream=stream, key=None)

    assert len({hit.body for hit in hits}) == len({hit.body for hit in other_kind}) == 1
    assert front.client.read(hits[0].body, stream) == front.client.read(other_kind[0].body, not stream) == WHOLE_ANSWER
    assert front.spoken.read(spoken.body, stream) == WHOLE_ANSWER
    assert any(found) == recalls
    assert front.upstream.calls == 1


async def test_a_purged_answer_is_recalled_no_more(front: Front) -> None:
    """C2."""
    for _ in range(3):
        await front.ask()

    front.store.clear()

    assert status_of(await front.ask()) == MISS


# Paced.


async def test_a_stream_is_played_at_the_pace_of_the_recording(front: Front) -> None:
    """S9: event by event, and the same bytes as at once."""
    steps = InSteps(front.spoken.event_stream())
    front.upstream.respond = always(steps.told)
    ticking = count(1_000_000.0, 0.004)
    front.driver.clock = lambda: next(ticking)
    await front.ask(stream=True, hears=steps.hear)
    at_once = await front.ask(stream=True)

    paced = await front.ask(control="speed=1", stream=True)

    assert paced.body == at_once.body
    assert paced.complete
    assert len(at_once.chunks) == 1
    assert len(paced.chunks) > 4
    assert all(chunk.endswith(b"\n\n") for chunk in paced.chunks)
    assert paced.arrivals[-1] > 0.015


# Live.


@pytest.mark.parametrize("control", ["on", None], ids=["kept", "passed on"])
async def test_each_piece_reaches_the_client_before_the_upstream_says_the_next(front: Front, control: str | None) -> None:
    """S6: without it the upstream would wait for ever."""
    steps = InSteps(front.spoken.event_stream())
    front.upstream.respond = always(steps.told)

    reply = await front.ask(control=control, stream=True, hears=steps.hear)

    assert reply.complete
    assert front.client.read(reply.body, True) == WHOLE_ANSWER


# What cannot be said.


def untranslatable_answer(client: Client, stream: bool) -> Told:
    """Return an answer that is a good one to who speaks as the upstream, and cannot be said to this client."""
    if client is MESSAGES:
        said = {"role": "assistant", "content": "x", "audio": {"id": "a"}}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        pieces = [event(said), event({}, "stop", usage=USAGE), DONE]
        return Told(pieces, headers=EVENT_STREAM) if stream else completion(choices=[choice], usage=USAGE)
    image = {"type": "image", "source": {}}
    if not stream:
        return Told((json.dumps(anthropics.message(anthropics.TEXT, image)).encode(),))
    events = anthropics.told(*anthropics.HELLO, anthropics.opened(1, **image), anthropics.stopped(1))
    return Told((anthropics.stream_of(events),), headers=EVENT_STREAM)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_what_cannot_be_said_is_stored_for_who_speaks_as_the_upstream(front: Front, stream: bool) -> None:
    """ruling F3: to the other it is an error in his own shape, live, and a miss again; in replay there is no such answer."""
    told = untranslatable_answer(front.client, stream)
    front.upstream.respond = always(told)

    live = await front.ask(stream=stream)
    spoken = await front.ask(front.spoken, stream=stream)
    again = await front.ask(stream=stream)
    replayed = await front.ask(stream=stream, control="mode=replay")

    assert (spoken.status, spoken.body) == (200, b"".join(part for part in told.parts if isinstance(part, bytes)))
    assert status_of(spoken) == HIT
    for reply in (live, again):
        if stream:
            assert not reply.complete
            assert front.client.last not in reply.body
            assert "cannot be said" in front.client.error_event_in(events_in(reply.body)[-1])[1]
        else:
            assert (reply.status, reply.complete) == (502, True)
            assert "cannot be said" in front.client.error_in(reply.body)[1]
    assert "detail=other-dialect" in status_of(again)
    assert (replayed.status, status_of(replayed)) == (504, 'detail="not-cached, other-dialect"')
    front.client.error_in(replayed.body)
    assert front.upstream.calls == 2


def events_in(body: bytes) -> list[bytes]:
    """Return the events of a stream, as bytes."""
    return [event + b"\n\n" for event in body.split(b"\n\n") if event]


# The end.


async def test_the_record_is_there_before_the_end_leaves(front: Front) -> None:
    """R1b, P2: SDKs hang up at it."""
    heard, seen = bytearray(), list[tuple[bool, int]]()

    def hear(chunk: bytes) -> None:
        heard.extend(chunk)
        seen.append((front.client.last in heard, len(list(front.store.scan()))))

    reply = await front.ask(stream=True, hears=hear)

    assert front.client.read(reply.body, True) == WHOLE_ANSWER
    assert {count for is_over, count in seen if is_over} == {1}


@pytest.mark.parametrize("control", ["on", None], ids=["kept", "passed on"])
async def test_an_upstream_that_stays_behind_its_end_keeps_nobody_waiting(front: Front, control: str | None) -> None:
    """S6: some wait for their client to hang up."""
    front.limits = replace(front.limits, done_hold=0.05)
    front.mount()
    end = Gate()
    front.upstream.respond = always(Told([*front.spoken.event_stream(), end], headers=EVENT_STREAM))
    heard, came = bytearray(), list[bool]()

    def hear(chunk: bytes) -> None:
        heard.extend(chunk)
        if front.client.last in heard:
            came.append(end.is_set())
            end.set()

    too_late = threading.Timer(2.0, end.set)
    too_late.start()
    reply = await front.ask(control=control, stream=True, hears=hear)
    too_late.cancel()

    assert front.client.read(reply.body, True) == WHOLE_ANSWER
    assert came[:1] == [False]
