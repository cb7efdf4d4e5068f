"""A stored answer of a later target stands in for those before it: as another target would, however these fail."""

from pathlib import Path
from typing import Any

import pytest

from cachemw.simulator import Simulator
from tests.gateway.crossroads import Crossroads, author, crossroads, price, route, told

FIRST, SECOND = "cerebras/m", "groq/m"
QUICKLY = {"first_token": "0.3", "answer": "0.3"}
KINDS = [pytest.param({}, id="JSON"), pytest.param({"stream": True}, id="stream")]

FAILURES = {
    "silence": "silent",
    "silence after its head": "stall:0",
    "no choices": "no-choices",
    "a queue": "cerebras:queue",
    "a spent quota": "cerebras:quota",
    "500": "status:500",
    "an error page": "html:502",
    "a reset": "reset",
    "too large": "cerebras:too-large",
    "unsupported": "cerebras:unsupported",
}
UNPAID = {"silence", "silence after its head", "no choices"}
"""After which nobody knows whether the provider will be paid."""

SPARED = f'[routes.auto]\ntargets = ["{FIRST}"]\nspares = ["{SECOND}"]\nfirst_token = 0.3\nanswer = 0.3\n'
ROUTES = {
    "first to last": route(FIRST, SECOND, **QUICKLY),
    "a spare": SPARED,
    "hedged": route(FIRST, SECOND, **QUICKLY, hedge="{ after = 0.1, extra = 1.0 }"),
}


def failing(tmp_path: Path, failure: str, text: str = ROUTES["first to last"]) -> Any:
    """Give a route whose first target fails in passing, so that the second's answer is stored, and then so."""
    providers = {"cerebras": Simulator(fail=f"status:500 x1, {failure}"), "groq": Simulator(dialect="groq")}
    return crossroads(tmp_path, providers, text + price(FIRST, SECOND))


@pytest.mark.parametrize("members", KINDS)
@pytest.mark.parametrize("text", ROUTES.values(), ids=ROUTES)
@pytest.mark.parametrize("name", FAILURES)
def test_it_answers_however_the_first_fails(name: str, text: str, members: dict[str, Any], tmp_path: Path) -> None:
    """G1, G4, G21, E6: who is asked alone is not the last there is, and need not be waited for or put up with."""
    here: Crossroads
    with failing(tmp_path, FAILURES[name], text) as here:
        stored, again = here.ask(**members), here.ask(**members)

        assert (stored.status_code, again.status_code) == (200, 200)
        assert again.content == stored.content
        assert author(told(stored)) == author(told(again)) == SECOND
        assert here.asked["groq"] == 1
        assert f'tried=("{FIRST}"' in told(again)


@pytest.mark.parametrize("name", FAILURES)
def test_it_is_free_and_says_what_it_saves(name: str, tmp_path: Path) -> None:
    """G17, E1: what the failed attempt may cost is not said to be nothing."""
    here: Crossroads
    with failing(tmp_path, FAILURES[name]) as here:
        here.ask()
        field_value = told(here.ask())

        miss, stood_in = here.reported(2)
        assert (stood_in.cost, stood_in.saved) == (0, miss.cost)
        assert stood_in.cost_at_least is (name in UNPAID)
        assert f'cost="0"{";least" if name in UNPAID else ""}, saved="' in field_value


@pytest.mark.parametrize("failure", ["cerebras:queue", "status:500"])
def test_who_failed_is_not_asked_the_same_again(failure: str, tmp_path: Path) -> None:
    """E8: only where nothing else can answer."""
    here: Crossroads
    with failing(tmp_path, failure) as here:
        here.ask()
        here.ask()

        assert here.asked == {"cerebras": 2, "groq": 1}
