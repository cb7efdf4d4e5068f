"""What was met in real traffic, as cases: what is sent and answered, and what the same and other requests get after it."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cachemw.cache.policy import Policy
from cachemw.proxy.settings import SETTINGS, OptionValue, Settings
from tests.cassettes import FOLDER
from tests.mounts.answering import Answered
from tests.mounts.conftest import status_of
from tests.upstream import Told

CASES = sorted((FOLDER.parent / "cases").glob("*.json"))


def policy_of(serve: list[str]) -> Policy:
    """Return the policy that these options of `cachemw serve` make."""
    names = {setting.option: name for name, setting in SETTINGS.items()}
    values = dict(pairwise([*serve, ""]))
    options: dict[str, OptionValue] = {
        names[option]: True if isinstance(SETTINGS[names[option]].default, bool) else values[option]
        for option in serve
        if option in names
    }
    return Settings.read(options, {}).policy()


def less_empty(value: Any) -> Any:
    """Return a value without the members that say nothing."""
    if isinstance(value, dict):
        return {name: less_empty(member) for name, member in value.items() if member not in (None, [], "")}
    return [less_empty(member) for member in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case_of_real_traffic_is_answered_as_it_must_be(path: Path) -> None:
    """R1, R2, R3, S2, S3, S4: byte for byte in the kind that was recorded, and without loss in the other."""
    case = json.loads(path.read_text())
    told, wants = case["upstream_answers"], case["expect"]
    body = told["body"].encode()
    upstream = Answered(
        Told([body], told["status"], ((b"content-type", told["content_type"].encode()),)), policy_of(case["serve"])
    )

    assert upstream.ask(case["sent"]).body == body
    for asked, outcome in zip([case["sent"], *case["asked_then"]], wants["outcomes"], strict=True):
        reply = upstream.ask(asked)
        is_hit = status_of(reply).startswith("hit")
        assert outcome == "any" or is_hit is (outcome == "hit"), status_of(reply)
        if asked == case["sent"]:
            assert reply.body == body
        elif is_hit and not asked.get("stream"):
            _is_as_expected(json.loads(reply.body), case)
    assert wants["calls"] is None or upstream.calls <= wants["calls"]


def _is_as_expected(answer: Any, case: Any) -> None:
    (choice,), wants = answer["choices"], case["expect"]
    parts = (answer, choice, choice["message"])

    assert all(any(name in part for part in parts) for name in wants.get("json_has", ()))
    assert not any(name in part for name in wants.get("json_lacks", ()) for part in parts)
    assert not any(value in part.values() for value in wants.get("json_lacks_values", ()) for part in parts)
    assert "expected_message" not in case or less_empty(choice["message"]) == less_empty(case["expected_message"])


def test_the_cases_are_there() -> None:
    if not CASES:
        pytest.skip("the cases of real traffic are not here")
    assert len(CASES) >= 12
