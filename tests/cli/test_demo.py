"""The demo: what it claims, it checks."""

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cachemw import Policy
from cachemw.cli.demo import (
    Dialects,
    Point,
    Promise,
    Reply,
    Round,
    Together,
    dialect_claims,
    other_kind_claims,
    perform,
    round_claims,
    together_claims,
    total_tokens,
    unpaid_claims,
)
from cachemw.simulator import Simulator
from tests.cli.command import Command, at_home

LINES = (
    r" ✓ JSON: [\d,]+ ms the first time, [\d,]+ ms from the cache, the same bytes",
    r" ✓ stream: first word after [\d,]+ ms the first time, [\d,]+ ms from the cache",
    r" ✓ the stored JSON was also given as a stream, the stored stream as JSON",
    r" ✓ 10 callers of one stream at once: 1 call of the API",
    r" ✓ each of them read it live, as it was written",
    r" ✓ an Anthropic client got a message of the same chat API, and its stream",
    r" ✓ an OpenAI client that asked the same was given that answer, as a chat",
    r" ✓ [\d,]+ tokens were not paid for",
)
STATUSES = (
    r"  JSON, first      cachemw; fwd=miss; fwd-status=200; stored; key=.*",
    r"  JSON, again      cachemw; hit; ttl=\d+; key=.*",
    r"  stream, first    cachemw; fwd=miss; fwd-status=200; key=.*",
    r"  stream, again    cachemw; hit; ttl=\d+; key=.*",
    r"  JSON, as stream  cachemw; hit; ttl=\d+; key=.*; detail=transcoded",
    r"  stream, as JSON  cachemw; hit; ttl=\d+; key=.*; detail=transcoded",
    r"  ten at once      cachemw; fwd=miss; fwd-status=200; .*key=.*",
    r"  message, first   cachemw; fwd=miss; fwd-status=200; stored; key=.*",
    r"  its stream       cachemw; hit; ttl=\d+; key=.*; detail=transcoded",
    r"  the same in chat cachemw; hit; ttl=\d+; key=.*",
)
NEVER_STORED = """
import sys
from rich.console import Console
from cachemw import Policy
from cachemw.cli.demo import perform
from cachemw.simulator import Simulator

sys.exit(perform(Console(), simulator=Simulator(first_token_seconds=0.3), policy=Policy(max_record_bytes=0)))
"""

MISS = Reply(200, "cachemw; fwd=miss; fwd-status=200; stored", b'{"usage":{"total_tokens":7}}', 2.0, 2.5, calls=1)
HIT = replace(MISS, cache_status="cachemw; hit; ttl=9", first_byte_seconds=0.1, seconds=0.2, calls=0)


@dataclass(frozen=True, slots=True)
class Performance:
    """A demo that is over."""

    said: subprocess.CompletedProcess[str]
    seconds: float
    home: Path


def perform_at(home: Path) -> Performance:
    """Run the demo as a user does, to its end."""
    command, began = at_home(home), time.monotonic()
    said = command("demo", COLUMNS="80", PYTHONIOENCODING="utf-8")
    return Performance(said, time.monotonic() - began, home)


@pytest.fixture(scope="module", autouse=True)
def performing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Performance]]:
    """A demo that goes on while the first tests here run: it takes its time, and hardly any of the processor's."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(perform_at, tmp_path_factory.mktemp("demo"))


def test_the_demo_fails_where_nothing_is_stored(command: Command, tmp_path: Path) -> None:
    done = command.python("-c", NEVER_STORED, COLUMNS="40", PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stderr) == (1, "")
    for kind in ("JSON", "stream"):
        assert f" NO {kind}: " in done.stdout
        assert f"not true: {kind}: the same request again was a hit, and nothing was forwarded" in done.stdout
        assert f"not true: {kind}: two requests made the upstream work once (calls: 2)" in done.stdout
        assert f"not true: {kind}: the stored answer also came as the other kind" in done.stdout
        assert f"{kind}: the first request was a miss" not in done.stdout  # which is true
    assert " NO an Anthropic client got a message of the same chat API, and its stream" in done.stdout
    assert "not true: the same question in chat was a hit" in done.stdout
    assert " ok 10 callers of one stream at once: 1 call of the API" in done.stdout
    assert " NO 0 tokens were not paid for" in done.stdout
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_demo_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    servers = _server_threads()
    console = Console(file=StringIO())

    code = perform(console, simulator=Simulator(first_token_seconds=0.2, tokens_per_second=200.0), policy=Policy())

    assert code == 0
    assert _server_threads() == servers
    assert list(tmp_path.iterdir()) == []


def _server_threads() -> set[threading.Thread]:
    """Return the threads that keep the process: the console's last one ends when it wakes."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


def test_the_demo_leaves_nothing_behind_when_it_is_ended(command: Command, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    arguments = [sys.executable, "-m", "cachemw", "demo"]
    with subprocess.Popen(arguments, env=dict(command.environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not any(temporary.glob("*/cache.db")):
            time.sleep(0.01)

        process.terminate()

        assert process.wait(15) != 0
    assert list(temporary.iterdir()) == []


def test_the_demo_is_short_needs_nothing_and_every_claim_of_it_is_true(performing: Future[Performance]) -> None:
    """F19, S1, S2, S4, P1: the second request costs no upstream call, and its answer is the first one's bytes."""
    performance = performing.result()

    done = performance.said
    assert (done.returncode, done.stderr) == (0, "")
    assert performance.seconds < 15
    assert [line for line in (*LINES, *STATUSES) if not re.search(f"^{line}$", done.stdout, re.MULTILINE)] == []
    assert done.stdout.count("✓") == len(LINES)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert (
        done.stdout.index("export CEREBRAS_API_KEY=")
        < done.stdout.index("cachemw serve")
        < done.stdout.index("OpenAI(base_url=")
    )
    assert list((performance.home / "temporary").iterdir()) == []


FALSE_IF = {
    "the second answer is an error": replace(HIT, status=502),
    "the second answer is a miss": replace(HIT, cache_status=MISS.cache_status),
    "the upstream was asked again": replace(HIT, calls=1),
    "the answers differ": replace(HIT, body=b'{"usage":{"total_tokens":8}}'),
    "the hit took longer": replace(HIT, seconds=3.0),
    "the hit began later": replace(HIT, first_byte_seconds=2.25),
    "the answer does not say what it cost": replace(HIT, body=b"{}"),
}


@pytest.mark.parametrize("again", FALSE_IF.values(), ids=FALSE_IF.keys())
def test_a_claim_is_false_if(again: Reply) -> None:
    rounds = [Round("JSON", MISS, again)]

    assert not all(claim.is_true for claim in [*round_claims(rounds[0]), *unpaid_claims(rounds)])


def test_every_claim_is_true_of_a_miss_and_a_hit() -> None:
    rounds = [Round("JSON", MISS, HIT)]

    made = [*round_claims(rounds[0]), *unpaid_claims(rounds)]

    assert [claim.sentence for claim in made if not claim.is_true] == []
    assert made[-1].sentence == "7 tokens were not paid for"


def test_a_point_is_true_where_all_that_it_stands_for_is() -> None:
    true, false = Promise("this", True), Promise("that", False)

    assert Point("both", [true, true]).is_true
    assert not Point("both", [true, false]).is_true


STREAMED = Reply(200, "cachemw; fwd=miss; fwd-status=200; collapsed", b"data: {}\n\ndata: [DONE]\n\n", 0.8, 2.9, calls=1)
TEN = [replace(STREAMED, cache_status=MISS.cache_status), *[STREAMED] * 9]
NOT_TOGETHER = {
    "the upstream was called twice": Together(TEN, 2, 2.9),
    "one of them was not collapsed": Together([*TEN[:9], TEN[0]], 1, 2.9),
    "one got another stream": Together([*TEN[:9], replace(STREAMED, body=b"data: [DONE]\n\n")], 1, 2.9),
    "all were cut short": Together([replace(reply, body=b"data: {}\n\n") for reply in TEN], 1, 2.9),
    "one was refused": Together([*TEN[:9], replace(STREAMED, status=503)], 1, 2.9),
    "one had to wait for the others to end": Together([*TEN[:9], replace(STREAMED, first_byte_seconds=2.9)], 1, 2.9),
    "one waited twice": Together(TEN, 1, 5.9),
}


@pytest.mark.parametrize("together", NOT_TOGETHER.values(), ids=NOT_TOGETHER.keys())
def test_what_is_claimed_of_ten_callers_is_false_if(together: Together) -> None:
    assert not all(claim.is_true for claim in together_claims(together, STREAMED))


def test_what_is_claimed_of_ten_callers_is_true_of_one_flight() -> None:
    assert all(claim.is_true for claim in together_claims(Together(TEN, 1, 2.9), STREAMED))


TRANSCODED = replace(HIT, cache_status=f"{HIT.cache_status}; detail=transcoded")


@pytest.mark.parametrize("other", [HIT, replace(TRANSCODED, calls=1), replace(TRANSCODED, cache_status=MISS.cache_status)])
def test_what_is_claimed_of_the_other_kind_is_false_of(other: Reply) -> None:
    assert [claim.is_true for claim in other_kind_claims({"JSON": TRANSCODED, "stream": other})] == [True, False]


MESSAGE = b'{"type":"message","content":[{"type":"text","text":"Hi"}]}'
EVENTS = (
    b'event: message_start\ndata: {"type":"message_start"}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
CHAT = b'{"choices":[{"message":{"content":"Hi"}}]}'
KEYED_HIT = replace(HIT, cache_status='cachemw; hit; ttl=9; key="ab"')
IN_DIALECTS = Dialects(
    replace(MISS, cache_status='cachemw; fwd=miss; fwd-status=200; stored; key="ab"', body=MESSAGE),
    replace(KEYED_HIT, body=EVENTS),
    replace(KEYED_HIT, body=CHAT),
)
OTHER_DIALECTS = {
    "the message was a chat": replace(
        IN_DIALECTS, message=replace(IN_DIALECTS.message, body=MESSAGE.replace(b"message", b"x"))
    ),
    "the message was stored before": replace(IN_DIALECTS, message=replace(KEYED_HIT, body=MESSAGE)),
    "the stream was asked for": replace(IN_DIALECTS, stream=replace(IN_DIALECTS.stream, calls=1)),
    "the stream has no end": replace(IN_DIALECTS, stream=replace(IN_DIALECTS.stream, body=EVENTS[:-60])),
    "the chat was asked for": replace(IN_DIALECTS, chat=replace(IN_DIALECTS.chat, calls=1)),
    "the chat has a key of its own": replace(
        IN_DIALECTS, chat=replace(IN_DIALECTS.chat, cache_status='cachemw; hit; ttl=9; key="cd"')
    ),
    "the chat says something else": replace(IN_DIALECTS, chat=replace(IN_DIALECTS.chat, body=CHAT.replace(b"Hi", b"Ho"))),
    "the chat was refused": replace(IN_DIALECTS, chat=replace(IN_DIALECTS.chat, status=502, body=b"{}")),
}


def test_what_is_claimed_of_two_dialects_is_true_of_one_record() -> None:
    assert [claim.sentence for claims in dialect_claims(IN_DIALECTS) for claim in claims if not claim.is_true] == []


@pytest.mark.parametrize("dialects", OTHER_DIALECTS.values(), ids=OTHER_DIALECTS.keys())
def test_what_is_claimed_of_two_dialects_is_false_if(dialects: Dialects) -> None:
    assert not all(claim.is_true for claims in dialect_claims(dialects) for claim in claims)


def test_tokens_are_counted_as_the_answer_tells_them() -> None:
    stream = b'data: {"usage":null}\n\ndata: {"usage":{"total_tokens":5}}\n\ndata: [DONE]\n\n'

    assert total_tokens(stream) == 5
    assert total_tokens(b'{"usage":{"total_tokens":3}}') == 3
    assert total_tokens(b"{}") == 0
