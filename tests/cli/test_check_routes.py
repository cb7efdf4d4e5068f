"""`cachemw check` of a file with routes: every route's plan, who is off and why, and all faults at once."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.command import Done, refusal
from tests.cli.test_check import findings
from tests.serving import serving_in_thread
from tests.upstream import Told, Upstream, always

Here = Callable[..., Done]

FILE = """
[providers.openai]
key_env = "TEAM_OPENAI_KEY"
[routes.auto]
targets = ["cerebras/gpt-oss-120b", "groq/openai/gpt-oss-120b"]
spares = ["openai/gpt-5.4-mini"]
pick = "fastest"
hedge = { after = "p95", extra = 0.1 }
[routes."gpt-oss-120b"]
targets = ["cerebras/gpt-oss-120b", "openai/gpt-oss-120b"]
hedge = { after = 0.5 }
[routes.one]
targets = ["cerebras/gpt-oss-120b"]
[targets."cerebras/gpt-oss-120b"]
prices = { input = 0.35, output = 0.75 }
[clients.evals]
key_env = "EVALS_KEY"
[models]
smart = "auto"
"""


def checked(here: Here, directory: Path, text: str, **variables: str) -> tuple[Done, list[tuple[str, str]]]:
    """Return what is said of a file, and of its routes alone."""
    path = directory / "cachemw.toml"
    path.write_text(text)
    done = here("check", path, "--json", **variables)
    return done, [(state, told.removesuffix(" -> ")) for state, told in findings(done).get("routes", [])]


def test_every_routes_plan_is_told(here: Here, tmp_path: Path) -> None:
    """D2: nobody is contacted."""
    done, told = checked(here, tmp_path, FILE, CEREBRAS_API_KEY="sk-c", GROQ_API_KEY="sk-g", EVALS_KEY="sk-e")

    priced, off = "($N in, $N out a million)", "(off, $N in, $N out a million)"
    first = f"cerebras/gpt-oss-120b {priced}"
    assert done.returncode == 0
    assert [(state, re.sub(r"\$[0-9.]+", "$N", text)) for state, text in told] == [
        (
            "note",
            f"{tmp_path}/cachemw.toml: TEAM_OPENAI_KEY is not set, so openai is not asked: openai/gpt-5.4-mini,"
            " openai/gpt-oss-120b",
        ),
        (
            "ok",
            f"auto: the fastest of {first}, groq/openai/gpt-oss-120b {priced}; where none of these can answer,"
            f" openai/gpt-5.4-mini {off}; a second one is asked after the p95 of the first's answers, for 10 % of requests at"
            " most",
        ),
        (
            "ok",
            f"gpt-oss-120b: in this order {first}, openai/gpt-oss-120b {off};"
            " a second one is asked after 0.5 s, for 5 % of requests at most",
        ),
        ("ok", f"one: {first}"),
        ("ok", "smart is another name for auto"),
    ]
    assert findings(done)["clients"] == [("ok", "they bring the one key there is (1 client with a name) -> ")]
    assert "sk-" not in done.stdout


def test_a_client_without_its_key_is_told(here: Here, tmp_path: Path) -> None:
    """I4: and nobody is let in for it."""
    done, told = checked(here, tmp_path, FILE, CEREBRAS_API_KEY="sk-c")

    assert done.returncode == 1
    assert ("note", f"{tmp_path}/cachemw.toml:16: [clients.evals]: EVALS_KEY is not set, so nobody is this client") in told
    ((state, said),) = findings(done)["clients"]
    assert (state, said[:38]) == ("wrong", "clients bring keys, and no client in /"[:38])


def test_all_faults_are_told_at_once_and_each_alone(here: Here, tmp_path: Path) -> None:
    """F9."""
    text = "[routes.a]\npick = 'fast'\n[routes.b]\ntargets = ['acme/x']\n[providers.groq]\napi_key = 'sk-never-to-be-seen'\n"

    done, told = checked(here, tmp_path, text + "[clients.x]\nkey_env = 'X'\n", X="sk-of-x")

    path = tmp_path / "cachemw.toml"
    assert done.returncode == 1
    assert [(state, said[: len(f"{path}:0: pick in [routes.a]")]) for state, said in told] == [
        ("wrong", f"{path}:1: [routes.a]: it has no targets"[: len(f"{path}:0: pick in [routes.a]")]),
        ("wrong", f"{path}:2: pick in [routes.a]"),
        ("wrong", f"{path}:4: targets in [routes.b]"[: len(f"{path}:0: pick in [routes.a]")]),
        ("wrong", f"{path}:6: api_key in [providers.groq]"[: len(f"{path}:0: pick in [routes.a]")]),
    ]
    assert "clients" not in findings(done)
    assert "sk-" not in done.stdout


def test_a_budget_that_nobody_could_keep_is_wrong(here: Here, tmp_path: Path) -> None:
    """E10: for it keeps `cachemw serve` from starting."""
    text = "[routes.a]\ntargets = ['groq/unheard-of']\n[clients.x]\nkey_env = 'X'\nbudget = { usd = 1, per = 'day' }\n"

    done, told = checked(here, tmp_path, text, X="sk-of-x", GROQ_API_KEY="sk-g")

    wrong = "[clients.x] has a budget, and nobody knows the price of groq/unheard-of: say it in [targets], or leave these out"
    assert told == [("wrong", f"{wrong} of its routes"), ("ok", "a: groq/unheard-of (price unknown)")]
    assert done.returncode == 1


def test_a_key_file_that_cannot_be_read_is_told(here: Here, tmp_path: Path) -> None:
    _, told = checked(here, tmp_path, "[providers.groq]\nkey_file = '/there/is/none'\n")

    assert told == [("wrong", "[providers.groq]: cannot read /there/is/none: No such file or directory")]


def test_what_is_wrong_with_the_file_of_client_keys_is_told_once(here: Here, tmp_path: Path) -> None:
    done, told = checked(here, tmp_path, FILE, CACHEMW_CLIENT_KEYS_FILE="/there/is/none")

    assert told == []
    assert [state for state, _ in findings(done)["clients"]] == ["wrong"]


def test_a_file_without_routes_says_nothing_of_them(here: Here, tmp_path: Path) -> None:
    assert checked(here, tmp_path, "[serve]\n")[1] == []


@pytest.fixture
def behind() -> Iterator[tuple[Upstream, str]]:
    upstream = Upstream()
    with serving_in_thread(upstream) as url:
        yield upstream, f"{url}/v1"


ONLINE = """
[providers.local]
base_url = "URL"
key_env = "LOCAL_KEY"
[routes.a]
targets = ["local/a", "local/b", "local/c", "groq/d"]
"""


def test_online_each_provider_is_asked_for_its_models_with_its_own_key(
    here: Here, tmp_path: Path, behind: tuple[Upstream, str]
) -> None:
    """D2, G9: those without a key are not asked."""
    upstream, url = behind
    upstream.respond = always(Told([b'{"data":[{"id":"a"},{"id":"models/b"},{"id":"x"},{},1]}']))
    given = {"LOCAL_KEY": "sk-local", "CACHEMW_UPSTREAM": "xai", "CEREBRAS_API_KEY": "sk-other"}

    offline = checked(here, tmp_path, ONLINE.replace("URL", url), **given)[1]
    calls = upstream.calls
    done = here("check", tmp_path / "cachemw.toml", "--online", "--json", **given)

    assert calls == 0
    told = [(state, said.removesuffix(" -> ")) for state, said in findings(done)["routes"]]
    assert told == [
        *offline,
        ("ok", f"{url} answers, and names 5 models"),
        ("note", "local does not name c among its models -> is it spelt as there?"),
    ]
    assert [asked.header(b"authorization") for asked in upstream.asked] == [b"Bearer sk-local"]
    assert "sk-" not in done.stdout


@pytest.mark.parametrize(
    ("provider", "status", "state", "text"),
    [
        ("groq", 401, "wrong", "refuses the key (401) -> is GROQ_API_KEY the right one?"),
        ("anthropic", 401, "note", "answers; whether it takes the key is not known -> "),
        ("anthropic", 503, "wrong", "answers with 503 -> "),
    ],
)
def test_online_a_refusal_is_told_for_what_it_is(
    here: Here, tmp_path: Path, behind: tuple[Upstream, str], provider: str, status: int, state: str, text: str
) -> None:
    """D2."""
    upstream, url = behind
    upstream.respond = always(Told([b"{}"], status=status))
    (tmp_path / "cachemw.toml").write_text(f"[routes.a]\ntargets = ['{provider}/a']\n")
    variables = {f"{provider.upper()}_BASE_URL": url, f"{provider.upper()}_API_KEY": "sk-x", "CACHEMW_UPSTREAM": "xai"}

    told = findings(here("check", tmp_path / "cachemw.toml", "--online", "--json", **variables))["routes"]

    assert told[-1] == (state, f"{url} {text}")


@pytest.mark.parametrize("text", ["[routes.a]\n", "[route.a]\n"])
def test_nothing_is_served_with_a_file_that_is_wrong(here: Here, tmp_path: Path, text: str) -> None:
    path = tmp_path / "cachemw.toml"
    path.write_text(text)

    told = refusal(here("serve", "--config", path, "--port", "0"))

    assert str(path) in told
