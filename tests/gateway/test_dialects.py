"""A route whose targets speak different dialects: who fails is left, and the answer is in the words of who asked, in either."""

from pathlib import Path

import httpx
import pytest

from cachemw import Policy
from cachemw.cache.record import decode
from tests.gateway.bilingual import (
    OTHER,
    PATHS,
    SPEAKERS,
    TARGETS,
    TOOLS,
    Words,
    ask_in,
    both_speakers,
    results_of,
    said_by,
    words_of,
)
from tests.gateway.crossroads import MESSAGES, Crossroads, author, crossroads, price, route, told

PRICES = price(*TARGETS.values())
FAILURES = {
    "unavailable": "status:503",
    "too many requests": "status:429",
    "an unknown key": "status:401",
    "an error in a 200": "in-200:503",
    "an error page": "html:502",
    "broken off before the first word": "cut:10",
    "another endpoint's answer": "foreign",
    "silence": "silent",
}
KINDS = pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
CALLERS = pytest.mark.parametrize("caller", PATHS)


@pytest.fixture(params=PATHS, ids=[f"{first} to {OTHER[first]}" for first in PATHS])
def first(request: pytest.FixtureRequest) -> str:
    """Return the dialect of who is asked first."""
    return str(request.param)


def fallback(first: str) -> str:
    return route(TARGETS[first], TARGETS[OTHER[first]], first_token="0.15", answer="0.15") + PRICES


@pytest.fixture(params=["on", "off"], ids=["opted in", "relayed"])
def policy(request: pytest.FixtureRequest) -> Policy:
    return Policy(default=request.param)


@CALLERS
@KINDS
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_who_fails_is_left_for_who_speaks_otherwise(
    failure: str, stream: bool, caller: str, first: str, policy: Policy, tmp_path: Path
) -> None:
    """G1, G2, T22: nothing of the first leaks, and the answer is in the caller's dialect."""
    here: Crossroads
    second = OTHER[first]
    with crossroads(tmp_path, both_speakers(**{first: failure}), fallback(first), policy) as here:
        answer = ask_in(here, caller, stream=stream)

        assert here.called == {SPEAKERS[dialect]: [PATHS[dialect]] for dialect in PATHS}
        (call,) = here.providers[SPEAKERS[second]].calls
        assert answer.status_code == 200
        assert words_of(answer.content, caller) == said_by(call)
        assert author(told(answer)) == TARGETS[second]
        (report,) = here.reported(1)
        assert (report.endpoint, report.target, report.attempts) == (caller, TARGETS[second], 2)
        assert report.cost
        assert len(list(here.store.scan())) == (policy.default == "on")


@KINDS
@pytest.mark.parametrize("failure", ["no-choices", "no-content"])
def test_an_answer_that_says_nothing_is_none_where_it_has_to_be_translated(
    failure: str, stream: bool, first: str, tmp_path: Path
) -> None:
    """T23: it cannot be said in the other dialect, so the next one is asked."""
    here: Crossroads
    caller = OTHER[first]
    with crossroads(tmp_path, both_speakers(**{first: failure}), fallback(first)) as here:
        answer = ask_in(here, caller, stream=stream)

        (call,) = here.providers[SPEAKERS[caller]].calls
        assert (answer.status_code, answer.content) == (200, call.said)


@CALLERS
@KINDS
def test_a_connection_that_is_closed_before_its_head_is_opened_anew_and_then_left(
    stream: bool, caller: str, first: str, tmp_path: Path
) -> None:
    """E8, G1."""
    here: Crossroads
    second = OTHER[first]
    with crossroads(tmp_path, both_speakers(**{first: "reset"}), fallback(first)) as here:
        answer = ask_in(here, caller, stream=stream)

        assert {name: set(paths) for name, paths in here.called.items()} == {SPEAKERS[one]: {PATHS[one]} for one in PATHS}
        (call,) = here.providers[SPEAKERS[second]].calls
        assert words_of(answer.content, caller) == said_by(call)


@KINDS
def test_an_answer_is_stored_as_its_author_said_it_and_serves_whoever_asks_the_same(
    stream: bool, first: str, tmp_path: Path
) -> None:
    """§0.4, ruling F2: under the author's key, which both dialects have alike; each hears it in its own."""
    here: Crossroads
    second = OTHER[first]
    with crossroads(tmp_path, both_speakers(**{first: "status:503"}), fallback(first)) as here:
        ask_in(here, first, stream=stream)
        (call,) = here.providers[SPEAKERS[second]].calls
        hits = {caller: [ask_in(here, caller, stream=kind) for kind in (stream, not stream)] for caller in PATHS}

        ((_, record),) = here.store.scan()
        assert decode(record).body == call.said
        assert here.called == {SPEAKERS[dialect]: [PATHS[dialect]] for dialect in PATHS}
        for caller, answers in hits.items():
            assert ["; hit" in answer.headers["cache-status"] for answer in answers] == [True, True]
            assert [words_of(answer.content, caller) for answer in answers] == [said_by(call)] * 2
            assert {author(told(answer)) for answer in answers} == {TARGETS[second]}
            assert ask_in(here, caller, stream=stream).content == answers[0].content


@CALLERS
@KINDS
def test_tools_are_called_in_the_callers_dialect_and_a_second_turn_is_understood(
    stream: bool, caller: str, first: str, tmp_path: Path
) -> None:
    """T9: the second turn of a replayed run hits, whoever answered."""
    here: Crossroads
    with crossroads(tmp_path, both_speakers(**{first: "status:503"}), fallback(first)) as here:
        asked = [_turn(here, caller, stream) for _ in range(2)]

        (words, answers), (again, hits) = asked
        assert words == again
        assert words[0].ends == "tools"
        assert words[0].tools
        assert words[1].ends == "end"
        assert words[1].text
        assert ["; hit" in answer.headers["cache-status"] for answer in (*answers, *hits)] == [False, False, True, True]


def _turn(here: Crossroads, caller: str, stream: bool) -> tuple[list[Words], list[httpx.Response]]:
    """Return what is said to a question, and then to the results of the tools that were called."""
    first = ask_in(here, caller, stream=stream, tools=TOOLS[caller])
    words = words_of(first.content, caller)
    history = [*MESSAGES, *results_of(words, caller)]
    second = ask_in(here, caller, stream=stream, tools=TOOLS[caller], messages=history)
    return [words, words_of(second.content, caller)], [first, second]
