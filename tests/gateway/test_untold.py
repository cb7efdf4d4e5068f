"""Targets to whom a request cannot be told, or not wholly: who is asked instead, and what the caller is told of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from cachemw import Policy
from cachemw.cache.record import decode
from tests.gateway.bilingual import LIMIT, OTHER, PATHS, SPEAKERS, TARGETS, ask_in, both_speakers, error_in, said_by, words_of
from tests.gateway.crossroads import Crossroads, author, crossroads, price, route, told

PRICES = price(*TARGETS.values())
KINDS = pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
CITED = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "x"},
    "citations": {"enabled": True},
}
UNTOLD: list[Any] = [
    pytest.param("chat", {"logprobs": True}, "logprobs", id="probabilities"),
    pytest.param("chat", {"n": 2}, "n", id="two answers"),
    pytest.param("messages", {"stop_sequences": list("abcde")}, "stop_sequences", id="five stop sequences"),
    pytest.param("messages", {"messages": [{"role": "user", "content": [CITED]}]}, "messages", id="citations"),
]
MODES = pytest.mark.parametrize("default", ["on", "off"], ids=["opted in", "relayed"])
translation = "cachemw-translation"


@pytest.mark.parametrize(("caller", "members", "named"), UNTOLD)
@MODES
def test_who_cannot_be_told_is_left_out_and_the_next_is_asked(
    caller: str, members: dict[str, Any], named: str, default: str, tmp_path: Path
) -> None:
    """§3: nothing is lost silently, and a target that can be told answers."""
    here: Crossroads
    order = TARGETS[OTHER[caller]], TARGETS[caller]
    with crossroads(tmp_path, both_speakers(), route(*order) + PRICES, Policy(default=default)) as here:
        answer = ask_in(here, caller, **members)

        assert here.called == {SPEAKERS[caller]: [PATHS[caller]]}
        (call,) = here.providers[SPEAKERS[caller]].calls
        assert (answer.status_code, answer.content) == (200, call.said)
        assert author(told(answer)) == TARGETS[caller]
        assert translation not in answer.headers


@pytest.mark.parametrize(("caller", "members", "named"), UNTOLD)
@KINDS
@MODES
def test_what_can_be_told_to_nobody_is_refused_in_the_callers_shape(
    caller: str, members: dict[str, Any], named: str, default: str, stream: bool, tmp_path: Path
) -> None:
    """§3: a 400 that names the member, and nobody is asked."""
    here: Crossroads
    text = route(TARGETS[OTHER[caller]]) + PRICES
    with crossroads(tmp_path, both_speakers(), text, Policy(default=default)) as here:
        answer = ask_in(here, caller, stream=stream, **members)

        error = error_in(answer, caller)
        assert answer.status_code == 400
        assert error["message"].startswith(named)
        assert error["type"] == "invalid_request_error"
        if caller == "chat":
            assert (error["param"], error["code"]) == (named, "untranslatable")
        assert here.called == {}
        assert here.reported(1)[0].attempts in (None, 0)


@MODES
def test_one_that_is_cooling_is_asked_where_no_other_can_be_told(default: str, tmp_path: Path) -> None:
    """G13: a 400 would say that the request is wrong."""
    here: Crossroads
    text = route(TARGETS["messages"], TARGETS["chat"]) + PRICES
    with crossroads(tmp_path, both_speakers(chat="status:401 x1"), text, Policy(default=default)) as here:
        failed = ask_in(here, "chat", {"Cachemw-Route": f'only=("{TARGETS["chat"]}")'}, logprobs=True, seed=1)
        answer = ask_in(here, "chat", logprobs=True)

        assert (failed.status_code, answer.status_code, author(told(answer))) == (401, 200, TARGETS["chat"])
        assert "anthropic" not in here.called


@MODES
def test_a_policy_that_is_strict_asks_who_takes_all_of_it(default: str, tmp_path: Path) -> None:
    """§3: what one would be told only in part is asked of another one whole; `tell` says what is dropped."""
    here: Crossroads
    text = route(TARGETS["chat"], TARGETS["messages"]) + PRICES
    for words, who in (("tell", "chat"), ("strict", "messages")):
        directory = tmp_path / words
        directory.mkdir()
        policy = Policy(default=default, translation=words)  # type: ignore[arg-type]
        with crossroads(directory, both_speakers(), text, policy) as here:
            answers = [ask_in(here, "messages", top_k=5) for _ in range(2)]

            assert list(here.called) == [SPEAKERS[who]]
            for answer in answers:
                assert author(told(answer)) == TARGETS[who]
                assert answer.headers.get(translation) == ("top_k=dropped" if words == "tell" else None)


@MODES
def test_where_nobody_takes_all_of_it_a_strict_policy_refuses(default: str, tmp_path: Path) -> None:
    here: Crossroads
    policy = Policy(default=default, translation="strict")
    with crossroads(tmp_path, both_speakers(), route(TARGETS["chat"]) + PRICES, policy) as here:
        answer = ask_in(here, "messages", top_k=5)

        assert answer.status_code == 400
        assert error_in(answer, "messages")["message"].startswith("top_k")
        assert here.called == {}


SET = {
    "chat": ('drop = ["temperature"]\nset = { reasoning_effort = "low" }\n', {"reasoning_effort": "low"}),
    "messages": ('drop = ["temperature"]\nset = { service_tier = "auto" }\n', {"service_tier": "auto"}),
}


@pytest.mark.parametrize("caller", PATHS)
@KINDS
@MODES
def test_what_a_target_sets_and_drops_is_of_its_own_dialect_and_told(
    caller: str, stream: bool, default: str, tmp_path: Path
) -> None:
    """ruling F3: what the operator drops of a translated request is told, too, on a hit as on a miss."""
    here: Crossroads
    spoken = OTHER[caller]
    members, expected = SET[spoken]
    text = route(TARGETS[spoken]) + price(TARGETS[spoken], more=members)
    with crossroads(tmp_path, both_speakers(), text, Policy(default=default)) as here:
        answers = [ask_in(here, caller, stream=stream, temperature=0.5) for _ in range(2)]

        call = here.providers[SPEAKERS[spoken]].calls[0]
        sent = json.loads(call.body)
        assert "temperature" not in sent
        assert expected.items() <= sent.items()
        assert sent["max_tokens" if spoken == "messages" else "max_completion_tokens"] == LIMIT
        for answer in answers:
            assert "temperature=dropped" in answer.headers[translation]
            assert words_of(answer.content, caller) == said_by(call)


@pytest.mark.parametrize("caller", PATHS)
@pytest.mark.parametrize("primary", PATHS)
@KINDS
def test_the_answer_of_a_spare_never_becomes_that_of_its_primary(
    primary: str, caller: str, stream: bool, tmp_path: Path
) -> None:
    """G20, E6: it is the spare's own, whichever dialect it speaks; the primary is asked as soon as it can be."""
    here: Crossroads
    spare = OTHER[primary]
    text = f'{route(TARGETS[primary])}spares = ["{TARGETS[spare]}"]\n{PRICES}'
    with crossroads(tmp_path, both_speakers(**{primary: "status:500 x1"}), text) as here:
        answers = [ask_in(here, caller, stream=stream) for _ in range(3)]

        authors = [author(told(answer)) for answer in answers]
        assert authors == [TARGETS[spare], TARGETS[primary], TARGETS[primary]]
        assert "; hit" in answers[2].headers["cache-status"]
        assert len(list(here.store.scan())) == 2


@pytest.mark.parametrize("caller", PATHS)
@pytest.mark.parametrize("slow", PATHS)
@pytest.mark.parametrize("words", [{"pick": '"race"'}, {"hedge": "{ after = 0.05, extra = 1.0 }"}], ids=["race", "hedge"])
def test_the_first_of_two_dialects_to_speak_wins(words: dict[str, str], slow: str, caller: str, tmp_path: Path) -> None:
    """G18: each is asked in its own, and the winner is heard in the caller's."""
    here: Crossroads
    fast = OTHER[slow]
    text = route(TARGETS[slow], TARGETS[fast], **words) + PRICES
    with crossroads(tmp_path, both_speakers(**{slow: "slow:30"}), text) as here:
        answer = ask_in(here, caller, stream=True)

        assert here.called.get(SPEAKERS[slow], [PATHS[slow]]) == [PATHS[slow]]  # it may be left before it has read anything
        (call,) = here.providers[SPEAKERS[fast]].calls
        assert words_of(answer.content, caller) == said_by(call)
        assert author(told(answer)) == TARGETS[fast]
        assert "why=lost" in told(answer)
        ((_, record),) = here.store.scan()
        assert decode(record).body == call.said
