"""Clients of two dialects before an upstream that speaks one of them: what they ask, what it answers, and what they read."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx
import httpx2
from msgspec.structs import replace
from starlette.types import Receive, Scope, Send

import cachemw.asgi
import cachemw.httpx
import cachemw.httpx2
import cachemw.wsgi
from cachemw import ExchangeReport, Limits, MemoryStore, Policy, Store
from cachemw._wsgi_environ import Environ, StartResponse
from cachemw.gateway import Gateway
from cachemw.gateway.files import read_gateway
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests.asgi_driver import Hears, RawHeaders, Reply, ignore
from tests.endpoints import messages as anthropics
from tests.endpoints.transcoding import JSON as DOCUMENT
from tests.endpoints.transcoding import STREAM
from tests.mounts.gates import Gate
from tests.mounts.mounting import AsgiMount, AsyncTransportMount, Mount, Sent, TransportMount, WsgiMount
from tests.patience import PATIENT
from tests.translation import talking_to_messages as openais
from tests.upstream import DONE, EVENT_STREAM, JSON, Asked, Part, Told, Upstream, completion, event

Dialect = Literal["chat", "messages"]

THOUGHT, TEXT, CALL = "Let me think.", "Hello, you.", {"at": [1, 2.5], "on": None}
PIECES = (b"Let me ", b"think.", b"Hello,", b" you.")
"""The texts of a stream, each of which has an event of its own."""

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


class Said(NamedTuple):
    """What a client reads of an answer."""

    thinking: str
    text: str
    calls: list[Any]
    why: str
    output: int


WHOLE_ANSWER = Said(THOUGHT, TEXT, [CALL], "tool", 5)
"""What every answer here says."""


@dataclass(frozen=True, slots=True)
class Client:
    """How a client of one dialect asks, and reads. Its key goes in the field that its SDK sends it in."""

    dialect: Dialect
    path: str
    key: Callable[[bytes], tuple[bytes, bytes]]
    event_stream: Callable[[], list[bytes]]
    document: Callable[[], bytes]
    read: Callable[[bytes, bool], Said]
    last: bytes
    """The event that ends a stream, and stands in none that has no end."""

    def asks(self, text: str = "hi", stream: bool = False, **members: Any) -> bytes:
        """Return a request's body; a chat client wants the usage too, which Anthropic's always gets."""
        body: dict[str, Any] = {
            "model": "m",
            "max_tokens": 64,
            "messages": [{"role": "user", "content": text}],
            "stream": stream,
        }
        if stream and self.dialect == "chat":
            body["stream_options"] = {"include_usage": True}
        return json.dumps(body | members).encode()

    def fields(self, key: bytes | None = b"alice") -> RawHeaders:
        own = ((b"anthropic-version", b"2023-06-01"),) if self.dialect == "messages" else ()
        return (*own, *(() if key is None else (self.key(key),)))

    def answers(self, asked: Asked) -> Told:
        """Answer as an upstream of this dialect does."""
        if json.loads(asked.body).get("stream"):
            return Told(self.event_stream(), headers=EVENT_STREAM)
        return Told((self.document(),), headers=JSON)

    def error_in(self, body: bytes) -> tuple[str, str]:
        """Return the type and the message of an error, which is in this dialect's shape."""
        said = json.loads(body)
        assert ("type" in said) == (self.dialect == "messages"), said
        return said["error"]["type"], said["error"]["message"]

    def error_event_in(self, event: bytes) -> tuple[str, str]:
        """Return the same of an event that ends a stream."""
        name, _, data = event.rpartition(b"data: ")
        assert name == (b"event: error\n" if self.dialect == "messages" else b"")
        return self.error_in(data)


def _chat_events() -> list[bytes]:
    function = {"name": "look", "arguments": ""}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    arguments = json.dumps(CALL)
    return [
        event({"role": "assistant", "content": ""}),
        *[event({"reasoning_content": piece.decode()}) for piece in PIECES[:2]],
        *[event({"content": piece.decode()}) for piece in PIECES[2:]],
        event({"tool_calls": [call]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": arguments[:5]}}]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": arguments[5:]}}]}),
        event({}, "tool_calls"),
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":%b}\n\n'
        % json.dumps(USAGE).encode(),
        DONE,
    ]


def _chat_document() -> bytes:
    function = {"name": "look", "arguments": json.dumps(CALL)}
    call = {"id": "call_1", "type": "function", "function": function}
    said = {"role": "assistant", "content": TEXT, "reasoning_content": THOUGHT, "tool_calls": [call]}
    told = completion(choices=[{"index": 0, "message": said, "finish_reason": "tool_calls"}], usage=USAGE)
    return b"".join(part for part in told.parts if isinstance(part, bytes))


def _message() -> anthropics.Members:
    tool = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": CALL}
    thinking = {"type": "thinking", "thinking": THOUGHT, "signature": "c2lnbmVk"}
    usage = {"input_tokens": 7, "output_tokens": 5}
    return anthropics.message(thinking, {"type": "text", "text": TEXT}, tool, stop_reason="tool_use", usage=usage)


def _message_events() -> list[bytes]:
    return [anthropics.stream_of([one]) for one in openais.events_of(_message())]


def _message_document() -> bytes:
    return json.dumps(_message(), indent=1).encode()


def _read_chat(body: bytes, stream: bool) -> Said:
    said = openais.essence(openais.read_stream_by_sdk(body) if stream else openais.read_by_sdk(body))
    calls = [call[2] for call in said["calls"]]
    why = "tool" if said["finish_reason"] == "tool_calls" else said["finish_reason"]
    return Said(said["reasoning"] or "", said["content"] or "", calls, why, said["usage"]["completion_tokens"])


def _read_message(body: bytes, stream: bool) -> Said:
    said = anthropics.read_by_sdk(body, STREAM if stream else DOCUMENT)
    blocks = said["content"]
    why = "tool" if said["stop_reason"] == "tool_use" else said["stop_reason"]
    return Said(
        "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        "".join(block["text"] for block in blocks if block["type"] == "text"),
        [block["input"] for block in blocks if block["type"] == "tool_use"],
        why,
        said["usage"]["output_tokens"],
    )


CHAT = Client(
    "chat",
    "/v1/chat/completions",
    lambda key: (b"authorization", b"Bearer " + key),
    _chat_events,
    _chat_document,
    _read_chat,
    DONE,
)
MESSAGES = Client(
    "messages",
    "/v1/messages",
    lambda key: (b"x-api-key", key),
    _message_events,
    _message_document,
    _read_message,
    b"event: message_stop",
)
OTHER = {CHAT: MESSAGES, MESSAGES: CHAT}
BOTH_WAYS = (MESSAGES, CHAT)
"""Who asks an upstream that speaks the other dialect."""


class InSteps:
    """An upstream's stream that goes on only once a client has heard what came before, piece by piece."""

    def __init__(self, events: Sequence[bytes]) -> None:
        self.heard = b""
        self._gates = {piece: Gate() for piece in PIECES}
        parts: list[Part] = []
        for one in events:
            parts += [one, *self._gates_after(one)]
        self.told = Told(parts, headers=EVENT_STREAM)

    def _gates_after(self, event: bytes) -> list[Gate]:
        return [gate for piece, gate in self._gates.items() if piece in event]

    def hear(self, chunk: bytes) -> None:
        self.heard += chunk
        for piece, gate in self._gates.items():
            if piece in self.heard:
                gate.set()


async def _no_app(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("no call is the app's")


def _no_wsgi_app(environ: Environ, start_response: StartResponse) -> list[bytes]:
    raise AssertionError("no call is the app's")


def _asgi(url: str, speaks: Dialect, options: Any) -> Mount:
    cache = cachemw.asgi.CacheMiddleware(_no_app, upstream=HttpUpstream(url + "/v1", speaks={speaks}), **options)
    return AsgiMount(cache, cache)


def _proxy(url: str, speaks: Dialect, options: Any) -> Mount:
    proxy = Proxy(HttpUpstream(url + "/v1", speaks={speaks}), **options)
    return AsgiMount(proxy, proxy._cache)


def _wsgi(url: str, speaks: Dialect, options: Any) -> Mount:
    upstream = HttpUpstream(url + "/v1", speaks={speaks})
    return WsgiMount(cachemw.wsgi.CacheMiddleware(_no_wsgi_app, upstream=upstream, **options))


def gateway_to(url: str, speaks: Dialect, folder: Path) -> Gateway:
    """Return a gateway whose one route, `m`, has one target at a URL, where all else goes too."""
    path = folder / "cachemw.toml"
    path.write_text(f'[providers.there]\nbase_url = "{url}/v1"\nspeaks = ["{speaks}"]\n[routes.m]\ntargets = ["there/m"]\n')
    return Gateway(replace(read_gateway(str(path), {}), default="there"), environment={})


def _transport(url: str, speaks: Dialect, options: Any) -> Mount:
    transport = cachemw.httpx2.CacheTransport(gateway=gateway_to(url, speaks, options.pop("folder")), **options)
    return TransportMount(transport, httpx2.Client(transport=transport, trust_env=False), "https://nowhere.example")


def _async_transport(url: str, speaks: Dialect, options: Any) -> Mount:
    transport = cachemw.httpx.AsyncCacheTransport(gateway=gateway_to(url, speaks, options.pop("folder")), **options)
    return AsyncTransportMount(transport, httpx.AsyncClient(transport=transport, trust_env=False), "https://nowhere.example")


MAKERS: dict[str, Callable[[str, Dialect, Any], Mount]] = {
    "ASGI": _asgi,
    "proxy": _proxy,
    "WSGI": _wsgi,
    "httpx2": _transport,
    "httpx async": _async_transport,
}
KINDS = list(MAKERS)
OVER_A_GATEWAY = ["httpx2", "httpx async"]


@dataclass(slots=True)
class Front:
    """A mount under test, whose upstream speaks the dialect that the client does not."""

    kind: str
    url: str
    client: Client
    upstream: Upstream
    folder: Path
    policy: Policy = field(default_factory=Policy)
    limits: Limits = PATIENT
    store: Store = field(default_factory=MemoryStore)
    reports: list[ExchangeReport] = field(default_factory=list)
    mounts: list[Mount] = field(default_factory=list)

    def mount(self, **policy: Any) -> None:
        """Mount anew, with what is not as usual in the policy."""
        options = {"store": self.store, "limits": self.limits, "hooks": [self.reports.append], "policy": Policy(**policy)}
        if self.is_routed:
            options["folder"] = self.folder
        self.mounts.append(MAKERS[self.kind](self.url, self.spoken.dialect, options))

    @property
    def spoken(self) -> Client:
        """The client who speaks as the upstream does."""
        return OTHER[self.client]

    @property
    def is_routed(self) -> bool:
        return self.kind in OVER_A_GATEWAY

    @property
    def is_pulled(self) -> bool:
        """Whether it starts no thread and no task."""
        return self.kind in ("WSGI", *OVER_A_GATEWAY)

    @property
    def driver(self) -> Any:
        return self.mounts[-1].driver

    async def ask(
        self,
        client: Client | None = None,
        *,
        control: str | None = "on",
        body: bytes | None = None,
        stream: bool = False,
        headers: Sequence[tuple[bytes, bytes]] = (),
        key: bytes | None = b"alice",
        path: str | None = None,
        method: str = "POST",
        leave_after: int | None = None,
        hears: Hears = ignore,
    ) -> Reply:
        """Send a request of a client, by default of the one who is translated."""
        client = client or self.client
        fields = [(b"content-type", b"application/json"), *client.fields(key), *headers]
        if control is not None:
            fields.append((b"cachemw", control.encode()))
        sent = client.asks(stream=stream) if body is None else body
        asked = Sent(sent, fields, path or client.path, method, leave_after=leave_after, hears=hears)
        return await self.mounts[-1].send(asked)

    async def aclose(self) -> None:
        for mount in self.mounts:
            await mount.aclose()
