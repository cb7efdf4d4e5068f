"""Why a request was not answered from the store: the reasons, in their order, and what differs from the nearest."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemw.cache.key import SHARED, by_client
from cachemw.cache.sketch import HEADER, NAMESPACE, SAMPLE, URL, sketch_of_body
from cachemw.cli.why_lines import explanation_json, explanation_lines
from cachemw.errors import CommandError
from cachemw.ledger.changes import Change
from cachemw.ledger.explaining import STORED_NOW, Explanation
from cachemw.ledger.habits import Habit, hint
from cachemw.ledger.reasons import (
    Evicted,
    Expired,
    NeverStored,
    NoMiss,
    OtherCaller,
    OtherCircumstance,
    OtherFields,
    PurgedBefore,
    Reason,
    Unkept,
    Unsketched,
    Unusable,
    sentence,
)
from tests.cache.keying import body_of, form_of, key_of
from tests.cache.sketching import changed, traffic
from tests.ledger.scene import BEGAN, LIFETIME, SECRET, Scene, scene_in

Step = Callable[[Scene], object]

CHANGED = 15
"""How many requests are changed in one part, of five times as many: `tests/cache/test_nearest.py` does all that O5 says."""

ANOTHER = by_client(SECRET, False, "another")
FIRST_MS = int(BEGAN * 1000) + 1000


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


def later(scene: Scene) -> None:
    scene.now += LIFETIME + 1


def ask(*bodies: bytes, **asked: Any) -> Step:
    return lambda scene: scene.ask(*bodies, **asked)


def hit(scene: Scene) -> None:
    scene.hit()


def purge(*keys: str) -> Step:
    return lambda scene: scene.purge(*keys)


KEY = key_of(body_of()).index.hex()
ELSEWHERE = "https://elsewhere/v1/chat/completions"
NOT_200 = {"stored": False, "details": ("not-200",)}

REASONS: dict[str, tuple[tuple[Step, ...], dict[str, Any], Reason]] = {
    "nothing": ((), {}, NeverStored()),
    "expired": ((ask(), later), {}, Expired(FIRST_MS + 100 + int(LIFETIME * 1000))),
    "stale": ((ask(),), {"fwd": "stale"}, Expired()),
    "evicted": ((ask(),), {}, Evicted(FIRST_MS + 100)),
    "evicted, though it was to be kept": ((ask(kept_for=None), hit), {}, Evicted(FIRST_MS + 1000)),
    "gone, nobody knows for how long it was kept": ((hit,), {}, Evicted(FIRST_MS, is_certain=False)),
    "purged": ((ask(), purge(KEY)), {}, PurgedBefore(FIRST_MS + 500)),
    "all purged": ((ask(), hit, purge()), {}, PurgedBefore(FIRST_MS + 1500)),
    "another purged": ((ask(), purge("00" * 16)), {}, Evicted(FIRST_MS + 100)),
    "stored again after a purge": ((purge(), ask()), {}, Evicted(FIRST_MS + 100)),
    "not kept": ((ask(stored=False, details=("finish-length",)),), {}, Unkept("finish-length", f"{1:016}")),
    "not kept, as it says itself": ((), {"details": ("was-not-200",)}, Unkept("not-200")),
    "not kept when it was refreshed": ((ask(), ask(fwd="request", **NOT_200)), {}, Evicted(FIRST_MS + 100)),
    "refreshed in vain": ((ask(fwd="request", **NOT_200),), {}, Unkept("not-200", f"{1:016}")),
    "slow": ((ask(),), {"details": ("store-slow",)}, Unusable("store-slow")),
    "of another kind": ((ask(),), {"details": ("other-kind",)}, Unusable("other-kind")),
    "no sketch": ((), {"sketch": None}, Unsketched()),
    "not to be kept": ((), {"sketch": None, "stored": False, "details": ("no-store",)}, Unsketched("no-store")),
    "another caller": ((ask(partition=ANOTHER, client="another"),), {}, OtherCaller("another")),
    "namespace": ((ask(namespace="n"),), {}, OtherCircumstance((NAMESPACE,))),
    "sample": ((ask(sample=3),), {}, OtherCircumstance((SAMPLE,))),
    "URL": ((ask(url=ELSEWHERE),), {}, OtherCircumstance((URL,))),
    "sample and URL": ((ask(url=ELSEWHERE, sample=3),), {}, OtherCircumstance((URL, SAMPLE))),
    "header": ((ask(headers=((b"openai-beta", b"x"),)),), {}, OtherCircumstance((f"{HEADER}openai-beta",))),
    "field": ((ask(body_of(seed=1)),), {"body": body_of(seed=2)}, OtherFields(("seed",))),
    "one that was not stored": ((ask(body_of(seed=1), stored=False),), {}, NeverStored()),
    "all": ((ask(body_of(model="x", seed=1, messages=[])),), {"body": body_of(seed=2)}, NeverStored()),
    "hit": ((ask(),), {"fwd": None, "hit": True, "stored": None, "ttl": 3}, NoMiss("hit")),
    "bypass": ((), {"fwd": "bypass", "details": ("audio",)}, NoMiss("bypass", "audio")),
    "refresh": ((ask(),), {"fwd": "request"}, NoMiss("refresh")),
    "collapsed": ((ask(),), {"collapsed": True, "stored": None}, NoMiss("collapsed", None, 1)),
    "a replay": (
        (ask(body_of(seed=1)),),
        {"body": body_of(seed=2), "key": None, "stored": None},
        OtherFields(("seed",)),
    ),
}


@pytest.mark.parametrize(("before", "asked", "reason"), REASONS.values(), ids=REASONS.keys())
def test_the_reason_is_the_first_that_holds(
    scene: Scene, before: tuple[Step, ...], asked: dict[str, Any], reason: Reason
) -> None:
    """O5."""
    for step in before:
        step(scene)

    explanation = scene.why(scene.ask(**asked))

    assert explanation.reason == reason
    assert sentence(reason, explanation.asked_ms)


@pytest.mark.parametrize("reason", [reason for _, _, reason in REASONS.values()], ids=REASONS.keys())
def test_every_reason_has_a_word_of_its_own_and_a_sentence(reason: Reason) -> None:
    word = reason.word

    assert word
    assert sentence(reason, FIRST_MS + 10**9)
    assert not sentence(reason, FIRST_MS + 10**9).startswith(word + ":")


def test_what_happens_later_is_no_reason(scene: Scene) -> None:
    """A row is explained by what was stored when it came."""
    first = scene.ask(body_of(seed=1))
    scene.ask(body_of(seed=2))
    scene.purge()
    scene.ask(body_of(seed=1))

    assert scene.why(first).reason == NeverStored()


def test_of_requests_that_differ_in_one_part_from_one_before_that_part_is_named_and_no_value_is_shown(scene: Scene) -> None:
    """O5: by keys and sketches as they are made; nothing was kept, so no text of any request is told."""
    chance = random.Random(3)
    requests = [{**one, "messages": _turns(one["messages"])} for one in traffic(5 * CHANGED, seed=4)]
    for one in requests:
        scene.ask(body_of(**one))

    named, told = [], ""
    for _ in range(CHANGED):
        members, name = changed(chance.choice(requests), chance)
        explanation = scene.why(scene.ask(body_of(**{**members, "messages": _turns(members["messages"])}), stored=False))
        named.append(explanation.reason == OtherFields((name,)))
        told += explanation_json(explanation) + "\n".join(explanation_lines(explanation))

    assert sum(named) >= 0.99 * CHANGED
    assert [text for text in ("another 0.", "system 1", "opening 1", "turn 1", "tool 1", "model-") if text in told] == []


def _turns(texts: Any) -> list[Any]:
    """Return messages; an application that changes one may send anything."""
    return [{"role": "user", "content": text} if isinstance(text, str) else text for text in texts]


@pytest.mark.parametrize("kept", [(True, True), (True, False), (False, True), (False, False)])
def test_values_are_shown_where_both_requests_were_kept(scene: Scene, kept: tuple[bool, bool]) -> None:
    """O5: never one that was not kept."""
    scene.ask(body_of(seed=1234567), keep=kept[0])

    explanation = scene.why(scene.ask(body_of(seed=7654321), keep=kept[1]))

    assert explanation.nearest is not None
    assert explanation.nearest.changes == ((Change("seed", "1234567", "7654321"),) if all(kept) else None)
    lines = "\n".join(explanation_lines(explanation))
    assert ("1234567" in lines, "7654321" in lines) == (all(kept), all(kept))
    assert ("values cannot be shown" in lines) is not all(kept)


def test_two_of_one_caller_are_compared_if_that_is_asked_for(scene: Scene) -> None:
    scene.ask(body_of(seed=1))
    asked = scene.ask(body_of(seed=2, top_p=0.5))
    other = key_of(body_of(seed=1)).index.hex()

    explanation = scene.why(asked, other)

    assert explanation.nearest is not None
    assert explanation.reason == OtherFields(("seed", "top_p"))
    assert explanation.nearest.difference.only_here == ("top_p",)
    assert scene.explainer.of_key(other, key_of(body_of(seed=2, top_p=0.5)).index.hex()).reason == OtherFields(
        ("seed", "top_p")
    )


def test_two_of_different_callers_are_compared_as_a_whole_alone(scene: Scene) -> None:
    scene.ask(body_of(seed=1), partition=ANOTHER)
    same, other = scene.ask(body_of(seed=1)), scene.ask(body_of(seed=2))
    against = key_of(body_of(seed=1), partition=ANOTHER).index.hex()

    assert scene.why(same, against).reason == OtherCaller()
    with pytest.raises(CommandError, match="different callers"):
        scene.why(other, against)
    with pytest.raises(CommandError, match="no sketch of 0000"):
        scene.why(other, "00" * 16)


def test_a_part_that_changes_again_and_again_is_a_habit(scene: Scene) -> None:
    for seed in range(6):
        asked = scene.ask(body_of(seed=seed))
    scene.ask(body_of(seed=1, user="x"), partition=ANOTHER)

    habit = scene.why(asked).habit

    assert habit == Habit("seed", 4, 4)
    assert "sample=" in hint(habit)


def test_a_key_is_explained_as_it_is_now(scene: Scene) -> None:
    """By the store, whatever the ledger says."""
    key = key_of(body_of()).index.hex()
    scene.ask()
    stored = scene.explainer.of_key(key)
    later(scene)
    expired = scene.explainer.of_key(key)
    scene.forget()

    assert (stored.reason, stored.is_stored) == (NoMiss(STORED_NOW), True)
    assert (expired.reason, expired.is_stored) == (Expired(FIRST_MS + int(LIFETIME * 1000)), False)
    assert scene.explainer.of_key(key).reason == Expired(FIRST_MS + 100 + int(LIFETIME * 1000))
    with pytest.raises(CommandError, match="no record has the key 0000"):
        scene.explainer.of_key("00" * 16)


@pytest.mark.parametrize("has_ledger", [True, False])
def test_a_request_is_found_by_its_body_whoever_asked_for_it(scene: Scene, has_ledger: bool) -> None:
    """Also where there is no ledger: by the records."""
    scene.ask(body_of(seed=1), partition=ANOTHER, client="another", namespace="n")
    if not has_ledger:
        scene.reader.close()
        scene.reader.path.unlink()
    bodies = [form_of(body_of(seed=seed)) for seed in (1, 2)]

    found, near = (
        scene.explainer.of_request([sketch_of_body(body, one, SECRET) for one in (SHARED, ANOTHER)], body) for body in bodies
    )

    assert (found.reason, found.is_stored) == (NoMiss(STORED_NOW), True)
    assert found.key == key_of(body_of(seed=1), partition=ANOTHER, namespace="n").index.hex()
    assert (near.reason, near.is_stored) == (OtherFields(("seed",)), False)


def test_what_is_told_is_no_wider_than_a_page_and_nothing_that_a_terminal_obeys(scene: Scene) -> None:
    """D3: names of members are a client's to choose."""
    turns = [{"role": "user", "content": "x" * 500 + str(number)} for number in range(90)]
    wide = {"\x1b[31mred": 1, **{f"member-{number:020}": number for number in range(30)}}
    for seed in range(5):
        asked = scene.ask(body_of(messages=turns, **wide, seed=seed, **{"\x1b]0;title\x07": seed}), keep=True)

    lines = list(explanation_lines(scene.why(asked)))

    assert max(map(len, lines)) <= 100
    assert all(line.isprintable() for line in lines)
    assert any("messages[0..89]" in line for line in lines)
    assert json.loads(explanation_json(scene.why(asked)))["reason"] == "field"


def test_an_explanation_says_when_the_same_would_be_answered_now(scene: Scene) -> None:
    asked = scene.ask()

    told = scene.why(asked)
    scene.forget()

    assert (told.is_stored, scene.why(asked).is_stored) == (True, False)


def test_no_representation_of_an_explanation_holds_a_value(scene: Scene) -> None:
    """It may end in a log."""
    scene.ask(body_of(seed=1234567), keep=True)

    explanation: Explanation = scene.why(scene.ask(body_of(seed=7654321), keep=True))

    assert "1234567" not in repr(explanation)
    assert "1234567" not in repr(explanation.nearest)
