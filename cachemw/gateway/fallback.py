"""Ask several targets in turn until one has begun a sound answer: a group of bids is an upstream like any other."""

import asyncio
import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from cachemw.cache.plans import AskedBid, Outbound
from cachemw.errors import UpstreamError, UpstreamTimeout
from cachemw.gateway.attempts import (
    LATE,
    AskRepeat,
    AttemptStep,
    DropBid,
    OpenBid,
    PauseUntil,
    ReadBid,
    Reserve,
    StepResult,
    TellDesk,
    in_turn,
)
from cachemw.gateway.bout import Bout, Shown
from cachemw.gateway.desk import AsyncDesk, Desk, RoutedAnswer, SyncDesk, bout_of
from cachemw.gateway.failure_kinds import Failure
from cachemw.gateway.health import GONE, Gone
from cachemw.limits import Timeouts
from cachemw.messages import Head
from cachemw.routing import RoutedHead
from cachemw.upstreams.base import AsyncResponse, SyncResponse, UpstreamRequest, sent_as
from cachemw.wire.route_field import quoted

logger = logging.getLogger(__name__)

CLOSE_WITHIN = 1.0
"""The seconds that an attempt which is given up may take to close its connection."""

_ROUNDING = 0.01


def open_in_turn(request: UpstreamRequest, desk: SyncDesk) -> "SyncRoutedResponse":
    """Ask the bids of a request one after the other. Raises `UpstreamError` where none gave a response."""
    bout = bout_of(request, desk, time.monotonic())
    performer = SyncPerformer(request, desk)
    try:
        return performer.show(bout, performer.run(in_turn(bout)))
    except BaseException:
        performer.give_up(GONE)
        raise


async def aopen_in_turn(request: UpstreamRequest, desk: AsyncDesk) -> "AsyncRoutedResponse":
    """Ask the bids of a request one after the other. Raises `UpstreamError` where none gave a response."""
    bout = bout_of(request, desk, anyio.current_time())
    performer = AsyncPerformer(request, desk)
    try:
        return await performer.show(bout, await performer.run(in_turn(bout)))
    except BaseException:
        await performer.give_up(GONE)
        raise


class _Performer:
    """Performs what needs no waiting, and keeps whose attempt is under way."""

    def __init__(self, request: UpstreamRequest, desk: Desk) -> None:
        assert request.bids is not None  # noqa: S101 - others are not a gateway's
        self._request, self.desk = request, desk
        self._is_recorded = request.recorded or len(request.bids.asked) > 1  # nobody can judge what is compressed
        self._under_way: AskedBid | None = None

    def _begin(self, step: OpenBid) -> UpstreamRequest:
        asked = step.asked
        if not step.is_anew:
            self.desk.begun(asked)
            self._under_way = asked
        sent, is_recorded = self._request, self._is_recorded
        body = sent.body if asked.body is None else asked.body
        return sent_as(replace(sent, body=body), Outbound(asked.rewritten, asked.translated), recorded=is_recorded)

    @property
    def is_under_way(self) -> bool:
        """Say whether somebody is being asked whose end has not been told."""
        return self._under_way is not None

    def tell(self, result: Failure | Gone) -> float | None:
        """Tell the desk how the attempt ended that is under way, if any is."""
        asked, self._under_way = self._under_way, None
        if asked is None:
            return None
        if isinstance(result, Failure):
            logger.info("the target %s failed: %s", quoted(asked.bid.name), result.kind.value)
        return self.desk.ended(asked, result)

    def hand_over(self) -> None:
        """Leave it to who shows the answer to tell how it ends."""
        self._under_way = None


class SyncPerformer(_Performer):
    """Performs the steps of a request in the thread that asks."""

    def __init__(self, request: UpstreamRequest, desk: SyncDesk) -> None:
        super().__init__(request, desk)
        self._sync_desk = desk
        self.response: SyncResponse | None = None

    def run(self, steps: Generator[AttemptStep, StepResult | None, Shown]) -> Shown:
        """Perform all that is asked for, and return what comes of it."""
        with contextlib.closing(steps):
            try:
                step = next(steps)
                while True:
                    step = steps.send(self._result(step))
            except StopIteration as stop:
                shown: Shown = stop.value
                return shown

    def show(self, bout: Bout, shown: Shown) -> "SyncRoutedResponse":
        """Return the response of what is shown; what is open and is not shown is closed."""
        if shown.under_way is None:
            self.close()
        answer = RoutedAnswer(self.desk, bout, shown)
        self.hand_over()
        response, self.response = self.response, None
        return SyncRoutedResponse(answer, shown, response)

    def give_up(self, result: Failure | Gone) -> None:
        """Close what is open, and tell how its attempt ended, unless that is told."""
        self.close()
        self.tell(result)

    def close(self) -> None:
        """Close what is open. May be called twice."""
        response, self.response = self.response, None
        if response is not None:
            with contextlib.suppress(UpstreamError):
                response.close()

    def _result(self, step: AttemptStep) -> StepResult:
        value, now = self._perform(step), time.monotonic()
        if value is LATE and isinstance(step, OpenBid | ReadBid):
            now = max(now, step.until)  # a timer of the system's may be a little early
        return StepResult(value, now)

    def _perform(self, step: AttemptStep) -> Any:
        match step:
            case Reserve(asked):
                return self._reserve(asked)
            case OpenBid():
                return self._open(step)
            case ReadBid(until):
                return self._read(until)
            case DropBid():
                self.close()
            case TellDesk(_, failure):
                return self.tell(failure)
            case AskRepeat(asked):
                return self.desk.may_repeat(asked)
            case PauseUntil(until):
                time.sleep(max(0.0, until - time.monotonic()))
        return None

    def _reserve(self, asked: AskedBid) -> UpstreamError | None:
        try:
            self._sync_desk.reserve(asked)
        except UpstreamError as error:
            return error
        return None

    def _open(self, step: OpenBid) -> Any:
        request = self._begin(step)
        left = max(step.until - time.monotonic(), _ROUNDING)
        try:
            upstream = self._sync_desk.contact(step.asked)
            self.response = upstream.open(replace(request, timeouts=_hurried(request.timeouts, left)))
        except UpstreamError as error:
            return _or_late(error, step.until)
        return self.response.head

    def _read(self, until: float) -> Any:
        assert self.response is not None  # noqa: S101 - it is open
        left = until - time.monotonic()
        try:
            return self.response.read(max(left, _ROUNDING) if left < self._request.timeouts.idle else None)
        except UpstreamError as error:
            return _or_late(error, until)


def _hurried(timeouts: Timeouts, within: float) -> Timeouts:
    if within >= timeouts.first_byte:
        return timeouts
    return dataclasses.replace(timeouts, first_byte=within, connect=min(within, timeouts.connect))


def _or_late(error: UpstreamError, until: float) -> Any:
    is_late = isinstance(error, UpstreamTimeout) and time.monotonic() >= until - _ROUNDING
    return LATE if is_late else error


class AsyncPerformer(_Performer):
    """Performs the steps of a request in an event loop."""

    def __init__(self, request: UpstreamRequest, desk: AsyncDesk) -> None:
        super().__init__(request, desk)
        self._async_desk, self._now = desk, clock_here()
        self._patience: anyio.CancelScope
        self.response: AsyncResponse | None = None

    async def run(self, steps: Generator[AttemptStep, StepResult | None, Any]) -> Any:
        """Perform all that is asked for, and return what comes of it."""
        result: StepResult | None = None
        with contextlib.closing(steps):
            while True:
                with anyio.CancelScope() as self._patience:  # one around each read would cost more than the read
                    return await self._run_on(steps, result)
                result = StepResult(LATE, self._now())

    async def _run_on(self, steps: Generator[AttemptStep, StepResult | None, Any], result: StepResult | None) -> Any:
        """Do so until a wait is over before anything has come."""
        try:
            while True:
                value = await self._perform(steps.send(result))
                if self._patience.cancel_called:  # something came at the last moment
                    await anyio.lowlevel.checkpoint()
                result = StepResult(value, self._now())
        except StopIteration as stop:
            return stop.value

    async def show(self, bout: Bout, shown: Shown) -> "AsyncRoutedResponse":
        """Return the response of what is shown; what is open and is not shown is closed."""
        if shown.under_way is None:
            await self.close()
        answer = RoutedAnswer(self.desk, bout, shown)
        self.hand_over()
        response, self.response = self.response, None
        return AsyncRoutedResponse(answer, shown, response)

    async def give_up(self, result: Failure | Gone) -> None:
        """Close what is open, and tell how its attempt ended, unless that is told."""
        await self.close()
        self.tell(result)

    async def close(self) -> None:
        """Close what is open, whoever cancels it meanwhile. May be called twice."""
        response, self.response = self.response, None
        if response is not None:
            with anyio.move_on_after(CLOSE_WITHIN, shield=True), contextlib.suppress(UpstreamError):
                await response.aclose()

    async def _perform(self, step: AttemptStep) -> Any:
        match step:
            case Reserve(asked):
                self._wait_until(math.inf)
                return await self._reserve(asked)
            case OpenBid():
                self._wait_until(step.until)
                return await _or_error(self._open(step))
            case ReadBid(until):
                assert self.response is not None  # noqa: S101 - it is open
                self._wait_until(until)
                return await _or_error(self.response.read())
            case DropBid():
                await self.close()
            case TellDesk(_, failure):
                return self.tell(failure)
            case AskRepeat(asked):
                return self.desk.may_repeat(asked)
            case PauseUntil(until):
                self._wait_until(math.inf)
                await anyio.sleep_until(until)
        return None

    def _wait_until(self, until: float) -> None:
        if until != self._patience.deadline:
            self._patience.deadline = until

    async def _open(self, step: OpenBid) -> Head:
        request = self._begin(step)
        self.response = await self._async_desk.contact(step.asked).aopen(request)
        return self.response.head

    async def _reserve(self, asked: AskedBid) -> UpstreamError | None:
        try:
            await self._async_desk.areserve(asked)
        except UpstreamError as error:
            return error
        return None


def clock_here() -> Callable[[], float]:
    """Return the clock of the running event loop: to find it out anew each time takes longer than to read it."""
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:
        return anyio.current_time


async def _or_error(awaited: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await awaited
    except UpstreamError as error:
        return error


class _RoutedResponse:
    """What of a response is known already, and how its answer goes on."""

    def __init__(self, answer: RoutedAnswer, shown: Shown, *, is_open: bool) -> None:
        self.head: RoutedHead = answer.head
        self._answer = answer
        self._held = b"".join(shown.body)
        self._has_ended = not is_open or shown.under_way is not None and shown.under_way.has_ended

    def _take_held(self) -> bytes:
        held, self._held = self._held, b""
        self._answer.feed(held)
        return held

    def _take(self, chunk: bytes | None) -> bytes | None:
        if chunk is None:
            self._has_ended = True
            self._answer.end()
        else:
            self._answer.feed(chunk)
        return chunk


class SyncRoutedResponse(_RoutedResponse):
    """The response of one of several targets: what was held of it comes first."""

    def __init__(self, answer: RoutedAnswer, shown: Shown, response: SyncResponse | None) -> None:
        super().__init__(answer, shown, is_open=response is not None)
        self._response = response

    def read(self, within: float | None) -> bytes | None:
        """Return the next chunk, `None` at the end. Raises `UpstreamError`: nobody else is asked any more (G2)."""
        if self._held:
            return self._take_held()
        if self._has_ended or self._response is None:
            return self._take(None)
        self._answer.waits_since = time.monotonic()
        try:
            return self._take(self._response.read(within))
        except UpstreamError as error:
            if within is None or not isinstance(error, UpstreamTimeout):  # who hurries it takes a timeout for no failure
                self._answer.fail(error)
            raise

    def close(self) -> None:
        """Give up what is left of it. May be called twice."""
        self._answer.leave()
        if self._response is not None:
            self._response.close()


class AsyncRoutedResponse(_RoutedResponse):
    """The response of one of several targets, read with `await`: what was held of it comes first."""

    def __init__(self, answer: RoutedAnswer, shown: Shown, response: AsyncResponse | None) -> None:
        super().__init__(answer, shown, is_open=response is not None)
        self._response = response

    async def read(self) -> bytes | None:
        """Return the next chunk, `None` at the end. Raises `UpstreamError`: nobody else is asked any more (G2)."""
        if self._held:
            return self._take_held()
        if self._has_ended or self._response is None:
            return self._take(None)
        self._answer.waits_since = time.monotonic()
        try:
            return self._take(await self._response.read())
        except UpstreamError as error:
            self._answer.fail(error)
            raise

    async def aclose(self) -> None:
        """Give up what is left of it. May be called twice. Raises `UpstreamError`."""
        self._answer.leave()
        if self._response is not None:
            await self._response.aclose()
