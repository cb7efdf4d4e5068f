"""Spans of exchanges, as an SDK of OpenTelemetry is given them: through every mount, and of every outcome."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from msgspec.structs import replace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from cachemw import Policy
from cachemw.otel import Tracer
from cachemw.report import ExchangeReport
from cachemw.routing import Tried
from tests import recalling
from tests.gateway.town import FIRST, SECOND, over_proxy, town
from tests.metrics.reports import COLLAPSED, HIT, MISS, PASSED, STALE, reports
from tests.mounts.conftest import CREDENTIAL, Mounted
from tests.mounts.gates import Gate
from tests.mounts.mounting import MAKERS
from tests.mounts.test_collapsing import Watched
from tests.serving import until
from tests.upstream import Told, always, completion, prompt, stream

pytestmark = pytest.mark.anyio

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
ON = Policy(default="on")
IN_THIS_TASK = pytest.mark.parametrize(
    "mounted", ["ASGI with an upstream", "proxy", "httpx async", "httpx2 async"], indirect=True
)
PROXY = pytest.mark.parametrize("mounted", ["proxy"], indirect=True)


class Traced:
    """A provider of tracers whose spans stay in memory."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self.exporter, self.provider = InMemorySpanExporter(), TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = Tracer(self.provider)

    def spans(self) -> list[ReadableSpan]:
        """Return what ended since this was last asked, each of those that were asked before it."""
        found = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return found[::-1]

    def of(self, report: ExchangeReport) -> list[ReadableSpan]:
        self.tracer(report)
        return self.spans()


def mount(mounted: Mounted, traced: Traced, policy: Policy = ON) -> None:
    """Mount anew, with a tracer."""
    options: Any = {"store": mounted.store, "limits": mounted.limits, "hooks": [traced.tracer], "policy": policy}
    mounted.mounts.append(MAKERS[mounted.kind](mounted.url, mounted.upstream, options))


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def billed(spans: list[ReadableSpan]) -> list[str]:
    return [name for span in spans for name in told(span) if name.startswith("gen_ai.")]


async def test_a_miss_is_asked_below_it_and_a_hit_is_nobodys_but_ours(mounted: Mounted) -> None:
    """O1: in every mount; a wrapped app makes spans of its own of whom it asks."""
    traced = Traced()
    mount(mounted, traced)

    await mounted.ask()
    missed = traced.spans()
    await mounted.ask()
    (hit,) = traced.spans()

    assert [span.name for span in missed] == ["POST /v1/chat/completions", "chat m"][: 1 if mounted.is_around_an_app else 2]
    assert missed[0].kind is hit.kind is SpanKind.SERVER
    assert told(missed[0])["cachemw.outcome"] == "miss"
    assert (told(hit)["cachemw.outcome"], told(hit)["cachemw.age"]) == ("hit", 0)
    assert told(hit)["cachemw.key"] == told(missed[0])["cachemw.key"]
    assert billed([hit]) == []
    assert hit.status.status_code is StatusCode.UNSET


async def test_spans_stand_below_the_one_that_the_request_names(mounted: Mounted) -> None:
    traced = Traced()
    mount(mounted, traced)

    await mounted.ask(headers=(CREDENTIAL, (b"traceparent", TRACEPARENT.encode())))

    server, *asked = traced.spans()
    assert server.parent is not None
    assert (format_trace_id(server.parent.trace_id), format_span_id(server.parent.span_id)) == (TRACE, SPAN)
    assert all(span.parent is not None and span.parent.span_id == server.context.span_id for span in asked)


@IN_THIS_TASK
async def test_where_a_span_is_current_ours_is_a_part_of_that(mounted: Mounted) -> None:
    traced = Traced()
    mount(mounted, traced)

    with traced.provider.get_tracer("an app").start_as_current_span("agent") as agent:
        await mounted.ask(headers=(CREDENTIAL, (b"traceparent", TRACEPARENT.encode())))

    _, ours, *_ = traced.spans()
    assert (ours.kind, ours.parent and ours.parent.span_id) == (SpanKind.INTERNAL, agent.get_span_context().span_id)


@PROXY
@pytest.mark.parametrize("field", ["", "no traceparent", "00-0-0-00", TRACEPARENT[:-1], f"{TRACEPARENT}é"])
async def test_a_field_that_names_no_span_names_none(mounted: Mounted, field: str) -> None:
    traced = Traced()
    mount(mounted, traced)

    await mounted.ask(headers=(CREDENTIAL, (b"traceparent", field.encode())))

    assert traced.spans()[0].parent is None


@PROXY
async def test_the_tokens_and_the_model_of_what_was_bought_are_in_the_clients_span(mounted: Mounted) -> None:
    """O1"""
    traced = Traced()
    mount(mounted, traced)
    counts = {"prompt_tokens": 812, "completion_tokens": 301, "total_tokens": 1113}
    usage = {**counts, "prompt_tokens_details": {"cached_tokens": 100}}
    mounted.upstream.respond = lambda _: completion(model="gpt-oss-120b-2", usage=usage)

    await mounted.ask(body=prompt(model="gpt-oss-120b"))
    _, client = traced.spans()
    await mounted.ask(body=prompt(model="gpt-oss-120b"))
    (hit,) = traced.spans()

    assert (client.name, client.kind) == ("chat gpt-oss-120b", SpanKind.CLIENT)
    assert told(client) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-oss-120b",
        "gen_ai.response.model": "gpt-oss-120b-2",
        "gen_ai.usage.input_tokens": 812,
        "gen_ai.usage.output_tokens": 301,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": int(mounted.url.rpartition(":")[2]),
    }
    saved = {name: value for name, value in told(hit).items() if name.startswith("cachemw.saved")}
    assert saved == {"cachemw.saved.input_tokens": 812, "cachemw.saved.output_tokens": 301}


@PROXY
async def test_a_stale_answer_that_stands_in_is_not_billed_and_who_failed_is_told(mounted: Mounted) -> None:
    """O1"""
    traced = Traced()
    mount(mounted, traced, Policy(default="on", lifetime=60, stale_if_error=86_400))
    mounted.upstream.respond = always(completion(usage={"prompt_tokens": 812, "completion_tokens": 301, "total_tokens": 1113}))
    await mounted.ask()
    traced.spans()
    began = mounted.driver.clock()
    mounted.driver.clock = lambda: began + 100
    mounted.upstream.respond = always(Told([b"{}"], status=503))

    reply = await mounted.ask()
    server, client = traced.spans()

    assert reply.status == 200
    assert (told(server)["cachemw.outcome"], told(server)["cachemw.age"]) == ("stale", 100)
    assert (told(server)["cachemw.saved.input_tokens"], told(server)["cachemw.saved.output_tokens"]) == (812, 301)
    assert told(client)["error.type"] == "503"
    assert [name for name in told(client) if "usage" in name or "response.model" in name] == []


@PROXY
async def test_what_is_refused_or_not_cached_asked_nobody(mounted: Mounted) -> None:
    traced = Traced()
    mount(mounted, traced)

    await mounted.ask("mode=replay")
    await mounted.ask("no-such-member")

    assert [told(span)["cachemw.outcome"] for span in traced.spans()] == ["refused", "not_cached"]


@PROXY
async def test_a_bypass_is_bought(mounted: Mounted) -> None:
    traced = Traced()
    mount(mounted, traced)

    await mounted.ask(body=prompt(store=True))

    server, client = traced.spans()
    assert (told(server)["cachemw.outcome"], told(server)["cachemw.detail"]) == ("bypass", ("store-requested",))
    assert told(client)["http.response.status_code"] == 200


@PROXY
async def test_a_stream_says_when_its_first_chunk_came(mounted: Mounted) -> None:
    traced = Traced()
    mount(mounted, traced)
    mounted.upstream.respond = lambda _: stream()

    await mounted.ask(body=prompt(stream=True))

    server, client = traced.spans()
    attributes = told(client)
    assert attributes["gen_ai.request.stream"] is True
    assert 0 < attributes["gen_ai.response.time_to_first_chunk"] < 10
    assert client.start_time == server.start_time is not None
    assert (server.end_time or 0) > (server.start_time or 0)


@PROXY
async def test_who_reads_anothers_answer_asked_nobody(mounted: Mounted) -> None:
    """O1"""
    traced, gate, answer = Traced(), Gate(), completion()
    mounted.upstream.respond = always(Told((gate, *answer.parts)))
    mounted.store = store = Watched()
    mount(mounted, traced)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(mounted.ask)
            await until(lambda: len(store.looks) >= 3 and mounted.upstream.calls == 1)
            gate.set()

    spans = traced.spans()
    outcomes = sorted(told(span)["cachemw.outcome"] for span in spans if span.kind is SpanKind.SERVER)
    assert outcomes == ["collapsed", "collapsed", "miss"]
    assert sum(span.kind is SpanKind.CLIENT for span in spans) == 1


@pytest.mark.skipif(not recalling.IS_ON, reason="every hit is decided anew, and has a span of its own")
@PROXY
async def test_recalled_hits_are_one_span_that_says_how_many_they_were(mounted: Mounted) -> None:
    """B2"""
    traced = Traced()
    mount(mounted, traced)
    for _ in range(8):
        await mounted.ask(headers=(CREDENTIAL, (b"traceparent", TRACEPARENT.encode())))
    mounted.driver.recaller.tally.tell()

    hits = [span for span in traced.spans() if told(span).get("cachemw.outcome") == "hit"]
    assert sum(told(span).get("cachemw.count", 1) for span in hits) == 7
    recalled = [span for span in hits if "cachemw.count" in told(span)]
    assert recalled
    assert all(span.parent is None for span in recalled)  # they are of several requests


@PROXY
async def test_nothing_of_content_is_in_any_span(mounted: Mounted) -> None:
    """O3"""
    traced = Traced()
    mount(mounted, traced)
    secrets = "a prompt that nobody else is to read", "an answer that nobody else is to read", "sk-credential-of-somebody"
    mounted.upstream.respond = lambda _: completion(secrets[1])

    for control in ("on", "off", "on, sample=3", "mode=replay"):
        await mounted.ask(control, prompt(secrets[0]), headers=((b"authorization", f"Bearer {secrets[2]}".encode()),))
    mounted.upstream.respond = lambda _: Told([secrets[1].encode()], status=500)
    await mounted.ask("no-cache", prompt(secrets[0]))

    written = "".join(span.to_json() for span in traced.spans())
    assert "cachemw.outcome" in written
    assert not [secret for secret in secrets if secret[:16] in written]


@contextmanager
def traced_town(directory: Path, first: str, policy: Policy = ON) -> Iterator[tuple[Traced, Any, Any]]:
    """Give two providers, the first of which fails so, and what asks them through the proxy."""
    traced = Traced()
    with town(directory, first=first) as here:
        here.reports = _Telling(traced)
        with over_proxy(here, policy) as ask:
            yield traced, ask, here


class _Telling(list[ExchangeReport]):
    """Hands reports on to a tracer when they are appended."""

    def __init__(self, traced: Traced) -> None:
        super().__init__()
        self._traced = traced

    def append(self, report: ExchangeReport, /) -> None:
        self._traced.tracer(report)
        super().append(report)


def test_a_routed_answer_is_of_who_gave_it_and_says_who_was_tried(tmp_path: Path) -> None:
    with traced_town(tmp_path, "status:503") as (traced, ask, here):
        assert ask().status_code == 200
        while len(here.reports) < 1:  # told of when the client has it all
            time.sleep(0.002)

    server, client = traced.spans()
    assert told(server)["cachemw.route"] == "auto"
    assert [tried.split(":")[0] for tried in told(server)["cachemw.tried"]] == [FIRST]
    assert told(client)["gen_ai.provider.name"] == SECOND.partition("/")[0]
    assert told(client)["http.response.status_code"] == 200
    assert told(client)["gen_ai.usage.output_tokens"] > 0


UNREACHED = replace(MISS, fwd_status=None, status=502, details=("unreachable",), usage=None, answered_model=None)


@pytest.mark.parametrize(
    ("report", "server_error", "client_error"),
    [
        (MISS, None, None),
        (UNREACHED, "unreachable", "unreachable"),
        (replace(MISS, fwd_status=429, status=429), None, "429"),
        (replace(MISS, fwd_status=503, status=503), "503", "503"),
        (replace(MISS, fwd_status=None, status=None, details=("client-left",)), "client-left", "client-left"),
        (replace(STALE, fwd="stale", fwd_status=503, attempts=1, hit=False), None, "503"),
        (replace(PASSED, status=401), None, "401"),
        (replace(MISS, fwd="bypass", fwd_status=None, status=503, details=("file",)), "503", "503"),
        (replace(PASSED, status=200), None, None),
        (ExchangeReport(details=("not-cached",), status=504, endpoint="chat"), "not-cached", ...),
    ],
)
def test_an_error_is_told_of_whoever_made_it(report: ExchangeReport, server_error: str | None, client_error: Any) -> None:
    server, *asked = Traced().of(report)

    assert told(server).get("error.type") == server_error
    assert (server.status.status_code is StatusCode.ERROR) is (server_error is not None)
    assert [told(span).get("error.type") for span in asked] == ([] if client_error is ... else [client_error])


@pytest.mark.parametrize(
    ("endpoint", "server", "client"),
    [
        ("chat", "POST /v1/chat/completions", "chat m"),
        ("messages", "POST /v1/messages", "chat m"),
        ("responses", "POST /v1/responses", "chat m"),
        ("completions", "POST /v1/completions", "text_completion m"),
        ("embeddings", "POST /v1/embeddings", "embeddings m"),
        (None, "cachemw", None),
    ],
)
def test_spans_are_named_as_the_conventions_say(endpoint: str | None, server: str, client: str | None) -> None:
    spans = Traced().of(replace(MISS, endpoint=endpoint, model="m"))

    assert [span.name for span in spans] == [server, *([] if client is None else [client])]


@pytest.mark.parametrize(
    ("target", "endpoint", "provider"),
    [
        ("cerebras/gpt-oss-120b", "chat", "cerebras"),
        ("mistral/small", "chat", "mistral_ai"),
        ("xai/grok", "chat", "x_ai"),
        ("gemini/flash", "chat", "gcp.gemini"),
        ("own/model", "chat", "own"),
        ("groq", "chat", "groq"),
        ("https://api.example.com/v1/chat/completions", "chat", "openai"),
        ("http://localhost:4000/v1/messages", "messages", "anthropic"),
    ],
)
def test_providers_have_the_names_of_the_conventions(target: str, endpoint: str, provider: str) -> None:
    _, client = Traced().of(replace(MISS, target=target, endpoint=endpoint))

    assert told(client)["gen_ai.provider.name"] == provider


def test_who_followed_another_has_no_clients_span_whatever_was_tried() -> None:
    assert len(Traced().of(replace(COLLAPSED, attempts=2))) == 1


def test_a_wrapped_app_is_no_upstream_of_ours() -> None:
    (server,) = Traced().of(replace(MISS, target="support-bot"))

    assert server.kind is SpanKind.SERVER


def test_who_failed_is_named_where_a_stored_answer_stands_in() -> None:
    """O1: what that cost is not known, and the tokens of the stored one are saved."""
    report = replace(STALE, hit=False, fwd="stale", fwd_status=503, attempts=1, tried=(Tried("groq/llama", "broken", 503),))

    server, client = Traced().of(report)

    assert told(client)["gen_ai.provider.name"] == "groq"
    assert [name for name in told(client) if "usage" in name] == []
    assert told(server)["cachemw.saved.output_tokens"] == 301


@pytest.mark.parametrize(
    ("sampler", "traceparent", "count"),
    [
        (ALWAYS_OFF, None, 0),
        (ParentBased(ALWAYS_ON), TRACEPARENT, 2),
        (ParentBased(ALWAYS_ON), TRACEPARENT[:-1] + "0", 0),
        (ParentBased(ALWAYS_OFF), TRACEPARENT, 2),
    ],
)
def test_what_is_not_sampled_makes_no_span(sampler: Sampler, traceparent: str | None, count: int) -> None:
    assert len(Traced(sampler).of(replace(MISS, traceparent=traceparent))) == count


def test_names_that_others_chose_are_cut_and_can_be_sent() -> None:
    server, client = Traced().of(replace(MISS, model="\ud800" * 300))

    assert (client.name, told(server)["cachemw.model"]) == ("chat " + "?" * 200, "?" * 200)


def test_without_an_sdk_nothing_happens() -> None:
    Tracer()(MISS)


def test_spans_have_the_times_of_their_exchange() -> None:
    server, client = Traced().of(MISS)

    assert server.start_time == client.start_time == int(1_796_000_000.0 * 1e9)
    assert server.end_time == client.end_time == int(1_796_000_000.0 * 1e9) + int(0.911 * 1e9)


@given(reports)
def test_no_report_is_beyond_it_and_nothing_is_billed_twice_or_for_nothing(report: ExchangeReport) -> None:
    """O1"""
    errors: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: errors.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("opentelemetry").addHandler(handler)
    try:
        server, *asked = Traced().of(report)
    finally:
        logging.getLogger("opentelemetry").removeHandler(handler)

    assert errors == []
    assert billed([server]) == []
    assert len(asked) <= 1
    tokens = [name for span in asked for name in told(span) if name.startswith("gen_ai.usage")]
    saved = [name for name in told(server) if name.startswith("cachemw.saved")]
    assert not (tokens and saved)
    if report.outcome in ("hit", "stale", "collapsed"):
        assert tokens == []


@pytest.mark.parametrize("free", [HIT, STALE, COLLAPSED])
def test_what_was_saved_is_what_the_record_says(free: ExchangeReport) -> None:
    """O1"""
    (server,) = Traced().of(free)

    assert (told(server)["cachemw.saved.input_tokens"], told(server)["cachemw.saved.output_tokens"]) == (812, 301)
