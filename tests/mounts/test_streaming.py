"""Streams through every mount, judged by when bytes arrive: the upstream is held at barriers."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import anyio
import httpx
import httpx2
import pytest
from starlette.types import Message

from cachemw import Limits, Policy
from cachemw.cache.record import decode
from cachemw.limits import PIECE_BYTES
from tests.asgi_driver import scope_for
from tests.mounts.conftest import CREDENTIAL, Mounted, status_of
from tests.mounts.gates import Gate
from tests.mounts.mounting import ASGI, PATH, TRANSPORTS
from tests.mounts.wsgi_upstream import BrokenOffError
from tests.upstream import DONE, EVENT_STREAM, JSON, Part, Told, always, completion, event, prompt, stream_events

pytestmark = pytest.mark.anyio

STREAM = prompt(stream=True)
BROKEN_OFF = (httpx.RemoteProtocolError, httpx2.RemoteProtocolError, BrokenOffError)


@dataclass(slots=True)
class Listener:
    """A client that hands over every message of the response as it comes, and can leave."""

    body: bytes = STREAM
    control: bytes = b"on"
    messages: list[Message] = field(default_factory=list)
    news: anyio.Event = field(default_factory=anyio.Event)
    gone: anyio.Event = field(default_factory=anyio.Event)
    has_asked: bool = False

    async def listen(self, mounted: Mounted) -> None:
        headers = [(b"content-type", b"application/json"), CREDENTIAL, (b"cachemw", self.control)]
        await mounted.app(scope_for("POST", PATH, headers), self._receive, self._send)

    async def hears(self, expected: bytes) -> None:
        """Wait until just these bytes have come."""
        with anyio.fail_after(5):
            while self.heard() != expected:
                await self.news.wait()

    async def hears_head(self) -> dict[bytes, bytes]:
        with anyio.fail_after(5):
            while not self.messages:
                await self.news.wait()
        return dict(self.messages[0]["headers"])

    def heard(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def is_over(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get("more_body", True)

    async def _receive(self) -> Message:
        if not self.has_asked:
            self.has_asked = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        if self.gone.is_set():
            raise OSError("the client left")  # ASGI 2.4
        self.messages.append(message)
        news, self.news = self.news, anyio.Event()
        news.set()


def held(events: list[bytes]) -> tuple[list[Part], list[anyio.Event]]:
    """Put a barrier before each event, and one before the end."""
    gates = [anyio.Event() for _ in range(len(events) + 1)]
    parts: list[Part] = []
    for gate, chunk in zip(gates, events, strict=False):
        parts += [gate, chunk]
    return [*parts, gates[-1]], gates


async def test_each_event_of_a_miss_arrives_before_the_next_is_made(mounted_here: Mounted) -> None:
    """S6, S9, H8: but for the bytes from [DONE] on, which wait for the upstream's end and the record (P2)."""
    events = stream_events("one two three")
    parts, gates = held(events)
    mounted_here.upstream.respond = always(Told(parts, headers=EVENT_STREAM))
    listener = Listener()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.listen, mounted_here)
        head = await listener.hears_head()
        for number, gate in enumerate(gates[:-2], 1):
            gate.set()
            await listener.hears(b"".join(events[:number]))
        gates[-2].set()  # [DONE]
        await anyio.sleep(0.05)
        assert listener.heard() == b"".join(events[:-1])
        assert not list(mounted_here.store.scan())
        gates[-1].set()  # the end
        await listener.hears(b"".join(events))
        assert len(list(mounted_here.store.scan())) == 1

    assert head[b"x-accel-buffering"] == b"no"
    assert listener.is_over


@pytest.mark.parametrize("control", ["on", "on, mode=read", None], ids=["opted in", "read", "not opted in"])
async def test_no_event_waits_for_the_next(mounted: Mounted, control: str | None) -> None:
    """S6, P3: the upstream makes none, nor its end, before the client has the one before it."""
    *events, done = stream_events("one two three")
    gates = [Gate() for _ in events]
    heard: list[bytes] = []

    def hear(chunk: bytes) -> None:
        heard.append(chunk)
        gates[min(len(heard), len(gates)) - 1].set()

    parts = [part for pair in zip(events, gates, strict=True) for part in pair]
    mounted.upstream.respond = always(Told([*parts, done], headers=EVENT_STREAM))

    reply = await mounted.ask(control, STREAM, hears=hear)

    assert heard[: len(events)] == events
    assert b"".join(heard) == reply.body == b"".join(events) + done
    assert reply.complete
    assert len(list(mounted.store.scan())) == (control == "on")


async def test_what_is_too_large_to_be_kept_does_not_wait_for_its_end(mounted: Mounted) -> None:
    """S6, D7: no more than is kept is held of JSON, and none of it where nobody opted in."""
    for control in ("on", None):
        gate = Gate()
        mounted.mount(Policy(max_record_bytes=300))
        mounted.upstream.respond = always(Told([b"{" + b" " * 400, gate, b"}"], headers=JSON))

        reply = await mounted.ask(control, prompt(), hears=lambda _, gate=gate: gate.set())  # type: ignore[misc]

        assert reply.body == b"{" + b" " * 400 + b"}"
        assert reply.complete


async def test_done_is_held_no_longer_than_a_second_and_then_nothing_is_kept(mounted_here: Mounted) -> None:
    """S6."""
    assert Limits().done_hold == 1.0
    mounted_here.limit(done_hold=0.3)
    events = stream_events()
    never = anyio.Event()
    mounted_here.upstream.respond = always(Told([*events, never], headers=EVENT_STREAM))
    listener = Listener()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.listen, mounted_here)
        await listener.hears(b"".join(events[:-1]))
        began = anyio.current_time()
        await listener.hears(b"".join(events))
        waited = anyio.current_time() - began
        never.set()

    assert waited > 0.15
    assert listener.is_over
    assert not list(mounted_here.store.scan())
    assert mounted_here.reports[-1].details == ("no-end",)


async def test_done_is_not_held_for_as_long_as_an_upstream_stays(mounted: Mounted) -> None:
    """S6: most clients hang up at [DONE], and some upstreams wait for that."""
    if mounted.kind == "WSGI around an app":
        pytest.skip("an app that runs in the server's own thread cannot be interrupted there")
    mounted.limit(done_hold=0.1)
    events, end = stream_events(), Gate()
    mounted.upstream.respond = always(Told([*events, end], headers=EVENT_STREAM))
    came: list[bool] = []

    def hear(chunk: bytes) -> None:
        if DONE in chunk:
            came.append(end.is_set())
            end.set()

    too_late = threading.Timer(0.8, end.set)
    too_late.start()
    reply = await mounted.ask("on", STREAM, hears=hear)
    too_late.cancel()

    assert reply.body == b"".join(events)
    assert came == [False]


async def test_a_replay_can_take_its_time(mounted: Mounted) -> None:
    """S7: as recorded, half as fast, at once."""
    *events, done = stream_events("one")
    gate = Gate()
    mounted.upstream.respond = always(Told([*events, gate, done], headers=EVENT_STREAM))
    opening = threading.Timer(0.05, gate.set)
    await mounted.ask("on", STREAM, hears=lambda _: None if opening.ident else opening.start())
    ((_, record),) = mounted.store.scan()
    arrivals = decode(record).arrivals

    replies = [await mounted.ask(control, STREAM) for control in ("speed=1", "speed=0.5", "on")]

    recorded = arrivals[-1] - arrivals[0]
    took = [reply.arrivals[-1] for reply in replies]  # from the call on: the first piece may come late on a busy machine
    assert recorded > 0.03
    assert took[0] >= recorded
    assert took[1] >= recorded * 2
    assert [len(reply.chunks) > 1 for reply in replies] == [True, True, False]
    assert {reply.body for reply in replies} == {b"".join(events) + done}


@pytest.mark.parametrize("cut", ["before the first event", "between events", "within an event", "at the [DONE]"])
async def test_a_stream_cut_short_is_told_broken_and_never_kept(mounted: Mounted, cut: str) -> None:
    """R1, H10: one error event on a boundary of its own, no end of the body, no [DONE]; a transport just raises."""
    events = stream_events()
    parts = {
        "before the first event": [],
        "between events": events[:2],
        "within an event": [events[0], events[1][:20]],
        "at the [DONE]": [*events[:-1], DONE[:9]],
    }[cut]
    mounted.upstream.respond = always(Told(parts, headers=EVENT_STREAM, ends=False))

    reply = await mounted.ask("on", STREAM)

    sent = b"".join(parts)
    assert not reply.complete
    assert not list(mounted.store.scan())
    if mounted.kind in TRANSPORTS:
        assert isinstance(reply.error, BROKEN_OFF)
        assert sent.startswith(reply.body)
        return
    if mounted.kind == "WSGI around an app" and not sent:
        assert (reply.status, type(reply.error)) == (None, BrokenOffError)  # nothing has begun: the server answers that
        return
    assert reply.body.startswith(sent)
    told = [line for line in reply.body[len(sent) :].split(b"\n") if line.startswith(b"data: ")]
    assert [next(iter(json.loads(line[6:]))) for line in told] == ["error"]
    assert b"\n" + told[0] in b"\n" + reply.body
    assert DONE not in reply.body


async def test_json_cut_short_is_no_answer(mounted: Mounted) -> None:
    """R1: half a JSON is of no use; who raises, raises what broke it off."""
    mounted.upstream.respond = always(Told([b'{"choices": [{"index"'], ends=False))

    reply = await mounted.ask("on")

    assert not list(mounted.store.scan())
    assert [report.stored for report in mounted.reports] == [False]
    if mounted.raises:
        assert isinstance(reply.error, BROKEN_OFF)
        return
    assert reply.status == 502
    assert json.loads(reply.body)["error"]["code"] == "upstream_truncated"
    assert reply.headers[b"cache-status"].endswith(b"detail=truncated")
    assert reply.complete


async def test_what_is_over_the_limit_streams_on_and_is_not_kept(mounted: Mounted) -> None:
    """S6, D7."""
    mounted.mount(replace(mounted.policy, max_record_bytes=300))
    events = stream_events("a b c d e f")
    mounted.upstream.respond = always(Told(events, headers=EVENT_STREAM))

    reply = await mounted.ask("on", STREAM)

    assert reply.body == b"".join(events)
    assert reply.complete
    assert not list(mounted.store.scan())
    assert mounted.reports[-1].details == ("record-too-large",)


async def test_comments_and_strange_spacing_pass_and_replay_unchanged(mounted: Mounted) -> None:
    """S2, S8, S9."""
    events = [b": OPENROUTER PROCESSING\r\n\r\n", event({"content": "x"}).replace(b"\n", b"\r\n"), event({}, "stop"), DONE]
    body = b"".join(events)
    mounted.upstream.respond = always(Told([body[at : at + 7] for at in range(0, len(body), 7)], headers=EVENT_STREAM))

    miss = await mounted.ask("on", STREAM)
    hit = await mounted.ask("on", STREAM)

    assert miss.body == hit.body == body
    assert status_of(hit).startswith("hit")


@pytest.mark.parametrize("after", [0, 1], ids=["at the head", "within the body"])
async def test_a_client_that_leaves_leaves_nothing_behind(mounted: Mounted, after: int) -> None:
    """H2, H3, H7: the upstream is closed, nothing partial is stored, and the next request is answered."""
    events = stream_events()
    mounted.upstream.left = Gate()
    mounted.upstream.respond = always(Told([events[0], Gate()], headers=EVENT_STREAM))

    left = await mounted.ask("on, abandon=cancel", STREAM, leave_after=after)
    with anyio.fail_after(10):
        await mounted.upstream.left.wait()
    mounted.upstream.respond = always(Told(events, headers=EVENT_STREAM))
    reply = await mounted.ask("on", STREAM)

    assert left.chunks == tuple(events[:after])
    assert not left.complete
    assert (mounted.reports[0].details[0], mounted.reports[0].stored) == ("client-left", False)
    assert (reply.body, reply.complete) == (b"".join(events), True)
    assert status_of(reply) == "fwd=miss; fwd-status=200; key"
    assert len(list(mounted.store.scan())) == 1


@pytest.mark.parametrize("mounted", [*ASGI[1:], "httpx async", "httpx2 async"], indirect=True)
async def test_hooks_are_told_of_a_request_that_is_cancelled_before_its_head(mounted: Mounted) -> None:
    """E1, P5: where there is a task to cancel; an app decides for itself what it makes of it."""
    mounted.upstream.left = Gate()
    mounted.upstream.respond = always(Told([Gate()]))

    with anyio.move_on_after(0.05):
        await mounted.ask("on, abandon=cancel")
    await mounted.upstream.left.wait()

    assert [(report.fwd, report.stored) for report in mounted.reports] == [("miss", False)]


async def test_a_client_that_leaves_a_replay_changes_nothing(mounted: Mounted) -> None:
    """H7."""
    await mounted.ask("on", STREAM)

    left = await mounted.ask("on", STREAM, leave_after=0)
    again = await mounted.ask("on", STREAM)

    assert not left.chunks
    assert [status_of(reply) for reply in (left, again)] == ["hit; ttl=86400; key"] * 2
    assert again.complete


async def test_a_client_that_leaves_before_the_head_closes_the_upstream(mounted_here: Mounted) -> None:
    """H3."""
    if mounted_here.is_around_an_app:
        pytest.skip("a wrapped app sees the disconnect itself, and decides")
    mounted_here.upstream.left = anyio.Event()
    mounted_here.upstream.respond = always(Told([anyio.Event()], headers=EVENT_STREAM))
    listener = Listener(control=b"on, abandon=cancel", body=prompt())  # JSON: its head is held

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.listen, mounted_here)
        while not mounted_here.upstream.calls:
            await anyio.lowlevel.checkpoint()
        listener.gone.set()
        with anyio.fail_after(10):
            await mounted_here.upstream.left.wait()

    assert not listener.messages
    assert [report.details[0] for report in mounted_here.reports] == ["client-left"]


async def test_a_replay_is_sent_at_once_and_in_pieces_of_whole_events(mounted: Mounted) -> None:
    """S7, S2."""
    events = stream_events(" ".join(f"word{number}" for number in range(2000)))
    mounted.upstream.respond = always(Told(events, headers=EVENT_STREAM))
    await mounted.ask("on", STREAM)

    hit = await mounted.ask("on", STREAM)

    assert hit.body == b"".join(events)
    assert len(hit.chunks) == -(-len(hit.body) // PIECE_BYTES)
    assert all(chunk.endswith(b"\n\n") and len(chunk) <= PIECE_BYTES for chunk in hit.chunks)


async def test_json_that_takes_its_time_leaves_as_it_comes_and_is_kept_all_the_same(mounted: Mounted) -> None:
    """H8, P2: blanks that keep a connection alive are of use only to whom they reach; half a JSON to nobody."""
    mounted.limit(json_hold=0.0)
    (answer,) = completion().parts
    assert isinstance(answer, bytes)
    heard = Gate()

    def parts() -> Iterator[Part]:
        while not heard.is_set():
            pause = Gate()
            threading.Timer(0.01, pause.set).start()
            yield b" "
            yield pause
        yield answer

    mounted.upstream.respond = always(Told(parts(), headers=JSON))  # type: ignore[arg-type]  # as many as it takes

    reply, hit = await mounted.ask("on", hears=lambda _: heard.set()), await mounted.ask("on")

    assert (reply.body.lstrip(), hit.body) == (answer, reply.body)
    assert [status_of(reply), status_of(hit)] == ["fwd=miss; fwd-status=200; key", "hit; ttl=86400; key"]
    assert mounted.reports[0].stored
