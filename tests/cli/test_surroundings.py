"""What `cachemw serve` makes of its surroundings: proxies and certificates (F10), and a provider without a key (F8)."""

import re
from collections.abc import Callable

import httpx
import openai
import pytest

from cachemw.simulator import Simulator
from tests.cli.command import Command, Done, Serving, refusal

Here = Callable[..., Done]
Simulated = tuple[Simulator, str]
SAID = 3


def test_it_says_through_which_proxy_misses_go(command: Command) -> None:
    """F10: and not with which password."""
    with command.serving("serve", "--port", 0, lines=SAID, HTTPS_PROXY="http://user:hunter2@proxy.example:3128") as serving:
        said = serving.said

    assert "misses go to https://api.cerebras.ai/v1 through http://proxy.example:3128 (HTTPS_PROXY); " in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("HTTPS_PROXY", "http://user:hunter2@", "is not the URL of an HTTP proxy, such as http://proxy.example:3128"),
        ("https_proxy", "socks5://user:hunter2@p", "names a SOCKS proxy, and only HTTP proxies are spoken to"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "names '/nowhere/ca.pem', which cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_obeyed_keeps_it_from_starting(here: Here, variable: str, value: str, why: str) -> None:
    """F10."""
    assert refusal(here("serve", "--port", 0, **{variable: value})) == f"{variable} {why}"


def test_neither_counts_for_an_upstream_on_this_machine(command: Command, simulated: Simulated) -> None:
    """F10."""
    variables = {"HTTP_PROXY": "nonsense://", "HTTPS_PROXY": "nonsense://", "SSL_CERT_FILE": "/nowhere/ca.pem"}

    with command.serving("serve", "--port", 0, "--upstream", simulated[1], lines=SAID, **variables) as serving:
        assert answered(serving, "sk-alice").status_code == 200


def answered(serving: Serving, key: str, text: str = "hi", **headers: str) -> httpx.Response:
    """Ask as SDKs do."""
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    fields = {"authorization": f"Bearer {key}", "cachemw": "on", **headers}
    with httpx.Client(trust_env=False, timeout=20) as client:
        return client.post(f"{serving.url}/v1/chat/completions", json=body, headers=fields)


@pytest.mark.parametrize("options", [(), ("--client-key", "sk-alice")], ids=["", "with client keys"])
def test_without_a_key_of_its_own_it_says_so_itself(command: Command, simulated: Simulated, options: tuple[str, ...]) -> None:
    """F8: by the SDK's own error, with the variable to set; and the upstream is not asked."""
    simulator, url = simulated
    before = simulator.calls
    key, what_else = ("sk-alice", "") if options else ("cachemw", ", or send yours")

    with command.serving("serve", "--port", 0, *options, lines=SAID, CEREBRAS_BASE_URL=url) as serving:
        client = openai.OpenAI(base_url=f"{serving.url}/v1", api_key=key, max_retries=0, default_headers={"Cachemw": "on"})
        with client, pytest.raises(openai.AuthenticationError) as raised:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        answer = answered(serving, key)
        plain = httpx.get(f"{serving.url}/v1/models", headers={"authorization": f"Bearer {key}"}, trust_env=False)

    said = f"this proxy has no key of its own: start it with CEREBRAS_API_KEY=…{what_else}"
    assert raised.value.code == "no_key"
    assert answer.json()["error"]["message"] == plain.json()["error"]["message"] == said
    assert (answer.status_code, plain.status_code) == (401, 401)
    assert re.fullmatch(r"cachemw; fwd=miss; key=\"[0-9a-f]+\"; detail=no-key", answer.headers["cache-status"])
    assert simulator.calls == before


def test_what_is_stored_is_replayed_without_any_key(command: Command, simulated: Simulated) -> None:
    """F8: nobody has to have a key for what is never asked."""
    arguments = ("serve", "--port", 0, "--partition", "shared")
    with command.serving(*arguments, lines=SAID, CEREBRAS_BASE_URL=simulated[1]) as serving:
        first = answered(serving, "sk-alice", "stored")
        again = answered(serving, "cachemw", "stored")

    assert "; stored; " in first.headers["cache-status"]
    assert again.headers["cache-status"].startswith("cachemw; hit; ")
    assert again.content == first.content
