"""Every endpoint on a route: who fails is left there, and the answer is stored and costs what it says."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from cachemw import Policy
from cachemw.cli.spend import read_spending
from cachemw.ledger.ledger import Ledger
from cachemw.ledger.sums import SumsBy
from cachemw.simulator import Simulator
from tests.gateway.crossroads import MESSAGES, Crossroads, author, crossroads, price, route, told
from tests.ledger.test_ledger import AtOnce

FIRST, SECOND = "openai/m", "openrouter/m"
ROUTE = route(FIRST, SECOND, first_token="0.2", answer="0.2") + price(FIRST, SECOND)
BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": MESSAGES},
    "completions": {"prompt": ["Say hello.", "Say it again."], "max_tokens": 9},
    "messages": {"max_tokens": 500, "messages": MESSAGES},
    "responses": {"input": "Say hello."},
    "embeddings": {"input": ["Say hello.", "Say it."], "dimensions": 8},
    "moderations": {"input": "Say hello."},
    "rerank": {"query": "plants", "documents": ["stones", "plants"]},
    "messages/count_tokens": {"messages": MESSAGES},
}
NAMES = {"chat/completions": "chat", "messages/count_tokens": "count_tokens"}
BOTH_SPEAK = {"openai": ["chat", "messages", "responses"]}
SILENT_OF_USAGE = ("moderations", "rerank", "messages/count_tokens")
STREAMED = ("chat/completions", "completions", "messages", "responses")
EMPTY = {("messages", "no-choices")}
"""A message without anything in it is one: Anthropic's models say so that they have nothing to add."""

ENDPOINTS = pytest.mark.parametrize("path", BODIES)
FAILURES = ("status:503", "status:429", "in-200:503", "foreign", "no-choices", "html:502", "cut:10", "silent")
FAILING = [(path, failure) for path in BODIES for failure in FAILURES if (path, failure) not in EMPTY]


def post(here: Crossroads, path: str, *, headers: dict[str, str] | None = None, **members: Any) -> httpx.Response:
    body = {"model": "auto"} | BODIES[path] | members
    return here.client.post(f"{here.url}/v1/{path}", json=body, headers=headers)


def at(tmp_path: Path, fail: str = "", text: str = ROUTE, policy: Policy = Policy(default="on")) -> Any:  # noqa: B008
    providers = {"openai": Simulator(fail=fail), "openrouter": Simulator()}
    return crossroads(tmp_path, providers, text, policy, BOTH_SPEAK)


@pytest.mark.parametrize(("path", "failure"), FAILING)
@pytest.mark.parametrize("default", ["on", "off"], ids=["opted in", "relayed"])
def test_who_fails_is_left_at_every_endpoint(path: str, failure: str, default: str, tmp_path: Path) -> None:
    """G1, G21: an answer is what the endpoint begins with, and nothing else is."""
    here: Crossroads
    with at(tmp_path, failure, policy=Policy(default=default)) as here:
        answer = post(here, path)

        assert here.called == {"openai": [f"/{path}"], "openrouter": [f"/{path}"]}
        (call,) = here.providers["openrouter"].calls
        assert (answer.status_code, answer.content, call.model) == (200, call.said, "m")
        assert author(told(answer)) == SECOND
        (report,) = here.reported(1)
        assert (report.endpoint, report.target, report.route) == (NAMES.get(path, path), SECOND, "auto")


@pytest.mark.parametrize("path", STREAMED)
@pytest.mark.parametrize("failure", ["error:0", "end:0", "status:503", "silent"])
def test_who_fails_before_the_first_word_of_a_stream_is_left(path: str, failure: str, tmp_path: Path) -> None:
    """G1, G2."""
    here: Crossroads
    with at(tmp_path, failure) as here:
        answer = post(here, path, stream=True)

        (call,) = here.providers["openrouter"].calls
        assert (answer.status_code, answer.content) == (200, call.said)
        assert author(told(answer)) == SECOND


@ENDPOINTS
def test_an_answer_is_stored_for_its_author_and_costs_what_it_took(path: str, tmp_path: Path) -> None:
    """E1, B1: in the report, and in the response field."""
    here: Crossroads
    with at(tmp_path) as here:
        answers = [post(here, path) for _ in range(2)]
        miss, hit = here.reported(2)

        assert answers[0].content == answers[1].content
        assert ["; hit" in answer.headers["cache-status"] for answer in answers] == [False, True]
        assert here.called == {"openai": [f"/{path}"]}
        assert (miss.endpoint, miss.target, hit.endpoint, hit.target) == (miss.endpoint, FIRST, miss.endpoint, FIRST)
        assert hit.cost == 0
        if path in SILENT_OF_USAGE:
            assert miss.usage is None
        else:
            assert miss.usage is not None
            given, taken = miss.usage.input_tokens, miss.usage.output_tokens
            assert given is not None
            assert taken is not None
            assert (given > 0, taken > 0) == (True, path != "embeddings")
            assert (miss.cost, miss.cost_basis) == (given * 1000 + taken * 2000, "priced")
            assert hit.saved == miss.cost


@pytest.mark.parametrize("path", ["moderations", "rerank"])
def test_what_says_nothing_of_tokens_is_estimated_by_its_input_alone(path: str, tmp_path: Path) -> None:
    """G17: its answer is a list of numbers, which nobody writes token by token."""
    here: Crossroads
    with at(tmp_path) as here:
        post(here, path)

        (report,) = here.reported(1)
        (call,) = here.providers["openai"].calls
        assert (report.cost, report.cost_basis) == (-(-len(call.body) // 4) * 1000, "estimated")


@pytest.mark.parametrize("default", ["on", "off"], ids=["opted in", "relayed"])
def test_counting_costs_nothing(default: str, tmp_path: Path) -> None:
    """Anthropic charges nothing for it, and it is asked at every turn: neither a budget nor a wish is in its way."""
    here: Crossroads
    with at(tmp_path, policy=Policy(default=default)) as here:
        answer = post(here, "messages/count_tokens", headers={"Cachemw-Route": 'max-cost="0"'})

        (report,) = here.reported(1)
        assert answer.status_code == 200
        assert (report.cost, report.cost_basis) == (0, "priced")
        assert ('cost="0"' in told(answer)) is (default == "on")


@pytest.fixture
def lacking(tmp_path: Path) -> Iterator[Crossroads]:
    """Give a route whose first target has chat alone."""
    providers = {"cerebras": Simulator(dialect="cerebras"), "openai": Simulator(dialect="openai")}
    targets = "cerebras/m", "openai/m"
    with crossroads(tmp_path, providers, route(*targets) + price(*targets)) as here:
        yield here


@pytest.mark.parametrize("path", ["embeddings", "moderations"])
def test_who_has_no_such_endpoint_is_left_and_still_answers_chat(path: str, lacking: Crossroads) -> None:
    """G9, G13: the 404 of a path says nothing of the model."""
    other, chat = post(lacking, path), post(lacking, "chat/completions")

    assert (other.status_code, author(told(other))) == (200, "openai/m")
    assert 'tried=("cerebras/m";status=404;why=no-model)' in told(other)
    assert (chat.status_code, author(told(chat))) == (200, "cerebras/m")


@pytest.mark.parametrize("default", ["on", "off"], ids=["opted in", "relayed"])
@pytest.mark.parametrize("spoken_by", ["nobody", "the second"])
def test_responses_go_to_who_speaks_them(spoken_by: str, default: str, tmp_path: Path) -> None:
    """G26, ruling F1: they are not translated; who does not speak them is not asked."""
    here: Crossroads
    second = {"nobody": "mistral", "the second": "openai"}[spoken_by]
    targets = "cerebras/m", f"{second}/m"
    providers = {"cerebras": Simulator(), second: Simulator()}
    policy = Policy(default=default)
    with crossroads(tmp_path, providers, route(*targets) + price(*targets), policy) as here:
        answer = post(here, "responses")

        if spoken_by == "nobody":
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "endpoint_not_spoken")
            assert here.called == {}
        else:
            assert (answer.status_code, author(told(answer))) == (200, "openai/m")
            assert here.called == {"openai": ["/responses"]}


COUNTS = {
    "who counts comes first": (("anthropic/m", "cerebras/m"), {"anthropic": ["/messages/count_tokens"]}),
    "who counts comes later": (("cerebras/m", "anthropic/m"), {}),
    "nobody counts": (("cerebras/m", "groq/m"), {}),
}


@pytest.mark.parametrize("default", ["on", "off"], ids=["opted in", "relayed"])
@pytest.mark.parametrize(("targets", "called"), COUNTS.values(), ids=COUNTS)
def test_tokens_are_counted_by_who_would_answer(
    targets: tuple[str, ...], called: dict[str, list[str]], default: str, tmp_path: Path
) -> None:
    """T24: by an estimate where that one does not count; a spare is not told what need not be asked."""
    here: Crossroads
    providers = {name.partition("/")[0]: Simulator(dialect=name.partition("/")[0]) for name in targets}
    policy = Policy(default=default)
    with crossroads(tmp_path, providers, route(*targets) + price(*targets), policy) as here:
        answer = post(here, "messages/count_tokens")

        assert (answer.status_code, answer.json()["input_tokens"] > 0) == (200, True)
        assert here.called == called
        assert answer.headers.get("cachemw-translation") == (None if called else "input_tokens=estimated")


@pytest.mark.parametrize("default", ["on", "off"], ids=["opted in", "relayed"])
@pytest.mark.parametrize("how", ["ask", "refuse"])
def test_where_nobody_counts_the_operator_says_what_is_done(how: str, default: str, tmp_path: Path) -> None:
    """ruling F7: an answer of one token, which says it exactly and costs something, or a 404 in Anthropic's shape."""
    here: Crossroads
    policy = Policy(default=default, count_tokens=how)  # type: ignore[arg-type]
    providers = {"cerebras": Simulator(dialect="cerebras")}
    with crossroads(tmp_path, providers, route("cerebras/m") + price("cerebras/m"), policy) as here:
        answer = post(here, "messages/count_tokens")

        (report,) = here.reported(1)
        if how == "ask":
            (call,) = here.providers["cerebras"].calls
            assert (answer.status_code, answer.json()) == (200, {"input_tokens": 2})
            assert (call.path, report.cost, report.cost_basis) == ("/v1/chat/completions", 2 * 1000 + 2000, "priced")
        else:
            assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
            assert here.called == {}


def test_the_ledger_has_a_row_for_every_endpoint(tmp_path: Path) -> None:
    """E12: `cachemw spend --by endpoint` reads these."""
    here: Crossroads
    with at(tmp_path) as here:
        for path in BODIES:
            post(here, path)
            post(here, path)
        reports = here.reported(2 * len(BODIES))

    with closing(Ledger(tmp_path, AtOnce(), clock=lambda: 0.0)) as ledger:
        for report in reports:
            ledger(report)
    spent = {row.name: row for row in read_spending(tmp_path, SumsBy.ENDPOINT, None)}
    misses = {report.endpoint: report for report in reports if not report.hit}
    assert set(spent) == {NAMES.get(path, path) for path in BODIES}
    for endpoint, row in spent.items():
        miss = misses[endpoint]
        given = 0 if miss.usage is None else miss.usage.input_tokens
        assert (row.requests, row.answered_here, row.spent, row.unpriced) == (2, 1, miss.cost, 0)
        assert (row.saved, row.input_tokens) == (0 if miss.usage is None else miss.cost, given)
