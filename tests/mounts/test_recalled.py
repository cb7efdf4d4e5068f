"""What a mount gives again without a script: the same as it would decide, in every mount."""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from cachemw import ExchangeReport, MemoryStore, Policy
from tests.asgi_driver import RawHeaders, Reply
from tests.mounts.conftest import CREDENTIAL, Mounted, note_recalled, status_of
from tests.mounts.mounting import PATH
from tests.upstream import always, completion, prompt, stream

pytestmark = pytest.mark.anyio

KINDS = pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])
BOB = (b"authorization", b"Bearer bob")


@pytest.fixture
def mounted(mounted: Mounted) -> Mounted:
    """Every mount; it recalls, whatever others do in this run."""
    mounted.limit(recall_bytes=2**26)
    return mounted


def bare(report: ExchangeReport) -> ExchangeReport:
    """Return a report without what differs from one exchange to the next."""
    return replace(report, id=None, at=None, first_byte=None, total=None)


LARGE = "word " * 2_000
"""So many events of a stream that they leave in several pieces."""


async def hits(mounted: Mounted, count: int, body: bytes | None = None) -> list[Reply]:
    """Ask as often, after a miss."""
    return [await mounted.ask("on", body) for _ in range(count + 1)][1:]


@KINDS
@pytest.mark.parametrize("text", ["hello", LARGE], ids=["small", "large"])
async def test_what_is_given_again_is_what_was_given(mounted: Mounted, streaming: bool, text: str) -> None:
    """S2, E1: bytes, head and report, but for id and times."""
    mounted.upstream.respond = always((stream if streaming else completion)(text))
    mounted.driver.clock = lambda: 1_000_000.0
    recalled = note_recalled(mounted.driver)

    second, third = await hits(mounted, 2, prompt(stream=streaming))
    mounted.driver.recaller.tally.tell()

    assert recalled == [True]
    assert len(third.chunks) > 1 or not streaming or text != LARGE
    assert (third.raw_headers, third.chunks, third.status, third.complete) == (
        second.raw_headers,
        second.chunks,
        second.status,
        True,
    )
    assert bare(mounted.reports[2]) == bare(mounted.reports[1])
    assert mounted.reports[2].id != mounted.reports[1].id


@KINDS
async def test_a_second_later_only_its_age_is_another(mounted: Mounted, streaming: bool) -> None:
    """R5."""
    mounted.driver.clock = lambda: 1_000_000.0
    recalled = note_recalled(mounted.driver)
    await hits(mounted, 1, prompt(stream=streaming))
    replies = []
    for later in (0.0, 7.9):
        mounted.driver.clock = lambda at=later: 1_000_000.0 + at
        replies.append(await mounted.ask("on", prompt(stream=streaming)))

    assert recalled == [True, True]
    assert [(status_of(reply), reply.headers[b"age"]) for reply in replies] == [
        ("hit; ttl=86400; key", b"0"),
        ("hit; ttl=86393; key", b"7"),
    ]
    assert replies[0].chunks == replies[1].chunks


@dataclass(frozen=True)
class Ask:
    """A request that differs from the plain one, and what happens before it."""

    control: str = "on"
    headers: RawHeaders = (CREDENTIAL,)
    path: str = PATH
    body: bytes | None = None
    at: float = 0.0
    purges: bool = False


def also(*fields: tuple[bytes, bytes]) -> Ask:
    return Ask(headers=(CREDENTIAL, *fields))


BETWEEN: dict[str, Ask] = {
    "a purge": Ask(purges=True),
    "a refresh": Ask("mode=refresh"),
    "no-cache": also((b"cache-control", b"no-cache")),
    "max-age": Ask(headers=(CREDENTIAL, (b"cache-control", b"max-age=5")), at=9.0),
    "only-if-cached": also((b"cache-control", b"only-if-cached")),
    "replay": Ask("mode=replay", at=100_000.0),
    "a pace": Ask("speed=1"),
    "what is not obeyed": Ask("on, colour=blue, abandon=finish"),
    "off": Ask("off"),
    "what cannot be read": Ask("on; ttl=5"),
    "a namespace": Ask("namespace=evals"),
    "a sample": Ask("sample=1"),
    "another credential": Ask(headers=(BOB,)),
    "no credential": Ask(headers=()),
    "two credentials": also(BOB),
    "another host": also((b"host", b"other.example")),
    "another host behind a proxy": also((b"x-forwarded-host", b"other.example")),
    "a cookie": also((b"cookie", b"who=bob")),
    "an edge's cookie": also((b"cookie", b"__cf_bm=1")),
    "a language": also((b"accept-language", b"de")),
    "a trace": also((b"traceparent", b"00-1-2-01"), (b"x-request-id", b"7")),
    "an organisation": also((b"openai-organization", b"o1")),
    "a field that nobody knows": also((b"x-tenant", b"7")),
    "a coded body": also((b"content-encoding", b"gzip")),
    "a query": Ask(path=PATH + "?a=1"),
    "another path": Ask(path="/v1/v1/chat/completions"),
    "a path spelt otherwise": Ask(path="/v1/chat/c%6Fmpletions"),
    "another question": Ask(body=prompt("other")),
    "another kind": Ask(body=prompt(stream=True)),
    "what is no question": Ask(body=b"{"),
    "nothing": Ask(body=b""),
    "the end of its time": Ask(at=86_400.0),
    "a clock set back": Ask(at=-50.0),
}
ALL = "all of them, one after the other"


async def told(mounted: Mounted, asks: Iterable[Ask]) -> list[object]:
    """Ask each thing three times, and the plain one before and after; return all that is told."""
    plain, said = Ask(), list[object]()
    for ask in [again for one in asks for again in (plain, plain, plain, one, one, one, plain, plain)]:
        mounted.driver.clock = lambda at=ask.at: 1_000_000.0 + at
        if ask.purges:
            mounted.store.clear()
        reply = await mounted.ask(ask.control, ask.body, path=ask.path, headers=ask.headers)
        said.append((status_of(reply), reply.status, reply.headers.get(b"age"), reply.chunks, mounted.upstream.calls))
    return said


@pytest.mark.parametrize("name", [*BETWEEN, ALL])
async def test_whatever_is_between_the_same_is_told_as_without_recall(mounted: Mounted, name: str) -> None:
    """I1, K10, R4, R5, F89, F91."""
    asks = BETWEEN.values() if name == ALL else [BETWEEN[name]]
    number = iter(range(10**6))
    mounted.upstream.respond = lambda asked: (stream if b"true" in asked.body else completion)(f"no. {next(number)}")
    mounted.driver.clock = lambda: 1_000_000.0
    recalled = note_recalled(mounted.driver)

    with_recall = await told(mounted, asks)
    number, mounted.store = iter(range(10**6)), MemoryStore()
    mounted.upstream.asked.clear()
    mounted.limit(recall_bytes=0)
    without = await told(mounted, asks)

    assert with_recall == without
    assert any(recalled)


async def test_every_hit_is_reported(mounted: Mounted) -> None:
    """E1: a report may speak for several; when a mount is closed, all are told of."""
    recalled = note_recalled(mounted.driver)
    await hits(mounted, 9)
    await mounted.now.aclose()

    assert sum(recalled) == 8
    assert sum(report.count for report in mounted.reports if report.hit) == 9
    assert len({report.id for report in mounted.reports}) == len(mounted.reports)


async def test_what_depends_on_more_than_the_request_is_decided_each_time(mounted: Mounted) -> None:
    """I1: a function may read anything."""
    names = iter([b"a", b"a", b"a", b"b", b"b", b"a"])
    mounted.mount(Policy(partition=lambda request: next(names)))

    said = [status_of(await mounted.ask()).split(";")[0] for _ in range(6)]

    assert said == ["fwd=miss", "hit", "hit", "fwd=miss", "hit", "hit"]
