"""Ask one request as a client would: a mount in this process, or a proxy that runs somewhere."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw.cache.context import CALLER
from cachemw.cache.directives import CONTROL_HEADER
from cachemw.endpoints.base import ApiCall, Demands, Endpoint
from cachemw.endpoints.errors import ANTHROPIC
from cachemw.inventory.admitting import SDK_VERSIONS, VERSION_FIELD, judged
from cachemw.limits import Limits
from cachemw.messages import Caller, Headers, Kind, Usage
from cachemw.redaction import redacted_repr
from cachemw.wire.cache_status import StatusMember, member_in

_IN_PROCESS = "http://cachemw.invalid"
_CONNECT_SECONDS = 10.0


class ClientQuestion(msgspec.Struct, frozen=True):
    """A request as a client sends it, and what it asks of the cache: a `Cachemw` field, and a `Cache-Control`."""

    endpoint: Endpoint
    path: str
    body: bytes
    cachemw: bytes = b"on"
    cache_control: bytes = b""

    __repr__ = redacted_repr


class WholeReply(msgspec.Struct, frozen=True):
    """The whole answer to a question, and what the cache says of it; without a status there was none, and `why` says so."""

    status: int | None
    headers: Headers = ()
    body: bytes = b""
    standing: StatusMember = StatusMember()
    why: str = ""

    __repr__ = redacted_repr

    @property
    def is_answer(self) -> bool:
        return self.status == 200 and not self.why

    @property
    def is_stream(self) -> bool:
        return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in self.headers)


class Asker:
    """Asks questions, and reads the answers whole. The fields that say who asks, its `partition`, go with every question."""

    def __init__(self, client: httpx.AsyncClient, partition: Headers = ()) -> None:
        self._client, self._partition = client, partition

    async def ask(self, question: ClientQuestion) -> WholeReply:
        """Ask, and read the answer to its end."""
        fields = [(b"content-type", b"application/json"), (CONTROL_HEADER, question.cachemw), *self._partition]
        if question.endpoint.errors is ANTHROPIC:
            fields.append((VERSION_FIELD, SDK_VERSIONS[0]))
        if question.cache_control:
            fields.append((b"cache-control", question.cache_control))
        try:
            response = await self._client.post(question.path, content=question.body, headers=fields)
        except httpx.HTTPError as exc:
            return WholeReply(None, why=f"no answer: {type(exc).__name__}")
        headers = tuple((name.lower(), value) for name, value in response.headers.raw)
        return WholeReply(response.status_code, headers, response.content, member_in(headers))


@asynccontextmanager
async def in_process(app: ASGIApp, partition: Headers = (), caller: Caller | None = None) -> AsyncIterator[Asker]:
    """Ask a mount of this process; `caller` is who asks, where that is a client with a name."""

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope if caller is None else {**scope, CALLER: caller}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(named), base_url=_IN_PROCESS) as client:
        yield Asker(client, partition)


@asynccontextmanager
async def through(url: str, partition: Headers = ()) -> AsyncIterator[Asker]:
    """Ask a proxy at a URL, with or without `/v1`."""
    base = url.rstrip("/").removesuffix("/v1")
    timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)  # the proxy gives up in time
    async with httpx.AsyncClient(base_url=base, timeout=timeout, trust_env=False, limits=httpx.Limits()) as client:
        yield Asker(client, partition)


def usage_in(endpoint: Endpoint, reply: WholeReply) -> Usage | None:
    """Return what an answer says it took."""
    call = ApiCall(endpoint, b"", Kind(reply.is_stream))
    usage = judged(call, reply.body, Demands(frozenset(), done=False), Limits()).usage
    return None if usage is None else endpoint.usage(usage)
