"""Readiness: how the store and the upstream did in the last exchanges. Nothing is asked for the sake of a probe."""

import time
from collections.abc import Callable

from cachemw.errors import Cause, UpstreamError
from cachemw.stores.guard import GuardedStore
from cachemw.upstreams.base import AsyncGateway, AsyncResponse, AsyncUpstream, UpstreamRequest

FAILING_TIME = 30.0
"""The seconds for which a failure counts: who is asked no more because of it could never be seen to be well again."""

OK, FAILING, UNKNOWN = "ok", "failing", "unknown"


class WatchedUpstream:
    """An upstream of which is known how it did when it was asked last. The clock is in seconds."""

    def __init__(self, upstream: AsyncUpstream, clock: Callable[[], float] = time.monotonic) -> None:
        self._upstream, self._clock = upstream, clock
        self._did_well: bool | None = None
        self._asked_at = 0.0
        self.target = upstream.target

    @property
    def place(self) -> str:
        return self._upstream.place

    @property
    def word(self) -> str:
        """How it did: `unknown` where it was not asked yet, or has had time to recover."""
        if self._did_well is None or not self._did_well and self._clock() - self._asked_at > FAILING_TIME:
            return UNKNOWN
        return OK if self._did_well else FAILING

    async def aopen(self, request: UpstreamRequest) -> AsyncResponse:
        try:
            response = await self._upstream.aopen(request)
        except UpstreamError as error:
            if error.cause is not Cause.REQUEST:
                self._note(False)
            raise
        self._note(response.head.status < 500)
        return response

    async def aclose(self) -> None:
        await self._upstream.aclose()

    def _note(self, did_well: bool) -> None:
        self._did_well, self._asked_at = did_well, self._clock()


class WatchedGateway(WatchedUpstream):
    """A gateway of which is known how it did when it was asked last."""

    def __init__(self, gateway: AsyncGateway, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(gateway, clock)
        self.plan = gateway.plan


def readiness(store: GuardedStore, upstream: WatchedUpstream) -> tuple[int, dict[str, str]]:
    """Return a status and a word for each: 503 where neither can answer, for with one of them something can be."""
    words = {"store": OK if store.is_well else FAILING, "upstream": upstream.word}
    return 503 if set(words.values()) == {FAILING} else 200, words
