"""The apps of the README and of `docs/middleware.md`, with their frameworks, on a real server: a miss, then a hit."""

import re
from pathlib import Path

import httpx
import pytest

from cachemw.simulator import Simulator
from tests.pages import blocks
from tests.peers.environments import InstallationError, python_of
from tests.peers.running import CHAT, JSON, PATIENCE_SECONDS, UVICORN, Server, running
from tests.serving import serving_in_thread

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1200)]  # the first test of an environment makes it

PAGES = ("middleware.md", "../README.md")
GROQ = "https://api.groq.com/openai/v1"
PROJECT = "import tests.peers.django.on_asgi\n"
"""What a Django project has beside the block of the page: settings, and a view that answers."""
ROUTES = '[routes.auto]\ntargets = ["cerebras/gpt-oss-120b"]\n'
"""The file that a block names where several providers answer."""
PYTHON = [block for page in PAGES for block in blocks(page, "python")]
SERVED = [(title, code) for title, code in PYTHON if re.search("^app = (FastAPI|Starlette)", code, re.MULTILINE)]
SERVED += [(title, PROJECT + code) for title, code in PYTHON if title == "Django"]
FIELDS = {**JSON, "cachemw": "on", "authorization": "Bearer sk-alice"}
QUESTION = b'{"model": "gpt-oss-120b", "messages": [{"role": "user", "content": "plain"}]}'


@pytest.mark.parametrize(("title", "code"), SERVED, ids=[f"{title} {number}" for number, (title, _) in enumerate(SERVED)])
def test_the_second_answer_of_an_app_is_a_hit(title: str, code: str, tmp_path: Path) -> None:
    """H1, H2: whether the app answers, or a provider behind it."""
    peer, app = ("django", "application") if title == "Django" else ("fastapi", "app")
    try:
        python_of(peer)
    except InstallationError as exc:
        pytest.skip(f"the packages are not to be had: {exc}")
    simulator = Simulator()
    with serving_in_thread(simulator) as provider:
        (tmp_path / "page.py").write_text(code.replace(GROQ, f"{provider}/v1"))
        (tmp_path / "cachemw.toml").write_text(ROUTES)
        variables = {"CEREBRAS_BASE_URL": provider, "CEREBRAS_API_KEY": "k", "GROQ_API_KEY": "k"}
        with running(Server(peer, f"{UVICORN}page:{app}"), tmp_path, variables) as url:
            first, again = (ask(url) for _ in range(2))

    assert (first.status_code, again.status_code) == (200, 200), first.text
    assert "fwd=miss" in first.headers["cache-status"]
    assert "; hit;" in again.headers["cache-status"]
    assert first.content == again.content
    assert simulator.calls == ("upstream" in code or "gateway" in code)


def ask(url: str) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS) as client:
        return client.post(url + CHAT, content=QUESTION, headers=FIELDS)
