"""The demo of routes: what it claims, it checks."""

import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from rich.console import Console

from cachemw import Policy
from cachemw.cli.demo import Point, Promise
from cachemw.cli.demo_claims import (
    PRIMARY,
    SLOW,
    SPARE,
    ProviderAnswer,
    RoutedReply,
    RoutedStory,
    Taken,
    routed_points,
    taken_by,
)
from cachemw.cli.demo_routes import FAIL_SCRIPTS, PRICES, ROUTES, RoutedPlay, perform_routes
from cachemw.ledger.sums import Sums
from tests.cli.command import at_home

LINES = (
    r" ✓ cerebras answers; asked again: the same bytes from the cache, for nothing",
    r" ✓ cerebras runs into its quota \(429\): openrouter, its spare, answers instead",
    r" ✓ it is left alone for the 2 s that it asked for",
    r" ✓ after these it answers again, and the spare's answer stays the spare's",
    r" ✓ groq is slow: openrouter, asked beside it, answers after [\d,]+ ms",
    r" ✓ \$0\.000\d+ spent by the ledger, as providers say; \$0\.000\d+ saved",
)
FIELDS = (
    rf'  first        by="{PRIMARY}", route="auto", attempts=1,',
    rf'  again        by="{PRIMARY}", route="auto", attempts=0, cost="0",',
    rf'               tried=\("{PRIMARY}";status=429;why=rate;cooling=2\),',
    rf'               tried=\("{SLOW}";why=lost\),',
    r'               cost="0\.000\d+";least',
    r"in all +18 +8 .*",
)


@dataclass(frozen=True, slots=True)
class Performance:
    """A demo that is over."""

    said: subprocess.CompletedProcess[str]
    home: Path


def perform_at(home: Path) -> Performance:
    """Run the demo as a user does, to its end."""
    return Performance(at_home(home)("demo", "--routes", COLUMNS="80", PYTHONIOENCODING="utf-8"), home)


@pytest.fixture(scope="module", autouse=True)
def performing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Performance]]:
    """A demo that goes on while the other tests here run: it mostly waits."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(perform_at, tmp_path_factory.mktemp("demo"))


FIRST_BODY = b'{"id":"1","usage":{"prompt_tokens":2,"completion_tokens":10}}'
RECOVERED_BODY = FIRST_BODY.replace(b"1", b"2", 1)
QUOTA_BODY = b'data: {"id":"3","usage":{"prompt_tokens":2,"completion_tokens":10,"cost":0.0000128}}\n\ndata: [DONE]\n\n'
LEFT_BODY, HEDGED_BODY = QUOTA_BODY.replace(b"3", b"4", 1), QUOTA_BODY.replace(b"3", b"5", 1)
OF_PRIMARY, OF_SPARE = f'by="{PRIMARY}", attempts=1, cost="0.0000082"', f'by="{SPARE}", attempts=1, cost="0.0000128"'
AT_QUOTA = f'{OF_SPARE}, tried=("{PRIMARY}";status=429;why=rate;cooling=2)'
LEFT_ALONE = f'{OF_SPARE}, tried=("{PRIMARY}";why=rate;cooling=2)'
HEDGED = f'{OF_SPARE};least, tried=("{SLOW}";why=lost)'


def answered(route: str, body: bytes, **asked: int) -> RoutedReply:
    return RoutedReply(200, route, is_hit=False, body=body, seconds=0.5, head_at=0.0, asked=asked)


def recalled(reply: RoutedReply) -> RoutedReply:
    by, saved = reply.by, "0.0000082" if reply.by == PRIMARY else "0.0000128"
    return replace(reply, route=f'by="{by}", attempts=0, cost="0", saved="{saved}"', is_hit=True, asked={})


FIRST = answered(OF_PRIMARY, FIRST_BODY, cerebras=1)
QUOTA = answered(AT_QUOTA, QUOTA_BODY, cerebras=1, openrouter=1)
RECOVERED = answered(OF_PRIMARY, RECOVERED_BODY, cerebras=1)
STORY = RoutedStory(
    "JSON",
    first=FIRST,
    again=recalled(FIRST),
    at_the_quota=QUOTA,
    from_the_spare=recalled(QUOTA),
    left_alone=answered(LEFT_ALONE, LEFT_BODY, openrouter=1),
    hedged=answered(HEDGED, HEDGED_BODY, groq=1, openrouter=1),
    recovered=RECOVERED,
    again_recovered=recalled(RECOVERED),
    pinned_spare=recalled(QUOTA),
)
REFUSED = ProviderAnswer(429, b'{"code":"token_quota_exceeded"}', is_whole=True, retry_after="2")
SAID = {
    "cerebras": [ProviderAnswer(200, FIRST_BODY, True), REFUSED, ProviderAnswer(200, RECOVERED_BODY, True)],
    "openrouter": [ProviderAnswer(200, body, True) for body in (QUOTA_BODY, LEFT_BODY, HEDGED_BODY)],
    "groq": [ProviderAnswer(0, b"", False)],
}
OF_SPARE_SPENT = Sums(SPARE, 5, hits=2, misses=3, input_tokens=6, output_tokens=30, spent=38_400, saved=25_600, least=1)
OF_PRIMARY_SPENT = Sums(PRIMARY, 4, hits=2, misses=2, input_tokens=4, output_tokens=20, spent=16_400, saved=16_400)
PLAYED = RoutedPlay([STORY], SAID, [OF_SPARE_SPENT, OF_PRIMARY_SPENT])


def points_of(play: RoutedPlay) -> list[Point]:
    return routed_points(play.stories, play.said, play.spending)


def claims_of(play: RoutedPlay) -> list[Promise]:
    return [claim for point in points_of(play) for claim in point.claims]


def falsehoods(play: RoutedPlay) -> list[str]:
    return [claim.sentence for claim in claims_of(play) if not claim.is_true]


def test_every_claim_is_true_of_what_should_happen() -> None:
    points = points_of(PLAYED)

    assert falsehoods(PLAYED) == []
    assert len(points) == len(LINES)
    assert points[-1].line == "$0.0000548 spent by the ledger, as providers say; $0.000042 saved"


def with_reply(name: str, change: Callable[[RoutedReply], RoutedReply]) -> RoutedPlay:
    changed: dict[str, Any] = {name: change(getattr(STORY, name))}
    return replace(PLAYED, stories=[replace(STORY, **changed)])


def with_said(provider: str, *answers: ProviderAnswer) -> RoutedPlay:
    return replace(PLAYED, said={**SAID, provider: list(answers)})


def with_spent(**changes: Any) -> RoutedPlay:
    return replace(PLAYED, spending=[structs.replace(OF_SPARE_SPENT, **changes), OF_PRIMARY_SPENT])


def unlike(**changes: Any) -> Callable[[RoutedReply], RoutedReply]:
    return lambda reply: replace(reply, **changes)


def telling(old: str, new: str) -> Callable[[RoutedReply], RoutedReply]:
    return lambda reply: replace(reply, route=reply.route.replace(old, new))


ASKED = ("first", "at_the_quota", "left_alone", "hedged", "recovered")
HITS = ("again", "from_the_spare", "again_recovered", "pinned_spare")
EVERY_ANSWER = {
    "somebody else was asked": unlike(asked={"cerebras": 1, "groq": 2}),
    "it is an error": unlike(status=502),
    "it is another's answer": unlike(body=b'{"id":"9"}'),
    "it names another": telling("by=", 'by="groq/x", was='),
    "its field is none": unlike(route='by="'),
}
OF_ASKED = {"it is a hit": unlike(is_hit=True)}
OF_HITS = {
    "it is a miss": unlike(is_hit=False),
    "it is not free": telling('cost="0"', 'cost="0.0000001"'),
    "it saved nothing": telling('saved="0.00', 'saved="9.00'),
}
FALSE_IF: Mapping[str, RoutedPlay] = {
    **{f"{name}: {what}": with_reply(name, to) for name in ASKED for what, to in (EVERY_ANSWER | OF_ASKED).items()},
    **{f"{name}: {what}": with_reply(name, to) for name in HITS for what, to in (EVERY_ANSWER | OF_HITS).items()},
    "the primary's error is told as another": with_reply("at_the_quota", telling("429", "503")),
    "the primary never said 429": with_said("cerebras", *[answer for answer in SAID["cerebras"] if answer.status == 200]),
    "the primary is left alone for longer": with_reply("at_the_quota", telling("cooling=2", "cooling=5")),
    "nobody is left alone": with_reply("left_alone", telling("cooling=2", "cooling=0")),
    "the primary is given the spare's answer": with_reply("recovered", unlike(body=QUOTA_BODY)),
    "two said the same": with_said("groq", *SAID["groq"], SAID["cerebras"][0]),
    "the slow one answered, too": with_said("groq", ProviderAnswer(200, b"{}", True)),
    "the slow one had begun": with_said("groq", ProviderAnswer(200, b"{", False)),
    "the slow one was never asked": with_said("groq"),
    "nobody lost": with_reply("hedged", telling("lost", "slow")),
    "the hedge took as long": with_reply("hedged", unlike(seconds=3.5)),
    "a JSON answer does not say its cost": with_reply("first", telling("cost", "costs")),
    "the hedged answer is sure of its cost": with_reply("hedged", telling(";least", "")),
    "the ledger has spent more": with_spent(spent=38_401),
    "the ledger has spent less": with_spent(spent=38_399),
    "the ledger has other tokens": with_spent(input_tokens=7),
    "the ledger has one more request": with_spent(requests=6),
    "the ledger has one more hit": with_spent(hits=3),
    "the ledger saved more": with_spent(saved=25_601),
    "the ledger has unknown prices": with_spent(unpriced=1),
    "the ledger is sure of all costs": with_spent(least=0),
    "the ledger estimates": with_spent(estimated=1),
    "the ledger lost one": with_spent(dropped=1),
    "the ledger has a stranger": replace(PLAYED, spending=[*PLAYED.spending, Sums(SLOW)]),
    "the ledger is empty": replace(PLAYED, spending=[]),
}


@pytest.mark.parametrize("play", FALSE_IF.values(), ids=FALSE_IF)
def test_a_claim_is_false_if(play: RoutedPlay) -> None:
    assert falsehoods(play) != []


def test_each_claim_can_be_false() -> None:
    false = set()
    for play in FALSE_IF.values():
        false |= {place for place, claim in enumerate(claims_of(play)) if not claim.is_true}

    assert false == set(range(len(claims_of(PLAYED))))


def test_what_an_answer_took_is_its_providers_word_or_the_files_price() -> None:
    assert taken_by(FIRST_BODY) == Taken(2, 10, 2 * 350 + 10 * 750)
    assert taken_by(QUOTA_BODY) == Taken(2, 10, 12_800)
    assert taken_by(b"{}") == Taken()


@pytest.mark.peers
def test_the_demo_says_what_is_not_true_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is stored, nobody fails, nobody is slow, and the file has other prices than the claims."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    servers, heard = _threads(), StringIO()

    code = perform_routes(
        Console(file=heard, width=80),
        fail_scripts=dict.fromkeys(FAIL_SCRIPTS, ""),
        file=ROUTES + PRICES.replace("0.75", "0.76"),
        policy=Policy(max_record_bytes=0),
    )

    said = heard.getvalue()
    assert code == 1
    for kind in ("JSON", "stream"):
        assert f"not true: {kind}: the first request again was a hit, and nobody was asked" in said
        assert f"not true: {kind}: cerebras said 429 in its own words, and that is told" in said
        assert f"not true: {kind}: the next answer took one call of openrouter" in said
        assert f"not true: {kind}: it says that groq lost" in said
        assert f"{kind}: the first answer is a whole one" not in said  # which is true
    assert f"not true: {PRIMARY} took " in said
    assert "not true: every JSON answer says what it cost, as its provider says it" in said
    assert _threads() == servers
    assert list(tmp_path.iterdir()) == []


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.daemon}


def test_the_demo_of_routes_needs_nothing_and_every_claim_of_it_is_true(performing: Future[Performance]) -> None:
    """G1, G4, G10, G12, G18, G25: over real sockets, with the ledger adding up with what the providers said."""
    performance = performing.result()

    done = performance.said
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in (*LINES, *FIELDS) if not re.search(f"^{line}$", done.stdout, re.MULTILINE)] == []
    assert done.stdout.count("✓") == len(LINES)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stdout.index("cachemw check cachemw.toml") < done.stdout.index("cachemw serve --config cachemw.toml")
    assert list((performance.home / "temporary").iterdir()) == []
