"""What one mount stores, another serves: one key, one record, whoever wrote it."""

from dataclasses import dataclass

import msgspec
import pytest

from cachemw import MemoryStore
from cachemw.cache.record import decode
from cachemw.messages import StoredResponse
from tests.mounts.conftest import CREDENTIAL, Mounted, Switch, status_of
from tests.mounts.mounting import AROUND_AN_APP, KINDS, OVER_HTTP
from tests.upstream import Upstream, prompt

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


@dataclass(frozen=True, slots=True)
class Fleet:
    """Every mount, over one store and one upstream."""

    upstream: Upstream
    mounts: dict[str, Mounted]

    def those(self, kinds: list[str]) -> dict[str, Mounted]:
        return {kind: self.mounts[kind] for kind in kinds}

    async def aclose(self) -> None:
        for mounted in self.mounts.values():
            await mounted.aclose()


def fleet_at(switch: tuple[Switch, str]) -> Fleet:
    app, url = switch
    app.target = upstream = Upstream()
    store = MemoryStore()
    fleet = Fleet(upstream, {kind: Mounted(kind, url, upstream, store=store) for kind in KINDS})
    for mounted in fleet.mounts.values():
        mounted.mount()
        mounted.driver.clock = lambda: 1_000_000.0
    return fleet


@BOTH
@pytest.mark.parametrize("writer", KINDS)
async def test_a_record_of_one_mount_is_a_hit_in_every_other(writer: str, stream: bool, switch: tuple[Switch, str]) -> None:
    """S1, E5: over HTTP of the same absolute URL, around an app of the same name and path, whatever the client calls itself."""
    fleet = fleet_at(switch)
    readers = fleet.those(AROUND_AN_APP if writer in AROUND_AN_APP else OVER_HTTP)

    miss = await fleet.mounts[writer].ask("on", prompt(stream=stream))
    hits = {
        kind: await mounted.ask("on", prompt(stream=stream), headers=(CREDENTIAL, (b"user-agent", kind.encode())))
        for kind, mounted in readers.items()
    }

    assert status_of(miss).startswith("fwd=miss")
    assert {kind: status_of(hit) for kind, hit in hits.items()} == dict.fromkeys(readers, "hit; ttl=86400; key")
    assert {hit.body for hit in hits.values()} == {miss.body}
    assert {hit.headers[b"cache-status"] for hit in hits.values()} == {hits[writer].headers[b"cache-status"]}
    assert fleet.upstream.calls == 1
    await fleet.aclose()


@BOTH
@pytest.mark.parametrize("kinds", [OVER_HTTP, AROUND_AN_APP], ids=["over HTTP", "around an app"])
async def test_every_mount_writes_the_same_record(kinds: list[str], stream: bool, switch: tuple[Switch, str]) -> None:
    """E5: but for when the events came."""
    fleet = fleet_at(switch)
    written: dict[str, StoredResponse] = {}

    for kind, mounted in fleet.those(kinds).items():
        await mounted.ask("mode=refresh", prompt(stream=stream))
        ((_, record),) = mounted.store.scan()
        stored = decode(record)
        assert len(stored.arrivals) == len(stored.event_ends)
        written[kind] = msgspec.structs.replace(stored, arrivals=())

    assert written == dict.fromkeys(kinds, written[kinds[0]])
    assert fleet.upstream.calls == len(kinds)
    await fleet.aclose()


async def test_an_app_and_an_http_upstream_are_two_answerers(switch: tuple[Switch, str]) -> None:
    """K2."""
    fleet = fleet_at(switch)

    for mounted in fleet.mounts.values():
        await mounted.ask("on")

    assert fleet.upstream.calls == 2
    assert len(list(fleet.mounts["proxy"].store.scan())) == 2
    await fleet.aclose()
