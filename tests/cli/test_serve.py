"""`cachemw serve`, as processes that really listen."""

import contextlib
import errno
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from cachemw.cli.serve import try_out, why_not
from cachemw.errors import CommandError, ConfigurationError, StoreError
from cachemw.proxy import Settings
from cachemw.proxy.settings import SETTINGS, Setting
from cachemw.simulator import Simulator
from cachemw.stores import DiskStore
from cachemw.stores.disk import files as places
from cachemw.stores.disk import files as private
from tests.cli.command import Command, Done, Serving, ask, cache_status, refusal
from tests.stores.planting import locked, rows
from tests.stores.test_files import snapshot
from tests.thorough import THOROUGH

Here = Callable[..., Done]
Simulated = tuple[Simulator, str]
SAID = 4
"""Lines that it says once it listens."""

SERVERS = "CEREBRAS_API_KEY is the key for clients that bring none, or the word cachemw"


def test_it_says_where_it_listens_where_misses_go_and_where_answers_are_kept(command: Command, tmp_path: Path) -> None:
    """I4: that there is a key is said, the key is not."""
    secret = "sk-not-to-be-shown"

    with command.serving("serve", "--port", 0, lines=SAID, CEREBRAS_API_KEY=secret) as serving:
        assert httpx.get(f"{serving.url}/healthz", trust_env=False).json() == {"status": "ok"}
        assert serving.end(signal.SIGTERM) == 0
        said = serving.said + serving.output.read()

    first, second, third, fourth = said.splitlines()
    assert first == f"cachemw listens on {serving.url}/v1 (Ctrl-C ends it)"
    assert second == f"misses go to https://api.cerebras.ai/v1; {SERVERS}"
    assert third == f"it speaks chat: Anthropic's clients at {serving.url} are translated"
    assert fourth == f"answers are kept in {tmp_path}/caches/cachemw"
    assert secret not in said


def test_every_option_may_come_from_the_environment_and_the_command_line_wins(
    command: Command, simulated: Simulated, tmp_path: Path
) -> None:
    """E2: `default` is on, so a request that says nothing is cached."""
    variables = {
        "CACHEMW_HOST": "localhost",
        "CACHEMW_PORT": "0",
        "CACHEMW_UPSTREAM": simulated[1],
        "CACHEMW_DIR": str(tmp_path / "elsewhere"),
        "CACHEMW_DEFAULT": "on",
        "CACHEMW_PARTITION": "shared",
        "CACHEMW_LIFETIME": "77",
        "CACHEMW_LOG_LEVEL": "critical",
    }

    with command.serving("serve", "--lifetime", 60, lines=SAID, **variables) as serving:
        first = ask(serving.url, "from the environment", authorization="Bearer alice")
        again = ask(serving.url, "from the environment", authorization="Bearer bob")

    assert "CACHEMW_UPSTREAM_API_KEY is not set, so clients bring a key" in serving.said
    assert f"answers are kept in {tmp_path}/elsewhere" in serving.said
    assert "fwd=miss" in cache_status(first)
    assert {"hit", "ttl=60"} <= set(cache_status(again))
    assert again.content == first.content
    assert not {"server", "date"} & set(first.headers)


FILE = """
[serve]
upstream = "{upstream}"
dir = "{directory}"
port = 0
workers = {workers}
default = "on"
partition = "shared"
max_body = "1kB"
lifetime = "3m"
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_of_settings_reaches_every_worker(command: Command, simulated: Simulated, tmp_path: Path, workers: int) -> None:
    """E2, E5, E7: the environment goes before it, and options before both."""
    path = tmp_path / "cachemw.toml"
    path.write_text(FILE.format(upstream=simulated[1], directory=tmp_path / "elsewhere", workers=workers))
    variables = {"CACHEMW_CONFIG": str(path), "CACHEMW_LIFETIME": "2m", "CACHEMW_DEFAULT": "off"}

    with command.serving("serve", "--default", "on", lines=SAID, **variables) as serving:
        path.unlink()  # only the parent reads it
        answers = [ask(serving.url, "from the file") for _ in range(12)]
        refused = [ask(serving.url, "x" * 1_000).status_code for _ in range(6)]

    assert f"misses go to {simulated[1]}; " in serving.said
    assert f"answers are kept in {tmp_path}/elsewhere" in serving.said
    hits = [answer for answer in answers if "hit" in cache_status(answer)]  # the first ones are none where the store is slow
    assert "fwd=miss" in cache_status(answers[0])
    assert len(hits) > 1
    assert all(60 < _lifetime_left(hit) <= 120 for hit in hits)
    assert refused == [413] * 6


def _lifetime_left(hit: httpx.Response) -> int:
    return int(dict(part.partition("=")[::2] for part in cache_status(hit))["ttl"])


@pytest.mark.parametrize(("workers", "by"), [(1, signal.SIGINT), (2, signal.SIGINT)])
def test_a_signal_ends_it_in_order(command: Command, workers: int, by: signal.Signals) -> None:
    with command.serving("serve", "--port", 0, "--workers", workers, lines=SAID) as serving:
        assert httpx.get(f"{serving.url}/healthz", trust_env=False, timeout=20).status_code == 200

        code = serving.end(by)

        assert (code, serving.output.read()) == (0, "")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{serving.url}/healthz", trust_env=False)


ENDED_AT_ONCE = """
import os, signal, sys
from cachemw.cli.listening import listen
from cachemw.cli.serve import configured, run
from cachemw.simulator import Simulator

with listen("127.0.0.1", 0) as listener:
    run(configured(Simulator(), "warning"), listener, lambda: os.kill(os.getpid(), signal.Signals[sys.argv[1]]))
print("ended")
"""


@pytest.mark.parametrize("by", ["SIGTERM", "SIGINT"])
def test_a_signal_that_comes_at_once_ends_it_too(command: Command, by: str) -> None:
    """F72, P5: whoever has read where it listens may end it."""
    ended = command.python("-c", ENDED_AT_ONCE, by)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ended\n", "")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="workers are told apart as Linux does it")
def test_what_one_worker_stores_another_one_hits(command: Command, simulated: Simulated) -> None:
    """E5, D3."""
    _, upstream = simulated
    with command.serving("serve", "--port", 0, "--workers", 2, "--upstream", upstream, "--log-level", "info") as serving:
        one, other = _both_workers(serving)
        prompt, first = _first_kept(other, serving)
        _, again = _ask_until(lambda told: "detail=store-slow" not in told, one, serving, [prompt] * 100)

        assert "fwd=miss" in cache_status(first)
        assert "hit" in cache_status(again)
        assert again.content == first.content
        assert serving.end() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in (one, other))


def _both_workers(serving: Serving) -> tuple[int, int]:
    """Wait until both have started, then name them."""
    started = 0
    while started < 2:
        started += "Application startup complete" in serving.output.readline()
    one, other = serving.workers()
    return one, other


def _first_kept(stopped: int, serving: Serving) -> tuple[str, httpx.Response]:
    return _ask_until(lambda told: "stored" in told, stopped, serving, map("who keeps this, {}?".format, range(100)))


def _ask_until(
    is_told: Callable[[list[str]], bool], stopped: int, serving: Serving, prompts: Iterable[str]
) -> tuple[str, httpx.Response]:
    """Ask until a store on a busy machine was as fast as its clients are patient (D1)."""
    for prompt in prompts:
        answer = _ask_while_stopped(stopped, serving, prompt)
        if is_told(cache_status(answer)):
            return prompt, answer
    raise AssertionError("the store was always slow")


def _ask_while_stopped(stopped: int, serving: Serving, prompt: str) -> httpx.Response:
    """Ask while one of the two workers cannot answer."""
    os.kill(stopped, signal.SIGSTOP)
    try:
        return ask(serving.url, prompt, cachemw="on")
    finally:
        os.kill(stopped, signal.SIGCONT)


def test_a_port_in_use_is_one_line(here: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        line = refusal(here("serve", "--port", port))

    told = f"cannot listen on port {port}: Address already in use by "
    assert line.startswith(told)
    assert line.endswith(f"(process {os.getpid()}); choose another one with --port, or --port 0 for any that is free")


def unusable(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """Return directories that no store can be in, and why."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "shared").mkdir(mode=0o755)
    (tmp_path / "shared" / "other").write_bytes(b"")
    return {
        "a file": (tmp_path / "file", f"{tmp_path}/file is not a directory"),
        "below a file": (tmp_path / "file" / "store", f"{tmp_path}/file/store is not a directory"),
        "a link": (tmp_path / "link", f"{tmp_path}/link is a symbolic link"),
        "another's place": (tmp_path / "shared", f"{tmp_path}/shared is open to others and holds other files"),
        "what makes no directories": (Path("/proc/nope/store"), "/proc/nope: No such file or directory"),
    }


@pytest.mark.parametrize("which", ["a file", "below a file", "a link", "another's place", "what makes no directories"])
def test_a_directory_that_was_named_and_cannot_be_used_is_one_line(here: Here, tmp_path: Path, which: str) -> None:
    """F9, D6: whoever names a place is told at once that nothing will be kept there."""
    place, why = unusable(tmp_path)[which]

    line = refusal(here("serve", "--port", 0, "--dir", place))

    assert line.startswith(f"the store cannot be in {place}: {why}")
    assert line.endswith("name another directory (--dir, CACHEMW_DIR)")


def test_a_directory_that_nobody_named_and_that_cannot_be_used_is_no_reason_not_to_serve(
    command: Command, simulated: Simulated, tmp_path: Path
) -> None:
    """F66, D6."""
    (tmp_path / "caches").write_bytes(b"")

    with command.serving("serve", "--port", 0, "--upstream", simulated[1], "--default", "on", lines=SAID) as serving:
        answer = ask(serving.url, "without a store")

        assert f"nothing is kept for now: cannot write to the store in {tmp_path}/caches/cachemw: " in serving.said
        assert answer.status_code == 200
        assert "fwd=miss" in cache_status(answer)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE])
def test_what_may_be_over_in_a_while_is_no_reason_not_to_serve(number: int) -> None:
    """D6: a disk that is full today is not full for ever."""
    error = StoreError("the store does not work")
    error.__cause__ = OSError(number, os.strerror(number))

    assert why_not(error) is None


@pytest.mark.parametrize("mode", ["WAL", "DELETE"] if THOROUGH else ["WAL"])
def test_a_store_that_hangs_does_not_keep_it_from_listening(
    command: Command, simulated: Simulated, tmp_path: Path, mode: str
) -> None:
    """F105, D1, P5: it listens, answers, stores once the lock is gone, and ends."""
    with closing(DiskStore(tmp_path / "store")) as store:
        store.put(bytes(16), b"a record", None)
    rows(tmp_path / "store", f"PRAGMA journal_mode = {mode}")
    options = ("--port", 0, "--dir", tmp_path / "store", "--upstream", simulated[1], "--default", "on")

    with contextlib.ExitStack() as stack:
        with locked(tmp_path / "store", "EXCLUSIVE"):
            serving = stack.enter_context(command.serving("serve", *options, lines=SAID))
            meanwhile = ask(serving.url, "while it hangs")
        assert any("hit" in cache_status(ask(serving.url, "when it is over")) for _ in _for_seconds(10))
        code = serving.end()

    assert "nothing is kept for now: cannot write to the store" in serving.said
    assert "fwd=miss" in cache_status(meanwhile)
    assert code == 0


@pytest.mark.parametrize("held", ["lock", "WAL", "DELETE"] if THOROUGH else ["lock"])
def test_a_store_that_hangs_is_waited_for_two_seconds_at_most(held: str, tmp_path: Path) -> None:
    """F105, P5"""
    settings = Settings(dir=str(tmp_path))
    with closing(settings.store()) as store:
        store.put(bytes(16), b"a record", None)
    if held != "lock":
        rows(tmp_path, f"PRAGMA journal_mode = {held}")

    with private.locked(tmp_path / "lock") if held == "lock" else locked(tmp_path, "EXCLUSIVE"):
        began = time.monotonic()
        said = try_out(settings.store(), settings)
        took = time.monotonic() - began

    assert str(said).startswith("nothing is kept for now: ")
    assert took < 3  # two, where the machine has the time
    assert try_out(settings.store(), settings) is None


def test_a_store_in_somebody_elses_directory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F100, I7"""
    settings = Settings(dir=str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 65534)

    with pytest.raises(CommandError, match="belongs to the user"):
        try_out(settings.store(), settings)


def test_who_only_replays_needs_something_to_replay_and_writes_nothing(tmp_path: Path) -> None:
    """F3"""
    settings = Settings(dir=str(tmp_path / "cassette"), default="on, mode=replay")
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "cassette"))):
        try_out(settings.store(), settings)
    with closing(settings.store()) as store:
        store.put(bytes(16), b"a record", None)
    before = snapshot(tmp_path)

    said = try_out(settings.store(), settings)

    assert said == f"answers are replayed from {tmp_path / 'cassette'}, where nothing is changed"
    assert snapshot(tmp_path) == before


def _for_seconds(seconds: float) -> Iterator[None]:
    """Yield four times a second."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
        time.sleep(0.25)


def test_a_secret_that_can_be_guessed_is_one_line(here: Here, tmp_path: Path) -> None:
    """F112, E1, I4: and it is not shown."""
    line = refusal(here("serve", "--port", 0, CACHEMW_SECRET="hunter2"))

    assert line == "CACHEMW_SECRET has 7 bytes, and a secret has at least 16"
    assert not (tmp_path / "caches").exists()


def test_a_network_file_system_has_to_be_forced(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text(f"21 1 0:5 / {tmp_path} rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(places, "MOUNTS", tmp_path / "mountinfo")

    line = refusal(here("serve", "--port", 0, "--dir", tmp_path / "store"))

    assert "is on a network file system (nfs4)" in line
    assert "--allow-network" in line


def test_a_directory_with_another_database_is_no_reason_not_to_serve(command: Command, tmp_path: Path) -> None:
    """D5."""
    directory = tmp_path / "store"
    directory.mkdir(mode=0o700)
    (directory / "cache.db").write_bytes(b"not a database" * 100)

    with command.serving("serve", "--port", 0, "--dir", directory, lines=SAID) as serving:
        assert httpx.get(f"{serving.url}/healthz", trust_env=False).status_code == 200


IN_FILE = {
    "[routes.auto]": "{path}:1: [routes.auto]: it has no targets",
    "[serve]\nlife_time = 1": "unknown in [serve] of {path}: 'life_time' (is it lifetime?)",
    '[serve]\nhost = "0.0.0.0"': "'0.0.0.0' is not a loopback address",
    "[serve": "{path} is not TOML: ",
}


@pytest.mark.parametrize("text", IN_FILE)
def test_a_file_that_cannot_be_meant_is_one_line(here: Here, tmp_path: Path, text: str) -> None:
    """E7."""
    path = tmp_path / "cachemw.toml"
    path.write_text(text)

    line = refusal(here("serve", "--port", 0, "--config", path))

    assert line.startswith(IN_FILE[text].format(path=path))


def test_a_file_that_is_not_there_is_one_line(here: Here, tmp_path: Path) -> None:
    line = refusal(here("serve", CACHEMW_CONFIG=f"{tmp_path}/none.toml"))

    assert line == f"cannot read {tmp_path}/none.toml: No such file or directory"


def test_a_variable_that_nobody_reads_is_one_line_that_does_not_show_it(here: Here) -> None:
    """E7, I4: it would be a setting that is not obeyed."""
    line = refusal(here("serve", "--port", 0, CACHEMW_CLIENT_KEY="sk-of-alice"))

    assert line == "unknown in the environment: CACHEMW_CLIENT_KEY (is it CACHEMW_CLIENT_KEYS?)"


REFUSED = {
    ("--host", "0.0.0.0"): "'0.0.0.0' is not a loopback address, and whoever reaches it could use the server's key: name",
    ("--host", ""): "'' is not a loopback address",
    ("--client-key", ""): "a client key has at least one character",
    ("--client-key", "cachemw"): '"cachemw" is what clients without a key send',
    ("--client-key", "a,b"): "a client key has at least one character, all of them ASCII, no spaces and no commas",
    ("--allow-host", "*"): "'*' is no host",
    ("--upstream", "nobody"): "no provider is called 'nobody'",
    ("--upstream", "ftp://example.org"): "'ftp://example.org' is not the absolute http or https URL of an API",
    ("--default", "on, tll=5"): "Policy.default: unknown member 'tll'",
    ("--upstream", "api.openai.com/v1"): "--upstream: 'api.openai.com/v1' is a URL without its scheme: is it https://api.ope",
    ("--upstream", "https://api.openai.com"): "--upstream: https://api.openai.com is not the base URL of an API, which ends in",
    ("--upstream-timeout", "0"): "the upstream's time is more than 0",
    ("--chat-path", "chat"): "'chat' is no path",
    ("--ignore-control", "tll"): "'tll' is no control of clients: there are abandon, cache-control, ",
    ("--vary", "a b"): "'a b' is no name of a header field",
    ("--client-keys-file", "none.toml"): "cannot read none.toml: No such file or directory",
}


@pytest.mark.parametrize("end", ["\r", "\n", " ", "\u2019"], ids=ascii)
def test_a_key_of_the_servers_that_no_request_can_carry_is_one_line_that_does_not_show_it(here: Here, end: str) -> None:
    """I4: files of variables come with the line ends of Windows."""
    line = refusal(here("serve", "--port", 0, CEREBRAS_API_KEY=f"sk-not-to-be-shown{end}"))

    assert line.startswith("the upstream's API key holds what no header field can")
    assert "sk-" not in line


@pytest.mark.parametrize("option", REFUSED)
def test_what_cannot_work_is_one_line(here: Here, option: tuple[str, str], tmp_path: Path) -> None:
    line = refusal(here("serve", "--port", 0, *option))

    assert line.startswith(REFUSED[option])
    assert not (tmp_path / "caches").exists()


@pytest.mark.parametrize(
    "option",
    [
        *(("--port", "65536"), ("--lifetime", "long"), ("--workers", "0"), ("--log-level", "trace"), ("--max-body", "64M")),
        *(("--partition", "everyone"), ("--on-abandon", "stop"), ("--keep", "for ever"), ("--upstream-timeout", "soon")),
    ],
)
def test_a_bad_value_names_its_option(here: Here, option: tuple[str, str]) -> None:
    done = here("serve", *option)

    assert done.returncode == 2
    assert option[0] in done.stderr


def test_a_bad_value_elsewhere_names_its_place(here: Here, tmp_path: Path) -> None:
    """E7."""
    (tmp_path / "cachemw.toml").write_text('[serve]\nport = "high"\n')

    from_file = here("serve", "--config", tmp_path / "cachemw.toml")
    from_variable = here("serve", CACHEMW_PORT="high")

    assert (from_file.returncode, from_variable.returncode) == (2, 2)
    assert f"port in [serve] of {tmp_path}/cachemw.toml: a string is not a whole number" in from_file.stderr
    assert "CACHEMW_PORT: 'high' is not a whole number from 0 to 65535" in from_variable.stderr


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_the_help_has_every_setting_with_its_variable_and_its_default(here: Here, setting: Setting) -> None:
    said = " ".join(here("serve", "--help").stdout.split())

    entry = said.partition(f" {setting.option} ")[2].partition("]")[0]
    assert setting.help_text in entry
    assert f"[env var: {setting.variable}" in entry
    assert f" {setting.option} {setting.form.metavar} {setting.help_text}".replace("  ", " ") in said
    assert not setting.shown_default or f"default: {setting.shown_default}" in entry
