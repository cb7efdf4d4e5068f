"""`cachemw export` and `cachemw import`: out of one store, into another, into a cassette, and what is said of it."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from cachemw import DiskStore, Policy
from cachemw.cassette import Cassette
from cachemw.simulator import Simulator
from tests.cli.command import Command, Done
from tests.inventory.exchanges import COUNT, CREDENTIAL, record_all, said_by_all
from tests.serving import serving_in_thread

Here = Callable[..., Done]
LIMIT = 100


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving_in_thread(Simulator()) as served:
        yield served


@pytest.fixture(scope="module")
def filled(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an answer of every endpoint, all of them one caller's own, with their requests."""
    directory = tmp_path_factory.mktemp("filled") / "store"
    with closing(DiskStore(directory)) as store:
        record_all(url, store)
    return directory


def files_in(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(place.iterdir())}


def is_narrow(said: str) -> bool:
    return all(len(line) <= LIMIT or "/" in line for line in said.splitlines())  # a path has the length that it has


def test_a_store_goes_out_and_comes_back_and_goes_out_as_the_same_files(here: Here, filled: Path, tmp_path: Path) -> None:
    """O7."""
    first = here("export", tmp_path / "one", "--dir", filled)
    with closing(DiskStore(filled)) as store:
        before = dict(store.scan())
        for index, record in before.items():
            if b"cachemw-batch" not in record:
                store.delete(index)

    back = here("import", tmp_path / "one", "--dir", filled)

    with closing(DiskStore(filled)) as store:
        assert dict(store.scan()) == before
    second = here("export", tmp_path / "two", "--dir", filled)
    assert first.stdout.splitlines() == [
        f"{COUNT} records exported to {tmp_path / 'one'}",
        "left out: 3 a part of another answer",
    ]
    assert back.stdout == f"{COUNT} records imported into {filled}\n"
    assert (first.returncode, back.returncode, second.returncode) == (0, 0, 0)
    assert files_in(tmp_path / "one") == files_in(tmp_path / "two")


def test_a_test_replays_what_a_proxy_recorded(here: Here, filled: Path, url: str, tmp_path: Path) -> None:
    """The way from a proxy's store, where every answer is its caller's own, to a cassette in a repository."""
    here("export", tmp_path / "out", "--dir", filled)

    done = here("import", tmp_path / "out", "--cassette", tmp_path / "cassette", "--dir", filled)

    assert (done.returncode, done.stdout) == (
        0,
        f"{COUNT} records imported into {tmp_path / 'cassette'}: {COUNT} under a new key\n",
    )
    cassette = Cassette(tmp_path / "cassette", "replay")
    clients = cassette.http_client(openai), cassette.http_client(anthropic)
    assert len(said_by_all(url, *clients, "somebody-else")) == COUNT
    cassette.close()


def test_no_credential_and_no_secret_is_in_any_file(here: Here, filled: Path, tmp_path: Path) -> None:
    """A3, O3: whose an answer was cannot be told by its file."""
    here("export", tmp_path / "out", "--dir", filled)
    here("import", tmp_path / "out", "--cassette", tmp_path / "cassette", "--dir", filled)
    lines = here("export", "--jsonl", "--dir", filled)
    with closing(DiskStore(filled)) as store:
        secret = store.secret()

    everything = b"".join([*files_in(tmp_path / "out").values(), *files_in(tmp_path / "cassette").values()])
    everything += lines.stdout.encode()
    for hidden in (CREDENTIAL.encode(), secret, secret.hex().encode(), b"authorization", b"x-api-key"):
        assert hidden not in everything


def test_lines_are_for_pipes_and_come_in_as_files_do(here: Here, filled: Path, tmp_path: Path) -> None:
    lines = here("export", "--jsonl", "--dir", filled)
    (tmp_path / "all.jsonl").write_text(lines.stdout)

    done = here("import", tmp_path / "all.jsonl", "--dir", filled)

    assert len(lines.stdout.splitlines()) == COUNT
    assert lines.stderr == "left out: 3 a part of another answer\n"
    assert done.stdout.splitlines() == [f"0 records imported into {filled}", f"{COUNT} there already"]


@pytest.mark.parametrize(
    ("options", "count"), [(("--model", "claude*"), 2), (("--endpoint", "chat"), 3), (("--older-than", "1d"), 0)]
)
def test_the_filter_says_what_goes_out(options: tuple[str, ...], count: int, here: Here, filled: Path, tmp_path: Path) -> None:
    done = here("export", tmp_path / "out", *options, "--dir", filled, "--json")

    assert json.loads(done.stdout) == {"exported": count, "written": count, "unchanged": 0, "left_out": {}}
    assert len(list((tmp_path / "out").glob("*.json"))) == count


def test_without_times_nothing_but_the_second_is_told(here: Here, filled: Path, tmp_path: Path) -> None:
    here("export", tmp_path / "out", "--no-times", "--dir", filled)

    documents = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")]

    assert len(documents) == COUNT
    assert not any("times" in document for document in documents)


def test_records_without_requests_go_back_into_their_own_store_alone(here: Here, url: str, tmp_path: Path) -> None:
    """O7."""
    with closing(DiskStore(tmp_path / "store")) as store:
        record_all(url, store, Policy(default="on"))
    here("export", tmp_path / "out", "--dir", tmp_path / "store")
    none = here("export", tmp_path / "none", "--only-with-request", "--dir", tmp_path / "store")

    home = here("import", tmp_path / "out", "--dir", tmp_path / "store")
    abroad = here("import", tmp_path / "out", "--dir", tmp_path / "other")
    cassette = here("import", tmp_path / "out", "--cassette", tmp_path / "cassette")

    assert f"left out: {COUNT} without its request" in none.stdout
    assert (home.returncode, home.stdout.splitlines()[1]) == (0, f"{COUNT} there already")
    assert (abroad.returncode, cassette.returncode) == (1, 1)
    assert abroad.stdout.splitlines()[1] == f"{COUNT} refused:"
    said = " ".join(abroad.stdout.split())
    assert "it holds no request, and was not exported from a store with this one's secret" in said
    assert is_narrow(abroad.stdout)
    assert not (tmp_path / "cassette").exists()


def test_what_is_refused_is_named_and_why_and_the_rest_comes_in(here: Here, filled: Path, tmp_path: Path) -> None:
    """O7."""
    here("export", tmp_path / "out", "--dir", filled)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.json"))
    (tmp_path / "out" / names[0]).write_text("{")
    (tmp_path / "elsewhere").write_bytes((tmp_path / "out" / names[1]).read_bytes())
    (tmp_path / "out" / names[1]).unlink()
    (tmp_path / "out" / names[1]).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / names[2]).unlink()
    (tmp_path / "out" / names[2]).mkdir()
    huge = tmp_path / "out" / names[3]
    os.truncate(huge, 3 * 2**30)

    done = here("import", tmp_path / "out", "--cassette", tmp_path / "cassette", "--dir", filled)
    told = here("import", tmp_path / "out", "--cassette", tmp_path / "cassette", "--dir", filled, "--json")

    assert done.returncode == 1
    assert is_narrow(done.stdout)
    refused = [json.loads(line) for line in told.stdout.splitlines()]
    assert [one["refused"] for one in refused[:-1]] == names[:4]
    reasons = [one["why"] for one in refused[:-1]]
    for why, said in zip(reasons, ("not JSON", "symbolic link", "not a file", "not a file, or larger"), strict=True):
        assert said in why
    assert refused[-1] == {"imported": 0, "rekeyed": 0, "changed": 0, "present": COUNT - 4, "older": 0, "refused": 4}


def test_ten_refusals_are_shown_and_the_others_counted(here: Here, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for number in range(14):
        (tmp_path / "out" / f"m\x1b[31m--{number:032x}.json").write_text("{")

    done = here("import", tmp_path / "out", "--cassette", tmp_path / "cassette")

    lines = done.stdout.splitlines()
    assert (lines[1], len(lines), lines[-1]) == ("14 refused:", 13, "  and 4 more (--json names all)")
    assert "\x1b" not in done.stdout


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("export",), "give either a directory, or --jsonl"),
    (("export", "out", "--jsonl"), "give either a directory, or --jsonl"),
    (("export", "out", "--dir", "nothing"), "there is no store in"),
    (("import", "nothing"), "there is nothing to import at"),
    (("import", "."), "there are no records in"),
    (("import", "x.jsonl"), "cannot read x.jsonl"),
    (("import", "--batch", "x.jsonl"), "a batch has an input and an output file"),
    (("import", "x", "--client", "alice", "--partition", "shared"), "give one"),
    (("import", "x", "--header", "nothing"), "a header field is NAME:VALUE"),
    (("import", "x", "--cassette", "y", "--client", "alice"), "everybody's"),
    (("import", "x", "--partition", "mine"), "is not one of"),
    (("import", "x", "--upstream", "nobody"), "nobody"),
]


@pytest.mark.parametrize(("arguments", "why"), REFUSED)
def test_what_cannot_be_done_is_said(
    arguments: tuple[str, ...], why: str, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = here(*arguments)

    assert done.returncode != 0
    assert why in " ".join(done.stderr.replace("│", " ").split())


# Batches.


def batch_of(url: str, place: Path, count: int = 3) -> Mapping[str, Any]:
    """Have a batch answered, as OpenAI would, and write its two files."""
    bodies = {
        f"r{number}": {"model": "gpt-5", "messages": [{"role": "user", "content": f"Question {number}?"}]}
        for number in range(count)
    }
    answers = {name: httpx.post(f"{url}/v1/chat/completions", json=body).json() for name, body in bodies.items()}
    asked = [
        {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body} for name, body in bodies.items()
    ]
    answered = [
        {
            "id": f"batch_req_{name}",
            "custom_id": name,
            "response": {"status_code": 200, "request_id": "x", "body": answer},
            "error": None,
        }
        for name, answer in answers.items()
    ]
    (place / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    (place / "out.jsonl").write_text("".join(json.dumps(one) + "\n" for one in answered))
    return answers


def test_a_finished_batch_is_a_hit_for_an_ordinary_client_of_a_proxy(command: Command, tmp_path: Path) -> None:
    """The half-price answer is the one that everybody gets, as JSON and as a stream."""
    simulator = Simulator()
    with serving_in_thread(simulator) as url:
        answers = batch_of(url, tmp_path)
        given = {
            "CACHEMW_UPSTREAM": f"{url}/v1",
            "CACHEMW_UPSTREAM_API_KEY": "sk-canary",
            "CACHEMW_DIR": str(tmp_path / "store"),
        }
        before = len(simulator.asked)
        done = command("import", "--batch", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--partition", "anonymous", **given)
        with command.serving("serve", "--port", 0, lines=1, **given) as proxy:
            client = openai.OpenAI(
                base_url=f"{proxy.url}/v1", api_key="cachemw", default_headers={"Cachemw": "on"}, max_retries=0
            )
            for number in range(3):
                question: Any = {"model": "gpt-5", "messages": [{"role": "user", "content": f"Question {number}?"}]}
                raw = client.chat.completions.with_raw_response.create(**question)
                said = "".join(
                    chunk.choices[0].delta.content or ""
                    for chunk in client.chat.completions.create(**question, stream=True)
                    if chunk.choices
                )
                assert "hit" in raw.headers["cache-status"]
                assert json.loads(raw.text) == answers[f"r{number}"]
                assert said == answers[f"r{number}"]["choices"][0]["message"]["content"]

    assert (done.returncode, done.stdout) == (0, f"3 records imported into {tmp_path / 'store'}\n")
    assert len(simulator.asked) == before


def test_a_finished_batch_is_a_cassette_for_the_transport_of_an_sdk(here: Here, url: str, tmp_path: Path) -> None:
    answers = batch_of(url, tmp_path)

    done = here(
        "import",
        "--batch",
        tmp_path / "in.jsonl",
        tmp_path / "out.jsonl",
        "--cassette",
        tmp_path / "c",
        "--upstream",
        f"{url}/v1",
    )

    cassette = Cassette(tmp_path / "c", "replay")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="x", http_client=cassette.http_client(openai), max_retries=0)
    said = client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "Question 1?"}])
    assert done.returncode == 0
    assert said.choices[0].message.content == answers["r1"]["choices"][0]["message"]["content"]
    cassette.close()


def test_of_a_batch_what_failed_is_missing_or_comes_twice_is_told(here: Here, url: str, tmp_path: Path) -> None:
    batch_of(url, tmp_path, 4)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    lines[0]["response"]["status_code"] = 400
    lines[1] = {"id": "x", "custom_id": "r1", "response": None, "error": {"code": "expired", "message": "m"}}
    lines[2]["response"]["body"]["choices"][0]["finish_reason"] = "content_filter"
    lines[3]["custom_id"] = "of-nobody"
    lines.append(lines[0])
    (tmp_path / "out.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    done = here(
        "import",
        "--batch",
        tmp_path / "in.jsonl",
        tmp_path / "out.jsonl",
        "--cassette",
        tmp_path / "c",
        "--upstream",
        f"{url}/v1",
        "--json",
    )

    assert done.returncode == 1
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one["refused"].rpartition("/")[2]: one["why"] for one in told[:-1]} == {
        "out.jsonl:5": "its custom_id is that of line 1",
        "out.jsonl: of-nobody": "nothing asked for it",
        "r0": "it failed: status 400",
        "r1": "it failed",
        "r2": "its answer cannot be kept: finish-content_filter",
        "r3": "it has no answer",
    }


# Whose they are, and who answers them: as a client of the proxy finds them, which `warm` is.


def asked(place: Path, count: int = 3, url: str = "/v1/chat/completions", **members: Any) -> Path:
    """Write requests into a file."""
    bodies = [
        {"model": "gpt-5", "messages": [{"role": "user", "content": f"Question {number}?"}], **members}
        for number in range(count)
    ]
    file = place / "asked.jsonl"
    file.write_text(
        "".join(json.dumps({"custom_id": f"r{number}", "url": url, "body": body}) + "\n" for number, body in enumerate(bodies))
    )
    return file


def hits(done: Done) -> int:
    found: int = json.loads(done.stdout)["hits"]
    return found


UPSTREAM: tuple[dict[str, Any], dict[str, str]] = ({}, {})
WAYS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "on a route": ({"model": "auto", "max_tokens": 9}, {"CACHEMW_CONFIG": "routes.toml"}),
    "from a target by its name": ({"model": "mine/gpt-5"}, {"CACHEMW_CONFIG": "routes.toml"}),
    "as messages said in chat": ({"max_tokens": 9}, {"CACHEMW_SPEAKS": "chat"}),
    "as a stream": ({"stream": True}, {}),
}
WHOSE: dict[str, tuple[tuple[str, ...], ...]] = {
    "own to anonymous": (("--key-env", "MY_KEY"), ("--partition", "anonymous"), ()),
    "anonymous to a client": ((), ("--client", "alice"), ("--client", "alice")),
    "one client to another": (("--client", "bob"), ("--client", "alice"), ("--client", "alice")),
    "a client to all": (("--client", "bob"), ("--partition", "shared"), ("shared",)),
}
CASES = [pytest.param(*whose, *UPSTREAM, id=name) for name, whose in WHOSE.items()] + [
    pytest.param(*WHOSE["one client to another"], *way, id=name) for name, way in WAYS.items()
]


@pytest.mark.parametrize(("recorded", "imported", "found", "members", "more"), CASES)
def test_an_answer_is_found_by_whom_it_was_imported_for_and_by_nobody_else(
    recorded: tuple[str, ...],
    imported: tuple[str, ...],
    found: tuple[str, ...],
    members: dict[str, Any],
    more: dict[str, str],
    here: Here,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """O7: from one store to another, whose secret is another, under the key that a client of that proxy asks with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "routes.toml").write_text(ROUTES.format(url=url))
    file = asked(tmp_path, url="/v1/messages" if "CACHEMW_SPEAKS" in more else "/v1/chat/completions", **members)
    settings = {
        "CACHEMW_UPSTREAM": f"{url}/v1",
        "CACHEMW_UPSTREAM_API_KEY": "sk",
        "MINE_KEY": "sk",
        "MY_KEY": "sk-mine",
        "CACHEMW_KEEP_REQUESTS": "1",
        "CACHEMW_CLIENT_KEYS": "sk-a" if "--key-env" not in recorded else "",
        **more,
    }
    there, then = settings | {"CACHEMW_DIR": "one"}, settings | {"CACHEMW_DIR": "two"}
    shared = {"CACHEMW_PARTITION": "shared"} if found == ("shared",) else {}
    here("warm", file, *recorded, "--json", **there)
    here("export", "out", **there)

    came = here("import", "out", *imported, "--json", **then)

    assert json.loads(came.stdout.splitlines()[-1]) == {
        "imported": 3,
        "rekeyed": 3,
        "changed": 0,
        "present": 0,
        "older": 0,
        "refused": 0,
    }
    others = here("warm", file, "--client", "eve", "--json", **{**then, "CACHEMW_DIR": "two"}) if not shared else None
    mine = here("warm", file, *(() if shared else found), "--json", **then, **shared)
    assert hits(mine) == 3
    assert others is None or hits(others) == 0


ROUTES = """
[providers.mine]
base_url = "{url}/v1"
key_env = "MINE_KEY"
[targets."mine/gpt-5"]
set = {{ seed = 7 }}
[routes.auto]
targets = ["mine/gpt-5"]
"""


def test_a_finished_batch_is_a_hit_on_a_route(here: Here, url: str, tmp_path: Path) -> None:
    (tmp_path / "routes.toml").write_text(ROUTES.format(url=url))
    settings = {"CACHEMW_CONFIG": str(tmp_path / "routes.toml"), "CACHEMW_DIR": str(tmp_path / "store"), "MINE_KEY": "sk"}
    batch_of(url, tmp_path)

    done = here("import", "--batch", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--model", "auto", "--json", **settings)

    assert json.loads(done.stdout)["imported"] == 3
    assert hits(here("warm", asked(tmp_path, model="auto"), "--json", **settings)) == 3
