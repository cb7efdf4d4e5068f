"""Bad input over real sockets: what clients send, what providers answer, and what neither may do to the other."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from cachemw.simulator import Simulator
from cachemw.simulator.dialects import DIALECTS
from tests.gateway.crossroads import MESSAGES, Crossroads, author, crossroads, price, route, told
from tests.upstream import JSON, Told, Upstream, always, completion

FIRST, SECOND = "cerebras/m", "groq/m"
AUTO = route(FIRST, SECOND) + price(FIRST, SECOND)


def both(tmp_path: Path, first: str = "", text: str = AUTO) -> Any:
    """Give a route to two providers, the first of which fails so."""
    providers = {"cerebras": Simulator(fail=first), "groq": Simulator(dialect="groq")}
    return crossroads(tmp_path, providers, text)


def saying(told: Told) -> dict[str, ASGIApp]:
    """Return both providers, the first of which always says this."""
    return {"cerebras": Upstream(always(told)), "groq": Simulator(dialect="groq")}


def post(here: Crossroads, content: bytes, headers: Mapping[str, str] | None = None) -> httpx.Response:
    fields = {"content-type": "application/json", **(headers or {})}
    return here.client.post(f"{here.url}/v1/chat/completions", content=content, headers=fields)


def refused(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Return the status, the code and the parameter of an error of ours."""
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


UNROUTED = {
    "the model twice": b'{"model": "auto", "model": "groq/m", "messages": []}',
    "the model twice, escaped": b'{"model": "auto", "mod\\u0065l": "groq/m", "messages": []}',
    "a model that is a number": b'{"model": 7, "messages": []}',
    "a model that is a list": b'{"model": ["auto"], "messages": []}',
    "a model that is null": b'{"model": null, "messages": []}',
    "no model": b'{"messages": []}',
    "no object": b'["auto"]',
    "no JSON": b'{"model": "auto", "messages": [',
    "no text": b'{"model": "auto\xff", "messages": []}',
    "nothing": b"",
}


@pytest.mark.parametrize("body", UNROUTED.values(), ids=UNROUTED)
def test_a_body_that_names_no_model_in_one_way_goes_to_the_default_as_it_is(body: bytes, tmp_path: Path) -> None:
    """G9: it must not choose one target here and mean another one there."""
    here: Crossroads
    with both(tmp_path) as here:
        answer = post(here, body)

        assert here.asked == {"cerebras": 1, "groq": 0}
        assert here.providers["cerebras"].chats[0].body == body
        assert answer.content == here.providers["cerebras"].chats[0].said


UNKNOWN = {
    "a provider that nobody knows": ("nobody/m", 404, "model_not_found"),
    "a route for another case": ("nobody/auto", 404, "model_not_found"),
    "a very long name": ("nobody/" + "x" * 100_000, 404, "model_not_found"),
    "a name with line ends": ("nobody/m\r\nSet-Cookie: a=b", 404, "model_not_found"),
    "a name in other letters": ("nobody/модель\u2028", 404, "model_not_found"),
}


@pytest.mark.parametrize(("model", "status", "code"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_name_that_is_not_known_is_refused(model: str, status: int, code: str, tmp_path: Path) -> None:
    here: Crossroads
    with both(tmp_path) as here:
        answer = here.ask(model=model)

        assert refused(answer) == (status, code, "model")
        assert len(answer.content) < 1000
        assert "set-cookie" not in answer.headers
        assert here.asked == {"cerebras": 0, "groq": 0}


@pytest.mark.parametrize("path", ["audio/speech", "images/generations", "fine_tuning/jobs", "no/such/thing"])
def test_a_route_that_is_named_to_what_is_no_endpoint_of_ours_is_refused(path: str, tmp_path: Path) -> None:
    here: Crossroads
    with both(tmp_path) as here:
        answer = here.client.post(f"{here.url}/v1/{path}", json={"model": "auto", "input": "hi"})

        assert refused(answer) == (404, "model_not_found", "model")
        assert not here.providers["cerebras"].passages


WISHES = {
    "no dictionary": ("pick=", 400, "invalid_cachemw_route"),
    "no member that there is": ("colour=red", 400, "invalid_cachemw_route"),
    "no pick that there is": ("pick=luck", 400, "invalid_cachemw_route"),
    "a target that is not the route's": ('only=("openai/m")', 400, "invalid_cachemw_route"),
    "nobody": ("only=()", 400, "invalid_cachemw_route"),
    "a deadline in the past": ("deadline=-1", 400, "invalid_cachemw_route"),
    "an amount that is a number": ("max-cost=0.5", 400, "invalid_cachemw_route"),
    "an amount that is negative": ('max-cost="-1"', 400, "invalid_cachemw_route"),
    "an amount that is none": ('max-cost="NaN"', 400, "invalid_cachemw_route"),
    "an amount that nobody meets": ('max-cost="0.000000001"', 402, "max_cost"),
    "nothing": ('max-cost="0"', 402, "max_cost"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize(("wish", "status", "code"), WISHES.values(), ids=WISHES)
def test_a_wish_that_cannot_be_met_is_refused_and_nobody_is_asked(
    wish: str, status: int, code: str, stream: bool, tmp_path: Path
) -> None:
    here: Crossroads
    with both(tmp_path) as here:
        answer = here.ask({"Cachemw-Route": wish}, stream=stream)

        assert refused(answer)[:2] == (status, code)
        assert here.asked == {"cerebras": 0, "groq": 0}


HINTS = ("-1", "0", "1e400", "99999999999999999999", "NaN", "soon", "Thu, 01 Jan 1970 00:00:00 GMT", "", "7, 8", "\xff")


@pytest.mark.parametrize("field", ["retry-after", "retry-after-ms", "x-ratelimit-reset-requests"])
@pytest.mark.parametrize("hint", HINTS, ids=ascii)
def test_a_hint_that_is_absurd_is_none(hint: str, field: str, tmp_path: Path) -> None:
    """G12: the next one answers, and the target is asked again after a minute at most."""
    said = Told((b'{"error": {"message": "later"}}',), 429, ((field.encode(), hint.encode("latin-1")), *JSON))
    here: Crossroads
    with crossroads(tmp_path, saying(said), AUTO) as here:
        answer = here.ask()

        assert (answer.status_code, author(told(answer))) == (200, SECOND)
        cooling = int(told(answer).partition("cooling=")[2].partition(")")[0] or 0)
        assert 0 <= cooling <= 60


USAGES: dict[str, Any] = {
    "negative": {"prompt_tokens": -5, "completion_tokens": -7, "total_tokens": -12},
    "huge": {"prompt_tokens": 10**30, "completion_tokens": 10**30, "total_tokens": 2 * 10**30},
    "fractions": {"prompt_tokens": 1.5, "completion_tokens": 2.5, "total_tokens": 4.0},
    "texts": {"prompt_tokens": "1", "completion_tokens": "2", "total_tokens": "3"},
    "a list": [1, 2, 3],
    "a text": "none",
    "null": None,
    "a cost that is negative": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": -1.0},
    "a cost that is huge": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": 1e300},
    "a cost that is a text": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": "much"},
    "more cached than there are": {
        "prompt_tokens": 10,
        "completion_tokens": 1,
        "total_tokens": 11,
        "prompt_tokens_details": {"cached_tokens": 10**9},
    },
}


@pytest.mark.parametrize("usage", USAGES.values(), ids=USAGES)
def test_a_usage_that_cannot_be_is_passed_on_and_costs_nothing_absurd(usage: Any, tmp_path: Path) -> None:
    """G17: neither less than nothing nor more than all the money there is; and the answer is what was said."""
    here: Crossroads
    with crossroads(tmp_path, {"cerebras": Upstream(always(completion(usage=usage)))}, route(FIRST) + price(FIRST)) as here:
        answer, again = here.ask(), here.ask()

        assert answer.status_code == 200
        assert answer.json()["usage"] == usage
        assert again.content == answer.content
        miss, _ = here.reported(2)
        assert miss.cost is not None
        assert 0 < miss.cost < 10**9


NO_ANSWERS: dict[str, Told] = {
    "an error of a megabyte": Told((b'{"error": {"message": "' + b"x" * 2**20 + b'"}}',), 500),
    "an error page": Told((b"<html><body>Bad gateway</body></html>",), 502, ((b"content-type", b"text/html"),)),
    "an error page with a good status": Told((b"<html><body>Hello</body></html>",), 200),
    "an empty body": Told((), 500),
    "an empty body with a good status": Told((), 200),
    "blanks": Told((b" \n" * 1000,), 200),
    "half a document": Told((b'{"id": "c1", "choices": [{"index": 0, "mess',), 200),
    "null": Told((b"null",), 200),
    "a list": Told((b"[]",), 200),
    "a document that is nested too deeply": Told((b"[" * 20_000 + b"]" * 20_000,), 200),
    "no choices": Told((b'{"id": "c1", "choices": []}',), 200),
    "an error in a 200": Told((b'{"error": {"message": "no", "code": 502}}',), 200),
    "a status of its own": Told((b"{}",), 599),
    "a redirection": Told((b"",), 307, ((b"location", b"http://127.0.0.1:9/"), (b"content-length", b"0"))),
}


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize("said", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_answer_is_left_for_the_next(said: Told, stream: bool, tmp_path: Path) -> None:
    """G1, G21."""
    here: Crossroads
    with crossroads(tmp_path, saying(said), AUTO) as here:
        answer = here.ask(stream=stream)

        (chat,) = here.providers["groq"].chats
        assert (answer.status_code, answer.content) == (200, chat.said)
        assert author(told(answer)) == SECOND
        assert len(told(answer)) < 400


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize("said", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_answer_is_not_stored_where_there_is_no_other(said: Told, stream: bool, tmp_path: Path) -> None:
    """G21: what is shown is what the target said, or that it said nothing."""
    here: Crossroads
    with crossroads(tmp_path, {"cerebras": Upstream(always(said))}, route(FIRST) + price(FIRST)) as here:
        here.ask(stream=stream)

        assert list(here.store.scan()) == []


SHAPES = [
    (mine, f"{other}:{name}")
    for mine in ("cerebras", "gemini", "openrouter")
    for other, dialect in DIALECTS.items()
    for name in dialect.failures
    if other != mine and name not in ("policy", "refusal", "guardrail", "filter", "safety", "empty", "mid-stream")
]


@pytest.mark.parametrize(("mine", "failure"), SHAPES, ids=lambda value: value)
def test_an_error_in_anothers_shape_is_an_error(mine: str, failure: str, tmp_path: Path) -> None:
    """G1, G21: a provider that answers as another one does is left as that would be, or its error is passed on."""
    other = "groq" if mine != "groq" else "cerebras"
    providers = {mine: Simulator(dialect=mine, fail=failure), other: Simulator(dialect=other)}
    here: Crossroads
    with crossroads(tmp_path, providers, route(f"{mine}/m", f"{other}/m") + price(f"{mine}/m", f"{other}/m")) as here:
        answer = here.ask()

        (chat,) = here.providers[mine].chats
        if here.asked[other]:
            assert (answer.status_code, author(told(answer))) == (200, f"{other}/m")
        else:
            assert (answer.status_code, answer.content) == (chat.status, chat.said)
            assert answer.status_code >= 400


UNTAKEN = {
    "one refuses it": (["groq/m"], "no_capable_target"),
    "one has no word for it": (["anthropic/m"], "untranslatable"),
    "each for a reason of its own": (["groq/m", "anthropic/m"], "untranslatable"),
}


@pytest.mark.parametrize(("targets", "code"), UNTAKEN.values(), ids=UNTAKEN)
def test_a_request_that_no_target_takes_names_the_member(targets: list[str], code: str, tmp_path: Path) -> None:
    providers = {"groq": Simulator(dialect="groq"), "anthropic": Simulator(dialect="anthropic")}
    here: Crossroads
    with crossroads(tmp_path, providers, route(*targets) + price(*targets)) as here:
        answer = here.ask(logprobs=True)

        assert refused(answer) == (400, code, "logprobs")
        assert here.called == {}


def test_a_body_that_is_nested_too_deeply_hurts_nobody(tmp_path: Path) -> None:
    here: Crossroads
    with both(tmp_path) as here:
        body = b'{"model": "auto", "messages": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
        post(here, body)

        assert here.ask().status_code == 200
        assert json.loads(here.providers["cerebras"].chats[-1].body)["messages"] == MESSAGES
