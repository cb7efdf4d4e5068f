"""The blocks of the README, and of pages that it leads to, run, and do what the text around it says."""

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask
import openai
import pytest

from cachemw.cassette import Cassette
from cachemw.messages import HttpTarget, Request
from cachemw.proxy import Proxy, Settings
from cachemw.proxy.client_keys import read_client_keys
from cachemw.proxy.settings import SETTINGS
from cachemw.simulator import Simulator
from cachemw.stores import MemoryStore
from cachemw.upstreams import HttpUpstream
from tests.asgi_driver import call
from tests.pages import blocks
from tests.serving import serving_in_thread
from tests.upstream import JSON, completion, prompt, stream_events

ON_PAGES = (
    ("../README.md", ("The proxy", "Inside the SDK", "In your tests")),
    ("middleware.md", ("Starlette", "Flask", "The transport itself", "Who asks")),
    ("testing.md", ("Without pytest",)),
)
"""The sections whose Python is run here; `tests/test_page_blocks.py` and `tests/peers/test_pages.py` run the others too."""
PYTHON = [code for page, titles in ON_PAGES for title, code in blocks(page, "python") if title in titles]
SDK = "import OpenAI\n\nfrom cachemw.sdk import http_client"
TOML = [code for _, code in blocks("proxy.md", "toml")]
QUESTION: dict[str, Any] = {"model": "gpt-oss-120b", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Simulator, str]]:
    """What the SDKs and `cerebras()` ask by default, and a directory that is all ours."""
    simulator = Simulator()
    with serving_in_thread(simulator) as url:
        names = {"HOME": tmp_path, "XDG_CACHE_HOME": tmp_path / "cache", "CEREBRAS_BASE_URL": url, "CEREBRAS_API_KEY": "k"}
        for name, value in {**names, "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "k"}.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.chdir(tmp_path)
        yield simulator, url


def run(sign: str, **replaced: str) -> dict[str, Any]:
    """Run the one block that holds this sign; return its names."""
    [block] = [block for block in PYTHON if sign in block]
    for old, new in replaced.items():
        assert old in block
        block = block.replace(old, new)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(block, "README.md", "exec"), names)
    return names


def test_each_block_is_run_here() -> None:
    signs = (
        "8080",
        "from cachemw.httpx2 import CacheTransport\n\nclient",
        "cerebras.cloud.sdk",
        SDK,
        "def test_the_capital",
        "starlette.applications",
        "app = Flask",
        "site = Flask",
        "by_user",
        "claims",
        "cassette = Cassette",
    )

    assert len(PYTHON) == len(signs)
    assert all(sum(sign in block for block in PYTHON) >= 1 for sign in signs)


def test_the_file_of_client_keys_is_read(tmp_path: Path) -> None:
    """F21."""
    [block] = [block for block in TOML if "sha256" in block]
    path = tmp_path / "keys.toml"
    path.touch(0o600)
    path.write_text(block.replace("sha256:\u2026", f"sha256:{'0' * 64}").replace("\u2026", ""))

    assert sorted(read_client_keys(str(path)).values()) == ["alice", "bob", "bob", "ci"]


def test_the_file_of_settings_is_read(tmp_path: Path) -> None:
    """E7: and each of its lines says something."""
    [block] = [block for block in TOML if block.startswith("[serve]")]
    (tmp_path / "cachemw.toml").write_text(block)

    settings = Settings.read({}, {}, str(tmp_path / "cachemw.toml"))

    assert (settings.upstream, settings.default, settings.allow_host) == ("groq", "on, ttl=3600", ("cache.example",))
    assert (settings.lifetime, settings.size_limit) == (7 * 86_400, 20 * 2**30)
    assert settings.rules().policy.lifetime == 7 * 86_400
    assert sum(getattr(settings, name) != setting.default for name, setting in SETTINGS.items()) == block.count(" = ")


def test_the_proxy_caches_what_openais_sdk_asks(provider: tuple[Simulator, str]) -> None:
    """E3."""
    simulator, url = provider
    with serving_in_thread(Proxy(HttpUpstream(f"{url}/v1", api_key="k"), store=MemoryStore())) as proxied:
        answers = []
        for _ in range(2):
            names = run("8080", **{"http://127.0.0.1:8080": proxied})
            answers.append(names["answer"])
            names["client"].close()

    assert answers[0] == answers[1]
    assert simulator.calls == 1


@pytest.mark.parametrize(
    "sign",
    ["cachemw.httpx2 import CacheTransport\n\nclient", "cerebras.cloud.sdk", SDK],
    ids=["openai", "cerebras", "either"],
)
def test_an_sdk_caches_by_itself(provider: tuple[Simulator, str], sign: str) -> None:
    """S1, E4, E5: JSON and streams, for who makes the next client too."""
    simulator, _ = provider
    seen = []
    for _ in range(2):
        with run(sign)["client"] as client:
            whole = client.chat.completions.create(**QUESTION)
            chunks = list(client.chat.completions.create(**QUESTION, stream=True, seed=1))
            seen.append((whole, chunks))

    assert seen[0] == seen[1]
    assert simulator.calls == 2


@pytest.mark.anyio
async def test_an_asgi_app_has_its_chat_requests_answered(provider: tuple[Simulator, str], anyio_backend: str) -> None:
    simulator, _ = provider
    app = run("starlette.applications")["app"]
    fields = [(b"content-type", b"application/json"), (b"cachemw", b"on")]
    body = json.dumps(QUESTION).encode()

    first = await call(app, "POST", "/v1/chat/completions", body, fields)
    again = await call(app, "POST", "/v1/chat/completions", body, fields)
    other = await call(app, "GET", "/elsewhere")
    await app.middleware_stack.app.aclose()  # servers say so by the lifespan

    assert (first.status, first.body, other.status) == (200, again.body, 404)
    assert simulator.calls == 1


def test_a_wsgi_app_is_asked_once(provider: tuple[Simulator, str]) -> None:
    """H7: JSON and a generator."""
    site, asked = run("site = Flask")["site"], []

    def answer() -> flask.Response:
        asked.append(flask.request.get_json())
        if asked[-1].get("stream"):
            return flask.Response(iter(stream_events()), content_type="text/event-stream")
        return flask.Response(iter(completion().parts), content_type=JSON[0][1].decode())  # type: ignore[arg-type]

    site.add_url_rule("/v1/chat/completions", view_func=answer, methods=["POST"])
    client = site.test_client()
    for body in (prompt(), prompt(stream=True, seed=1)):
        send = {"data": body, "content_type": "application/json", "headers": {"Cachemw": "on"}}
        assert client.post("/v1/chat/completions", **send).data == client.post("/v1/chat/completions", **send).data
    site.wsgi_app.close()

    assert len(asked) == 2


def test_an_app_says_which_user_asks() -> None:
    """I1."""
    asked = Request("POST", "/", (), b"", HttpTarget("https://x:443/"), context={"user": SimpleNamespace(username="sam")})

    assert run("by_user")["by_user"].partition(asked) == b"sam"


def test_a_token_that_changes_may_name_the_same_caller() -> None:
    """I1."""
    by_subject = run("claims")["by_subject"]
    payload = base64.urlsafe_b64encode(json.dumps({"sub": "sam", "exp": 1}).encode()).rstrip(b"=")
    fields = ((b"Authorization", b"Bearer head." + payload + b".signature"),)

    assert by_subject.partition(Request("POST", "/", fields, b"", HttpTarget("https://x:443/"))) == b"sam"


def test_a_cassette_replays_without_a_key_and_contacts_nobody(
    provider: tuple[Simulator, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """E6."""
    monkeypatch.delenv("CI", raising=False)
    with run_cassette() as client:
        recorded = client.chat.completions.create(**QUESTION)
    monkeypatch.setenv("CI", "true")
    monkeypatch.delenv("OPENAI_API_KEY")
    with run_cassette() as client:
        replayed = client.chat.completions.create(**QUESTION)
        with pytest.raises(openai.InternalServerError, match="ruled out"):
            client.with_options(max_retries=0).chat.completions.create(**QUESTION, seed=2)

    assert replayed == recorded
    assert provider[0].calls == 1


@contextlib.contextmanager
def run_cassette() -> Iterator[Any]:
    """Give the block's client."""
    names = run("cassette = Cassette")
    with names["client"] as client:
        yield client


def test_a_test_of_the_readme_is_recorded(provider: tuple[Simulator, str], tmp_path: Path) -> None:
    """F3: whatever the simulator says of Paris."""
    test = run("def test_the_capital", **{'"Paris" in': '"" in'})["test_the_capital_of_france"]
    for mode in ("record", "replay"):
        cassette = Cassette(tmp_path / "cassette", mode)
        test(cassette)
        cassette.close()

    assert provider[0].calls == 1
