"""uvicorn's protocol with deadlines, limits and strict framing, for clients that nobody vouches for."""

import asyncio
import re
from collections.abc import Callable
from enum import Enum
from typing import Any, NoReturn

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from cachemw.endpoints import errors as refusals
from cachemw.endpoints.errors import ErrorResponse
from cachemw.limits import Limits
from cachemw.messages import Headers, header_values
from cachemw.proxy.gate import SEALED


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


_TARGET = re.compile(rb"(?:https?://([^/?]+))?/[^#]*", re.IGNORECASE)
_BAD_ESCAPE = re.compile(rb"%(?![0-9a-f]{2})", re.IGNORECASE)
_VERSIONS = ("1.0", "1.1")
_UPGRADE = re.compile(rb"\r\nupgrade(?=:)", re.IGNORECASE)
_END = b"\r\n\r\n"
_CUT = tuple(text[:size] for text in (_END, b"\r\nupgrade:") for size in range(1, len(text)))

NO_UPGRADE = b"cachemw-no-upgrade"
"""The name under which the parser is given a field that it must not see."""


def is_sound(version: str, target: bytes, headers: Headers) -> bool:
    """Say whether a head that was parsed can be read in one way only, and is one of HTTP/1."""
    codings = header_values(headers, b"transfer-encoding")
    is_framed = not codings or version == "1.1" and len(codings) == 1 and codings[0].lower() == b"chunked"
    return version in _VERSIONS and is_framed and _is_target(target, header_values(headers, b"host"))


def without_upgrade(data: bytes) -> bytes:
    """Return a piece of a head in which nobody asks for another protocol: a server may ignore that (RFC 9110 §7.8).

    llhttp would drop the body. Java's own client and `curl --http2` ask whenever they may.
    """
    if _UPGRADE.search(data) is None:
        return data
    head, end, rest = data.partition(_END)
    return _UPGRADE.sub(b"\r\n" + NO_UPGRADE, head) + end + rest


def held_back(data: bytes) -> int:
    """Return how many bytes at the end of a piece of a head may be the beginning of its end, or of a wish to upgrade.

    Nothing behind the head's end is held back: its client may be waiting for the answer.
    """
    tail = data[-max(map(len, _CUT)) :].lower()
    return 0 if _END in data else max([len(cut) for cut in _CUT if tail.endswith(cut)], default=0)


def _is_target(target: bytes, hosts: list[bytes]) -> bool:
    """A target that names a host names the one that `Host` does: which of the two counts is not the same for all."""
    matched = _TARGET.fullmatch(target)
    if matched is None or _BAD_ESCAPE.search(target):
        return False
    return matched[1] is None or [matched[1].lower()] == [host.lower() for host in hosts]


class LingeringTransport:
    """Sends no more when it is closed, and for a while takes what comes: else the answer is lost with the connection.

    `is_read_out` says whether nothing more is to come, so that there is nothing to wait for.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, seconds: float, is_read_out: Callable[[], bool]
    ) -> None:
        self._transport, self._loop, self._seconds, self._is_read_out = transport, loop, seconds, is_read_out
        self._is_lingering = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._is_lingering or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if self._is_read_out() or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._is_lingering = True
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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        lingering: Any = LingeringTransport(transport, self.loop, self._limits.linger_time, self._is_read_out)
        super().connection_made(lingering)
        self.flow: HoldingFlow = HoldingFlow(transport, self.loop, self._deadline, self._limits.write_time)
        self._deadline.set(self._limits.head_time)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.set(None)
        self.flow.unread.set(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_over or self.transport.is_closing():
            return
        if self._awaited is Expecting.NOTHING:
            self._await(Expecting.HEAD)
            self._is_behind = False
        self._unread += len(data)
        super().data_received(self._of_head(data) if self._awaited is Expecting.HEAD and not self._is_behind else data)
        if not self._is_over and self._unread > self._limits.head_bytes:  # of trailers, or of chunk extensions, too
            self._turn_away(refusals.head_too_large())
        if not self._is_over and self._has_changed:
            self._has_changed = False
            self._deadline.set(self._seconds())

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

    def _seconds(self) -> float | None:
        match self._awaited:
            case Expecting.HEAD:
                return self._limits.head_time
            case Expecting.BODY:
                return self._limits.body_time
        # An answer that was complete before the request was has had its keep-alive timer taken from it by the rest of that.
        return float(self.timeout_keep_alive) if self.cycle is not None and self.cycle.response_complete else None

    # What the parser finds.

    def on_message_begin(self) -> None:
        if self._awaited is Expecting.NOTHING:  # right behind the request before it
            self._await(Expecting.HEAD)
            self._is_behind = True
        self._head_size = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._head_size += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._awaited is Expecting.BODY:
            return  # of the trailer: uvicorn would put it into the head (RFC 9110 §6.5.1)
        if name.lower() == NO_UPGRADE:
            return
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
        super()._start_asgi_task(cycle, app)

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
