"""uvicorn's protocol with deadlines, limits and strict framing, for clients that nobody vouches for."""

import asyncio
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, NoReturn, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from cachemw.cache.context import ALSO
from cachemw.endpoints import errors as refusals
from cachemw.endpoints.errors import ErrorResponse
from cachemw.limits import Limits
from cachemw.proxy.gate import SEALED, Gate
from cachemw.proxy.heads import NO_UPGRADE, held_back, is_sound, without_upgrade
from cachemw.proxy.http10 import CloseDelimited
from cachemw.proxy.known_heads import HeldRequest, Sighting
from cachemw.wire.fields import names_websocket


class Deadline:
    """Calls `passed` when so many seconds are over. It stands still while it is not the client that is waited for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        self._loop, self._passed = loop, passed
        self._left: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_held = False

    def set(self, seconds: float | None) -> None:
        """Begin anew; `None` is for ever."""
        self._stop()
        self._left = seconds
        self._go()

    def hold(self) -> None:
        """Let the time stand still."""
        self._is_held = True
        if self._timer is not None:
            self._left = max(0.0, self._timer.when() - self._loop.time())
            self._stop()

    def go_on(self) -> None:
        """Let it run on."""
        self._is_held = False
        self._go()

    def _go(self) -> None:
        if self._left is not None and not self._is_held and self._timer is None:
            self._timer = self._loop.call_later(self._left, self._passed)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class HoldingFlow(FlowControl):
    """uvicorn's flow control: a client that is not read from has all the time it takes us; one that does not read has not."""

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, deadline: Deadline, write_time: float
    ) -> None:
        super().__init__(transport)
        self._deadline, self._write_time = deadline, write_time
        self.unread = Deadline(loop, transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.unread.set(self._write_time)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.unread.set(None)

    def pause_reading(self) -> None:
        super().pause_reading()
        self._deadline.hold()

    def resume_reading(self) -> None:
        super().resume_reading()
        self._deadline.go_on()


class LingeringTransport:
    """Sends no more when it is closed, and for a while takes what comes: else the answer is lost with the connection.

    `is_read_out` says whether nothing more is to come, so that there is nothing to wait for.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, seconds: float, is_read_out: Callable[[], bool]
    ) -> None:
        self._transport, self._loop, self._seconds, self._is_read_out = transport, loop, seconds, is_read_out
        self.is_lingering = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.is_lingering or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if self._is_read_out() or not self._transport.can_write_eof():
            self._transport.close()
            return
        self.is_lingering = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(self._seconds, self._transport.close)


class Expecting(Enum):
    """The part of a request to come. The time for its head begins with the connection, or with the next one's first byte."""

    HEAD = "head"
    BODY = "body"
    NOTHING = "nothing"


class _Unacceptable(Exception):
    """Ends the parsing of what is not going to be answered."""


async def _run(cycle: RequestResponseCycle, app: ASGI3Application, scope: Any, receive: Any, send: Any) -> None:
    """Let the app answer. An answer that it leaves without an end was broken off: uvicorn would call that a fault of ours."""
    await app(scope, receive, send)
    if cycle.response_started and not (cycle.response_complete or cycle.disconnected):
        cycle.disconnected = True
        cycle.transport.close()


class GuardedProtocol(HttpToolsProtocol):
    """One connection.

    A head has `head_time`, its body `body_time` after that, however slowly they trickle. What cannot be answered is refused
    without disturbing the answer to what came before it, and the connection is closed.
    """

    def __init__(self, *args: Any, limits: Limits = Limits(), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._awaited, self._has_changed = Expecting.HEAD, False
        self._deadline = Deadline(self.loop, self._run_out)
        self._running: RequestResponseCycle | None = None
        self._refusal: ErrorResponse | None = None
        self._is_over = False
        self._head_size = self._drained = 0
        self._unread = 0  # bytes that have come since there was a head, or a piece of a body
        self._held = b""  # the end of a piece of a head, until it is seen what it is
        self._is_behind = False  # this head came in one piece with the request before it
        self._begun = 0  # the requests since there was none under way
        self._door: HeldRequest | None = None
        self._held_since = self._due = 0.0
        self._is_timed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        lingering = LingeringTransport(transport, self.loop, self._limits.linger_time, self._is_read_out)
        super().connection_made(cast(asyncio.Transport, lingering))
        self.flow: HoldingFlow = HoldingFlow(transport, self.loop, self._deadline, self._limits.write_time)
        self._raw, self._lingering, self._door = transport, lingering, self._door_of(self.app)
        self._set_deadline(self._limits.head_time)

    def _door_of(self, app: object) -> HeldRequest | None:
        """Return the door of a connection whose bytes say all that an answer of this app depends on, and that nobody counts."""
        heads = app.known_heads if isinstance(app, Gate) else None
        is_counted = self.config.access_log or self.limit_concurrency is not None
        if heads is None or self.scheme != "http" or self.root_path or is_counted:
            return None
        return HeldRequest(heads, self._limits.head_bytes)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.set(None)
        self.flow.unread.set(None)
        if self._door is not None:
            self._door.let_go()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_over or self._lingering.is_lingering or self._raw.is_closing():
            return
        door, cycle = self._door, self.cycle
        if door is None:
            self._feed(data)
            return
        was_held, reply = bool(door.held), None
        is_idle = cycle.response_complete and self._awaited is Expecting.NOTHING if cycle is not None else not self._unread
        # Of what `writelines` leaves, asyncio's own loop tells nobody in the first releases of 3.12 and 3.13 (CVE-2024-12254).
        if is_idle and not self.flow.write_paused and self._raw.get_write_buffer_size() <= HIGH_WATER_LIMIT:
            self._begun = 0
            reply = door.take(data, self.server_state.default_headers)
        if reply is None:
            self._feed_held(door, data)
            return
        if self._is_timed:  # for a head, or since an answer that was complete before its request
            self._awaited = Expecting.NOTHING
            self._set_deadline(None)
        if reply:
            self._raw.writelines(reply)
            self.server_state.total_requests += 1
            self._due = self.loop.time() + self.timeout_keep_alive
        elif not was_held:
            self._held_since = self.loop.time()
            self._due = self._held_since + self._limits.body_time
        if self.timeout_keep_alive_task is None or self.timeout_keep_alive_task.when() > self._due:
            self._wake_when_due()

    def _wake_when_due(self) -> None:
        """Look again when it is due. Answers put that off, and that a timer was set is not worth to set it anew."""
        self._unset_keepalive_if_required()
        left = max(0.0, self._due - self.loop.time())
        self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        if self.loop.time() < self._due:
            self._wake_when_due()
        elif self._door is None or not self._door.held:
            super().timeout_keep_alive_handler()
        else:
            self._feed_held(self._door)  # and with no time left

    def shutdown(self) -> None:
        if self._door is not None and self._door.held:
            self._feed_held(self._door)
        super().shutdown()

    def _feed_held(self, door: HeldRequest, data: bytes = b"") -> None:
        """Let the parser have what is held, and what came behind it; the time for the rest has begun with it."""
        held_for, self._due = 0.0, 0.0
        if door.held:
            held_for, data = self.loop.time() - self._held_since, door.let_go() + data
        self._feed(data, held_for)

    def _feed(self, data: bytes, held_for: float = 0.0) -> None:
        if self._awaited is Expecting.NOTHING:
            self._await(Expecting.HEAD)
            self._is_behind = False
        self._unread += len(data)
        super().data_received(self._of_head(data) if self._awaited is Expecting.HEAD and not self._is_behind else data)
        if self._door is not None and self._door.sighting is not None:
            self._look_on(self._door, self._door.sighting, len(data))
        if not self._is_over and self._unread > self._limits.head_bytes:  # of trailers, or of chunk extensions, too
            self._turn_away(refusals.head_too_large())
        if not self._is_over and self._has_changed:
            self._has_changed = False
            self._set_deadline(self._seconds(held_for))

    def _look_on(self, door: HeldRequest, sighting: Sighting, size: int) -> None:
        """Look on at a request that is fed: if it is alone in its bytes, it may say what it is given."""
        is_alone = self._begun == 1 and self._awaited is not Expecting.HEAD and not self._is_over
        sighting.size += size
        sighting.is_whole = is_alone and self._awaited is Expecting.NOTHING
        if is_alone:
            self.cycle.scope[ALSO] = sighting.learn  # type: ignore[literal-required]
        if sighting.is_whole or not is_alone:
            door.sighting = None

    def _set_deadline(self, seconds: float | None) -> None:
        self._is_timed = seconds is not None
        self._deadline.set(seconds)

    def _of_head(self, data: bytes) -> bytes:
        """Return what of a piece of a head the parser is given now."""
        data = self._held + data
        passed = len(data) - held_back(data)
        self._held = data[passed:]
        return without_upgrade(data[:passed])

    def _await(self, what: Expecting) -> None:
        self._awaited, self._has_changed, self._unread = what, True, 0

    def _is_read_out(self) -> bool:
        """Say whether the client has sent all of what it began to."""
        return self._awaited is not Expecting.BODY and not self._unread and self._refusal is None

    def _seconds(self, held_for: float) -> float | None:
        match self._awaited:
            case Expecting.HEAD:
                return self._limits.head_time
            case Expecting.BODY:
                return max(0.0, self._limits.body_time - held_for)
        # An answer that was complete before the request was has had its keep-alive timer taken from it by the rest of that.
        return float(self.timeout_keep_alive) if self.cycle is not None and self.cycle.response_complete else None

    # What the parser finds.

    def on_message_begin(self) -> None:
        if self._awaited is Expecting.NOTHING:  # right behind the request before it
            self._await(Expecting.HEAD)
            self._is_behind = True
        self._head_size = 0
        self._begun += 1
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._head_size += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._awaited is Expecting.BODY:
            return  # of the trailer: uvicorn would put it into the head (RFC 9110 §6.5.1)
        if name.lower() == NO_UPGRADE:
            if not names_websocket(value):
                return
            name = b"upgrade"  # to be refused: the parser is past it
        super().on_header(name, value)
        self._head_size += len(name) + len(value) + len(b": \r\n")
        if len(self.headers) > self._limits.head_fields:
            self._refuse(refusals.head_too_large())

    def on_headers_complete(self) -> None:
        if self._head_size > self._limits.head_bytes:
            self._refuse(refusals.head_too_large())
        is_sound_head = is_sound(self.parser.get_http_version(), self.url, tuple(self.headers))
        if not is_sound_head or self.parser.should_upgrade():  # the parser would drop the body, and read what follows as none
            self._refuse(refusals.malformed())
        super().on_headers_complete()
        self._await(Expecting.BODY)

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)
        self._drained = self._drained + len(body) if self.cycle.response_complete else 0
        if self._drained > self._limits.drain_bytes:
            self._end()
            self.transport.close()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._await(Expecting.NOTHING)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        is_old = cycle.scope["http_version"] == "1.0"
        inner = cast(ASGI3Application, CloseDelimited(app, cycle)) if is_old else app
        super()._start_asgi_task(cycle, cast(ASGI3Application, partial(_run, cycle, inner)))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._awaited is Expecting.BODY and self.expect_100_continue and self.cycle.response_complete:
            self.transport.close()  # its body may come all the same, or not: nobody can tell (RFC 9110 §10.1.1)

    # How it ends.

    def _refuse(self, answer: ErrorResponse) -> NoReturn:
        self._refusal = answer
        raise _Unacceptable

    def send_400_response(self, msg: str) -> None:
        self._turn_away(self._refusal or refusals.malformed())

    def _run_out(self) -> None:
        if not self._unread and (self._running is None or self._awaited is Expecting.NOTHING):
            self.transport.close()  # nobody has asked anything
        else:
            self._turn_away(refusals.too_slow())

    def _turn_away(self, answer: ErrorResponse) -> None:
        """Refuse what is coming in, and close; an answer to what came before it is given to its end first."""
        cycle = self._running
        is_its_body = cycle is self.cycle and self._awaited is Expecting.BODY
        if cycle is not None and not cycle.response_complete and not is_its_body:
            self.pipeline.clear()
            self._end_after(cycle)
            return
        self._end()
        if cycle is None or not is_its_body:
            self._write(answer)
        elif not cycle.response_complete:
            cycle.disconnected = True  # at once: nothing of what has come is forwarded, and nothing more is said
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.abort()  # so that nobody takes what they have for all of it
            else:
                self._write(answer)
        self.transport.close()

    def _end_after(self, cycle: RequestResponseCycle) -> None:
        self._end()
        cycle.keep_alive = False
        if cycle.response_complete:
            self.transport.close()

    def _end(self) -> None:
        self._is_over = True
        self._deadline.set(None)

    def _write(self, answer: ErrorResponse) -> None:
        head, body = answer
        fields = [*self.server_state.default_headers, *head.headers, *SEALED, (b"connection", b"close")]
        lines = [name + b": " + value + b"\r\n" for name, value in fields]
        self.transport.write(b"".join([STATUS_LINE[head.status], *lines, b"\r\n", body]))
