"""`/readyz`: how the store and the upstream did in the last exchanges."""

from contextlib import AsyncExitStack

import pytest

from cachemw import Limits, MemoryStore, StoreError
from cachemw.errors import Cause, UpstreamError
from cachemw.messages import Head, HttpTarget
from cachemw.proxy import Proxy
from cachemw.proxy.readiness import FAILING_TIME, WatchedUpstream
from cachemw.upstreams import HttpUpstream
from cachemw.upstreams.base import UpstreamRequest
from tests.proxy.conftest import ON, Place
from tests.serving import nobody_there
from tests.upstream import Told, always, prompt

pytestmark = pytest.mark.anyio


async def ready(place: Place) -> tuple[int, dict[str, str]]:
    reply = await place.client.get("/readyz")
    words: dict[str, str] = reply.json()
    return reply.status_code, words


async def test_before_anything_is_asked_nothing_is_known(place: Place) -> None:
    """D4: and a probe asks nobody."""
    assert await ready(place) == (200, {"store": "ok", "upstream": "unknown"})
    assert place.upstream.calls == 0


@pytest.mark.parametrize(
    ("status", "word"), [(200, "ok"), (400, "ok"), (401, "ok"), (429, "ok"), (500, "failing"), (503, "failing")]
)
async def test_the_last_exchange_says_how_the_upstream_is(place: Place, status: int, word: str) -> None:
    """D4: what is the caller's fault, or a matter of turns, is none of its; opted in or not."""
    for headers in (ON, {name: value for name, value in ON.items() if name != "cachemw"}):
        place.upstream.respond = always(Told([b"{}"], status=status))
        await place.ask(prompt(f"{status} {headers}"), headers)

        assert await ready(place) == (200, {"store": "ok", "upstream": word})

        place.upstream.respond = always(Told([b"{}"]))
        await place.ask(prompt(f"good {headers}"), headers)

        assert (await ready(place))[1]["upstream"] == "ok"


async def test_one_that_cannot_be_reached_is_failing(place: Place) -> None:
    with nobody_there() as url:
        place.put_up_url(url)
        await place.ask()

        assert await ready(place) == (200, {"store": "ok", "upstream": "failing"})


class Failing(MemoryStore):
    """A store whose calls fail."""

    def get(self, index: bytes) -> bytes | None:
        raise StoreError("the disk is gone")


async def test_a_store_that_fails_is_failing_and_where_both_do_nothing_can_be_answered(place: Place) -> None:
    """D1, D4."""
    with nobody_there() as dead:
        for url, expected in ((place.upstream_url, (200, "ok")), (dead, (503, "failing"))):
            async with AsyncExitStack() as stack:
                upstream = HttpUpstream(url + "/v1")
                stack.push_async_callback(upstream.aclose)
                place.mount(Proxy(upstream, store=Failing(), limits=Limits()))
                await place.ask()

                assert await ready(place) == (expected[0], {"store": "failing", "upstream": expected[1]})


class Scripted:
    """An upstream that answers with a status, or fails."""

    place = "https://api.example/v1"

    def __init__(self) -> None:
        self.next: int | UpstreamError = 200

    def target(self, raw_path: bytes, query: bytes) -> HttpTarget:
        return HttpTarget("https://api.example/v1")

    async def aopen(self, request: UpstreamRequest) -> "Scripted":
        if isinstance(self.next, UpstreamError):
            raise self.next
        self.head = Head(self.next, ())
        return self

    async def read(self) -> bytes | None:
        return None

    async def aclose(self) -> None:
        """Close nothing."""


async def test_a_failure_counts_for_a_while() -> None:
    """D4: else who is asked no more because of it, as by a probe of readiness, would never be asked again."""
    now, behind = [0.0], Scripted()
    upstream = WatchedUpstream(behind, lambda: now[0])
    request = UpstreamRequest("GET", b"/", b"", (), b"")
    behind.next = UpstreamError("no")
    with pytest.raises(UpstreamError):
        await upstream.aopen(request)

    words = []
    for now[0] in (0.0, FAILING_TIME, FAILING_TIME + 1):
        words.append(upstream.word)

    assert words == ["failing", "failing", "unknown"]


async def test_a_path_that_cannot_be_asked_for_says_nothing_of_the_upstream() -> None:
    behind = Scripted()
    upstream = WatchedUpstream(behind)
    behind.next = UpstreamError("no")
    behind.next.cause = Cause.REQUEST

    with pytest.raises(UpstreamError):
        await upstream.aopen(UpstreamRequest("GET", b"/", b"", (), b""))

    assert upstream.word == "unknown"
