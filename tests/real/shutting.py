"""What a server runs in a process of its own until it is told to end: us, and who can say how many flights have no reader."""

import json
import os

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw import MemoryStore, Policy
from cachemw.asgi import CacheMiddleware
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests.patience import PATIENT
from tests.upstream import EVENT_STREAM, stream_events

UPSTREAM = "TESTED_UPSTREAM"
"""The variable that has the upstream's URL; without it an app is in its place."""

DETACHED = "/detached"

FIRST = b"".join(stream_events()[:2])


async def hanging(scope: Scope, receive: Receive, send: Send) -> None:
    """Say the first of a stream, and no more; listen to nobody."""
    await send({"type": "http.response.start", "status": 200, "headers": list(EVENT_STREAM)})
    await send({"type": "http.response.body", "body": FIRST, "more_body": True})
    await anyio.sleep_forever()


def mounted() -> tuple[ASGIApp, CacheMiddleware]:
    """Return us, and the cache in it."""
    store, policy = MemoryStore(), Policy(on_abandon="finish")
    if url := os.environ.get(UPSTREAM):
        proxy = Proxy(HttpUpstream(url), store=store, policy=policy, limits=PATIENT)
        return proxy, proxy._cache
    cache = CacheMiddleware(hanging, name="hanging", store=store, policy=policy, limits=PATIENT)
    return cache, cache


us, cache = mounted()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as we do, and this one thing more."""
    if scope["type"] == "http" and scope["path"] == DETACHED:
        body = json.dumps(cache.driver.flights.here().detached).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "http" or us is not cache:
        await us(scope, receive, send)
