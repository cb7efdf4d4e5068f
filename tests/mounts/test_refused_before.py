"""Why the last answer was not kept is told in the next miss, in every mount, and logged; and how large one may be."""

import logging
from dataclasses import replace

import anyio
import pytest

from cachemw import Policy
from cachemw.drivers.refusing import log_refusal
from tests.asgi_driver import Reply
from tests.mounts.conftest import Mounted, status_of
from tests.mounts.gates import Gate
from tests.mounts.mounting import AROUND_AN_APP, ASGI, OVER_HTTP
from tests.serving import nobody_there
from tests.upstream import EVENT_STREAM, JSON, Told, always, completion, event, prompt, stream, stream_events

pytestmark = pytest.mark.anyio

STREAM = prompt(stream=True)
EVENTS = stream_events("a b c d e f")
MISS = "fwd=miss; fwd-status=200; key"
STORED = "fwd=miss; fwd-status=200; stored; key"

REFUSED: dict[str, Told] = {
    "record-too-large": Told([EVENTS[0], b": " + b"x" * 3_000 + b"\n\n", *EVENTS[1:]], headers=EVENT_STREAM),
    "incomplete": Told(EVENTS[:-1], headers=EVENT_STREAM),
    "unfinished-choice": Told([*EVENTS[:-2], EVENTS[-1]], headers=EVENT_STREAM),
    "empty-choice": Told([EVENTS[0], *EVENTS[-2:]], headers=EVENT_STREAM),
    "finish-content_filter": Told([*EVENTS[:-2], event({}, "content_filter"), EVENTS[-1]], headers=EVENT_STREAM),
    "error-event": Told([EVENTS[0], b'data: {"error": {"message": "no"}}\n\n', EVENTS[-1]], headers=EVENT_STREAM),
    "unreadable-event": Told([b"data: <html>\n\n", EVENTS[-1]], headers=EVENT_STREAM),
}


@pytest.mark.parametrize(("detail", "told"), REFUSED.items(), ids=REFUSED)
async def test_a_streams_refusal_is_told_in_the_next_miss(
    mounted: Mounted, detail: str, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """E1, F6: its own head had left; of other requests nothing is said; what is kept ends it."""
    caplog.set_level(logging.INFO, "cachemw")
    mounted.mount(Policy(max_record_bytes=2_500))
    mounted.upstream.respond = always(told)

    replies = [await mounted.ask("on", STREAM) for _ in range(2)]
    mounted.upstream.respond = always(Told(EVENTS, headers=EVENT_STREAM))
    replies += [await mounted.ask("on", body) for body in (prompt("another", stream=True), STREAM, STREAM)]

    said = [status_of(reply) for reply in replies]
    assert said[:4] == [MISS, f"{MISS}; detail=was-{detail}", MISS, f"{MISS}; detail=was-{detail}"]
    assert said[4].startswith("hit;")
    assert [reply.body for reply in replies[:2]] == [b"".join(part for part in told.parts if isinstance(part, bytes))] * 2
    assert [report.details for report in mounted.reports[:2]] == [(detail,)] * 2
    lines = [record.getMessage() for record in caplog.records if "was not kept" in record.getMessage()]
    key = replies[0].headers[b"cache-status"].decode().partition('key="')[2][:32]
    whose = "" if mounted.is_around_an_app else f" of {mounted.url.removeprefix('http://')}"
    assert lines == [f"an answer{whose} was not kept: {detail} (chat, key {key})"] * 2


async def test_json_says_it_itself_and_the_other_kind_is_told(mounted: Mounted) -> None:
    """E1: one key has one last answer; what says the same itself does not say it twice."""
    mounted.upstream.respond = always(completion(""))

    said = [status_of(await mounted.ask("on", prompt())) for _ in range(2)]
    said.append(status_of(await mounted.ask("on, mode=read", prompt())))
    mounted.upstream.respond = always(stream())
    said.append(status_of(await mounted.ask("on, mode=refresh", STREAM)))
    mounted.upstream.respond = always(completion("x"))
    said.append(status_of(await mounted.ask("on, mode=refresh", prompt())))

    assert said == [
        *[f"{MISS}; detail=empty-choice"] * 2,
        f'{MISS}; detail="mode-read, was-empty-choice"',
        "fwd=request; fwd-status=200; key; detail=was-empty-choice",
        "fwd=request; fwd-status=200; stored; key",
    ]


async def test_after_a_purge_nothing_is_told(mounted: Mounted) -> None:
    """A1."""
    mounted.upstream.respond = always(Told(EVENTS[:-1], headers=EVENT_STREAM))
    await mounted.ask("on", STREAM)

    mounted.store.clear()

    assert status_of(await mounted.ask("on", STREAM)) == MISS
    assert status_of(await mounted.ask("on", STREAM)) == f"{MISS}; detail=was-incomplete"


async def test_an_error_of_the_upstreams_is_not_told_again(mounted: Mounted) -> None:
    """E1: its status has said it."""
    mounted.upstream.respond = always(Told([b"{}"], status=400))
    await mounted.ask("on", prompt())
    mounted.upstream.respond = always(completion())

    assert status_of(await mounted.ask("on", prompt())) == STORED


@pytest.mark.parametrize("mounted", ASGI, indirect=True)
async def test_who_follows_is_told_too(mounted: Mounted) -> None:
    """E1: in a head that leaves before the answer is whole."""
    mounted.upstream.respond = always(Told(EVENTS[:-1], headers=EVENT_STREAM))
    await mounted.ask("on", STREAM)
    gate, replies = Gate(), list[Reply]()
    mounted.upstream.respond = always(Told([gate, *EVENTS], headers=EVENT_STREAM))

    async def ask() -> None:
        replies.append(await mounted.ask("on", STREAM))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        await anyio.sleep(0.2)
        gate.set()

    collapsed = "fwd=miss; fwd-status=200; collapsed; key; detail=was-incomplete"
    assert sorted(map(status_of, replies)) == [collapsed, collapsed, f"{MISS}; detail=was-incomplete"]


# What is logged of upstreams.


@pytest.mark.parametrize("control", ["on", None], ids=["opted in", "not opted in"])
@pytest.mark.parametrize("mounted", OVER_HTTP, indirect=True)
async def test_an_upstream_that_cannot_be_reached_is_logged_once(
    mounted: Mounted, control: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """F5, F22: the host and the cause; a transport's client is raised the exception, and is told where it did not opt in."""
    caplog.set_level(logging.INFO, "cachemw")
    with nobody_there() as url:
        mounted.url = url
        mounted.mount()
        await mounted.ask(control, prompt())

    lines = [record.getMessage() for record in caplog.records]
    is_the_clients = mounted.raises and control is None
    assert lines == ([] if is_the_clients else [f"the upstream {url.removeprefix('http://')} failed: refused"])


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("mounted", OVER_HTTP, indirect=True)
async def test_an_error_status_is_logged_once(mounted: Mounted, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """F5."""
    caplog.set_level(logging.INFO, "cachemw")
    mounted.upstream.respond = always(Told([b'{"error": "sk-secret"}'], status=status))

    await mounted.ask("on", prompt("a secret prompt"))

    host = mounted.url.removeprefix("http://")
    assert [record.getMessage() for record in caplog.records] == [f"the upstream {host} failed: status {status}"]


@pytest.mark.parametrize("streaming", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize("mounted", OVER_HTTP, indirect=True)
async def test_what_breaks_off_is_logged_once(mounted: Mounted, streaming: bool, caplog: pytest.LogCaptureFixture) -> None:
    """F5, H10."""
    caplog.set_level(logging.INFO, "cachemw")
    mounted.upstream.respond = always(
        Told([EVENTS[0] if streaming else b"{"], headers=EVENT_STREAM if streaming else JSON, ends=False)
    )

    await mounted.ask("on", prompt(stream=streaming))

    host = mounted.url.removeprefix("http://")
    assert [record.getMessage() for record in caplog.records] == [f"the upstream {host} failed: truncated"]


@pytest.mark.parametrize("mounted", AROUND_AN_APP, indirect=True)
async def test_of_a_wrapped_app_its_refusals_are_logged_and_no_host(mounted: Mounted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cachemw")
    mounted.upstream.respond = always(Told([b"{}"], status=500))

    await mounted.ask("on", prompt())

    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("an answer was not kept: not-200 (chat, key ")


async def test_an_answer_that_the_store_may_still_take_is_not_said_to_be_lost(caplog: pytest.LogCaptureFixture) -> None:
    """F5: a large one often takes longer than anybody waits for, and is kept."""
    caplog.set_level(logging.INFO, "cachemw")

    log_refusal("store-slow", "chat", b"\x01", "api.example")

    assert [record.getMessage() for record in caplog.records] == [
        "an answer of api.example may not have been kept: store-slow (chat, key 01)"
    ]


# How large an answer may be.

MIB = 2**20
TOKEN = event({"content": "word " * 6}, obfuscation="x" * 40)


def large(size: int) -> Told:
    """Return a stream of so many bytes, in events as long as a provider makes them."""
    events = [*[TOKEN] * (size // len(TOKEN)), event({}, "stop"), EVENTS[-1]]
    body = b"".join(events)
    return Told([body[at : at + 256 * 1024] for at in range(0, len(body), 256 * 1024)], headers=EVENT_STREAM)


@pytest.mark.parametrize("streaming", [False, True], ids=["JSON", "stream"])
async def test_an_answer_of_twelve_megabytes_is_kept_and_given_again(mounted: Mounted, streaming: bool) -> None:
    """F6, D7: with the policy that there is by default."""
    told = large(12 * MIB) if streaming else completion("x" * 12 * MIB)
    mounted.mount(replace(mounted.policy))
    mounted.upstream.respond = always(told)

    miss = await mounted.ask("on", prompt(stream=streaming))
    hit = await mounted.ask("on", prompt(stream=streaming))

    assert len(miss.body) > 12 * MIB
    assert hit.body == miss.body
    assert status_of(hit) == "hit; ttl=86400; key"
    assert mounted.upstream.calls == 1
