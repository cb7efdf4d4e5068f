"""A path of the operator's own on which chat is asked: it is routed, and what is said there is judged, as on any other."""

from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw import Gateway, MemoryStore, Policy
from cachemw.proxy import Proxy
from cachemw.simulator import Simulator
from tests.gateway.town import FIRST, KEYS, MESSAGES, PEERS, SECOND
from tests.serving import serving_in_thread

PATHS = ("/chat/completions", "/api/chat")


def at_own_path(app: ASGIApp) -> ASGIApp:
    """Return an app that has at another path what the simulator has at the usual one."""

    async def renamed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            assert scope["path"] == "/v1/api/chat"
            scope = {**scope, "path": "/v1/chat/completions"}
        await app(scope, receive, send)

    return renamed


@pytest.mark.parametrize("default", ["on", "off"])
@pytest.mark.parametrize(("failure", "author"), [("", FIRST), ("status:500", SECOND), ("no-choices", SECOND)])
def test_it_is_routed_and_judged(failure: str, author: str, default: str, tmp_path: Path) -> None:
    """G1, G3, G21."""
    with (
        serving_in_thread(at_own_path(Simulator(fail=failure))) as one,
        serving_in_thread(at_own_path(Simulator(dialect="groq"))) as other,
    ):
        file = tmp_path / "cachemw.toml"
        urls = f'[providers.cerebras]\nbase_url = "{one}/v1"\n[providers.groq]\nbase_url = "{other}/v1"\n'
        file.write_text(urls + PEERS)
        gateway = Gateway.from_file(str(file), environment=KEYS)
        proxy = Proxy(gateway=gateway, store=MemoryStore(), policy=Policy(default=default, paths=PATHS))
        with serving_in_thread(proxy) as url:
            answered = httpx.post(f"{url}/v1/api/chat", json={"model": "auto", "messages": MESSAGES}, trust_env=False)

        assert answered.status_code == 200
        assert f'by="{author}"' in answered.headers["cachemw-route"]
