"""T11: thinking that another model signed, or we, never reaches a model of Anthropic's; what one of its own signed does."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw import Policy
from cachemw.simulator import Simulator
from cachemw.translation.others_thinking import is_claudes_signature, without_others_thinking
from cachemw.translation.signatures import signature_of
from tests.gateway.bilingual import SPEAKERS, TARGETS, ask_in, both_speakers, error_in
from tests.gateway.crossroads import Crossroads, author, crossroads, price, route, told

REAL = base64.b64encode(bytes([0x12]) + bytes(range(200))).decode()
"""A signature as Anthropic's are: a protocol buffer."""

OTHERS = {
    "ours": signature_of("hm"),
    "a UUID": "6f1c1d2e-8c5b-4b9e-9f0a-3f2b1c4d5e6f",
    "a UUID's digits": "6f1c1d2e8c5b4b9e9f0a3f2b1c4d5e6f",
    "nothing": "",
    "words": "skip_thought_signature_validator",
    "other bytes": base64.b64encode(b"another vendor's signature, which is long enough").decode(),
}
MODES = pytest.mark.parametrize("default", ["on", "off"], ids=["opted in", "relayed"])
TEXT = {"type": "text", "text": "Hello."}


def thinking(signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "hm", "signature": signature}


def history(*blocks: dict[str, Any]) -> list[Any]:
    assistant = [{"role": "assistant", "content": list(blocks)}] if blocks else []
    return [{"role": "user", "content": "Hi."}, *assistant, {"role": "user", "content": "Say hello."}]


@pytest.mark.parametrize("signature", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("model", ["auto", TARGETS["messages"]], ids=["on a route", "by name"])
@MODES
def test_thinking_of_others_never_reaches_anthropic(signature: str, model: str, default: str, tmp_path: Path) -> None:
    """T11: it is told, on a hit as on a miss; all else is as it was."""
    here: Crossroads
    text = route(TARGETS["messages"], TARGETS["chat"]) + price(*TARGETS.values())
    with crossroads(tmp_path, both_speakers(), text, Policy(default=default)) as here:
        said = history(thinking(REAL), thinking(signature), TEXT)
        answers = [ask_in(here, "messages", model=model, messages=said, metadata={"user_id": "a"}) for _ in range(2)]

        calls = here.providers["anthropic"].calls
        assert len(calls) == (1 if default == "on" else 2)
        for call in calls:
            body = json.loads(call.body)
            assert body["messages"] == history(thinking(REAL), TEXT)
            assert body["metadata"] == {"user_id": "a"}
        for answer in answers:
            assert (answer.status_code, answer.content) == (200, calls[0].said)
            assert answer.headers["cachemw-translation"] == "messages.thinking=dropped"


@MODES
@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
def test_its_own_thinking_reaches_it_byte_for_byte(default: str, stream: bool, tmp_path: Path) -> None:
    """T10."""
    here: Crossroads
    text = route(TARGETS["messages"]) + price(TARGETS["messages"])
    with crossroads(tmp_path, both_speakers(), text, Policy(default=default)) as here:
        answer = ask_in(here, "messages", messages=history(thinking(REAL), TEXT), stream=stream)

        (call,) = here.providers["anthropic"].calls
        assert json.loads(call.body)["messages"] == history(thinking(REAL), TEXT)
        assert answer.content == call.said
        assert "cachemw-translation" not in answer.headers


def test_a_turn_in_which_nothing_else_was_said_is_left_out(tmp_path: Path) -> None:
    """Anthropic takes no empty turn."""
    here: Crossroads
    with crossroads(tmp_path, both_speakers(), route(TARGETS["messages"]) + price(TARGETS["messages"])) as here:
        ask_in(here, "messages", messages=history(thinking(OTHERS["ours"])))

        (call,) = here.providers["anthropic"].calls
        assert json.loads(call.body)["messages"] == history()


def test_another_vendor_that_speaks_messages_gets_what_was_said(tmp_path: Path) -> None:
    """Only Anthropic's own models check who signed."""
    here: Crossroads
    text = route("openrouter/z-ai/glm-5", "openrouter/anthropic/claude-opus-5")
    with crossroads(tmp_path, {"openrouter": Simulator()}, text) as here:
        for model in ("openrouter/z-ai/glm-5", "openrouter/anthropic/claude-opus-5"):
            ask_in(here, "messages", model=model, messages=history(thinking(OTHERS["a UUID"]), TEXT))

        sent = [json.loads(call.body)["messages"] for call in here.providers["openrouter"].calls]
        assert sent == [history(thinking(OTHERS["a UUID"]), TEXT), history(TEXT)]


@MODES
@pytest.mark.parametrize("second", [True, False], ids=["another takes it", "nobody else"])
def test_a_strict_policy_drops_none(default: str, second: bool, tmp_path: Path) -> None:
    """§3: who takes it is asked; where nobody does, it is a 400."""
    here: Crossroads
    targets = [TARGETS["messages"], "openrouter/z-ai/glm-5"][: 1 + second]
    policy = Policy(default=default, translation="strict")
    providers = {"anthropic": Simulator(dialect="anthropic"), "openrouter": Simulator()}
    with crossroads(tmp_path, providers, route(*targets) + price(*targets), policy) as here:
        answer = ask_in(here, "messages", messages=history(thinking(OTHERS["ours"]), TEXT))

        if second:
            assert (answer.status_code, author(told(answer))) == (200, targets[1])
        else:
            assert answer.status_code == 400
            assert error_in(answer, "messages")["message"].startswith("messages: ")
        assert "anthropic" not in here.called


@pytest.mark.parametrize("path", ["messages/count_tokens"])
def test_nor_does_it_reach_who_counts_tokens(path: str, tmp_path: Path) -> None:
    here: Crossroads
    with crossroads(tmp_path, both_speakers(), route(TARGETS["messages"]) + price(TARGETS["messages"])) as here:
        body = {"model": "auto", "messages": history(thinking(OTHERS["ours"]), TEXT)}
        answer = here.client.post(f"{here.url}/v1/{path}", json=body)

        (call,) = here.providers["anthropic"].calls
        assert (answer.status_code, json.loads(call.body)["messages"]) == (200, history(TEXT))


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
def test_the_thinking_of_one_turn_is_not_taken_to_the_next_ones_author(stream: bool, tmp_path: Path) -> None:
    """T11: a conversation that begins at a Chat upstream, and goes on at Anthropic's."""
    here: Crossroads
    providers = {**both_speakers(), "anthropic": Simulator(dialect="anthropic")}
    text = route(*TARGETS.values()) + price(*TARGETS.values())
    with crossroads(tmp_path, providers, text) as here:
        blocks = [
            thinking(signature_of("hm")),
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bonn"}},
        ]
        results = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sun."}]
        said = [
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": blocks},
            {"role": "user", "content": results},
        ]
        for fields in ({}, {"Cachemw-Route": f'only=("{TARGETS["messages"]}")'}):
            assert ask_in(here, "messages", fields, messages=said, stream=stream).status_code == 200

        (call,) = here.providers[SPEAKERS["chat"]].calls
        assert json.loads(call.body)["messages"][1]["reasoning"] == "hm"
        (call,) = here.providers[SPEAKERS["messages"]].calls
        assert b"thinking" not in call.body
        assert [block["type"] for block in json.loads(call.body)["messages"][1]["content"]] == ["tool_use"]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["thinking", REAL]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "signature", "role", "content", "messages"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    ANY
    | st.fixed_dictionaries({"messages": ANY})
    | st.fixed_dictionaries({"messages": st.lists(st.fixed_dictionaries({"content": ANY}), max_size=3)})
)
def test_whatever_comes_is_left_as_it_is_or_freed_of_it(value: Any) -> None:
    """Nothing but thinking is ever left out, and what is left out once is left out for good."""
    freed = without_others_thinking(json.dumps(value).encode())

    if freed is not None:
        assert without_others_thinking(freed) is None
        assert len(freed) < len(json.dumps(value).encode())


@pytest.mark.parametrize(
    "body",
    [b"thinking", b'{"messages": "thinking"}', b'[{"thinking"', b'"thinking\xff"', b'{"messages":' * 5000 + b'"thinking"'],
)
def test_what_cannot_be_read_is_left_as_it_is(body: bytes) -> None:
    assert without_others_thinking(body) is None


def test_a_signature_of_anthropics_is_known() -> None:
    """Those of the recordings begin so, too."""
    assert is_claudes_signature(REAL)
    assert is_claudes_signature("EqQB" + "A" * 100)
    assert not any(map(is_claudes_signature, OTHERS.values()))
