"""A2: every member of a request that a real server or framework hands over stands in our table of what can be seen."""

import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from cachemw.cache import context as seen
from tests.peers.noting import Name, names_in
from tests.peers.running import CHAT, GUNICORN, HYPERCORN, JSON, ON, PATIENCE_SECONDS, UVICORN, Server, running
from tests.peers.test_frameworks import FRAMEWORKS
from tests.peers.test_servers import ASGI, SERVERS, WSGI
from tests.upstream import prompt

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]  # the first test of an environment makes it

TENANT = "/acme"
MORE = {
    "gunicorn-asgi": Server("servers", GUNICORN + "--worker-class asgi " + ASGI),
    "gunicorn-uvicorn": Server("servers", GUNICORN + "--worker-class uvicorn.workers.UvicornWorker " + ASGI),
    "wsgiref": Server("servers", "-m tests.peers.servers.on_wsgiref {fd}"),
}
INSIDE = {
    "starlette-inside": Server("starlette", UVICORN + "tests.peers.starlette.inside:app"),
    "fastapi-inside": Server("fastapi", UVICORN + "tests.peers.fastapi.inside:app"),
}
OVER_TLS = {
    "uvicorn-tls": UVICORN + "--ssl-certfile one.pem --ssl-keyfile one.key --ssl-ca-certs one.pem --ssl-cert-reqs 2 " + ASGI,
    "hypercorn-tls": HYPERCORN + "--certfile one.pem --keyfile one.key --ca-certs one.pem --verify-mode CERT_REQUIRED " + ASGI,
    "gunicorn-tls": GUNICORN + "--certfile one.pem --keyfile one.key --ca-certs one.pem --cert-reqs 2 " + WSGI,
}


def names_of(server: Server, directory: Path, path: str = CHAT, *, tls: bool = False) -> set[Name]:
    """Return the names of what a server hands over with a chat request, with a query, and with some fields."""
    fields = {**JSON, **ON, "authorization": "Bearer sk-ada", "x-forwarded-host": "acme.example"}
    with running(server, directory, {}) as url, _client(directory, tls=tls) as client:
        for stream in (False, True):
            url = url.replace("http:", "https:") if tls else url
            answer = client.post(f"{url}{path}?a=1", content=prompt("plain", stream=stream), headers=fields)
            assert answer.status_code == 200, answer.text
            assert "cache-status" in answer.headers
    return names_in(directory)


def unlisted(names: set[Name]) -> set[Name]:
    """Return those that no row of the table is about."""
    listed = {"scope": seen.SCOPE.__contains__, "extensions": seen.EXTENSIONS.__contains__, "environ": seen.listed_environ}
    return {(of, name) for of, name in names if not listed[of](name)}


@pytest.mark.parametrize("name", [*SERVERS, *FRAMEWORKS, *MORE])
def test_every_member_that_a_server_brings_is_listed(name: str, tmp_path: Path) -> None:
    """A2: one that nobody listed fails here."""
    names = names_of({**SERVERS, **FRAMEWORKS, **MORE}[name], tmp_path)

    assert names
    assert not unlisted(names)


@pytest.mark.parametrize("name", INSIDE)
def test_every_member_that_a_framework_adds_is_listed(name: str, tmp_path: Path) -> None:
    """A2: where the middleware stands inside of a mounted app, of sessions and of authentication."""
    names = names_of(INSIDE[name], tmp_path, TENANT + CHAT)

    assert ("scope", "path_params") in names
    assert not unlisted(names)


@pytest.mark.parametrize("name", OVER_TLS)
def test_every_member_that_tls_adds_is_listed(name: str, tmp_path: Path) -> None:
    """A2: with a certificate of the client's."""
    _certify(tmp_path)

    names = names_of(Server("servers", OVER_TLS[name]), tmp_path, tls=True)

    assert not unlisted(names)


def test_what_nobody_listed_is_found() -> None:
    """A2: the check itself."""
    invented = {("scope", "x.invented"), ("extensions", "x.invented"), ("environ", "x.invented")}

    assert unlisted(invented) == invented


def _client(directory: Path, *, tls: bool) -> httpx.Client:
    if not tls:
        return httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(directory / "one.pem", directory / "one.key")
    return httpx.Client(verify=context, trust_env=False, timeout=PATIENCE_SECONDS)


def _certify(directory: Path) -> None:
    """Make a certificate that the server and the client both show, and that vouches for itself."""
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=ada -keyout one.key -out one.pem".split()
    try:
        subprocess.run(made, cwd=directory, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl command")
