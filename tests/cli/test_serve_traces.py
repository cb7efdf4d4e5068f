"""`cachemw serve --otel`: with an SDK in every process, as `opentelemetry-instrument` gives it to them, and without one."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cachemw.simulator import Simulator
from tests.cli.command import PATIENCE, ROOT, Command, Done, ask, refusal

Here = Callable[..., Done]
Simulated = tuple[Simulator, str]

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

SITECUSTOMIZE = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

spans = open({path!r}, "a", buffering=1)
exporter = ConsoleSpanExporter(out=spans, formatter=lambda span: span.to_json(indent=None) + "\\n")
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
"""


def until_written(path: Path, count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE
    while len(lines := path.read_text().splitlines() if path.exists() else []) < count:
        assert time.monotonic() < deadline, lines
        time.sleep(0.05)
    return [json.loads(line) for line in lines]


def test_workers_give_their_spans_to_the_sdk_of_their_process(command: Command, simulated: Simulated, tmp_path: Path) -> None:
    """`opentelemetry-instrument` sets its SDK up in a `sitecustomize`, too, which is how workers have one."""
    path, site = tmp_path / "spans.jsonl", tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITECUSTOMIZE.format(path=str(path)))
    arguments = ("serve", "--port", 0, "--otel", "--workers", 2, "--upstream", simulated[1])

    with command.serving(*arguments, PYTHONPATH=f"{site}:{ROOT}") as serving:
        answer = ask(serving.url, "one", cachemw="on", traceparent=f"00-{TRACE}-{SPAN}-01")
        spans = until_written(path, 2)
        assert serving.end() == 0

    assert answer.status_code == 200
    client, server = sorted(spans, key=lambda span: str(span["kind"]))
    assert (client["kind"], server["kind"]) == ("SpanKind.CLIENT", "SpanKind.SERVER")
    assert server["parent_id"] == f"0x{SPAN}"
    assert client["parent_id"] == server["context"]["span_id"]
    assert {span["context"]["trace_id"] for span in spans} == {f"0x{TRACE}"}
    assert server["attributes"]["cachemw.outcome"] == "miss"


def test_where_there_is_no_sdk_that_is_said_before_anybody_is_served(here: Here) -> None:
    assert "no OpenTelemetry SDK is set up" in refusal(here("serve", "--port", 0, "--otel"))


def test_where_the_package_is_missing_that_is_said(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cachemw.otel", None)

    assert refusal(here("serve", "--port", 0, "--otel")) == "--otel needs more: pip install 'cachemw[otel]'"
    assert "pip install 'cachemw[otel]'" in here("check", CACHEMW_OTEL="1").stdout


def test_nobody_who_wants_no_spans_needs_the_package(command: Command) -> None:
    done = command.python("-c", "import sys; import cachemw.proxy.app, cachemw.cli.app; print('opentelemetry' in sys.modules)")

    assert done.stdout.strip() == "False"
