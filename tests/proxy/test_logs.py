"""The log of exchanges, and the two formats that logs have."""

import json
import logging
import logging.config
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw import ExchangeReport
from cachemw.messages import Usage
from cachemw.proxy.logs import SHOWN_NAME, JsonFormatter, log_exchange, logging_config
from cachemw.proxy.settings import LOG_LEVELS

AT = 1_800_000_000.25
HIT = ExchangeReport(
    hit=True,
    key="1f0c" * 8,
    details=("transcoded", "replay"),
    id="abcdefgh12345678",
    at=AT,
    endpoint="chat",
    target="https://api.example/secret-path",
    client="alice",
    model="gpt-oss-120b",
    status=200,
    usage=Usage(812, 301),
    first_byte=0.00031,
    total=0.9114,
)


class Noting(logging.Handler):
    """Keeps the records that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def record_of(report: ExchangeReport) -> logging.LogRecord:
    """Return what is logged of an exchange."""
    noting, access = Noting(), logging.getLogger("cachemw.access")
    level = access.level
    access.addHandler(noting)
    access.setLevel(logging.INFO)
    try:
        log_exchange(report)
    finally:
        access.removeHandler(noting)
        access.setLevel(level)
    [record] = noting.records
    return record


def text_of(report: ExchangeReport) -> str:
    return record_of(report).getMessage()


def json_of(record: logging.LogRecord) -> dict[str, Any]:
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert "\n" not in line
    told: dict[str, Any] = json.loads(line)
    return told


def test_an_exchange_is_one_line() -> None:
    """E1, I4: what was asked and answered is not in it, nor is the target."""
    assert text_of(HIT) == (
        "2027-01-15T08:00:00.250Z alice chat gpt-oss-120b hit 200 first=0.3ms total=911.4ms tokens=812/301"
        f" key={'1f0c' * 8} detail=transcoded id=abcdefgh12345678"
    )


def test_an_exchange_is_one_object() -> None:
    """E1."""
    told = json_of(record_of(HIT))

    assert told == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "info",
        "logger": "cachemw.access",
        "id": "abcdefgh12345678",
        "client": "alice",
        "endpoint": "chat",
        "model": "gpt-oss-120b",
        "outcome": "hit",
        "status": 200,
        "first_byte": 0.00031,
        "total": 0.9114,
        "input_tokens": 812,
        "output_tokens": 301,
        "key": "1f0c" * 8,
        "detail": "transcoded",
        "count": 1,
    }


def test_what_is_absent_is_a_dash() -> None:
    assert text_of(ExchangeReport(opted_in=False)) == ("- - - - passed - first=- total=- tokens=-/- key=- detail=- id=-")


def test_hits_that_were_recalled_are_one_line_with_their_count() -> None:
    """B2."""
    report = ExchangeReport(hit=True, count=37)

    assert text_of(report).endswith(" ×37")  # noqa: RUF001
    assert json_of(record_of(report))["count"] == 37


FORGED = (
    "m\n2027-01-15T08:00:00.250Z bob chat m hit 200",
    "m hit 200 key=x",
    "\x1b[2J\x1b[31mm",
    "m\r\u2028\u2029\x85",
    'm"},{"a":"',
    "модель",
    "m" * 100_000,
    "\ud800",
    "%0a",
)


@pytest.mark.parametrize("model", FORGED, ids=range(len(FORGED)))
def test_no_line_and_no_field_can_be_forged(model: str) -> None:
    """I4: a caller chooses the name of a model."""
    for changed in ({"model": model}, {"client": model}, {"details": (model,)}):
        _check(ExchangeReport(**{"at": AT, **changed}))  # type: ignore[arg-type]


@given(st.text(st.characters(), max_size=100))
def test_none_can_be_whatever_the_name(name: str) -> None:
    """I4."""
    _check(ExchangeReport(model=name, client=name, details=(name,)))


def _check(report: ExchangeReport) -> None:
    text = text_of(report)
    assert text.isascii()
    assert text.isprintable()
    assert len(text.split(" ")) == 12
    assert len(text) < 3 * 12 * SHOWN_NAME + 300
    told = json_of(record_of(report))
    assert told["count"] == 1


def test_names_as_they_are_used_are_legible() -> None:
    name = "openai/gpt-4o-mini@2024-07-18:free+x"

    assert f" {name} " in text_of(ExchangeReport(model=name))


def test_other_lines_are_objects_too() -> None:
    try:
        raise ValueError("oh")
    except ValueError as exc:
        record = logging.LogRecord("cachemw.x", logging.WARNING, "", 0, "the store %s\n", ("fails",), (type(exc), exc, None))

    told = json_of(record)

    assert (told["level"], told["logger"], told["message"]) == ("warning", "cachemw.x", "the store fails\n")
    assert "ValueError: oh" in told["exception"]


@pytest.fixture
def loggers_as_they_were() -> Iterator[None]:
    names = ("uvicorn", "cachemw", "cachemw.access")
    before = [(logging.getLogger(name), list(logging.getLogger(name).handlers)) for name in names]
    states = [(logger, logger.level, logger.propagate) for logger, _ in before]
    yield
    for logger, handlers in before:
        logger.handlers = handlers
    for logger, level, propagate in states:
        logger.setLevel(level)
        logger.propagate = propagate


@pytest.mark.usefixtures("loggers_as_they_were")
@pytest.mark.parametrize("level", LOG_LEVELS)
@pytest.mark.parametrize("form", ["text", "json"])
def test_exchanges_are_logged_whatever_the_level(form: str, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    """E1: to have them is a switch of its own. All of it goes to standard error."""
    logging.config.dictConfig(logging_config(level, form))

    logging.getLogger("cachemw.drivers").info("an answer was not kept")
    logging.getLogger("uvicorn.error").info("started")
    log_exchange(HIT)

    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert said.out == ""
    assert len(lines) == (3 if level in ("info", "debug") else 1)
    assert all(re.match(r"\{.*\}$", line) for line in lines) is (form == "json")
    assert "gpt-oss-120b" in lines[-1]


def test_a_gateway_adds_who_answered_and_for_how_much(caplog: pytest.LogCaptureFixture) -> None:
    """B2: without one nothing is added."""
    caplog.set_level(logging.INFO, "cachemw.access")

    log_exchange(ExchangeReport(target="groq/openai/gpt-oss-120b", route="auto", attempts=2, cost=421_000, tried=()))
    log_exchange(ExchangeReport(target="cerebras/m"))

    with_one, without = caplog.messages
    assert " target=groq/openai/gpt-oss-120b route=auto attempts=2 cost=0.000421 key=- " in with_one
    assert "target" not in without
