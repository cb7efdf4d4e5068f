"""A script of failures: what goes wrong at a server, request after request."""

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.simulator import Simulator
from cachemw.simulator.app import ASKED_LIMIT, credential_digest
from cachemw.simulator.failing import FailScript
from cachemw.simulator.failures import ErrorAnswer
from tests.asgi_driver import call
from tests.simulator.requests import CHAT, ask, post

pytestmark = pytest.mark.anyio


async def statuses(app: Simulator, count: int) -> list[int | None]:
    return [(await post(app)).status for _ in range(count)]


@pytest.mark.parametrize(
    ("script", "met"),
    [
        ("", [200, 200, 200]),
        ("  ", [200, 200, 200]),
        ("status:503", [503, 503, 503]),
        ("status:503 x2", [503, 503, 200, 200]),
        ("ok x2, cerebras:quota x1, ok", [200, 200, 429, 200]),
        ("ok x1,html:502 x1,empty:500", [200, 502, 500, 500]),
        ("groq:rate  x1 ,  openai:model  x1", [429, 404, 200]),
    ],
)
async def test_steps_follow_each_other(script: str, met: list[int]) -> None:
    assert await statuses(Simulator(fail=script), len(met)) == met


def test_seconds_begin_with_the_first_request_that_meets_them() -> None:
    script = FailScript("ok x1, cerebras:quota for 2s, xai:spent x1")

    met = [script.next_failure(now).failure for now in (0.0, 100.0, 101.9, 102.0, 102.1)]

    assert [failure.status if isinstance(failure, ErrorAnswer) else 200 for failure in met] == [200, 429, 429, 429, 200]
    assert [dict(failure.headers) for failure in met[1:4] if isinstance(failure, ErrorAnswer)] == [
        {b"retry-after": b"2"},
        {b"retry-after": b"1"},
        {},
    ]


def test_what_is_over_soon_says_so_where_it_says_anything() -> None:
    hinted = FailScript("openai:rate for 30s").next_failure(0.0).failure
    unhinted = FailScript("openai:billing for 30s").next_failure(0.0).failure

    assert isinstance(hinted, ErrorAnswer)
    assert isinstance(unhinted, ErrorAnswer)
    assert dict(hinted.headers)[b"retry-after"] == b"30"
    assert dict(hinted.headers)[b"retry-after-ms"] == b"30000"
    assert unhinted.headers == ()


async def test_the_clock_is_the_servers() -> None:
    now = 0.0
    app = Simulator(fail="status:500 for 0.5s", clock=lambda: now)

    assert await statuses(app, 2) == [500, 500]
    now = 0.5
    assert await statuses(app, 2) == [200, 200]


@pytest.mark.parametrize(
    ("members", "field"),
    [({"simulate": {"status": 418}}, None), ({"simulate": {"fail": "ok"}}, None), ({}, b"ok"), ({"messages": []}, None)],
)
async def test_a_request_with_a_failure_of_its_own_leaves_the_script_where_it_is(
    members: dict[str, Any], field: bytes | None
) -> None:
    app = Simulator(fail="status:500 x1")

    own = await call(app, "POST", CHAT, ask(**members), [] if field is None else [(b"x-simulate-fail", field)])

    assert own.status != 500
    assert await statuses(app, 2) == [500, 200]


@pytest.mark.parametrize("simulate", [{}, {"tokens_per_second": 1000}, {"first_token_seconds": 0}])
async def test_a_pace_is_no_failure_of_its_own(simulate: dict[str, int]) -> None:
    app = Simulator(fail="status:500 x1")

    assert (await post(app, simulate=simulate)).status == 500


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("boom", "no failure is called 'boom'; there are ok, silent, reset, "),
        ("groq:boom", "no failure is called 'groq:boom'; of groq there are tpm-too-large, rate, "),
        ("status:200", "'status:200' will not do: a status is 400 to 599"),
        ("cut:few", "'cut:few' will not do: say how many bytes, or events, go before"),
        ("slow:-1", "'slow:-1' will not do: say how many seconds"),
        ("ok x0", "'ok x0' is no step: say 'NAME', 'NAME x3' or 'NAME for 2s', with commas between steps"),
        ("ok x", "'ok x' is no step"),
        ("ok for 2", "'ok for 2' is no step"),
        ("ok x2 for 2s", "'ok x2 for 2s' is no step"),
        ("ok x1,", "'' is no step"),
        (",", "'' is no step"),
        ("silent, ok", "'silent, ok': only the last step may last for good; say 'x3' or 'for 2s' after the others"),
    ],
)
def test_what_is_no_script_is_refused_in_plain_words(script: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}"):
        Simulator(fail=script)


@given(st.text())
def test_a_text_is_a_script_or_is_refused(text: str) -> None:
    with suppress(ValueError):
        FailScript(text).next_failure(0.0)


def test_a_dialect_that_nobody_speaks_is_refused() -> None:
    with pytest.raises(ValueError, match="no dialect is called 'klingon'; there are cerebras, openai, groq, "):
        Simulator(dialect="klingon")


async def test_a_test_may_look_at_what_was_asked() -> None:
    app = Simulator()

    await call(app, "POST", CHAT, ask(model="one"), [(b"authorization", b"Bearer sk-1"), (b"x-mine", b"2")])
    await post(app, model="two", simulate={"status": 500})
    await call(app, "POST", CHAT, b"nonsense")

    first, second = app.asked
    assert app.models_asked == ["one", "two"]
    assert first.fields == (b"authorization", b"x-mine")
    assert first.credential == credential_digest(b"Bearer sk-1")
    assert second.credential is None
    assert app.calls == 3
    assert app.asked.maxlen == ASKED_LIMIT
