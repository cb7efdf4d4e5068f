"""Traces: a hook that makes spans of exchanges, by OpenTelemetry's conventions for generative AI. It needs the extra `otel`."""

from collections.abc import Iterator, Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cachemw.endpoints import ENDPOINTS
from cachemw.messages import Usage, host_in
from cachemw.metrics.words import upstream_status
from cachemw.report import ExchangeReport
from cachemw.upstreams.providers import PROVIDERS

Attributes = dict[str, str | int | bool | float | list[str]]

_NANO = 1_000_000_000
_LONGEST = 200
_SAVES = ("hit", "stale", "collapsed")
_OPERATIONS = {"messages": "chat", "responses": "chat", "completions": "text_completion"}
_PROVIDER_NAMES = {"gemini": "gcp.gemini", "mistral": "mistral_ai", "xai": "x_ai"}
"""The names of providers that the conventions write in another way; those that they do not list stay as they are."""

_PATHS = {endpoint.name: f"/v1{endpoint.paths[0].removeprefix('/v1')}" for endpoint in ENDPOINTS}
_PROPAGATOR = TraceContextTextMapPropagator()


def has_sdk() -> bool:
    """Say whether this process has anything that spans go to."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


class Tracer:
    """A hook that makes one span of each exchange, and a second one below it of what an upstream was asked.

    What is answered without an upstream has no span of a client's, and no tokens that anybody would bill: what it saved is in
    attributes of our own. Nothing of content is in any. The parent is the span that is current, else the one that the request
    names. The default provider is the one that the process has: without an SDK that does nothing.
    """

    reads_traceparent = True

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("cachemw", tracer_provider=tracer_provider)

    def __call__(self, report: ExchangeReport, /) -> None:
        """Make the spans of one exchange, which is over."""
        context, kind = _surroundings(report)
        began = int((report.at or 0.0) * _NANO)
        ended = began + int((report.total or 0.0) * _NANO)
        span = self._tracer.start_span(_name(report), context, kind, _of_exchange(report), start_time=began)
        if span.is_recording():
            for name, status in _failure(report, report.status, is_server=True):
                span.set_attribute(name, status)
                span.set_status(Status(StatusCode.ERROR))
            if report.attempts and not report.collapsed and report.endpoint in _PATHS and _is_remote(report.target):
                self._make_asked(report, trace.set_span_in_context(span, context), began, ended)
        span.end(ended)

    def _make_asked(self, report: ExchangeReport, context: Context, began: int, ended: int) -> None:
        """Make the span of the upstream that was asked last."""
        operation = _operation(report.endpoint)
        name = operation if report.model is None else f"{operation} {_text(report.model)}"
        span: Span = self._tracer.start_span(name, context, SpanKind.CLIENT, _of_upstream(report), start_time=began)
        for attribute, status in _failure(report, upstream_status(report), is_server=False):
            span.set_attribute(attribute, status)
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)


def _surroundings(report: ExchangeReport) -> tuple[Context | None, SpanKind]:
    """Return the context of an exchange, `None` for that which is current, and what its span is to the one above it."""
    if trace.get_current_span().get_span_context().is_valid:
        return None, SpanKind.INTERNAL  # a server, or an SDK, that is traced has a span of its own
    if report.traceparent is None:
        return None, SpanKind.SERVER
    return _PROPAGATOR.extract({"traceparent": report.traceparent}, Context()), SpanKind.SERVER


def _name(report: ExchangeReport) -> str:
    path = _PATHS.get(report.endpoint or "")
    return "cachemw" if path is None else f"POST {path}"


def _of_exchange(report: ExchangeReport) -> Attributes:
    """Return what is told of any exchange."""
    usage = (report.usage or Usage()) if report.outcome in _SAVES else Usage()
    return _known(
        {
            "http.request.method": None if report.endpoint is None else "POST",
            "http.route": _PATHS.get(report.endpoint or ""),
            "http.response.status_code": report.status,
            "cachemw.outcome": report.outcome,
            "cachemw.detail": list(map(_text, report.details)) or None,
            "cachemw.key": report.key,
            "cachemw.age": report.age,
            "cachemw.model": report.model,
            "cachemw.route": report.route,
            "cachemw.tried": [_text(f"{tried.name}: {tried.why}") for tried in report.tried or ()] or None,
            "cachemw.count": report.count if report.count > 1 else None,
            "cachemw.saved.input_tokens": usage.input_tokens,
            "cachemw.saved.output_tokens": usage.output_tokens,
        }
    )


def _of_upstream(report: ExchangeReport) -> Attributes:
    """Return what is told of the upstream that was asked; the tokens only of its own answer, for they are billed."""
    usage = Usage() if report.outcome in _SAVES else report.usage or Usage()
    target = _asked_last(report)
    host, _, port = host_in(target).partition(":") if "://" in target else ("", "", "")
    is_answered = report.outcome not in _SAVES
    return _known(
        {
            "gen_ai.operation.name": _operation(report.endpoint),
            "gen_ai.provider.name": _provider(target, report.endpoint),
            "gen_ai.request.model": report.model,
            "gen_ai.request.stream": report.stream or None,
            "gen_ai.response.model": report.answered_model if is_answered else None,
            "gen_ai.response.time_to_first_chunk": report.first_byte if report.stream and is_answered else None,
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
            "http.response.status_code": upstream_status(report),
            "server.address": host or None,
            "server.port": int(port) if port.isdigit() else None,
        }
    )


def _failure(report: ExchangeReport, status: int | None, *, is_server: bool) -> Iterator[tuple[str, str]]:
    """Yield `error.type` where there was an error: a client's own fault is none of the server's that tells it of it."""
    if status is None:
        yield "error.type", report.detail or "_OTHER"
    elif status >= (500 if is_server else 400):
        yield "error.type", report.detail if is_server and upstream_status(report) is None and report.detail else str(status)


def _asked_last(report: ExchangeReport) -> str:
    """Return the name of who was asked last: where a stored answer stands in, the target is who gave that."""
    stands_in = report.tried if report.ttl is not None else None
    return stands_in[-1].name if stands_in else report.target or ""


def _is_remote(target: str | None) -> bool:
    """Say whether a target is another machine's: a wrapped app makes its own spans of whom it asks."""
    return target is not None and ("/" in target or target in PROVIDERS)


def _operation(endpoint: str | None) -> str:
    name = endpoint or ""
    return _OPERATIONS.get(name, name)


def _provider(target: str, endpoint: str | None) -> str:
    """Return the conventions' name of a provider; of a URL nobody knows more than whose dialect it speaks."""
    if "://" in target:
        return "anthropic" if endpoint == "messages" else "openai"
    name = target.partition("/")[0]
    return _PROVIDER_NAMES.get(name, name)


def _known(told: Mapping[str, str | int | bool | float | list[str] | None]) -> Attributes:
    return {name: _text(value) if isinstance(value, str) else value for name, value in told.items() if value is not None}


def _text(text: str) -> str:
    return text[:_LONGEST].encode(errors="replace").decode()  # half a character cannot be sent
