"""`cachemw check`: all that is wrong, at once, and what to do about it."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cachemw import DiskStore
from cachemw.cli.check import about_sqlite, little_room
from cachemw.simulator import Simulator
from cachemw.stores.disk.files import FREE_SPACE
from tests.cli.command import Done
from tests.serving import nobody_there, serving_in_thread
from tests.stores.test_files import snapshot
from tests.upstream import Told, Upstream, always

Here = Callable[..., Done]


def findings(done: Done) -> dict[str, list[tuple[str, str]]]:
    """Return what is said of each subject, with its state."""
    told: dict[str, list[tuple[str, str]]] = {}
    for finding in json.loads(done.stdout):
        told.setdefault(finding["subject"], []).append((finding["state"], f"{finding['text']} -> {finding['advice']}"))
    return told


def of(done: Done, subject: str) -> tuple[str, str]:
    (finding,) = findings(done)[subject]
    return finding


def test_where_nothing_is_wrong_it_says_so_and_makes_nothing(here: Here, tmp_path: Path) -> None:
    """F2, D2: nobody is contacted, and no store is made."""
    before = sorted(tmp_path.rglob("*"))

    done = here("check", CEREBRAS_API_KEY="sk-not-to-be-shown")

    assert (done.returncode, done.stderr) == (0, "")
    for subject in ("settings", "clients", "key", "upstream", "store", "SQLite", "limits"):
        assert any(line[7:].startswith(subject) for line in done.stdout.splitlines()), subject
    assert done.stdout.endswith("\nnothing is wrong\n")
    assert "CEREBRAS_API_KEY is set" in done.stdout
    assert f"there is none yet in {tmp_path}/caches/cachemw: it will be made" in " ".join(done.stdout.split())
    assert "sk-" not in done.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_it_fits_a_hundred_columns(here: Here, tmp_path: Path) -> None:
    """F2: all but a path, which is not cut."""
    for done in (here("check"), here("check", CACHEMW_UPSTREM="x", CACHEMW_PORT="high", CACHEMW_VARY="a b,c d")):
        assert [line for line in done.stdout.splitlines() if len(line) > 100 and str(tmp_path) not in line] == []


FILE = """
[serve]
port = "high"
lifetime = "1w"
life_time = 1
host = "0.0.0.0"
upstream = "https://api.openai.com"
vary = ["a b"]
allow_host = ["*"]
lend = ["/v1"]
dir = "/proc/nope"
[provider]
"""


def test_all_that_is_wrong_is_said_at_once(here: Here, tmp_path: Path) -> None:
    """F9, E7."""
    path = tmp_path / "cachemw.toml"
    path.write_text(FILE)

    told = here("check", path, "--json", CACHEMW_UPSTREM="x", CACHEMW_WORKERS="none")

    assert told.returncode == 1
    wrong = {subject: [text for state, text in found if state == "wrong"] for subject, found in findings(told).items()}
    expected = {
        "settings": [
            f"unknown in {path}: 'provider' (is it providers?)",
            f"unknown in [serve] of {path}: 'life_time'",
            f"port in [serve] of {path}: a string is not a whole number from 0 to 65535",
            f"lifetime in [serve] of {path}: '1w' is not a number of seconds",
            "CACHEMW_WORKERS: 'none' is not a whole number, 1 at least",
            "unknown in the environment: CACHEMW_UPSTREM (is it CACHEMW_UPSTREAM?)",
            "'a b' is no name of a header field",
            "'*' is no host",
            "'/v1' cannot be lent",
        ],
        "clients": ["'0.0.0.0' is not a loopback address"],
        "upstream": ["--upstream: https://api.openai.com is not the base URL of an API"],
        "store": ["none can be made in /proc/nope: "],
    }
    assert {subject: len(texts) for subject, texts in wrong.items() if texts} == {
        name: len(all_) for name, all_ in expected.items()
    }
    assert [
        text for name, texts in expected.items() for text in texts if not any(said.startswith(text) for said in wrong[name])
    ] == []


def test_a_file_that_cannot_be_read_hides_nothing_else(here: Here, tmp_path: Path) -> None:
    done = here("check", tmp_path / "none.toml", "--json", CACHEMW_DIR="/proc/nope")

    assert of(done, "settings") == ("wrong", f"cannot read {tmp_path}/none.toml: No such file or directory -> ")
    assert of(done, "store")[0] == "wrong"


def test_a_store_that_is_only_replayed_from_is_counted_and_left_as_it_is(here: Here, tmp_path: Path) -> None:
    """F3."""
    replaying = {"CACHEMW_DIR": str(tmp_path / "c"), "CACHEMW_DEFAULT": "on, mode=replay"}
    missing = of(here("check", "--json", **replaying), "store")
    with closing(DiskStore(tmp_path / "c")) as store:
        store.put(bytes(16), b"a record", None)
    before = snapshot(tmp_path / "c")

    found = of(here("check", "--json", **replaying), "store")

    assert missing[0] == "wrong"
    assert f"nothing can be replayed from {tmp_path / 'c'}" in missing[1]
    assert found == ("ok", f"answers are replayed from {tmp_path / 'c'}, which holds 1 record -> ")
    assert snapshot(tmp_path / "c") == before


def test_a_store_that_is_there_is_written_to_and_measured(here: Here, tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path / "store")) as store:
        store.put(bytes(16), bytes(3_000_000), None)

        done = here("check", "--json", CACHEMW_DIR=str(tmp_path / "store"), CACHEMW_SIZE_LIMIT="10MiB")

    state, text = of(done, "store")
    assert state == "ok"
    assert text.startswith(f"{tmp_path}/store: ")
    assert "2.9 MiB of 10.0 MiB (29 %); it can be written" in text
    with closing(DiskStore(tmp_path / "store")) as store:
        assert [index for index, _ in store.scan()] == [bytes(16)]


@pytest.mark.parametrize("which", ["file", "shared"])
def test_a_store_that_cannot_be_used_is_said_with_what_to_do(here: Here, tmp_path: Path, which: str) -> None:
    place = tmp_path / which / "store"
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)

    state, text = of(here("check", "--json", CACHEMW_DIR=str(place)), "store")

    assert state == "wrong"
    assert text.startswith(f"none can be made in {place}: ")
    assert text.endswith("name another directory (--dir, CACHEMW_DIR)")


def test_a_secret_that_cannot_be_is_said(here: Here) -> None:
    assert of(here("check", "--json", CACHEMW_SECRET="hunter2"), "store")[0] == "wrong"


KEYS = {
    "a provider's, set": ({"GROQ_API_KEY": "x", "CACHEMW_UPSTREAM": "groq"}, "ok", "GROQ_API_KEY is set"),
    "a provider's, unset": ({}, "note", "CEREBRAS_API_KEY is not set: each client has to bring a key"),
    "a URL's, unset": (
        {"CACHEMW_UPSTREAM": "http://127.0.0.1:9/v1"},
        "note",
        "CACHEMW_UPSTREAM_API_KEY is not set: a client's own key is sent, if it brings one",
    ),
    "a provider's, unset, with client keys": ({"CACHEMW_CLIENT_KEYS": "sk-a"}, "wrong", "CEREBRAS_API_KEY is not set, and no"),
    "a URL's": (
        {"CACHEMW_UPSTREAM": "http://127.0.0.1:9/v1", "CACHEMW_CLIENT_KEYS": "sk-a"},
        "note",
        "CACHEMW_UPSTREAM_API_KEY is not set: the upstream is sent no key",
    ),
}


@pytest.mark.parametrize(("variables", "state", "text"), KEYS.values(), ids=KEYS)
def test_the_variable_of_the_servers_key_is_named(here: Here, variables: dict[str, str], state: str, text: str) -> None:
    """F8."""
    found = of(here("check", "--json", **variables), "key")

    assert (found[0], found[1][: len(text)]) == (state, text)


SPOKEN = {
    "a provider of chat": ({}, "chat: Anthropic's clients are translated"),
    "OpenAI": ({"CACHEMW_UPSTREAM": "openai"}, "chat and responses: Anthropic's clients are translated"),
    "Anthropic": (
        {"CACHEMW_UPSTREAM": "anthropic"},
        "messages: Anthropic's clients are passed on as they are, and chat is translated",
    ),
    "a URL": (
        {"CACHEMW_UPSTREAM": "http://127.0.0.1:9/v1"},
        "chat, messages and responses: Anthropic's clients are passed on as they are (nobody knows what is at a URL:"
        " --speaks says it)",
    ),
    "a URL of which it is said": (
        {"CACHEMW_UPSTREAM": "http://127.0.0.1:9/v1", "CACHEMW_SPEAKS": "chat"},
        "chat: Anthropic's clients are translated",
    ),
}


@pytest.mark.parametrize(("variables", "text"), SPOKEN.values(), ids=SPOKEN)
def test_what_the_upstream_speaks_is_told(here: Here, variables: dict[str, str], text: str) -> None:
    """Translation §3: nobody is contacted."""
    assert of(here("check", "--json", **variables), "speaks") == ("ok", f"{text} -> ")


def test_client_keys_are_counted_and_checked(here: Here, tmp_path: Path) -> None:
    """F21, I4."""
    path = tmp_path / "keys.toml"
    path.write_text('alice = ["sk-a1", "sk-a2"]')
    path.chmod(0o600)
    sound = of(here("check", "--json", CACHEMW_CLIENT_KEYS_FILE=str(path), CACHEMW_CLIENT_KEYS="sk-b"), "clients")
    twice = of(here("check", "--json", CACHEMW_CLIENT_KEYS_FILE=str(path), CACHEMW_CLIENT_KEYS="sk-a1"), "clients")
    path.chmod(0o604)
    readable = of(here("check", "--json", CACHEMW_CLIENT_KEYS_FILE=str(path)), "clients")

    assert sound == ("ok", "they bring one of 3 keys (1 client with a name) -> ")
    assert (twice[0], twice[1].startswith("a client key is given twice, as that of alice")) == ("wrong", True)
    assert (readable[0], readable[1].endswith(f"chmod 600 {path} -> ")) == ("wrong", True)
    assert "sk-" not in str((sound, twice, readable))


@pytest.mark.parametrize(
    ("version", "workers", "state", "advice"),
    [
        ((3, 40, 1), 1, "note", "a Python with a newer SQLite"),
        ((3, 51, 2), 2, "note", "one process alone (--workers 1) does not meet it"),
        ((3, 51, 3), 2, "ok", ""),
        ((4, 0, 0), 2, "ok", ""),
    ],
    ids=str,
)
def test_an_old_sqlite_is_a_note_with_what_to_do(version: tuple[int, ...], workers: int, state: str, advice: str) -> None:
    """F2."""
    found = about_sqlite(version, workers)

    assert (found.state, found.advice[: len(advice)]) == (state, advice)
    assert found.text.startswith(".".join(map(str, version)))
    assert ("WAL-reset bug" in found.text) is (state == "note")


@pytest.fixture
def behind() -> Iterator[tuple[Upstream, str]]:
    upstream = Upstream()
    with serving_in_thread(upstream) as url:
        yield upstream, f"{url}/v1"


MODELS = {
    "a list": (Told([b'{"object":"list","data":[{"id":"a"},{"id":"b"}]}']), "ok", "answers, and names 2 models"),
    "something else": (Told([b"hello"]), "ok", "names no models in a way that we read"),
    "a refusal": (Told([b"{}"], status=401), "wrong", "refuses the key (401)"),
    "no such page": (Told([b"{}"], status=404), "note", "has no list of models (404)"),
    "trouble": (Told([b"{}"], status=503), "wrong", "answers with 503"),
    "a broken list": (Told([b'{"data":'], ends=False), "wrong", ""),
}


@pytest.mark.parametrize(("told", "state", "text"), MODELS.values(), ids=MODELS)
def test_online_the_upstream_is_asked_for_its_models(
    here: Here, behind: tuple[Upstream, str], told: Told, state: str, text: str
) -> None:
    """D2: with the server's key, which is not shown."""
    upstream, url = behind
    upstream.respond = always(told)

    done = here("check", "--online", "--json", CACHEMW_UPSTREAM=url, CACHEMW_UPSTREAM_API_KEY="sk-of-server")

    found = of(done, "upstream")
    assert (found[0], text in found[1], url in found[1]) == (state, True, True)
    assert done.returncode == (1 if state == "wrong" else 0)
    assert [(asked.method, asked.path, asked.header(b"authorization")) for asked in upstream.asked] == [
        ("GET", "/v1/models", b"Bearer sk-of-server")
    ]
    assert "sk-" not in done.stdout


def test_online_an_upstream_that_is_not_there_is_said_with_why(here: Here) -> None:
    """F5."""
    with nobody_there() as url:
        state, text = of(here("check", "--online", "--json", CACHEMW_UPSTREAM=f"{url}/v1"), "upstream")

    assert state == "wrong"
    assert "refused" in text.lower()


def test_offline_the_upstream_is_not_asked(here: Here, simulated: tuple[Simulator, str], behind: tuple[Upstream, str]) -> None:
    """D2."""
    upstream, url = behind

    assert here("check", CACHEMW_UPSTREAM=url).returncode == 0
    assert upstream.calls == 0


def test_a_file_system_with_little_room_is_said() -> None:
    """D6."""
    assert list(little_room(FREE_SPACE)) == []
    (found,) = little_room(2**20)
    assert (found.is_wrong, found.text[:23], found.advice[:29]) == (
        True,
        "only 1.0 MiB are free o",
        "make room, or name another di",
    )
