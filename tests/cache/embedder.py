"""An upstream of embeddings, as an app, and a client that asks it through a mount of ours."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.types import Receive, Scope, Send

from cachemw import MemoryStore, Policy
from cachemw.asgi import CacheMiddleware
from cachemw.cache.key import indexes_beside
from cachemw.stores import Store
from tests.asgi_driver import Reply, call
from tests.endpoints.calling import JSON_FIELDS

PATH = "/v1/embeddings"


def vector(one: Any, encoding: str = "float") -> Any:
    """Return what stands for an input: of each another one."""
    size = float(sum(map(ord, one)) if isinstance(one, str) else 1000 + sum(one))
    return [size, -0.0170440673828125] if encoding == "float" else f"base64 of {size}"


def tokens(one: Any) -> int:
    """Return how many tokens an input has."""
    return len(one)


def answered(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a request."""
    given = asked["input"]
    inputs = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    vectors = [vector(one, asked.get("encoding_format", "float")) for one in inputs]
    data = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(vectors)]
    count = sum(map(tokens, inputs))
    return {"object": "list", "data": data, "model": "m-1", "usage": {"prompt_tokens": count, "total_tokens": count}}


class Embedder:
    """The app: notes what it was asked, and answers with what `respond` returns, as JSON where that is not bytes."""

    def __init__(self, respond: Callable[[Mapping[str, Any]], Any] = answered) -> None:
        self.asked: list[dict[str, Any]] = []
        self.respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        self.asked.append(json.loads(message["body"]))
        answer = self.respond(self.asked[-1])
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        await send({"type": "http.response.start", "status": 200, "headers": list(JSON_FIELDS)})
        await send({"type": "http.response.body", "body": body})


class Place:
    """A mount around an embedder, and what it is asked."""

    def __init__(self, store: Store | None = None, policy: Policy | None = None) -> None:
        self.upstream, self.store = Embedder(), store or MemoryStore()
        self.mount = CacheMiddleware(self.upstream, name="bot", store=self.store, policy=policy or Policy())
        self.now = 1000.0
        self.mount.driver.clock = lambda: self.now

    async def ask(self, given: Any, control: str = "on", fields: Sequence[tuple[bytes, bytes]] = (), **more: Any) -> Reply:
        """Ask for the embeddings of inputs."""
        body = json.dumps({"model": "m", "input": given} | more).encode()
        return await call(self.mount, "POST", PATH, body, (*JSON_FIELDS, (b"cachemw", control.encode()), *fields))

    async def after(self, *batches: Any, **more: Any) -> "Place":
        """Return it when these have been asked for, one after the other."""
        for given in batches:
            await self.ask(given, **more)
        self.upstream.asked.clear()
        return self

    def purge(self, reply: Reply) -> None:
        """Purge the key of an answer, as the command does."""
        index = bytes.fromhex(status_of(reply).partition('key="')[2].partition('"')[0])
        self.store.delete(index, *indexes_beside(index))


def status_of(reply: Reply) -> str:
    """Return what `Cache-Status` says."""
    return reply.headers[b"cache-status"].decode()
