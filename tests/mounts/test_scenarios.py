"""One behaviour, every mount: each row is a conversation, and what every step of it says and costs."""

from dataclasses import dataclass, replace

import anyio
import pytest

from cachemw import Policy
from tests.asgi_driver import Reply
from tests.mounts.conftest import CREDENTIAL, Mounted, status_of
from tests.mounts.mounting import AROUND_AN_APP
from tests.serving import settled
from tests.stores.dictionary import DictionaryStore
from tests.upstream import DONE, JSON, Asked, Told, always, answer_to, completion, prompt, stream

pytestmark = pytest.mark.anyio

MISS = "fwd=miss; fwd-status=200; stored; key"
REQUEST = "fwd=request; fwd-status=200; stored; key"
STALE = "fwd=stale; fwd-status=200; stored; key"
HIT = "hit; ttl=86400; key"
NOT_CACHED = "detail=not-cached"
DAY = 86_400.0


@dataclass(frozen=True)
class Step:
    """A request, and what comes of it: our Cache-Status, the upstream calls so far, the status, and seconds since the first.

    `fails` is the status of an upstream that cannot answer just now. `pulled` is what a mount says that starts no thread and
    no task (`mounting`), where that is not the same.
    """

    says: str
    calls: int
    control: str | None = "on"
    cache_control: str | None = None
    at: float = 0.0
    status: int = 200
    age: int | None = None
    fails: int | None = None
    pulled: str | None = None


def hit(calls: int, ttl: int = 86_400, **more: object) -> Step:
    return replace(Step(f"hit; ttl={ttl}; key", calls), **more)  # type: ignore[arg-type]


SCENARIOS: dict[str, list[Step]] = {
    "a second request is a hit": [Step(MISS, 1), hit(1, age=0)],
    "age goes up": [Step(MISS, 1), hit(1, 86_341, at=59.9, age=59), hit(1, 86_340, at=60.0, age=60)],
    "age is never negative": [Step(MISS, 1), hit(1, at=-100.0, age=0)],
    "fresh while age is below the lifetime": [
        Step(MISS, 1, control="on, ttl=60"),
        hit(1, 1, at=59.9),
        Step(STALE, 2, control="on, ttl=60", at=60.0),
        hit(2, 60, at=60.0),
    ],
    "ttl alone opts in": [Step(MISS, 1, control="ttl=5"), hit(1, 5)],
    "ttl is clamped": [Step(MISS, 1, control="ttl=999999999"), hit(1, 31_536_000)],
    "ttl 0 stores what is stale at once": [
        Step(MISS, 1, control="ttl=0"),
        Step(STALE, 2, control="ttl=0"),
        Step("hit; ttl=0; key; detail=max-stale", 2, cache_control="max-stale"),
    ],
    "off is off": [Step(MISS, 1), Step("", 2, control="off"), hit(2)],
    "no header is off": [Step(MISS, 1), Step("", 2, control=None), hit(2)],
    "on=?0 is off": [Step("", 1, control="on=?0, ttl=9"), Step(MISS, 2)],
    "off wins": [Step("", 1, control="on, off"), Step("", 2, control="ttl=60, off")],
    "read stores nothing": [
        Step("fwd=miss; fwd-status=200; key; detail=mode-read", 1, control="mode=read"),
        Step(MISS, 2),
        hit(2, control="mode=read"),
    ],
    "refresh replaces": [
        Step(MISS, 1),
        Step(REQUEST, 2, control="mode=refresh", at=10.0),
        hit(2, at=10.0, age=0),
    ],
    "replay serves any age and never forwards": [
        Step(NOT_CACHED, 0, control="mode=replay", status=504),
        Step(MISS, 1, control="on, ttl=1"),
        Step("hit; ttl=-999; key; detail=replay", 1, control="mode=replay", at=1000.0, age=1000),
    ],
    "no-store": [
        Step("fwd=miss; fwd-status=200; key; detail=no-store", 1, cache_control="no-store"),
        Step(MISS, 2),
        hit(2, cache_control="No-Store"),
    ],
    "no-cache replaces": [Step(MISS, 1), Step(REQUEST, 2, cache_control="no-cache", at=5.0), hit(2, at=5.0, age=0)],
    "no-cache with no-store": [
        Step(MISS, 1),
        Step("fwd=request; fwd-status=200; key; detail=no-store", 2, cache_control="no-cache, no-store"),
        hit(2, 86_395, at=5.0, age=5),
    ],
    "only-if-cached": [
        Step(NOT_CACHED, 0, cache_control="only-if-cached", status=504),
        Step(MISS, 1),
        hit(1, cache_control="only-if-cached"),
        Step(NOT_CACHED, 1, cache_control="only-if-cached", status=504, at=DAY),
    ],
    "only-if-cached with max-stale": [
        Step(MISS, 1, control="ttl=10"),
        Step("hit; ttl=-5; key; detail=max-stale", 1, cache_control="only-if-cached, max-stale=5", at=15.0),
        Step(NOT_CACHED, 1, cache_control="only-if-cached, max-stale=5", at=16.0, status=504),
    ],
    "replay or only-if-cached with no-cache": [
        Step(MISS, 1),
        Step(NOT_CACHED, 1, control="mode=replay", cache_control="no-cache", status=504),
        Step(NOT_CACHED, 1, cache_control="no-cache, only-if-cached", status=504),
    ],
    "max-stale": [
        Step(MISS, 1, control="ttl=10"),
        Step("hit; ttl=-5; key; detail=max-stale", 1, cache_control="max-stale=5", at=15.0, age=15),
        Step("hit; ttl=-990; key; detail=max-stale", 1, cache_control="max-stale", at=1000.0),
        Step(STALE, 2, cache_control="max-stale=5", at=16.0),
    ],
    "stale-if-error": [
        Step(MISS, 1, control="ttl=10"),
        Step("fwd=stale; fwd-status=503; ttl=-30; key; detail=stale-if-error", 2, at=40.0, age=40, fails=503),
        Step("fwd=stale; fwd-status=429; ttl=-30; key; detail=stale-if-error", 3, at=40.0, age=40, fails=429),
        Step(
            "fwd=stale; fwd-status=503; key; detail=not-200",
            4,
            at=40.0,
            fails=503,
            status=503,
            cache_control="stale-if-error=9",
        ),
        Step("fwd=stale; fwd-status=400; key; detail=not-200", 5, at=40.0, fails=400, status=400),
        Step(STALE, 6, at=40.0),
    ],
    "stale-while-revalidate": [
        Step(MISS, 1, control="ttl=10"),
        Step("hit; ttl=-5; key; detail=stale-while-revalidate", 2, control="ttl=20", at=15.0, pulled=STALE),
        hit(2, 20, at=15.0),
    ],
    "abandon": [
        Step(MISS, 1, control="abandon=cancel"),
        hit(1, control="on, abandon=cancel"),
        Step(f"{HIT}", 1, control="on, abandon=finish", pulled=f"{HIT}; detail=ignored-abandon"),
    ],
    "any known member opts in": [
        Step(MISS, 1, control="mode=read-write"),
        hit(1, control="speed=0"),
        hit(1, control="sample=0"),
        hit(1, control="ttl=5"),
    ],
    "an operator's default is a member like any other": [
        Step(MISS, 1, control=None),
        hit(1, 60, control=None),
        Step(STALE, 2, control="ttl=5", at=60.0),
        hit(2, 5, control=None, at=60.0),
        Step("", 3, control="off"),
        Step("", 4, control="on=?0"),
        Step(NOT_CACHED, 4, control="mode=replay, sample=1", status=504),
    ],
    "max-age": [
        Step(MISS, 1),
        hit(1, 86_390, cache_control="max-age=10", at=10.0),
        Step(REQUEST, 2, cache_control="max-age=10", at=11.0),
    ],
    "max-age=0 and a bad number are the strictest": [
        Step(MISS, 1),
        Step(REQUEST, 2, cache_control="max-age=0"),
        Step(REQUEST, 3, cache_control="max-age=soon"),
    ],
    "min-fresh": [
        Step(MISS, 1, control="ttl=60"),
        hit(1, 30, cache_control="min-fresh=30", at=30.0),
        Step(REQUEST, 2, control="ttl=60", cache_control="min-fresh=30", at=31.0),
    ],
    "sample": [
        Step(MISS, 1),
        Step(MISS, 2, control="sample=1"),
        Step(MISS, 3, control="sample=2"),
        hit(3, control="sample=0"),
        hit(3, control="sample=1"),
        hit(3, control="sample=2"),
    ],
    "namespace": [
        Step(MISS, 1),
        Step(MISS, 2, control='namespace="evals"'),
        hit(2, control="namespace=evals"),
        Step(MISS, 3, control='namespace=""'),
        hit(3),
    ],
    "an unknown member is ignored and said": [
        Step("fwd=miss; fwd-status=200; stored; key; detail=ignored-colour", 1, control="on, colour=blue"),
        Step("hit; ttl=86400; key; detail=ignored-colour", 1, control="on, colour=blue"),
    ],
}

POLICIES = {
    "an operator's default is a member like any other": Policy(default="on, ttl=60"),
    "stale-while-revalidate": Policy(stale_while_revalidate=100),
}


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_every_mount_tells_the_same_story(mounted: Mounted, name: str, stream: bool) -> None:
    """S1, R4, R5, E1, E2."""
    mounted.mount(POLICIES.get(name))
    for number, step in enumerate(SCENARIOS[name]):
        mounted.driver.clock = lambda at=step.at: 1_000_000.0 + at
        mounted.upstream.respond = answer_to if step.fails is None else always(replace(completion(), status=step.fails))
        control = () if step.cache_control is None else ((b"cache-control", step.cache_control.encode()),)

        reply = await mounted.ask(step.control, prompt(stream=stream), headers=(CREDENTIAL, *control))

        says = step.pulled if step.pulled is not None and mounted.is_pulled else step.says
        expected = says.replace("stored; ", "") if stream else says
        assert (status_of(reply), mounted.upstream.calls, reply.status) == (expected, step.calls, step.status), number
        assert reply.complete
        assert reply.headers.get(b"age") == (b"%d" % step.age if step.age is not None else reply.headers.get(b"age"))
        if says.startswith("hit"):
            assert b"age" in reply.headers


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_a_hit_is_the_answer_of_the_miss_byte_for_byte(mounted: Mounted, stream: bool) -> None:
    """S2, S9, R7."""
    miss = await mounted.ask("on", prompt(stream=stream))
    hit = await mounted.ask("on", prompt(stream=stream))

    assert hit.body == miss.body
    assert hit.headers[b"content-type"] == miss.headers[b"content-type"]
    assert hit.headers[b"cache-control"] == (b"private, no-store, no-transform" if stream else b"private, no-store")
    assert hit.headers.get(b"x-accel-buffering") == (b"no" if stream else None)


async def test_one_record_answers_both_kinds(mounted: Mounted) -> None:
    """S4, S5: where it holds what each is due; the answer without usage does not answer who asked for usage."""
    await mounted.ask("on", prompt())

    other = await mounted.ask("on", prompt(stream=True))
    with_usage = await mounted.ask("on", prompt(stream=True, stream_options={"include_usage": True}))
    same = await mounted.ask("on", prompt(stream=False))

    assert (status_of(other), other.body[-14:]) == (f"{HIT}; detail=transcoded", DONE)
    assert status_of(with_usage) == "fwd=miss; fwd-status=200; key; detail=no-usage"
    assert status_of(same) == HIT
    assert mounted.upstream.calls == 2


async def test_samples_are_independent_answers_from_the_first_request_on(mounted: Mounted) -> None:
    """R4."""
    mounted.upstream.respond = lambda asked: completion(f"answer {mounted.upstream.calls}")

    live = [(await mounted.ask(f"sample={k}")).body for k in range(3)]
    replayed = [(await mounted.ask(f"sample={k}")).body for k in range(3)]

    assert len(set(live)) == 3
    assert replayed == live


async def test_the_least_that_a_store_promises_is_enough(mounted: Mounted) -> None:
    mounted.store = store = DictionaryStore()
    mounted.mount()
    mounted.driver.clock = lambda: 1_000_000.0

    said = [status_of(await mounted.ask(control)) for control in ("on", "on", "on, mode=refresh", "on")]
    purged = store.clear()
    said.append(status_of(await mounted.ask()))

    assert said == [MISS, HIT, REQUEST, HIT, MISS]
    assert purged == 1


async def test_two_credentials_are_two_callers(mounted: Mounted) -> None:
    """I1."""
    alice = await mounted.ask("on", headers=((b"authorization", b"Bearer alice"),))
    bob = await mounted.ask("on", headers=((b"authorization", b"Bearer bob"),))
    nobody = await mounted.ask("on", headers=())
    again = await mounted.ask("on", headers=((b"authorization", b"Bearer bob"),))

    assert [status_of(reply) for reply in (alice, bob, nobody, again)] == [MISS, MISS, MISS, HIT]
    assert len({reply.headers[b"cache-status"] for reply in (alice, bob, nobody)}) == 3


async def test_sharing_is_an_explicit_choice(mounted: Mounted) -> None:
    """I1, and no secret is needed for it (E6)."""
    mounted.mount(Policy(partition="shared"))

    first = await mounted.ask("on", headers=((b"authorization", b"Bearer alice"),))
    second = await mounted.ask("on", headers=((b"authorization", b"Bearer bob"),))

    assert [status_of(first), status_of(second)] == [MISS, HIT]


async def test_the_operator_names_partitions_and_raising_is_a_bypass(mounted: Mounted) -> None:
    """I1."""
    claims: dict[bytes, bytes | None] = {b"Bearer t1": b"sam", b"Bearer t2": b"sam", b"Bearer t3": None}
    mounted.mount(Policy(partition=lambda request: claims[request.values("Authorization")[0]]))

    tokens = [b"Bearer t1", b"Bearer t2", b"Bearer t3", b"Bearer unknown"]
    replies = [await mounted.ask("on", headers=((b"authorization", token),)) for token in tokens]

    assert [status_of(reply) for reply in replies] == [MISS, HIT, MISS, "fwd=bypass; detail=no-partition"]


async def test_what_is_not_stored_says_why(mounted: Mounted) -> None:
    """R2, R3, E1."""
    cases: dict[str, Told] = {
        "not-200": replace(completion(), status=500),
        "error-answer": completion(error={"message": "no"}),
        "missing-choice": completion(choices=[]),
        "content-type": replace(completion(), headers=((b"content-type", b"text/html"),)),
        "unreadable-answer": Told((b'{"choices": [',)),
        "encoded-answer": replace(completion(), headers=((b"content-type", b"application/json"), (b"content-encoding", b"x"))),
        "kept-out": replace(completion(), headers=((b"content-type", b"application/json"), (b"cachemw", b"off"))),
    }
    for detail, told in cases.items():
        mounted.upstream.respond = always(told)

        reply = await mounted.ask("on", prompt(detail))

        assert status_of(reply) == f"fwd=miss; fwd-status={told.status}; key; detail={detail}"
        assert reply.body == b"".join(part for part in told.parts if isinstance(part, bytes))
        assert b"cachemw" not in reply.headers
        assert not list(mounted.store.scan())


async def test_finish_reasons_are_a_matter_of_policy(mounted: Mounted) -> None:
    """R3."""

    def finishing(asked: Asked) -> Told:
        choice = {
            "index": 0,
            "message": {"content": "x"},
            "finish_reason": asked.body.split(b"why:")[1].split(b'"')[0].decode(),
        }
        return completion(choices=[choice])

    mounted.upstream.respond = finishing
    say = {
        reason: status_of(await mounted.ask("on", prompt(f"why:{reason}")))
        for reason in ("stop", "length", "content_filter", "tool_calls")
    }
    bounded = await mounted.ask("on", prompt("why:length", max_tokens=5))

    assert say["stop"] == say["tool_calls"] == status_of(bounded) == MISS
    assert say["length"] == "fwd=miss; fwd-status=200; key; detail=finish-length"
    assert say["content_filter"] == "fwd=miss; fwd-status=200; key; detail=finish-content_filter"


async def test_a_bad_control_is_400_and_costs_nothing(mounted: Mounted) -> None:
    """E7."""
    for control, param in (
        ("ttl=-1", "ttl"),
        ("mode=reply", "mode"),
        ("ON", "cachemw"),
        ("on; ttl=5", "on"),
        ("sample=a", "sample"),
    ):
        reply = await mounted.ask(control)

        assert reply.status == 400
        assert f'"param":"{param}","code":"invalid_cachemw"'.encode() in reply.body
    assert mounted.upstream.calls == 0


async def test_hooks_are_told_of_every_exchange_but_of_an_apps_own(mounted: Mounted) -> None:
    """E1, D9: around an app a request that did not opt in is not ours."""
    first = await mounted.ask("on", prompt(stream=True))
    await mounted.ask("on", prompt(stream=True))
    await mounted.ask(None)

    miss, hit, *passed = mounted.reports
    assert (miss.fwd, miss.stored, miss.hit) == ("miss", True, False)
    assert (hit.fwd, hit.hit, hit.ttl) == (None, True, 86_400)
    assert miss.key == hit.key
    assert [report.outcome for report in (miss, hit)] == ["miss", "hit"]
    assert [report.outcome for report in passed] == ([] if mounted.kind in AROUND_AN_APP else ["passed"])
    for report in (miss, hit):
        assert (report.endpoint, report.model, report.status, report.bytes_out) == ("chat", "m", 200, len(first.body))
    assert (miss.attempts, hit.attempts) == (1, 0)


UNDERIVABLE = b'{"choices":[{"index":0,"message":{"content":"x"},"delta":{"y":1},"finish_reason":"stop"}]}'
"""A completion that no stream can say: it has a member that streams have for something else."""


@pytest.mark.parametrize("begins", [False, True], ids=["JSON begins", "the stream begins"])
async def test_callers_of_two_kinds_that_do_not_derive_cost_two_calls(mounted: Mounted, begins: bool) -> None:
    """§0.3, B4: neither drives the other's record out; a refresh is for both."""
    mounted.upstream.respond = lambda asked: stream() if b'"stream":true' in asked.body else Told([UNDERIVABLE], headers=JSON)
    kinds = [prompt(stream=begins), prompt(stream=not begins)]

    replies = [await mounted.ask("on", kinds[turn % 2]) for turn in range(6)]

    assert mounted.upstream.calls == 2
    assert [status_of(reply).partition(";")[0] for reply in replies] == ["fwd=miss"] * 2 + ["hit"] * 4
    assert len({report.key for report in mounted.reports}) == 1
    await mounted.ask("mode=refresh", kinds[0])
    assert status_of(await mounted.ask("on", kinds[0])).startswith("hit")
    assert status_of(await mounted.ask("on", kinds[1])).startswith("fwd=miss")


async def test_a_report_says_when_how_much_and_how_long(mounted: Mounted) -> None:
    """Ids are sorted by time, and nobody's credential stands in one."""
    await mounted.ask("on")
    await mounted.ask("on")

    miss, hit = mounted.reports
    assert miss.id is not None
    assert hit.id is not None
    assert len(miss.id) == len(hit.id) == 16
    assert miss.id != hit.id
    assert miss.client == hit.client
    assert miss.target == hit.target
    for report in (miss, hit):
        assert report.first_byte is not None
        assert report.total is not None
        assert 0 <= report.first_byte <= report.total
        assert report.bytes_in == len(prompt())


async def test_a_raising_hook_changes_nothing(mounted: Mounted) -> None:
    def fall_over(_: object) -> None:
        raise ValueError("oh")

    mounted.driver.hooks = (fall_over,)

    assert status_of(await mounted.ask("on")) == MISS


async def test_identical_misses_wait_for_the_one_that_forwards(mounted_here: Mounted) -> None:
    """P1, in its simple form: JSON and streams."""
    for streaming in (False, True):
        gate, mounted = anyio.Event(), mounted_here
        told = stream() if streaming else completion()
        mounted.upstream.respond = always(replace(told, parts=(gate, *told.parts)))
        before, replies = mounted.upstream.calls, list[Reply]()

        async def ask(body: bytes = prompt("many", stream=streaming), replies: list[Reply] = replies) -> None:
            replies.append(await mounted_here.ask("on", body))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
            await settled()
            gate.set()

        assert mounted.upstream.calls == before + 1
        assert sorted(status_of(reply) for reply in replies)[:19] == ["fwd=miss; fwd-status=200; collapsed; key"] * 19
        assert len({reply.body for reply in replies}) == 1
        mounted.store.delete(next(mounted.store.scan())[0])
