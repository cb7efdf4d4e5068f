"""`cachemw serve --config` with routes: providers that are simulated, and a file with them and with clients."""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cachemw.simulator import Simulator
from tests.cli.command import PATIENCE, Command, Serving
from tests.gateway.crossroads import Tapped, price, route, where
from tests.serving import serving_in_thread

FIRST, SECOND = "cerebras/gpt-oss-120b", "groq/openai/gpt-oss-120b"
SECRETS = {
    "CEREBRAS_API_KEY": "sk-secret-of-cerebras",
    "GROQ_API_KEY": "sk-secret-of-groq",
    "ALICE_KEY": "sk-secret-of-alice",
    "DAN_KEY": "sk-secret-of-dan",
}
"""The keys that stand in the environment."""

BOB, CAROL = "sk-secret-of-bob", "sk-secret-of-carol"
"""The keys of clients of whom the file has a digest, and another file the name."""

EVERY_SECRET = (*SECRETS.values(), BOB, CAROL)

CLIENTS = f"""
[clients.alice]
key_env = "ALICE_KEY"
routes = ["auto"]
[clients.bob]
key_sha256 = "{hashlib.sha256(BOB.encode()).hexdigest()}"
budget = {{ usd = 0.000001, per = "day" }}
[clients.carol]
rate = {{ requests = 2, per = "day" }}
[clients.dan]
key_env = "DAN_KEY"
expires = 2020-01-01
"""
SERVE = '[serve]\nport = 0\ndefault = "on"\nlog_level = "info"\nworkers = {workers}\n'
AUTO = route(FIRST, SECOND)
PRICES = price(FIRST, SECOND, more="context = 1000\n")


@dataclass
class Routed:
    """The providers, the files, and the command that serves them."""

    command: Command
    home: Path
    first: Tapped
    second: Tapped
    urls: dict[str, str]
    output: str = field(default="", repr=False)

    @property
    def path(self) -> Path:
        return self.home / "cachemw.toml"

    def write(self, text: str, workers: int = 1) -> None:
        """Write the file: the settings, where the providers are, and this."""
        draft = self.home / "cachemw.new"
        draft.write_text(SERVE.format(workers=workers) + where(self.urls) + text)
        draft.rename(self.path)

    @contextlib.contextmanager
    def serving(self, *options: object) -> Iterator[Serving]:
        """Serve the file; in the end all that was said is in `output`."""
        with self.command.serving("serve", "--config", self.path, *options, lines=1, **SECRETS) as serving:
            self.output = serving.said
            yield serving
            assert serving.end(seconds=15) == 0
            self.output += serving.output.read()

    def hear(self, serving: Serving, words: str) -> str:
        """Wait for a line with these words, and return it."""
        line = ""
        while words not in line:
            line = serving.output.readline()
            assert line, self.output
            self.output += line
        return line


@contextlib.contextmanager
def routed(command: Command, home: Path, first: str = "", second: str = "") -> Iterator[Routed]:
    """Serve both providers, which fail as these scripts say."""
    one, two = Tapped(Simulator(dialect="cerebras", fail=first)), Tapped(Simulator(dialect="groq", fail=second))
    with serving_in_thread(one) as here, serving_in_thread(two) as there:
        yield Routed(command, home, one, two, {"cerebras": here, "groq": there})


def chat(url: str, key: str, text: str, **members: Any) -> httpx.Response:
    """Send a chat request, over a new connection."""
    body = {"model": "auto", "messages": [{"role": "user", "content": text}]} | members
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        return client.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})


def models(url: str, key: str) -> list[str]:
    """Return the models that a client is told of."""
    answer = httpx.get(f"{url}/v1/models", headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["data"]]


def until_models(expected: list[str], url: str, key: str, workers: int = 1) -> None:
    """Ask until every worker must have heard of the signal. Fails after a while."""
    until, streak = time.monotonic() + 20, 0
    while streak < (1 if workers == 1 else 12 * workers):
        assert time.monotonic() < until, f"still not {expected}"
        streak = streak + 1 if models(url, key) == expected else 0


def nano_told(response: httpx.Response) -> int:
    """Return the nano-dollars that an answer says it cost."""
    dollars = str(response.headers["cachemw-route"]).partition('cost="')[2].partition('"')[0]
    return round(float(dollars) * 10**9)


def code_of(response: httpx.Response) -> str:
    """Return our code of what is refused."""
    return str(response.json()["error"]["code"])


def spent(command: Command, directory: Path, by: str) -> dict[str, dict[str, Any]]:
    """Return the lines of `cachemw spend`, by name."""
    done = command("spend", "--json", "--by", by, "--dir", directory)
    assert (done.returncode, done.stderr) == (0, ""), done
    return {line[by]: line for line in map(json.loads, done.stdout.splitlines())}


def leaks(*texts: str, home: Path) -> list[str]:
    """Return where a secret is found: in what was said, or in a file below a directory."""
    found = [secret for text in texts for secret in EVERY_SECRET if secret in text]
    files = [path for path in home.rglob("*") if path.is_file() and path.name != "keys.toml"]
    return found + [path.name for path in files if any(secret.encode() in path.read_bytes() for secret in EVERY_SECRET)]
