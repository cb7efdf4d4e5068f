"""The simulator as an ASGI application: its paths."""

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Literal

import anyio
from starlette.types import Receive, Scope, Send

from cachemw.simulator.answering import SimulatedAnswer, answer
from cachemw.simulator.asking import Ask, AskedBody, Simulate, SimulatedRefusal, read, simulated
from cachemw.simulator.cerebras import Cerebras
from cachemw.simulator.dialect import Dialect, Json
from cachemw.simulator.openai import OpenAI
from cachemw.simulator.script import (
    Begin,
    Finish,
    Pace,
    ResponseScript,
    ScriptEvent,
    Wait,
    Write,
    cut,
    events,
    failing,
    reply,
    stall,
    stream,
    whole,
)


def script_for(raw: bytes, dialect: Dialect, pace: Pace) -> ResponseScript:
    """Decide how a chat request is answered."""
    ask = read(raw)
    if isinstance(ask, SimulatedRefusal):
        return refuse(ask, sha256(raw).digest(), dialect)
    simulate = ask.body.simulate
    return _broken(_answered(ask, dialect, _overridden(pace, simulate)), simulate)


def refuse(refusal: SimulatedRefusal, digest: bytes, dialect: Dialect, seconds: float = 0.0) -> ResponseScript:
    headers = (*dialect.headers(digest), *refusal.headers)
    return reply(refusal.status, headers, whole(dialect.error(refusal)), seconds)


def _answered(ask: Ask, dialect: Dialect, pace: Pace) -> ResponseScript:
    status = ask.body.simulate.status
    if status is not None:
        return refuse(simulated(status), ask.digest, dialect, pace.first_token_seconds)
    said = answer(ask)
    headers = dialect.headers(ask.digest)
    if ask.body.stream:
        return stream(headers, _events(said, ask.body, dialect), pace)
    seconds = pace.first_token_seconds + pace.seconds(max(0, said.longest - 1))
    return reply(200, headers, whole(dialect.completion(said)), seconds)


def _events(said: SimulatedAnswer, body: AskedBody, dialect: Dialect) -> tuple[ScriptEvent, ...]:
    options = body.stream_options
    sent = events(said, dialect, include_usage=bool(options and options.include_usage))
    after = body.simulate.error_after
    return sent if after is None else failing(sent, after, dialect)


def _overridden(pace: Pace, simulate: Simulate) -> Pace:
    if simulate.first_token_seconds is not None:
        pace = replace(pace, first_token_seconds=simulate.first_token_seconds)
    if simulate.tokens_per_second is not None:
        pace = replace(pace, tokens_per_second=simulate.tokens_per_second)
    return pace


def _broken(script: ResponseScript, simulate: Simulate) -> ResponseScript:
    if simulate.stall_after is not None:
        script = stall(script, simulate.stall_after, simulate.stall_seconds)
    if simulate.cut_after is not None:
        script = cut(script, simulate.cut_after)
    return script


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


async def _cancel_when_client_leaves(scope: anyio.CancelScope, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


MODELS = ("gpt-oss-120b", "llama3.1-8b", "zai-glm-4.7")
NOBODY = bytes(32)  # the digest of a request that was not read


class Simulator:
    """A chat-completions provider that needs no network, no key and no luck.

    The same request body has the same answer, always. A request asks for a failure with its `simulate` member,
    for example `extra_body={"simulate": {"status": 503}}` with an SDK.
    """

    def __init__(
        self,
        *,
        first_token_seconds: float = 0.0,
        tokens_per_second: float = 0.0,
        usage: Literal["cerebras", "openai"] = "cerebras",
    ) -> None:
        self.calls = 0
        self._pace = Pace(first_token_seconds, tokens_per_second)
        self._dialect: Dialect = OpenAI() if usage == "openai" else Cerebras()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._respond(scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1000, "reason": ""})

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = scope["method"], _endpoint(scope)
        if route == ("POST", "/chat/completions"):
            self.calls += 1
            script = await self._chat(receive)
        else:
            script = self._page(route)
        if script is not None:
            await act(script, receive, send)

    async def _chat(self, receive: Receive) -> ResponseScript | None:
        try:
            raw = await read_body(receive)
        except TooLargeError:
            return refuse(simulated(413), NOBODY, self._dialect)
        return None if raw is None else script_for(raw, self._dialect, self._pace)

    def _page(self, route: tuple[str, str]) -> ResponseScript:
        pages: dict[tuple[str, str], Json] = {
            ("GET", "/models"): {"object": "list", "data": [_model(name) for name in MODELS]},
            ("GET", "/tcp_warming"): {},
            ("GET", "/healthz"): {"status": "ok"},
            ("GET", "/calls"): {"calls": self.calls},
        }
        if route in pages:
            return reply(200, (), whole(pages[route]))
        return refuse(SimulatedRefusal(404, f"Unknown request URL: {' '.join(route)}."), NOBODY, OpenAI())


def _endpoint(scope: Scope) -> str:
    """Return the path below where we are mounted, without its version segments."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    for _ in range(2):  # /v1/v1: a client whose base URL and whose paths both have one
        path = path.removeprefix("/v1")
    return path


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 1_750_000_000, "owned_by": "simulator"}


async def _live(receive: Receive, send: Send) -> None:
    while True:
        phase = (await receive())["type"]
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return
