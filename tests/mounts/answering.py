"""A client through a transport of ours, whose upstream gives everybody the same answer."""

import json
from typing import Any

import httpx2

from cachemw import MemoryStore, Policy
from cachemw.httpx2 import CacheTransport
from tests.asgi_driver import Reply
from tests.mounts.mounting import PATH
from tests.transport_driver import call
from tests.upstream import Told


class Answered:
    """Asks, and counts how often that reached the upstream."""

    def __init__(self, told: Told, policy: Policy) -> None:
        self.calls = 0
        self._told = told
        transport = CacheTransport(httpx2.MockTransport(self._answer), store=MemoryStore(), policy=policy)
        self._client = httpx2.Client(transport=transport)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.calls += 1
        pieces = (part for part in self._told.parts if isinstance(part, bytes))
        return httpx2.Response(self._told.status, headers=list(self._told.headers), content=pieces)

    def ask(self, body: dict[str, Any], path: str = PATH) -> Reply:
        """Send a request that opts in."""
        fields = [(b"content-type", b"application/json"), (b"cachemw", b"on")]
        return call(self._client, "POST", "https://api.example" + path, json.dumps(body).encode(), fields)
