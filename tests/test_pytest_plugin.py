"""The plugin for pytest, as a test suite has it: recording, replaying without a key, and what is told at the end."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import anthropic  # noqa: F401 - once, and not in each run
import openai  # noqa: F401
import pytest

from tests.stores.test_files import snapshot

ROOT = Path(__file__).parents[1]
IS_INSTALLED = any(point.name == "cachemw" for point in importlib.metadata.entry_points(group="pytest11"))
PLUGIN = () if IS_INSTALLED else ("-p", "cachemw.pytest_plugin")

SUITE = """
import openai, pytest

{upstream}

@pytest.fixture
def client(cachemw_cassette):
    http = cachemw_cassette.http_client(inner=inner)
    with openai.OpenAI(api_key="no key", http_client=http, max_retries=0) as client:
        yield client

def ask(client, seed):
    question = [{{"role": "user", "content": "Why is the sky blue?"}}]
    return client.chat.completions.create(model="m", messages=question, seed=seed)

@pytest.mark.parametrize("seed", {seeds})
def test_it_is_answered(client, seed):
    assert ask(client, seed).choices[0].message.content == "Hello"
"""
ANSWERS = """
import httpx2
ANSWER = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}
asked = []
def answer(request):
    asked.append(request)
    return httpx2.Response(200, json=ANSWER)
inner = httpx2.MockTransport(answer)
"""
FAILS = """
import httpx2
def fail(request):
    raise AssertionError("the upstream was asked")
inner = httpx2.MockTransport(fail)
"""


@pytest.fixture(autouse=True)
def _no_ci(monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester) -> None:
    for name in ("CI", "PYTEST_ADDOPTS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = --strict-markers -p no:cacheprovider\n")


def suite(upstream: str, seeds: tuple[int, ...] = (1, 2)) -> str:
    return SUITE.format(upstream=upstream, seeds=seeds)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run the suite in this process, into which the SDK has been imported already."""
    return pytester.runpytest_inprocess("-W", "error", *PLUGIN, *arguments, no_reraise_ctrlc=True)


def files(pytester: pytest.Pytester) -> list[str]:
    return sorted(str(path.relative_to(pytester.path)) for path in pytester.path.rglob("*--*.json"))


def test_it_records_and_then_replays_without_a_key_and_changes_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F3, D4."""
    module = pytester.path / "tests" / "test_bot.py"
    module.parent.mkdir()
    module.write_text(suite(ANSWERS))
    recorded = run(pytester)
    recorded.assert_outcomes(passed=2)
    recorded.stdout.fnmatch_lines(["*cachemw (record)*", "recorded: tests/cassettes/test_bot/m--*.json", "recorded: *"])
    module.write_text(suite(FAILS))
    before = snapshot(pytester.path / "tests" / "cassettes")

    monkeypatch.setenv("CI", "true")
    replayed = run(pytester)

    replayed.assert_outcomes(passed=2)
    assert "cachemw (" not in replayed.stdout.str()
    assert snapshot(pytester.path / "tests" / "cassettes") == before
    assert len(before) == 1 + 1 + 2


def test_what_is_recorded_is_replayed_while_recording(pytester: pytest.Pytester) -> None:
    """D4: and kept for ever."""
    pytester.makepyfile(test_bot=suite(ANSWERS))
    run(pytester).assert_outcomes(passed=2)
    pytester.makepyfile(test_bot=suite(FAILS))

    again = run(pytester)

    again.assert_outcomes(passed=2)
    assert "recorded:" not in again.stdout.str()
    document = json.loads((pytester.path / files(pytester)[0]).read_text())
    assert document["lifetime"] >= 2**31


def test_refresh_asks_for_everything_and_off_keeps_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_bot=suite(ANSWERS) + "\ndef test_calls():\n    assert len(asked) == 2\n")
    off = run(pytester, "--cachemw=off")
    off.assert_outcomes(passed=3)
    assert files(pytester) == []
    run(pytester).assert_outcomes(passed=3)

    refreshed = run(pytester, "--cachemw=refresh")

    refreshed.assert_outcomes(passed=3)
    refreshed.stdout.fnmatch_lines(["*cachemw (refresh)*", "recorded: *", "recorded: *"])
    assert len(files(pytester)) == 2


def test_what_is_missing_in_a_replay_fails_and_says_what_to_do(pytester: pytest.Pytester) -> None:
    """F3."""
    pytester.makepyfile(test_bot=suite(ANSWERS))

    nothing = run(pytester, "--cachemw=replay")
    run(pytester).assert_outcomes(passed=2)
    pytester.makepyfile(test_bot=suite(FAILS, (1, 3)))
    something = run(pytester, "--cachemw=replay")

    nothing.assert_outcomes(errors=2)
    directory = pytester.path / "cassettes" / "test_bot"
    nothing.stdout.fnmatch_lines([f"*nothing can be replayed from {directory}*--cachemw=record*"])
    something.assert_outcomes(passed=1, failed=1)
    something.stdout.fnmatch_lines(
        [f"*the store in {directory} holds 2 records, and none answers this request*nearest: *differs from *"]
    )


def test_records_that_nobody_asked_for_are_listed_after_a_whole_run(pytester: pytest.Pytester) -> None:
    """F3."""
    pytester.makepyfile(test_bot=suite(ANSWERS, (1, 2, 3)))
    run(pytester).assert_outcomes(passed=3)
    pytester.makepyfile(test_bot=suite(ANSWERS, (1, 2)))

    whole = run(pytester, "--cachemw=replay")
    parts = [
        run(pytester, "--cachemw=replay", *narrowed)
        for narrowed in (
            ("-k", "1"),
            ("test_bot.py::test_it_is_answered[1]",),
            ("--deselect", "test_bot.py::test_it_is_answered[1]"),
        )
    ]

    whole.stdout.fnmatch_lines(["*asked for by no test of this run: cassettes/test_bot/m--*.json"])
    assert not any("asked for by no test" in part.stdout.str() for part in parts)


INTERRUPTIONS = {
    "Ctrl-C": "raise KeyboardInterrupt",
    "an exit": "pytest.exit('enough')",
    "a test": "request.session.shouldstop = 'enough'",
}


@pytest.mark.parametrize("interruption", INTERRUPTIONS.values(), ids=INTERRUPTIONS)
def test_of_a_run_that_was_interrupted_nobody_knows_what_it_would_have_asked_for(
    pytester: pytest.Pytester, interruption: str
) -> None:
    """F3: a record that is listed is one to be thrown away."""
    pytester.makepyfile(test_bot=suite(ANSWERS))
    run(pytester).assert_outcomes(passed=2)
    more = f"\ndef test_it_stops(request):\n    {interruption}\n\ndef test_it_goes_on(client):\n    ask(client, 2)\n"
    pytester.makepyfile(test_bot=suite(FAILS, (1,)) + more)

    interrupted = run(pytester, "--cachemw=replay")

    assert "asked for by no test" not in interrupted.stdout.str()


def test_a_mark_names_another_directory(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_bot=suite(ANSWERS) + "\npytestmark = pytest.mark.cachemw('data/bot')\n")

    run(pytester).assert_outcomes(passed=2)

    assert {Path(name).parent for name in files(pytester)} == {Path("data/bot")}


@pytest.mark.parametrize("mark", ["cachemw", "cachemw()", "cachemw('a', 'b')", "cachemw(directory='a')"])
def test_a_mark_without_a_directory_is_an_error(pytester: pytest.Pytester, mark: str) -> None:
    pytester.makepyfile(test_bot=suite(ANSWERS) + f"\npytestmark = pytest.mark.{mark}\n")

    refused = run(pytester)

    refused.stdout.fnmatch_lines(["*the mark cachemw takes one directory*"])


BARE = """
import httpx2, pytest
{upstream}
@pytest.mark.parametrize("seed", {seeds})
def test_it_is_answered(cachemw_cassette, seed):
    body = {{"model": "m", "messages": [{{"role": "user", "content": "hi"}}], "seed": seed}}
    client = cachemw_cassette.http_client(httpx2, inner)
    assert client.post("https://api.example/v1/chat/completions", json=body).status_code == 200
"""


def bare(upstream: str, seeds: tuple[int, ...] = (1, 2)) -> str:
    return BARE.format(upstream=upstream, seeds=seeds)


def test_it_runs_in_many_processes(pytester: pytest.Pytester) -> None:
    """F3: pytest-xdist's; without an SDK, which each of them would have to import."""
    pytester.makepyfile(test_bot=bare(ANSWERS, (1, 2, 3, 4)), test_other=bare(ANSWERS))
    recorded = run(pytester, "-n", "2")
    recorded.assert_outcomes(passed=6)
    pytester.makepyfile(test_bot=bare(FAILS, (1, 2, 3)), test_other=bare(FAILS))

    replayed = run(pytester, "-n", "2", "--cachemw=replay")

    assert recorded.stdout.str().count("\nrecorded: ") == 6
    replayed.assert_outcomes(passed=5)
    assert replayed.stdout.str().count("asked for by no test of this run: cassettes/test_bot") == 1


@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one process", "many"])
def test_what_cannot_be_recorded_is_told_though_no_test_fails(pytester: pytest.Pytester, processes: tuple[str, ...]) -> None:
    """F3, F4: it was asked and paid for, and will be again."""
    pytester.makepyfile(test_bot=bare(ANSWERS))
    pytester.path.joinpath("cassettes").write_text("not a directory")

    told = run(pytester, *processes)

    told.assert_outcomes(passed=2)
    told.stdout.fnmatch_lines(["not recorded: cannot write to *cassettes/test_bot: Not a directory"])
    assert told.stdout.str().count("not recorded: ") == 1


def test_an_answer_that_is_not_kept_is_told_though_no_test_fails(pytester: pytest.Pytester) -> None:
    """F3: its test would fail where it is replayed."""
    pytester.makepyfile(test_bot=bare(ANSWERS.replace('"stop"', '"length"')))

    told = run(pytester)

    told.assert_outcomes(passed=2)
    told.stdout.fnmatch_lines(["not recorded: an answer for m: finish-length"])


AWAITED = """
import asyncio, openai
{upstream}
def test_it_is_awaited(cachemw_cassette):
    async def ask():
        http = cachemw_cassette.async_http_client(inner=inner)
        async with openai.AsyncOpenAI(api_key="no key", http_client=http, max_retries=0) as client:
            stream = await client.chat.completions.create(
                model="m", messages=[{{"role": "user", "content": "hi"}}], stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert asyncio.run(ask()) == "Hello"
    assert cachemw_cassette.directory.name == "test_bot"
"""
STREAMS = """
import httpx2
CHUNKS = [
    '{"id":"x","object":"chat.completion.chunk","created":1,"model":"m",'
    '"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}' % both
    for both in (('{"role":"assistant","content":"Hello"}', "null"), ("{}", '"stop"'))]
BODY = "".join(f"data: {chunk}\\n\\n" for chunk in (*CHUNKS, "[DONE]"))
inner = httpx2.MockTransport(lambda request: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=BODY))
"""


def test_an_awaited_client_and_a_stream(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_bot=AWAITED.format(upstream=STREAMS))
    run(pytester).assert_outcomes(passed=1)
    pytester.makepyfile(test_bot=AWAITED.format(upstream=FAILS))

    run(pytester, "--cachemw=replay").assert_outcomes(passed=1)


CLAUDE = """
import asyncio, anthropic
{upstream}
ASKED = dict(model="m", max_tokens=9, messages=[{{"role": "user", "content": "hi"}}])
def test_it_is_answered(cachemw_cassette):
    http = cachemw_cassette.http_client(anthropic, inner)
    with anthropic.Anthropic(api_key="no key", http_client=http, max_retries=0) as client:
        assert client.messages.create(**ASKED).content[0].text == "Hello"
def test_it_is_awaited(cachemw_cassette):
    async def ask():
        http = cachemw_cassette.async_http_client(anthropic, inner)
        async with anthropic.AsyncAnthropic(api_key="no key", http_client=http, max_retries=0) as client:
            async with client.messages.stream(**ASKED) as stream:
                return await stream.get_final_text()
    assert asyncio.run(ask()) == "Hello"
"""
MESSAGE = """
import httpx2
ANSWER = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", "stop_sequence": None,
    "content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 1, "output_tokens": 1}}
inner = httpx2.MockTransport(lambda request: httpx2.Response(200, json=ANSWER))
"""


def test_anthropics_clients_are_recorded_too(pytester: pytest.Pytester) -> None:
    """F3, S4: and one record answers both kinds."""
    pytester.makepyfile(test_bot=CLAUDE.format(upstream=MESSAGE))
    recorded = run(pytester)
    recorded.assert_outcomes(passed=2)
    recorded.stdout.fnmatch_lines(["*cachemw (record)*", "recorded: cassettes/test_bot/m--*.json"])
    pytester.makepyfile(test_bot=CLAUDE.format(upstream=FAILS))

    run(pytester, "--cachemw=replay").assert_outcomes(passed=2)

    assert len(files(pytester)) == 1


CONTROLS = """
import openai, pytest
{upstream}
CONTROLS = ("off", "mode=refresh, ttl=0"), ("no-cache", "no-store", "max-age=0")
FIELDS = [{{name: value}} for name, values in zip(("Cachemw", "Cache-Control"), CONTROLS) for value in values]
@pytest.mark.parametrize("fields", FIELDS)
def test_what_the_app_asks_of_a_cache_changes_nothing(cachemw_cassette, fields):
    http = cachemw_cassette.http_client(inner=inner)
    with openai.OpenAI(api_key="k", http_client=http, default_headers=fields, max_retries=0) as client:
        client.chat.completions.create(model="m", messages=[{{"role": "user", "content": "hi"}}])
"""


def test_it_is_the_cassette_that_says_what_is_recorded(pytester: pytest.Pytester) -> None:
    """F3: else a header of the app under test would ask the upstream, in CI too."""
    pytester.makepyfile(test_bot=CONTROLS.format(upstream=ANSWERS))
    run(pytester).assert_outcomes(passed=5)
    pytester.makepyfile(test_bot=CONTROLS.format(upstream=FAILS))

    run(pytester, "--cachemw=replay").assert_outcomes(passed=5)

    assert len(files(pytester)) == 1


def test_the_plugin_is_no_weight_where_nobody_asks_for_it() -> None:
    """D4: it imports nothing of ours but itself, nor what we depend on."""
    script = (
        "import sys, cachemw.pytest_plugin;"
        "print(sorted(name for name in sys.modules if name.startswith('cachemw') or name in ('httpx', 'msgspec', 'diskcache')))"
    )

    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)

    assert ran.stdout.strip() == "['cachemw', 'cachemw.pytest_plugin']"
