"""The simulator as an ASGI application: its paths."""

from typing import Literal

from starlette.types import Receive, Scope, Send

from cachemw.simulator.cerebras import Cerebras
from cachemw.simulator.dialect import Dialect, Json
from cachemw.simulator.framing import whole
from cachemw.simulator.openai import OpenAI
from cachemw.simulator.refusing import Refusal, simulated
from cachemw.simulator.replying import refuse, script_for
from cachemw.simulator.script import Pace, Script, reply
from cachemw.simulator.serving import TooLargeError, act, read_body

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

    async def _chat(self, receive: Receive) -> Script | None:
        try:
            raw = await read_body(receive)
        except TooLargeError:
            return refuse(simulated(413), NOBODY, self._dialect)
        return None if raw is None else script_for(raw, self._dialect, self._pace)

    def _page(self, route: tuple[str, str]) -> Script:
        pages: dict[tuple[str, str], Json] = {
            ("GET", "/models"): {"object": "list", "data": [_model(name) for name in MODELS]},
            ("GET", "/tcp_warming"): {},
            ("GET", "/healthz"): {"status": "ok"},
            ("GET", "/calls"): {"calls": self.calls},
        }
        if route in pages:
            return reply(200, (), whole(pages[route]))
        return refuse(Refusal(404, f"Unknown request URL: {' '.join(route)}."), NOBODY, OpenAI())


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
