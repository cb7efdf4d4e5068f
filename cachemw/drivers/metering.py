"""Measure an exchange for its report: how long it takes, how much leaves, and with which status."""

import base64
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator

from msgspec.structs import replace

from cachemw.drivers.hooks import call_hooks
from cachemw.flights.relay import Client
from cachemw.messages import Head, Headers
from cachemw.report import ExchangeReport, Hook
from cachemw.upstreams.failures import described


class Meter:
    """Measures one exchange from when it is made. `at` is in seconds since the epoch; `headers` are of one that is traced."""

    def __init__(self, at: float, headers: Headers = ()) -> None:
        self._at, self._began, self._headers = at, time.perf_counter(), headers
        self._status: int | None = None
        self._first_byte: float | None = None
        self._bytes_out: int | None = 0

    def start(self, head: Head) -> None:
        """Note the head that is sent."""
        self._status = head.status

    def sent(self, size: int) -> None:
        """Note a piece of the body."""
        if self._bytes_out is None:
            return
        if size and self._first_byte is None:
            self._first_byte = time.perf_counter() - self._began
        self._bytes_out += size

    def give_up_sizes(self) -> None:
        """Note that the body is sent by somebody else, of whom nothing is known."""
        self._bytes_out = None

    def complete(self, report: ExchangeReport) -> ExchangeReport:
        """Return the report with what was measured by now."""
        return replace(
            report,
            id=_identifier(self._at),
            at=self._at,
            status=self._status,
            bytes_out=self._bytes_out,
            first_byte=self._first_byte,
            total=time.perf_counter() - self._began,
            traceparent=_traceparent(self._headers) if self._headers else None,
        )


class MeteredClient:
    """A client of which is noted what it is sent."""

    def __init__(self, client: Client, meter: Meter) -> None:
        self._client, self._meter = client, meter
        self.left = client.left

    async def start(self, head: Head) -> None:
        await self._client.start(head)
        self._meter.start(head)

    async def write(self, chunk: bytes, more: bool) -> None:
        await self._client.write(chunk, more)
        self._meter.sent(len(chunk))


class Passage:
    """A response that passes as it is, on its way to a client; the hooks are told when it is closed."""

    def __init__(self, hooks: Iterable[Hook], report: ExchangeReport, meter: Meter) -> None:
        self.meter = meter
        self._hooks, self._report = hooks, report
        self._is_over = False

    def noting(self, chunk: bytes) -> bytes:
        """Return a chunk, of which the size is noted."""
        self.meter.sent(len(chunk))
        return chunk

    @contextlib.contextmanager
    def told_of_failure(self, host: str) -> Iterator[None]:
        """Tell the hooks of a request that has no response of this host."""
        try:
            yield
        except BaseException as exc:
            why = described(exc, host).detail if isinstance(exc, Exception) else "client-left"
            self._report = replace(self._report, details=(why,))
            self._tell()
            raise

    def close(self, close: Callable[[], None]) -> None:
        """Close what it comes from."""
        try:
            close()
        finally:
            self._tell()

    async def aclose(self, aclose: Callable[[], Awaitable[None]]) -> None:
        """Close what it comes from, in an event loop."""
        try:
            await aclose()
        finally:
            self._tell()

    def _tell(self) -> None:
        if not self._is_over:
            self._is_over = True
            call_hooks(self._hooks, self.meter.complete(self._report))


def is_traced(hooks: Iterable[Hook]) -> bool:
    """Say whether one of the hooks reads what requests say of traces."""
    return any(getattr(hook, "reads_traceparent", False) for hook in hooks)


def _traceparent(headers: Headers) -> str | None:
    """Return the field of W3C Trace Context, unless it came twice."""
    found = [value for name, value in headers if name.lower() == b"traceparent"]
    return found[0].decode("latin-1") if len(found) == 1 else None


def _identifier(at: float) -> str:
    """Return 16 characters: 48 bits of milliseconds, by which they are sorted, and 32 that tell others of that moment apart."""
    return base64.b32hexencode((int(at * 1000) % 2**48).to_bytes(6) + os.urandom(4)).decode().lower()
