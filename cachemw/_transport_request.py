"""A request of httpx or httpx2 on its way through a transport: `Any` stands for a family's own class."""

from collections.abc import AsyncIterator, Iterator
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from cachemw.cache.classify import (
    Classified,
    NotOptedIn,
    OtherRequest,
    classify,
    first_report,
    is_read_through,
    unfinished,
)
from cachemw.cache.directives import CONTROL_HEADER
from cachemw.cache.effects import Failed, Outcome
from cachemw.cache.header_rules import HeaderRules
from cachemw.cache.key import caller_of
from cachemw.cache.live_response import Relay
from cachemw.cache.policy import Policy
from cachemw.cache.recall import Moment
from cachemw.drivers.pull_async import AsyncAnswer
from cachemw.drivers.pull_sync import SyncAnswer
from cachemw.drivers.recalling import Door, Recaller
from cachemw.errors import UpstreamError, UpstreamTimeout
from cachemw.limits import Timeouts
from cachemw.messages import NOTHING_ATTESTED, ClientTarget, Head, Headers, Request, Unread, header_values, host_in
from cachemw.report import ExchangeReport
from cachemw.upstreams.base import AsyncGateway, SyncGateway, UpstreamRequest
from cachemw.upstreams.checking import origin_of
from cachemw.upstreams.providers import provider_at
from cachemw.wire.fields import without


class Upload:
    """A request's body: what was read of it, and then what was not. Never more at once than it comes in."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks
        self._read: list[bytes] = []
        self._size = 0

    def read(self, limit_bytes: int) -> bytes | Unread:
        """Return the body, if it is within the limit."""
        for chunk in self._chunks:
            if self._keep(chunk) > limit_bytes:
                return Unread.TOO_LARGE
        return b"".join(self._read)

    async def aread(self, limit_bytes: int) -> bytes | Unread:
        """Return the body, if it is within the limit."""
        async for chunk in self._chunks:
            if self._keep(chunk) > limit_bytes:
                return Unread.TOO_LARGE
        return b"".join(self._read)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._read
        yield from self._chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._read:
            yield chunk
        async for chunk in self._chunks:
            yield chunk

    def _keep(self, chunk: bytes) -> int:
        self._read.append(chunk)
        self._size += len(chunk)
        return self._size


EDGE_COOKIES = frozenset(
    b"__cf_bm _cfuvid __cflb __cfruid __cfseq cf_clearance AWSALB AWSALBCORS AWSALBTG AWSALBTGCORS".split()
)
"""By which networks before an upstream know a client again, and send it to the same machine: they say nothing of who asks."""


class Cookies:
    """The cookies that came with answers to API calls; they and those of an upstream's edge are not in the key."""

    LIMIT = 1024

    def __init__(self) -> None:
        self._pairs: dict[bytes, None] = {}

    def note(self, asked: Request, head: Head) -> None:
        """Remember what an answer sets, unless it was to no API call; the oldest are forgotten."""
        for value in header_values(head.headers, b"set-cookie") if isinstance(asked.body, bytes) else ():
            self._pairs[value.partition(b";")[0].strip()] = None
            if len(self._pairs) > self.LIMIT:
                self._pairs.pop(next(iter(self._pairs)), None)

    def left_out(self, headers: Headers) -> Headers:
        """Return the fields without them; what is left stays as it is."""
        if not header_values(headers, b"cookie"):
            return headers
        return tuple([field for name, value in headers for field in self._kept(name, value)])

    def _kept(self, name: bytes, value: bytes) -> Headers:
        if name.lower() != b"cookie":
            return ((name, value),)
        cookies = [cookie.strip() for cookie in value.split(b";")]
        kept = [one for one in cookies if one not in self._pairs and one.partition(b"=")[0] not in EDGE_COOKIES]
        return ((name, b"; ".join(kept)),) if kept else ()


class TransportRequest:
    """A request as its client sends it, and as it goes on from here.

    It is `told` from others by its fields without the cookies that came with answers by now. With a `gateway` it goes there.
    """

    def __init__(self, family: Any, request: Any, cookies: Cookies, gateway: SyncGateway | AsyncGateway | None = None) -> None:
        self.family, self.request, self._gateway = family, request, gateway
        self.headers: Headers = tuple(request.headers.raw)
        self.told = cookies.left_out(self.headers)

    @property
    def host(self) -> str:
        """Return the host that it is for, with its port unless that is the scheme's own."""
        return host_in(str(self.request.url))

    @property
    def timeout(self) -> float | None:
        """Return how many seconds its client waits for something to read."""
        seconds: float | None = self.request.extensions.get("timeout", {}).get("read")
        return seconds

    def door(self, recaller: Recaller) -> Door | None:
        """Return its door to what was decided before, by all that its target is made of and more; `None` without recall."""
        if not recaller.is_on:
            return None
        url, extensions = self.request.url, self.request.extensions
        targets = (extensions["target"],) if "target" in extensions else ()
        asked = (self.request.method, str(url), str(extensions.get("sni_hostname") or ""), *targets)
        return recaller.door(asked, self.told, NOTHING_ATTESTED)

    def classified(self, policy: Policy) -> Classified:
        """Say what it is to us."""
        return unfinished(classify(self.request.method, self.request.url.path, self.headers, policy))

    def is_routed(self, classified: Classified) -> bool:
        """Say whether a gateway looks into its body, where the cache does not."""
        if self._gateway is None:
            return False
        target = self._gateway.target(*self._path_and_query())
        return is_read_through(classified, self.request.method, self.headers, target)

    def is_untouched(self, classified: Classified) -> bool:
        """Say whether the very same request goes on; one that says `off` loses just that."""
        if self._gateway is not None:
            return False
        is_asked = not isinstance(classified, NotOptedIn) and not (
            isinstance(classified, OtherRequest) and classified.asked is None
        )
        return not is_asked and not header_values(self.headers, CONTROL_HEADER)

    def passed(self, classified: Classified) -> ExchangeReport:
        """Return what is known of a request that passes as it is."""
        return replace(first_report(classified, self.described(Unread.TOO_LARGE)), attempts=1)

    def described(self, body: bytes | Unread) -> Request:
        """Return it as a value, by what it is told from others."""
        url, extensions = self.request.url, self.request.extensions
        target = self._target() if self._gateway is None else self._gateway.target(*self._path_and_query())
        caller, context = caller_of(self.told, target.recipient), MappingProxyType(extensions)
        return Request(self.request.method, url.path, self.told, body, target, caller=caller, context=context)

    def _target(self) -> ClientTarget:
        url, extensions = self.request.url, self.request.extensions
        asked_for = extensions.get("target", url.raw_path).decode("latin-1")  # as the inner transport understands it
        return _target(origin_of(url), asked_for, self._asked_host())

    def _path_and_query(self) -> tuple[bytes, bytes]:
        path, _, query = self.request.url.raw_path.partition(b"?")
        return path, query

    def _asked_host(self) -> bytes:
        """Return the host that is asked for where it is not the URL's: by the field, or by the name that TLS is told."""
        url = self.request.url
        own = (url.netloc.lower(), origin_of(url).partition("://")[2].encode())
        said = b", ".join(header_values(self.headers, b"host")).lower()
        named = str(self.request.extensions.get("sni_hostname") or url.host).lower()
        return (b"" if said in own else said) + (b"" if named == url.host else b" sni " + named.encode())

    def as_sent(self, body: Any, rules: HeaderRules, timeouts: Timeouts) -> UpstreamRequest:
        """Return it as an upstream is asked; `body` is a stream where it was not read whole."""
        path, query = self._path_and_query()
        return UpstreamRequest(self.request.method, path, query, self.headers, body, rules, timeouts=timeouts)

    def sent_on(self, request: UpstreamRequest) -> Any:
        """Return the request to send on, as its own family has it."""
        left_out = [CONTROL_HEADER, *(name for name, _ in request.rewritten)]
        fields = (*without(request.headers, left_out), *request.rewritten)
        if request.recorded:
            fields = (*without(fields, (b"accept-encoding",)), (b"accept-encoding", b"identity"))
        stream = self.family.ByteStream(request.body) if isinstance(request.body, bytes) else request.body
        url, extensions = self.request.url, self.request.extensions
        sent = self.family.Request(request.method, url, headers=list(fields), stream=stream, extensions=extensions)
        if isinstance(stream, self.family.ByteStream):
            sent.read()  # who signs it looks at its content
        return sent

    def response(self, answer: SyncAnswer | AsyncAnswer, stream: Any, extensions: dict[str, Any]) -> Any:
        """Return our answer as a response; `extensions` are those of the response it was made of."""
        kept = extensions if isinstance(answer.outcome, Relay) else {}
        return self.family.Response(
            answer.head.status,
            headers=list(answer.head.headers),
            stream=stream,
            extensions={**kept, "cachemw": answer.report},
        )

    def recalled(self, moment: Moment, stream: Any) -> Any:
        """Return what the like of it was given, as it is now."""
        head, extensions = moment.head, {"cachemw": moment.report}
        return self.family.Response(head.status, headers=list(head.headers), stream=stream, extensions=extensions)

    def raises(self, outcome: Outcome) -> bool:
        """Say whether there is no response at all; a gateway gives one of its own, which says whom it asked."""
        return isinstance(outcome, Failed) and self._gateway is None

    def broken(self, error: UpstreamError) -> BaseException:
        """Return what to raise where an answer breaks off; what came between a gateway and its target is not the client's."""
        return original(self.family, error) if self._gateway is None else _own(self.family, error)

    def failed(self, outcome: Failed) -> BaseException:
        """Return what to raise where there is no answer. Another request's exception is copied: clients write in theirs."""
        raised = original(self.family, outcome.error)
        return _copy(raised) if outcome.report.collapsed else raised


def _target(origin: str, asked_for: str, host: bytes) -> ClientTarget:
    provider = provider_at(origin)
    if provider is None:
        return ClientTarget(origin + asked_for, host)
    return ClientTarget(origin + asked_for, host, provider.bookkeeping, provider.closing)


def original(family: Any, error: UpstreamError) -> BaseException:
    """Return what the inner transport raised; where it raised nothing, what it would have."""
    return _own(family, error) if error.__cause__ is None else error.__cause__


def _own(family: Any, error: UpstreamError) -> BaseException:
    kind = family.ReadTimeout if isinstance(error, UpstreamTimeout) else family.RemoteProtocolError
    raised: BaseException = kind(str(error))
    return raised


def _copy(raised: BaseException) -> BaseException:
    copied = type(raised).__new__(type(raised), *raised.args)  # whatever its own constructor asks for
    copied.__dict__.update(raised.__dict__)
    copied.__cause__, copied.__context__ = raised.__cause__, raised.__context__
    return copied
