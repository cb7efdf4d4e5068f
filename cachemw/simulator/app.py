"""The simulator as an ASGI application: its paths."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import anyio
from starlette.types import Receive, Scope, Send

from cachemw.simulator.asking import Ask, Simulate, SimulatedRefusal, read, simulated
from cachemw.simulator.dialects import DIALECTS
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.endpoints import SIMULATED_ENDPOINTS
from cachemw.simulator.endpoints.base import SimulatedEndpoint
from cachemw.simulator.failing import SOUND, FailScript, NamedFailure, failure_named
from cachemw.simulator.responding import refuse, script_for
from cachemw.simulator.script import Begin, Finish, HangUp, Json, Pace, ResponseScript, Wait, Write, reply, whole

REQUEST_LIMIT_BYTES = 64 * 1024 * 1024


class TooLargeError(Exception):
    """The request's body is over the limit; the rest of it is not read."""


async def read_body(receive: Receive) -> bytes | None:
    """Return the request's body; None if the client left before its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > REQUEST_LIMIT_BYTES:
            raise TooLargeError
        if not message.get("more_body", False):
            return bytes(body)


async def act(script: ResponseScript, receive: Receive, send: Send) -> None:
    """Act out a script while the client is there to see it."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_when_client_leaves, tasks.cancel_scope, receive)
        with suppress(OSError):  # `send` may raise it once the client has left
            await _act_out(script, send)
        tasks.cancel_scope.cancel()


async def _act_out(script: ResponseScript, send: Send) -> None:
    for step in script:
        match step:
            case Begin(status, headers):
                await send({"type": "http.response.start", "status": status, "headers": list(headers)})
            case Wait(seconds):
                await anyio.sleep(seconds)
            case Write(chunk):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            case Finish():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            case HangUp():
                await _hang_up(send)


async def _hang_up(send: Send) -> None:
    """Begin an answer with a head that no server can send: it closes the connection, for which ASGI has no message."""
    with suppress(Exception):  # each server raises its own
        await send({"type": "http.response.start", "status": 0, "headers": []})


async def _cancel_when_client_leaves(scope: anyio.CancelScope, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


MODELS = ("gpt-oss-120b", "llama3.1-8b", "zai-glm-4.7")
NOBODY = bytes(32)  # the digest of a request that was not read


FAIL_FIELD = b"x-simulate-fail"
ASKED_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class AskedCall:
    """What a test may want to know of a request that came."""

    model: str
    fields: tuple[bytes, ...]  # their names
    credential: bytes | None  # its digest
    endpoint: str = "chat"

    __repr__ = object.__repr__  # it holds what somebody sent


def credential_digest(value: bytes) -> bytes:
    """Return what `AskedCall` tells of a field `authorization` or `x-api-key` with this value."""
    return sha256(value).digest()


class Simulator:
    """A provider that needs no network, no key and no luck; of no dialect in particular, it has every endpoint.

    The same request body has the same answer, always. A request asks for a failure with its `simulate` member,
    for example `extra_body={"simulate": {"status": 503}}` with an SDK, or with the field `x-simulate-fail`; the others
    meet what `fail` says, a script such as `"ok x5, cerebras:quota for 2s, ok"`.
    """

    def __init__(
        self,
        *,
        first_token_seconds: float = 0.0,
        tokens_per_second: float = 0.0,
        dialect: str | None = None,
        fail: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if dialect is not None and dialect not in DIALECTS:
            raise ValueError(f"no dialect is called '{dialect}'; there are {', '.join(DIALECTS)}")
        self.calls = 0
        self.asked: deque[AskedCall] = deque(maxlen=ASKED_LIMIT)
        self._pace = Pace(first_token_seconds, tokens_per_second)
        self._dialect = None if dialect is None else DIALECTS[dialect]
        self._fails = FailScript(fail)
        self._clock = clock

    @property
    def models_asked(self) -> list[str]:
        """The models of the last requests that could be read, in the order they came."""
        return [call.model for call in self.asked]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._respond(scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1000, "reason": ""})

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _path_of(scope)
        endpoint = self._endpoint(path) if scope["method"] == "POST" else None
        if endpoint is None:
            script: ResponseScript | None = self._page(scope["method"], path, dict(scope["headers"]))
        else:
            self.calls += 1
            script = await self._answer(endpoint, scope, receive)
        if script is not None:
            await act(script, receive, send)

    def _endpoint(self, path: str) -> SimulatedEndpoint[Any] | None:
        """Return the endpoint at a path, if the provider that is imitated has it."""
        named = (one for one in SIMULATED_ENDPOINTS if one.path == path)
        return next((one for one in named if self._dialect is None or one.name in self._dialect.endpoints), None)

    async def _answer(self, endpoint: SimulatedEndpoint[Any], scope: Scope, receive: Receive) -> ResponseScript | None:
        dialect = self._dialect or DIALECTS[endpoint.home]
        try:
            raw = await read_body(receive)
        except TooLargeError:
            return refuse(simulated(413), NOBODY, dialect)
        return None if raw is None else self._answer_to(raw, dict(scope["headers"]), endpoint, dialect)

    def _answer_to(
        self, raw: bytes, fields: dict[bytes, bytes], endpoint: SimulatedEndpoint[Any], dialect: Dialect
    ) -> ResponseScript:
        ask = read(raw, endpoint.asked)
        if isinstance(ask, SimulatedRefusal):
            return refuse(ask, sha256(raw).digest(), dialect)
        self.asked.append(_asked(ask, fields, endpoint))
        try:
            named = self._failure(fields, ask.body.simulate)
        except ValueError as exc:
            return refuse(SimulatedRefusal(400, str(exc), "simulate"), ask.digest, dialect)
        return script_for(ask, endpoint, dialect, self._pace, named)

    def _failure(self, fields: dict[bytes, bytes], simulate: Simulate) -> NamedFailure:
        """Return what goes wrong. A request that says so itself leaves the server's script where it is."""
        if FAIL_FIELD in fields:
            return failure_named(fields[FAIL_FIELD].decode("latin-1"))
        if simulate.fail is not None:
            return failure_named(simulate.fail)
        return SOUND if simulate.is_failure else self._fails.next_failure(self._clock())

    def _page(self, method: str, path: str, fields: dict[bytes, bytes]) -> ResponseScript:
        pages: dict[tuple[str, str], Json] = {
            ("GET", "/models"): self._models(fields),
            ("GET", "/tcp_warming"): {},
            ("GET", "/healthz"): {"status": "ok"},
            ("GET", "/calls"): {"calls": self.calls},
        }
        if (method, path) in pages:
            return reply(200, (), whole(pages[method, path]))
        unknown = SimulatedRefusal(404, f"Unknown request URL: {method} {path}.", code="unknown_url")
        return refuse(unknown, NOBODY, self._dialect or DIALECTS["openai"])

    def _models(self, fields: Mapping[bytes, bytes]) -> Json:
        """Return the list of models, in Anthropic's form for who speaks to it natively."""
        has_messages = self._dialect is None or "messages" in self._dialect.endpoints
        if has_messages and b"anthropic-version" in fields:
            edges = {"first_id": MODELS[0], "last_id": MODELS[-1]}
            return {"data": [_native_model(name) for name in MODELS], "has_more": False, **edges}
        return {"object": "list", "data": [_model(name) for name in MODELS]}


def _asked(ask: Ask[Any], fields: Mapping[bytes, bytes], endpoint: SimulatedEndpoint[Any]) -> AskedCall:
    credential = fields.get(b"authorization", fields.get(b"x-api-key"))
    digest = None if credential is None else credential_digest(credential)
    return AskedCall(ask.body.model, tuple(fields), digest, endpoint.name)


def _path_of(scope: Scope) -> str:
    """Return the path below where we are mounted, without its version segments."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    for _ in range(2):  # /v1/v1: a client whose base URL and whose paths both have one
        path = path.removeprefix("/v1")
    return path


def _native_model(name: str) -> Json:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2025-06-15T15:06:40Z"}


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 1_750_000_000, "owned_by": "simulator"}


async def _live(receive: Receive, send: Send) -> None:
    while True:
        phase = (await receive())["type"]
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return
