"""`cachemw why`."""

import io
import json
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

import cachemw.httpx
from cachemw import DiskStore, FileStore, Limits, Policy, Store
from tests.cli.command import Done, refusal
from tests.mounts.inner_transports import URL, answering, inner_of
from tests.upstream import prompt

Here = Callable[..., Done]

MINE = {"content-type": "application/json", "authorization": "Bearer sk-mine"}
ON = Policy(default="on", keep_requests=True)


def asked(store: Store, *bodies: bytes, policy: Policy = ON, **fields: str) -> None:
    """Ask, through a transport of its own, one after the other."""
    patient = Limits(store_patience=30, store_opening=30)
    transport = cachemw.httpx.CacheTransport(inner_of(httpx, answering), store=store, policy=policy, limits=patient)
    with closing(store), httpx.Client(transport=transport, trust_env=False) as client:
        for body in bodies:
            assert client.post(URL, content=body, headers=MINE | fields).status_code == 200


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store, and a ledger with a miss, a hit, and four misses that differ in their seed."""
    directory = tmp_path / "filled"
    asked(DiskStore(directory), *[prompt("what is blue?", seed=seed, top_p=0.5) for seed in (0, 0, 1, 2, 3, 4)])
    return directory


@pytest.fixture(autouse=True)
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes | None], None]:
    """Put this where a command reads; `None` is a terminal."""

    class Given(io.TextIOWrapper):
        def isatty(self) -> bool:
            return self.is_terminal

        is_terminal = False

    def give(content: bytes | None) -> None:
        stdin = Given(io.BytesIO(content or b""))
        stdin.is_terminal = content is None
        monkeypatch.setattr("sys.stdin", stdin)

    give(None)
    return give


def shown(done: Done, code: int = 0) -> str:
    """Return what was said, without what differs from run to run."""
    assert (done.returncode, done.stderr) == (code, "")
    told = re.sub(r"[0-9a-f]{8}…", "KEY", done.stdout)
    return re.sub(r"\d+( ms| s)? before|\d\d:\d\d:\d\d", "…", told)


EXPLAINED = """\
#6 … m: miss, key KEY
field: something similar was stored, and this one differs in seed
nearest: KEY, stored … (…), same caller, same URL, 4 of 5 parts equal
    seed                    differs
    URL, messages[0], model, top_p: equal
    seed: 3 -> 4
hint: seed changed in 3 of your last 3 such misses. A value of its own in every request makes every
  request new; `sample=` is the deliberate way.
now: the same request would be answered from the store
"""


@pytest.mark.parametrize("which", ["6", "--last", "id"])
def test_why_names_the_part_that_differs(here: Here, filled: Path, which: str) -> None:
    """O5."""
    if which == "id":
        which = json.loads(here("why", "6", "--json", "--dir", filled).stdout)["id"]

    assert shown(here("why", which, "--dir", filled)) == EXPLAINED


def test_why_is_one_object_for_programs(here: Here, filled: Path) -> None:
    told = json.loads(here("why", "--last", "--json", "--dir", filled).stdout)

    assert (told["place"], told["reason"], told["names"], told["stored_now"]) == (6, "field", ["seed"], True)
    assert told["nearest"]["equal"] == ["@url", "messages[0]", "model", "top_p"]
    assert told["nearest"]["changes"] == [{"path": "seed", "there": "3", "here": "4"}]
    assert told["habit"] == {"name": "seed", "count": 3, "of": 3}


def test_why_says_of_a_hit_what_it_was(here: Here, filled: Path) -> None:
    assert shown(here("why", "2", "--dir", filled)) == (
        "#2 … m: hit, key KEY\nhit: it was no miss: the answer came from the store\n"
    )


def test_why_compares_with_the_key_that_is_named(here: Here, filled: Path) -> None:
    first = json.loads(here("why", "1", "--json", "--dir", filled).stdout)["key"]

    told = json.loads(here("why", "6", "--against", first[:12], "--json", "--dir", filled).stdout)

    assert (told["nearest"]["key"], told["nearest"]["differing"]) == (first, ["seed"])
    assert told["nearest"]["changes"] == [{"path": "seed", "there": "0", "here": "4"}]


def test_why_says_of_a_key_whether_it_is_stored(here: Here, filled: Path) -> None:
    """The exit code says it to scripts."""
    key = json.loads(here("why", "1", "--json", "--dir", filled).stdout)["key"]
    stored = here("why", key[:10], "--dir", filled)
    with closing(DiskStore(filled)) as store:
        store.delete(bytes.fromhex(key))

    gone = here("why", key, "--dir", filled)

    assert shown(stored) == "it is stored, as KEY: the same request would be answered from the store\n"
    assert gone.returncode == 1
    assert "no record has this key" in gone.stdout


@pytest.mark.parametrize(("arguments", "environment"), [((), {"OPENAI_API_KEY": "sk-mine"}), (("-",), {})])
def test_why_finds_a_request_that_it_is_given_by_its_body_whoever_asked(
    here: Here, filled: Path, given: Callable[[bytes], None], arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    given(b'{"seed": 3, "top_p": 5e-1, "messages": [{"content": "what is blue?", "role": "user"}], "model": "m"}')

    told = here("why", *arguments, "--dir", filled, **environment)

    whose = re.sub("by [0-9a-f]{16}:", "by CODE:", shown(told))
    assert whose == "it is stored, as KEY, asked for by CODE: theirs would be answered from the store\n"


def test_why_says_in_what_a_request_that_it_is_given_differs(here: Here, filled: Path, given: Callable[[bytes], None]) -> None:
    """O5: for a caller whose key the environment has; to nobody else can parts be compared."""
    given(prompt("what is red?", seed=3, top_p=0.5))
    known = here("why", "--dir", filled, OPENAI_API_KEY="sk-mine")
    given(prompt("what is red?", seed=3, top_p=0.5))
    unknown = here("why", "--dir", filled)

    assert "messages[0]             differs" in shown(known, 1)
    assert '- "what is blue?"' in known.stdout or '"what is blue?" -> "what is red?"' in known.stdout
    assert shown(unknown, 1) == "no record answers this request\nnew: nothing like it was stored\n"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "never stored: invalid-json (the request's body is not JSON)"),
        (b"", "never stored: invalid-json"),
        (b'{"messages": [], "audio": {}}', "never stored: audio"),
        (b"[]", "no request of an endpoint"),
    ],
)
def test_why_says_of_a_request_that_is_never_stored_why(
    here: Here, filled: Path, given: Callable[[bytes], None], body: bytes, why: str
) -> None:
    given(body)

    assert why in refusal(here("why", "-", "--dir", filled))


def test_why_reads_a_cassette_too(here: Here, tmp_path: Path, given: Callable[[bytes], None]) -> None:
    """It has neither a ledger nor a secret."""
    asked(FileStore(tmp_path / "c"), prompt(seed=1), policy=Policy(default="on", partition="shared"))
    given(prompt(seed=1))
    stored = here("why", "--dir", tmp_path / "c")
    given(prompt(seed=2))

    differs = here("why", "--dir", tmp_path / "c")

    assert stored.returncode == 0
    assert "seed: 1 -> 2" in shown(differs, 1)


def test_why_changes_nothing_in_a_store(here: Here, filled: Path) -> None:
    def records() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in filled.iterdir() if not path.name.startswith("ledger.db-")}

    before = records()
    here("why", "--last", "--dir", filled)

    assert records() == before


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("zz",), "'zz' is neither the id of an exchange"),
        (("ffff",), "no id and no key begins with 'ffff'"),
        (("f" * 32,), "no record has the key ffff"),
        (("--last", "--dir", "{empty}"), "there is no store in"),
        (("6", "--against", "f" * 32), "there is no sketch of ffff"),
    ],
)
def test_why_says_what_it_does_not_know(here: Here, filled: Path, arguments: tuple[str, ...], why: str, tmp_path: Path) -> None:
    words = [word.format(empty=tmp_path / "empty") for word in arguments]

    assert why in refusal(here("why", *(words if "--dir" in words else [*words, "--dir", filled])))


@pytest.mark.parametrize("arguments", [(), ("6", "--last"), ("-", "--against", "f" * 32)])
def test_why_refuses_what_can_be_read_in_two_ways(here: Here, filled: Path, arguments: tuple[str, ...]) -> None:
    done = here("why", *arguments, "--dir", filled)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Invalid value" in done.stderr


def test_why_says_where_nothing_has_missed(here: Here, tmp_path: Path) -> None:
    (tmp_path / "cassette").mkdir()
    asked(FileStore(tmp_path / "cassette"), prompt(), policy=Policy(default="on", partition="shared"))

    assert "has no request that was not answered" in refusal(here("why", "--last", "--dir", tmp_path / "cassette"))


def test_without_kept_requests_no_value_is_shown(here: Here, tmp_path: Path) -> None:
    """O5."""
    asked(DiskStore(tmp_path), *[prompt("a secret question", seed=seed) for seed in (111, 222)], policy=Policy(default="on"))

    told: Any = here("why", "--last", "--dir", tmp_path)

    assert "seed                    differs" in told.stdout
    assert [word for word in ("111", "222", "secret") if word in told.stdout.replace(str(tmp_path), "")] == []


def test_why_takes_a_request_to_a_route_for_what_its_targets_are_sent(
    here: Here, filled: Path, given: Callable[[bytes | None], None], tmp_path: Path
) -> None:
    (tmp_path / "cachemw.toml").write_text('[routes.auto]\ntargets = ["cerebras/m"]\n')
    given(prompt("what is blue?", model="auto", seed=0, top_p=0.5))

    done = here("why", "--dir", filled, CACHEMW_CONFIG=str(tmp_path / "cachemw.toml"), CEREBRAS_API_KEY="k")

    assert "it is stored" in done.stdout, done
    assert done.returncode == 0
