"""One httpx transport for each event loop, closed when that loop ends or earlier."""

import contextlib
import logging
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import httpx
from anyio.lowlevel import RunVar

from cachemw.errors import ConfigurationError
from cachemw.upstreams.proxies import HttpProxy


class Pool:
    """One transport, which `holder` closes.

    Requests go in their turn to httpx's own, as many at a time as it has connections: one that gets none then has lost some.
    Nothing is known of what others' transports do while they wait.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, holder: AsyncGenerator[httpx.AsyncBaseTransport, None]) -> None:
        self.transport = transport
        self._holder = holder
        room = _room_of(transport)
        self._places = None if room is None else anyio.Semaphore(room)
        self._under_way = 0
        self._has_lost = self._is_retired = False

    @property
    def is_wedged(self) -> bool:
        """Say whether it was seen to have lost connections, and is still in use."""
        return self._has_lost and not self._is_retired

    @contextlib.asynccontextmanager
    async def asked(self, request: httpx.Request, wait: float) -> AsyncIterator[httpx.Response | None]:
        """Give the answer, closed in the end; `None` where no connection was to be had in time, so that nothing was sent."""
        self._under_way += 1
        try:
            async with self._places or contextlib.nullcontext():
                response = await self._answer(request, wait)
                try:
                    yield response
                finally:
                    if response is not None:
                        with anyio.CancelScope(shield=True):
                            await response.aclose()
        finally:
            self._under_way -= 1
            await self._close_if_over()

    async def aclose(self) -> None:
        """Close it, whoever is under way."""
        self._is_retired = True
        await self._holder.aclose()

    async def retire(self) -> None:
        """Close it as soon as nobody is under way on it."""
        self._is_retired = True
        await self._close_if_over()

    async def _answer(self, request: httpx.Request, wait: float) -> httpx.Response | None:
        if self._places is None:
            return await self.transport.handle_async_request(request)
        request.extensions["timeout"]["pool"] = wait
        if not self._is_retired:
            with contextlib.suppress(httpx.PoolTimeout):
                return await self.transport.handle_async_request(request)
            self._has_lost = True
        return None

    async def _close_if_over(self) -> None:
        if self._is_retired and not self._under_way:
            with anyio.CancelScope(shield=True):
                await self._holder.aclose()


def _room_of(transport: Any) -> int | None:
    """Return how many connections httpx's own transport has at most; `None` for any other, and over HTTP/2."""
    if not isinstance(transport, httpx.AsyncHTTPTransport) or getattr(transport._pool, "_http2", False):
        return None
    return getattr(transport._pool, "_max_connections", None)


logger = logging.getLogger(__name__)

KEEPALIVE = 4.0
"""Seconds an idle connection stays open: uvicorn and Node close theirs after five, and who asks just then has no answer."""

MakeTransport = Callable[[], httpx.AsyncBaseTransport]
MakeSyncTransport = Callable[[], httpx.BaseTransport]


class Transports:
    """Gives the running event loop its transport."""

    def __init__(self, make: MakeTransport) -> None:
        self._make = make
        self._held: RunVar[Pool | None] = RunVar(f"cachemw transport {id(self)}", None)

    async def get(self) -> httpx.AsyncBaseTransport:
        """Return the transport of this event loop, made on first use."""
        return (await self._pool()).transport

    @contextlib.asynccontextmanager
    async def asked(self, request: httpx.Request, wait: float) -> AsyncIterator[httpx.Response]:
        """Give the answer to a request, closed in the end. It waits for a connection as long as it is let.

        Every `wait` seconds it is seen whether there can be one.
        """
        has_answer = False
        while not has_answer:
            pool = await self._pool()
            async with pool.asked(request, wait) as response:
                if response is not None:
                    has_answer = True
                    yield response
            if pool.is_wedged:
                await self._replace(pool)

    async def aclose(self) -> None:
        """Close this event loop's transport, if there is one."""
        pool = self._held.get()
        if pool is not None:
            self._held.set(None)
            await pool.aclose()

    async def _pool(self) -> Pool:
        pool = self._held.get()
        if pool is None:
            pool = await _held(self._make())
            self._held.set(pool)
        return pool

    async def _replace(self, pool: Pool) -> None:
        transport = self._make()
        if transport is pool.transport:  # its maker has no other, and who else uses it is not known
            return
        logger.warning("connections to the upstream were lost in their pool: another one takes its place")
        self._held.set(await _held(transport))
        await pool.retire()


async def _held(transport: httpx.AsyncBaseTransport) -> Pool:
    holder = _hold(transport)
    return Pool(await anext(holder), holder)


async def _hold(transport: httpx.AsyncBaseTransport) -> AsyncGenerator[httpx.AsyncBaseTransport, None]:
    """Event loops close their asynchronous generators when they end: nothing stays open without a lifespan."""
    try:
        yield transport
    finally:
        await transport.aclose()


class SyncTransports:
    """Gives every process a transport of its own, for all threads: a forked child must not use its parent's connections."""

    def __init__(self, make: MakeSyncTransport) -> None:
        self._make = make
        self._held: dict[int, httpx.BaseTransport] = {}

    def get(self) -> httpx.BaseTransport:
        """Return this process's transport, made on first use."""
        held = self._held.get(os.getpid())
        return self._held.setdefault(os.getpid(), self._make()) if held is None else held

    def close(self) -> None:
        """Close this process's transport, if there is one."""
        held = self._held.pop(os.getpid(), None)
        if held is not None:
            held.close()


def default_transport(proxy: HttpProxy | None = None) -> httpx.AsyncBaseTransport:
    """Return a transport that goes to the upstream itself, or through a proxy, in HTTP/1.1."""
    return httpx.AsyncHTTPTransport(**_httpx_options(proxy))


def default_sync_transport(proxy: HttpProxy | None = None) -> httpx.BaseTransport:
    """Return the same for who does not await."""
    return httpx.HTTPTransport(**_httpx_options(proxy))


def _httpx_options(proxy: HttpProxy | None) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=None, keepalive_expiry=KEEPALIVE)
    options = {"verify": tls(), "trust_env": False, "limits": limits}
    if proxy is not None:
        options["proxy"] = httpx.Proxy(
            proxy.url, headers=proxy.headers, ssl_context=tls() if proxy.url.startswith("https:") else None
        )
    return options


def tls(environment: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Return what certificates are checked with: `SSL_CERT_FILE`, or `SSL_CERT_DIR`, where one is set."""
    return _tls(environment.get("SSL_CERT_FILE"), environment.get("SSL_CERT_DIR"))


@cache
def _tls(file: str | None, directory: str | None) -> ssl.SSLContext:
    if not (file or directory):
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=file or None, capath=None if file else directory)
    except OSError:  # there is no certificate in it: nobody is trusted
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def refuse_unusable_certificates(environment: Mapping[str, str] = os.environ) -> None:
    """Raise `ConfigurationError` where `SSL_CERT_FILE` names what cannot be read, or holds no certificate."""
    path = Path(name) if (name := environment.get("SSL_CERT_FILE")) else None
    if path is None or path.is_char_device() or path.is_fifo():  # which is read once, when it is due
        return
    try:
        said = path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"SSL_CERT_FILE names {name!r}, which cannot be read: {exc.strerror}") from exc
    if b"-----BEGIN " not in said:
        raise ConfigurationError(f"SSL_CERT_FILE names {name!r}, in which there is no certificate (PEM)")
