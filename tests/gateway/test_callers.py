"""Who asks a gateway in either dialect: client keys, names of models, wishes, budgets and the caller's own key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from cachemw import MemoryStore, Policy
from cachemw.gateway import Gateway
from cachemw.gateway.files import read_gateway
from cachemw.proxy import Proxy
from cachemw.simulator import Simulator
from tests.gateway.bilingual import LIMIT, OTHER, PATHS, SPEAKERS, TARGETS, ask_in, both_speakers, error_in, said_by, words_of
from tests.gateway.crossroads import KEYS, MESSAGES, Crossroads, Tapped, author, crossroads, price, route, told, where
from tests.serving import serving_in_thread

ALICE, BOB = "sk-of-alice", "sk-of-bob"
CLIENTS = {"alice": ALICE, "bob": BOB}
ROUTE = route(TARGETS["chat"], TARGETS["messages"]) + price(*TARGETS.values())
CALLERS = pytest.mark.parametrize("caller", PATHS)
SCHEMES: dict[str, Callable[[str], dict[str, str]]] = {
    "a bearer token": lambda key: {"authorization": f"Bearer {key}"},
    "x-api-key": lambda key: {"x-api-key": key},
}
MODES = pytest.mark.parametrize("default", ["on", "off"], ids=["opted in", "relayed"])


def test_a_client_is_one_whichever_field_its_key_comes_in(tmp_path: Path) -> None:
    """A3, ruling F2: four ways to ask, and one record; another client has one of his own."""
    here: Crossroads
    with crossroads(tmp_path, both_speakers(), ROUTE, keys=CLIENTS) as here:
        alices = [ask_in(here, caller, scheme(ALICE)) for caller in PATHS for scheme in SCHEMES.values()]
        bobs = ask_in(here, "messages", SCHEMES["x-api-key"](BOB))

        assert ["; hit" in answer.headers["cache-status"] for answer in alices] == [False, True, True, True]
        assert "; hit" not in bobs.headers["cache-status"]
        assert {report.client for report in here.reported(5)} == {"alice", "bob"}


@CALLERS
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_no_client_key_reaches_a_provider(scheme: Any, caller: str, tmp_path: Path) -> None:
    """ruling F1: each gets its own, in its own field."""
    here: Crossroads
    with crossroads(tmp_path, both_speakers(chat="status:503"), ROUTE, keys=CLIENTS) as here:
        ask_in(here, caller, scheme(ALICE))

        (chat,), (messages,) = (here.providers[SPEAKERS[dialect]].calls for dialect in PATHS)
        assert chat.headers[b"authorization"] == b"Bearer sk-of-cerebras"
        assert messages.headers[b"x-api-key"] == b"sk-of-anthropic"
        assert messages.headers[b"anthropic-version"]
        assert not chat.headers.keys() & {b"x-api-key", b"anthropic-version"}
        assert b"authorization" not in messages.headers
        for call in (chat, messages):
            assert ALICE.encode() not in b"".join([*call.headers.values(), call.body])


@CALLERS
@pytest.mark.parametrize("brought", [{}, SCHEMES["x-api-key"]("sk-of-nobody")], ids=["no key", "another key"])
def test_who_has_no_key_is_told_so_in_his_own_dialect(brought: dict[str, str], caller: str, tmp_path: Path) -> None:
    here: Crossroads
    with crossroads(tmp_path, both_speakers(), ROUTE, keys=CLIENTS) as here:
        answer = ask_in(here, caller, brought)

        assert answer.status_code == 401
        assert error_in(answer, caller)["message"]
        assert here.called == {}


BUDGETS = """
[clients.alice]
budget = { usd = 0.00001, per = "day" }
[clients.bob]
routes = ["auto"]
rate = { requests = 1, per = "day" }
"""


@CALLERS
@pytest.mark.parametrize("spoken", PATHS)
@MODES
def test_a_budget_is_spent_in_either_dialect_and_said_in_the_callers(
    spoken: str, caller: str, default: str, tmp_path: Path
) -> None:
    """E10: hits are free; a 402 and a 429 have the shape that the caller reads."""
    here: Crossroads
    text = route(TARGETS[spoken]) + price(*TARGETS.values()) + BUDGETS
    policy = Policy(default=default)
    with crossroads(tmp_path, both_speakers(), text, policy, keys=CLIENTS) as here:
        alice, bob = SCHEMES["x-api-key"](ALICE), SCHEMES["x-api-key"](BOB)
        answers = [ask_in(here, caller, alice, temperature=number / 10) for number in (1, 2)]
        bobs = [ask_in(here, caller, bob, temperature=number / 10) for number in (1, 2)]
        again = ask_in(here, caller, alice, temperature=0.1)

        assert [answer.status_code for answer in answers] == [200, 402]
        assert "budget" in error_in(answers[1], caller)["message"]
        assert [answer.status_code for answer in bobs] == [200, 429]
        assert error_in(bobs[1], caller)["type"] == "rate_limit_error"
        assert again.status_code == (200 if default == "on" else 402)


@CALLERS
def test_what_is_not_a_clients_is_refused_in_his_dialect(caller: str, tmp_path: Path) -> None:
    here: Crossroads
    with crossroads(tmp_path, both_speakers(), ROUTE + BUDGETS, keys=CLIENTS) as here:
        answer = ask_in(here, caller, SCHEMES["a bearer token"](BOB), model=TARGETS["messages"])

        assert answer.status_code == 403
        assert "may not use" in error_in(answer, caller)["message"]


ALIASES = '[models]\n"claude-*" = "auto"\n"claude-opus-*" = "anthropic/m"\n"claude-opus-4-8" = "cerebras/m"\n'


@CALLERS
@pytest.mark.parametrize(
    ("model", "dialect", "name"),
    [
        ("claude-sonnet-5", "chat", "auto"),
        ("claude-opus-5", "messages", None),
        ("claude-opus-4-8", "chat", None),
    ],
)
def test_an_agents_names_of_models_are_routed(model: str, dialect: str, name: str | None, caller: str, tmp_path: Path) -> None:
    """§3.1: the longest beginning that fits; a name that is written whole goes before."""
    here: Crossroads
    with crossroads(tmp_path, both_speakers(), ROUTE + ALIASES) as here:
        answer = ask_in(here, caller, model=model)

        assert author(told(answer)) == TARGETS[dialect]
        assert list(here.called) == [SPEAKERS[dialect]]
        assert here.reported(1)[0].route == name
        (call,) = here.providers[SPEAKERS[dialect]].calls
        assert call.model == "m"
        assert words_of(answer.content, caller) == said_by(call)


def test_both_sdks_list_the_models_with_a_client_key(tmp_path: Path) -> None:
    """§3: in Anthropic's shape for who names its version; only what the client may use."""
    here: Crossroads
    with crossroads(tmp_path, both_speakers(), ROUTE + ALIASES + BUDGETS, keys=CLIENTS) as here:
        with openai.OpenAI(base_url=f"{here.url}/v1", api_key=ALICE, max_retries=0) as client:
            of_openai = [model.id for model in client.models.list()]
        with anthropic.Anthropic(base_url=here.url, api_key=ALICE, max_retries=0) as claude:
            of_anthropic = [model.id for model in claude.models.list()]
        with anthropic.Anthropic(base_url=here.url, auth_token=BOB, api_key=None, max_retries=0) as claude:
            bobs = [model.id for model in claude.models.list()]

        assert of_openai == of_anthropic == ["auto", "claude-opus-4-8", "cerebras/m", "anthropic/m"]
        assert bobs == ["auto"]
        assert here.called == {}


@CALLERS
@MODES
def test_a_wish_that_costs_too_much_is_refused_in_the_callers_dialect(caller: str, default: str, tmp_path: Path) -> None:
    here: Crossroads
    with crossroads(tmp_path, both_speakers(), ROUTE, Policy(default=default)) as here:
        answer = ask_in(here, caller, {"Cachemw-Route": 'max-cost="0.000001"'})

        assert answer.status_code == 402
        assert "max-cost" in error_in(answer, caller)["message"]
        assert here.called == {}


@CALLERS
@MODES
@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
def test_a_wish_is_obeyed_whichever_dialect_its_target_speaks(stream: bool, caller: str, default: str, tmp_path: Path) -> None:
    """ruling F1, E1: `only`, and a cost that is enough."""
    here: Crossroads
    with crossroads(tmp_path, both_speakers(), ROUTE, Policy(default=default)) as here:
        for dialect, target in TARGETS.items():
            answer = ask_in(here, caller, {"Cachemw-Route": f'only=("{target}"), max-cost="1"'}, stream=stream)

            assert author(told(answer)) == target
            (call,) = here.providers[SPEAKERS[dialect]].calls
            assert words_of(answer.content, caller) == said_by(call)


@CALLERS
@pytest.mark.parametrize("first", PATHS)
@MODES
def test_a_deadline_is_said_in_the_callers_dialect(first: str, caller: str, default: str, tmp_path: Path) -> None:
    here: Crossroads
    text = route(TARGETS[first]) + price(TARGETS[first])
    providers = both_speakers(**{first: "silent"})
    with crossroads(tmp_path, providers, text, Policy(default=default)) as here:
        answer = ask_in(here, caller, {"Cachemw-Route": "deadline=0.2"})

        assert answer.status_code == 504
        assert error_in(answer, caller)["message"]


@CALLERS
@pytest.mark.parametrize("first", PATHS)
@MODES
def test_the_last_failure_is_shown_in_the_callers_dialect(first: str, caller: str, default: str, tmp_path: Path) -> None:
    """§3.3: status kept, in the shape that the caller's SDK reads, whoever said it."""
    here: Crossroads
    text = route(TARGETS[first], TARGETS[OTHER[first]]) + price(*TARGETS.values())
    providers = both_speakers(chat="cerebras:rate", messages="anthropic:rate")
    with crossroads(tmp_path, providers, text, Policy(default=default)) as here:
        answer = ask_in(here, caller)

        assert answer.status_code == 429
        if author(told(answer)) == TARGETS[caller]:  # as it came: Cerebras' errors are flat
            assert answer.content == here.providers[SPEAKERS[caller]].calls[0].said
        else:
            assert error_in(answer, caller)["message"]


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@CALLERS
@MODES
def test_a_callers_own_key_passes_in_the_field_that_its_provider_reads(
    default: str, caller: str, scheme: Any, tmp_path: Path
) -> None:
    """ruling F1: the key that is brought in one dialect's field goes on in the other's."""
    spoken = OTHER[caller]
    provider = Tapped(Simulator(dialect=SPEAKERS[spoken]))
    with serving_in_thread(provider) as url:
        path = tmp_path / "cachemw.toml"
        path.write_text(where({SPEAKERS[spoken]: url}) + route(TARGETS[spoken]))
        gateway = Gateway(read_gateway(str(path), KEYS), environment=KEYS, credentials="pass")
        policy = Policy(default=default)
        with serving_in_thread(Proxy(gateway=gateway, store=MemoryStore(), policy=policy)) as here:
            body = {"model": "auto", "messages": MESSAGES, "max_tokens": LIMIT}
            fields = {"anthropic-version": "2023-06-01"} | scheme("sk-mine")
            httpx.post(f"{here}/v1{PATHS[caller]}", json=body, headers=fields, trust_env=False)

    (call,) = provider.calls
    expected = {b"x-api-key": b"sk-mine"} if spoken == "messages" else {b"authorization": b"Bearer sk-mine"}
    assert {name: call.headers[name] for name in (b"x-api-key", b"authorization") if name in call.headers} == expected
