"""`python -m benchmarks.hishel_app UPSTREAM PORT DATABASE`: hishel as an ASGI middleware before an upstream; without us."""

import hashlib
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx
import uvicorn
from hishel import AsyncSqliteStorage
from hishel.asgi import ASGICacheMiddleware

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

FRESH = (b"cache-control", b"public, max-age=86400")


class Relay:
    """Asks the upstream, and says how long its answer is fresh."""

    def __init__(self, upstream: str) -> None:
        self._client = httpx.AsyncClient(base_url=upstream)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        answer = await self._client.post(scope["path"], content=await _read(receive))
        fields = [(b"content-type", answer.headers["content-type"].encode()), FRESH]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": fields})
        await send({"type": "http.response.body", "body": answer.content})


class KeyedOnBody:
    """Asks hishel, which keeps no answer to a POST, by GET, with a digest of the body in the query."""

    def __init__(self, cached: ASGICacheMiddleware) -> None:
        self._cached = cached

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError  # which is how an app says that it has no lifespan
        body = await _read(receive)

        async def replay() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        query = hashlib.sha256(body).hexdigest().encode()
        await self._cached({**scope, "method": "GET", "query_string": query}, replay, send)


async def _read(receive: Receive) -> bytes:
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


def main() -> None:
    upstream, port, database = sys.argv[1:]
    cached = ASGICacheMiddleware(Relay(upstream), AsyncSqliteStorage(database_path=database))
    uvicorn.run(KeyedOnBody(cached), port=int(port), access_log=False, log_level="warning", date_header=False)


if __name__ == "__main__":
    main()
